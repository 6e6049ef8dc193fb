"""Marching cubes over the brick grid (tables: ``cube_tables``)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pix3d_onet.geometry.watertight.kernels.bricks import NODES
from pix3d_onet.geometry.watertight.kernels.cube_tables import EDGE_AXIS, EDGE_LOWER, tables
from pix3d_onet.geometry.watertight.kernels.neighbours import look
from pix3d_onet.types import Float64, Int64, UInt8


class Cubes(NamedTuple):
    """Crossings of a surface with the edges of the brick grid.

    ``vertices`` (V, 3) in grid coordinates; ``cases`` (n, 512) uint8: case of each cell; ``number`` (n, 3, 512) int32:
    vertex on each node's +x, +y, +z edge, -1: none; ``faces_before`` (n+1,): number of faces in earlier bricks.
    """

    vertices: Float64
    cases: UInt8
    number: NDArray[np.int32]
    faces_before: Int64


@njit(cache=True, nogil=True, forceinline=True)
def _case_of(inside: Any, brick_inside: Any, neighbours: Any, slot: int, i: int, j: int, k: int) -> int:
    case = 0
    if i < 7 and j < 7 and k < 7:  # all in this brick
        local = i << 6 | j << 3 | k
        for c in range(8):
            if inside[slot, local + ((c & 1) << 6 | (c >> 1 & 1) << 3 | (c >> 2 & 1))] != 0:
                case |= 1 << c
        return case
    for c in range(8):
        if look(inside, brick_inside, neighbours, slot, i + (c & 1), j + ((c >> 1) & 1), k + ((c >> 2) & 1)) != 0:
            case |= 1 << c
    return case


@njit(cache=True, nogil=True)
def _count(inside: Any, brick_inside: Any, neighbours: Any, counts: Any) -> Any:
    n = len(inside)
    cases = np.zeros((n, NODES), dtype=np.uint8)
    vertices = np.zeros(n + 1, dtype=np.int64)
    faces = np.zeros(n + 1, dtype=np.int64)
    for slot in range(n):
        uniform = True
        for local in range(1, NODES):
            if inside[slot, local] != inside[slot, 0]:
                uniform = False
                break
        for local in range(NODES):
            i, j, k = local >> 6, (local >> 3) & 7, local & 7
            if uniform and i < 7 and j < 7 and k < 7:
                cases[slot, local] = 255 if inside[slot, 0] != 0 else 0
                continue
            case = _case_of(inside, brick_inside, neighbours, slot, i, j, k)
            cases[slot, local] = case
            faces[slot + 1] += counts[case]
            mine = case & 1
            vertices[slot + 1] += (mine != (case >> 1) & 1) + (mine != (case >> 2) & 1) + (mine != (case >> 4) & 1)
    return cases, np.cumsum(vertices), np.cumsum(faces)


@njit(cache=True, nogil=True)
def _place(cases: Any, offsets: Any, origin: Any, fractions: Any) -> Any:
    n = len(cases)
    vertices = np.empty((offsets[n], 3))
    number = np.full((n, 3, NODES), -1, dtype=np.int32)
    for slot in range(n):
        at = offsets[slot]
        for local in range(NODES):
            case = cases[slot, local]
            if case in (0, 255):
                continue
            mine = case & 1
            for axis in range(3):
                if (case >> (1 << axis)) & 1 != mine:
                    vertices[at, 0] = origin[slot, 0] + (local >> 6)
                    vertices[at, 1] = origin[slot, 1] + ((local >> 3) & 7)
                    vertices[at, 2] = origin[slot, 2] + (local & 7)
                    vertices[at, axis] += fractions[slot, axis, local]
                    number[slot, axis, local] = at
                    at += 1
    return vertices, number


@njit(cache=True, nogil=True, forceinline=True)
def vertex_on(number: Any, neighbours: Any, slot: int, local: int, axis: int, lower: Any) -> Any:
    """The vertex on the edge along ``axis`` from the corner ``lower`` (3,) of a cell."""
    x, y, z = (local >> 6) + lower[0], ((local >> 3) & 7) + lower[1], (local & 7) + lower[2]
    s = neighbours[slot, (x >> 3) + 1, (y >> 3) + 1, (z >> 3) + 1]
    return np.int64(number[s, axis, (x & 7) << 6 | (y & 7) << 3 | (z & 7)])


@njit(cache=True, nogil=True)
def _connect(
    cases: Any, offsets: Any, number: Any, neighbours: Any, lengths: Any, loops: Any, pieces: Any, axis: Any, lower: Any
) -> Any:
    n = len(cases)
    faces = np.empty((offsets[n], 3), dtype=np.int64)
    for slot in range(n):
        at = offsets[slot]
        for local in range(NODES):
            case = cases[slot, local]
            for loop in range(lengths.shape[1]):
                for t in range(lengths[case, loop] - 2):
                    for corner in range(3):
                        e = pieces[case, loop, t, corner]
                        faces[at, corner] = vertex_on(number, neighbours, slot, local, axis[e], lower[e])
                    at += 1
    return faces


def connected(cubes: Cubes, neighbours: Any) -> Int64:
    """(F, 3) int64 faces of the surface, counter-clockwise seen from outside; loops are triangulated by the tables."""
    table = tables()
    faces: Int64 = _connect(
        cubes.cases, cubes.faces_before, cubes.number, neighbours, table.lengths, table.loops, table.pieces, EDGE_AXIS,
        EDGE_LOWER,
    )  # fmt: skip
    return faces


def extract(inside: Any, brick_inside: Any, neighbours: Any, origin: Any, fractions: Any) -> Cubes:
    """Vertices and cases of the surface of the brick grid; for its faces see :func:`connected`.

    ``inside`` (n, 512) uint8; ``brick_inside`` (B,) uint8: of bricks without a slot; ``neighbours``: from
    ``neighbours.neighbour_table``; ``origin`` (n, 3) int32: first node of each brick; ``fractions`` (n, 3, 512)
    float32: positions of crossings on edges.
    """
    cases, vertex_offsets, face_offsets = _count(inside, brick_inside, neighbours, tables().counts)
    vertices, number = _place(cases, vertex_offsets, origin, fractions)
    return Cubes(vertices, cases, number, face_offsets)
