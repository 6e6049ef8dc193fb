"""Marching cubes over the brick grid, and exact labels from it.

The 256-case table is made here from one rule instead of being copied: on a cube face whose inside corners lie
diagonally, they are joined. Neighbouring cubes apply the same rule to the face they share, so the surface is closed
(Lorensen & Cline 1987 left that open; Nielson & Hamann 1991 describe the ambiguity). Loops are cut into triangles so
that no cut lies in a cube face, hence no edge is ever used by more than two triangles.
"""

from __future__ import annotations

from functools import cache
from itertools import combinations
from typing import Any

import numpy as np
from numba import njit, prange

from pix3d_onet.geometry.watertight.kernels.bricks import NODES
from pix3d_onet.geometry.watertight.kernels.neighbours import look

CORNERS = tuple((c & 1, c >> 1 & 1, c >> 2 & 1) for c in range(8))
EDGES = tuple((a, b) for a in range(8) for b in range(a + 1, 8) if bin(a ^ b).count("1") == 1)
"""The 12 edges as pairs of corners, lower corner first; the axis is the bit that differs."""


def _faces_of(edge: int) -> set[tuple[int, int]]:
    a, b = (CORNERS[c] for c in EDGES[edge])
    return {(axis, a[axis]) for axis in range(3) if a[axis] == b[axis]}


def _face_segments(case: int) -> list[tuple[int, int]]:
    """Directed segments between edges on the six faces, with the inside on a fixed side."""
    segments = []
    index = {edge: i for i, edge in enumerate(EDGES)}
    for axis in range(3):
        for side in range(2):
            u, v = 1 << (axis + 1) % 3, 1 << (axis + 2) % 3
            base = side << axis
            ring = [base, base | u, base | u | v, base | v]  # counter-clockwise seen from +axis
            if side == 0:
                ring.reverse()  # counter-clockwise seen from outside the cube
            inside = [case >> c & 1 for c in ring]
            # Walking the ring, a segment runs from where we enter the inside to where we leave it, or, to join
            # diagonal inside corners, from the entry to the exit before it.
            crossings = [n for n in range(4) if inside[n] != inside[(n + 1) % 4]]
            edges = [index[tuple(sorted((ring[n], ring[(n + 1) % 4])))] for n in range(4)]  # type: ignore[index]
            if len(crossings) == 2:
                enter, leave = crossings if not inside[crossings[0]] else crossings[::-1]
                segments.append((edges[enter], edges[leave]))
            elif len(crossings) == 4:
                for n in range(4):
                    if not inside[n]:  # edge n enters at corner n+1; the exit before it is edge n-1
                        segments.append((edges[n], edges[(n - 1) % 4]))
    return segments


def _loops(case: int) -> list[list[int]]:
    following = dict(_face_segments(case))
    loops = []
    while following:
        start = min(following)
        loop = [start]
        step = following.pop(start)
        while step != start:
            loop.append(step)
            step = following.pop(step)
        loops.append(loop)
    return loops


def _triangulate(loop: list[int]) -> list[tuple[int, int, int]] | None:
    """Triangles of a loop whose diagonals lie in no cube face; None when there are none."""
    if len(loop) == 3:
        return [(loop[0], loop[1], loop[2])]
    first, last = loop[0], loop[-1]
    for middle in range(1, len(loop) - 1):
        pieces: list[tuple[int, int, int]] = [(first, loop[middle], last)]
        good = True
        for part in (loop[: middle + 1], loop[middle:]):
            if len(part) < 3:
                continue
            if _faces_of(part[0]) & _faces_of(part[-1]):
                good = False
                break
            rest = _triangulate(part)
            if rest is None:
                good = False
                break
            pieces += rest
        if good:
            return pieces
    return None


@cache
def table() -> tuple[Any, Any]:
    """``counts`` (256,) int8 and ``triangles`` (256, T, 3) int8 edge numbers; faces wind counter-clockwise outside."""
    cases = []
    for case in range(256):
        triangles = []
        for loop in _loops(case):
            pieces = _triangulate(loop)
            if pieces is None:
                raise AssertionError(f"case {case} has no triangulation")
            triangles += pieces
        cases.append(triangles)
    most = max(map(len, cases))
    result = np.zeros((256, most, 3), dtype=np.int8)
    for case, triangles in enumerate(cases):
        if triangles:
            result[case, : len(triangles)] = triangles
    return np.array([len(t) for t in cases], dtype=np.int8), result


def _edge_arrays() -> tuple[Any, Any]:
    axis = np.array([(a ^ b).bit_length() - 1 for a, b in EDGES], dtype=np.int64)
    lower = np.array([CORNERS[a] for a, _ in EDGES], dtype=np.int64)
    return axis, lower


EDGE_AXIS, EDGE_LOWER = _edge_arrays()
assert len(list(combinations(range(8), 2))) == 28


@njit(cache=True, nogil=True, inline="always")
def _case_of(inside: Any, brick_inside: Any, neighbours: Any, slot: int, i: int, j: int, k: int) -> int:
    case = 0
    for c in range(8):
        if look(inside, brick_inside, neighbours, slot, i + (c & 1), j + ((c >> 1) & 1), k + ((c >> 2) & 1)) != 0:
            case |= 1 << c
    return case


@njit(cache=True, nogil=True, parallel=True)
def _count(inside: Any, brick_inside: Any, neighbours: Any, counts: Any) -> Any:
    n = len(inside)
    cases = np.zeros((n, NODES), dtype=np.uint8)
    vertices = np.zeros(n + 1, dtype=np.int64)
    faces = np.zeros(n + 1, dtype=np.int64)
    for slot in prange(n):
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


@njit(cache=True, nogil=True, parallel=True)
def _place(cases: Any, offsets: Any, origin: Any, fractions: Any) -> Any:
    n = len(cases)
    vertices = np.empty((offsets[n], 3))
    number = np.full((n, 3, NODES), -1, dtype=np.int32)
    for slot in prange(n):
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


@njit(cache=True, nogil=True, parallel=True)
def _connect(
    cases: Any, offsets: Any, number: Any, neighbours: Any, counts: Any, triangles: Any, axis: Any, lower: Any
) -> Any:
    n = len(cases)
    faces = np.empty((offsets[n], 3), dtype=np.int64)
    first = np.zeros((n, NODES), dtype=np.int32)  # first face of every cell
    for slot in prange(n):
        at = offsets[slot]
        for local in range(NODES):
            case = cases[slot, local]
            first[slot, local] = at
            i, j, k = local >> 6, (local >> 3) & 7, local & 7
            for t in range(counts[case]):
                for corner in range(3):
                    e = triangles[case, t, corner]
                    x, y, z = i + lower[e, 0], j + lower[e, 1], k + lower[e, 2]
                    s = neighbours[slot, (x >> 3) + 1, (y >> 3) + 1, (z >> 3) + 1]
                    faces[at, corner] = number[s, axis[e], (x & 7) << 6 | (y & 7) << 3 | (z & 7)]
                at += 1
    return faces, first


def extract(
    inside: Any, brick_inside: Any, neighbours: Any, origin: Any, fractions: Any
) -> tuple[Any, Any, Any, Any, Any]:
    """The surface of the brick grid.

    ``inside`` (n, 512) uint8, ``brick_inside`` (B,) uint8 flat for bricks without a slot, ``neighbours`` of
    ``_neighbours.neighbour_table``, ``origin`` (n, 3) int32 first node of every brick, ``fractions`` (n, 3, 512)
    float32.
    Returns vertices (V, 3) float64 in grid coordinates, faces (F, 3) int64, ``cases`` (n, 512) uint8 of the cells,
    ``first`` (n, 512) int32, the first face of every cell, and ``number`` (n, 3, 512) int32, the vertex on every edge.
    """
    counts, triangles = table()
    cases, vertex_offsets, face_offsets = _count(inside, brick_inside, neighbours, counts)
    vertices, number = _place(cases, vertex_offsets, origin, fractions)
    faces, first = _connect(cases, face_offsets, number, neighbours, counts, triangles, EDGE_AXIS, EDGE_LOWER)
    return vertices, faces, cases, first, number


@njit(cache=True, nogil=True)
def clear(inside: Any, neighbours: Any, number: Any, dropped: Any) -> None:
    """Take outside (in place) the inside ends of the edges whose vertices are ``dropped`` (V,) bool."""
    chosen = np.zeros(inside.shape, dtype=np.bool_)
    for slot in range(len(inside)):
        for axis in range(3):
            for local in range(NODES):
                v = number[slot, axis, local]
                if v < 0 or not dropped[v]:
                    continue
                if inside[slot, local] != 0:
                    chosen[slot, local] = True
                    continue
                i, j, k = local >> 6, (local >> 3) & 7, local & 7
                x, y, z = i + (axis == 0), j + (axis == 1), k + (axis == 2)
                s = neighbours[slot, (x >> 3) + 1, (y >> 3) + 1, (z >> 3) + 1]
                if s >= 0:
                    chosen[s, (x & 7) << 6 | (y & 7) << 3 | (z & 7)] = True
    for slot in range(len(inside)):
        for local in range(NODES):
            if chosen[slot, local]:
                inside[slot, local] = 0


@njit(cache=True, nogil=True)
def _segment_crosses(p: Any, q: Any, a: Any, b: Any, c: Any) -> int:
    """1 when the segment p→q crosses triangle abc, 0 when it does not, -1 when it is too close to tell.

    Signed volumes (Segura & Feito 2001); ``TOUCH`` relative to a voxel.
    """
    touch = 1e-11
    v0 = _volume(p, a, b, c)
    v1 = _volume(q, a, b, c)
    if (v0 > touch and v1 > touch) or (v0 < -touch and v1 < -touch):
        return 0
    w0, w1, w2 = _volume(p, q, a, b), _volume(p, q, b, c), _volume(p, q, c, a)
    if (w0 > touch or w1 > touch or w2 > touch) and (w0 < -touch or w1 < -touch or w2 < -touch):
        return 0
    sure = abs(v0) > touch and abs(v1) > touch and abs(w0) > touch and abs(w1) > touch and abs(w2) > touch
    return 1 if sure else -1


@njit(cache=True, nogil=True, inline="always")
def _volume(p: Any, a: Any, b: Any, c: Any) -> Any:
    ax, ay, az = a[0] - p[0], a[1] - p[1], a[2] - p[2]
    bx, by, bz = b[0] - p[0], b[1] - p[1], b[2] - p[2]
    cx, cy, cz = c[0] - p[0], c[1] - p[1], c[2] - p[2]
    return ax * (by * cz - bz * cy) - ay * (bx * cz - bz * cx) + az * (bx * cy - by * cx)


@njit(cache=True, nogil=True)
def label(
    points: Any, slots: Any, brick_inside: Any, cases: Any, first: Any, counts: Any, vertices: Any, faces: Any
) -> Any:
    """(N,) bool labels of (N, 3) float64 points in grid coordinates, and (N,) bool where no corner gave a sure answer.

    In a cell that no triangle enters, its corners' sign; elsewhere the parity of the crossings of that cell's own
    triangles with the segment to a corner, trying corners until none is touched.
    """
    n = len(points)
    result = np.zeros(n, dtype=np.bool_)
    unsure = np.zeros(n, dtype=np.bool_)
    dims = slots.shape
    corner = np.empty(3)
    for m in range(n):
        p = points[m]
        x, y, z = int(np.floor(p[0])), int(np.floor(p[1])), int(np.floor(p[2]))
        if x < 0 or y < 0 or z < 0 or x >= dims[0] * 8 or y >= dims[1] * 8 or z >= dims[2] * 8:
            continue
        slot = slots[x >> 3, y >> 3, z >> 3]
        if slot < 0:
            result[m] = brick_inside[((x >> 3) * dims[1] + (y >> 3)) * dims[2] + (z >> 3)] != 0
            continue
        local = (x & 7) << 6 | (y & 7) << 3 | (z & 7)
        case = cases[slot, local]
        if case in (0, 255):
            result[m] = case == 255
            continue
        sure = False
        for c in range(8):
            corner[0], corner[1], corner[2] = x + (c & 1), y + ((c >> 1) & 1), z + ((c >> 2) & 1)
            crossings, sure = 0, True
            for f in range(first[slot, local], first[slot, local] + counts[case]):
                hit = _segment_crosses(p, corner, vertices[faces[f, 0]], vertices[faces[f, 1]], vertices[faces[f, 2]])
                if hit < 0:
                    sure = False
                    break
                crossings += hit
            if sure:
                result[m] = ((case >> c) & 1 != 0) != (crossings & 1 != 0)
                break
        unsure[m] = not sure
    return result, unsure
