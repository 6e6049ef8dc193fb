"""Topology and measures of a mesh: edge counts, components, areas, volume.

Each kernel is one pass over the faces; in NumPy it would need a dozen arrays of their size.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def _edges_of_vertices(faces: Any, vertices: int) -> Any:
    """All uses of edges by faces, listed at the lower vertex: CSR offsets (V+1,) and items 2·(higher vertex), plus 1 if
    the face goes from the higher to the lower vertex."""
    offsets = np.zeros(vertices + 1, dtype=np.int64)
    for f in range(len(faces)):
        for c in range(3):
            offsets[min(faces[f, c], faces[f, (c + 1) % 3]) + 1] += 1
    offsets = np.cumsum(offsets)
    items = np.empty(offsets[vertices], dtype=np.int64)
    cursor = offsets[:-1].copy()
    for f in range(len(faces)):
        for c in range(3):
            a, b = faces[f, c], faces[f, (c + 1) % 3]
            low = min(a, b)
            items[cursor[low]] = 2 * max(a, b) + (1 if a > b else 0)
            cursor[low] += 1
    return offsets, items


@njit(cache=True, nogil=True)
def _sort(items: Any, start: int, end: int) -> None:
    """Sort ``items[start:end]`` in place by Shell's method with Knuth's gaps (The Art of Computer Programming, 5.2.1).

    Nearly all are short. ``np.sort`` inside a kernel takes a second to compile.
    """
    gap = 1
    while 3 * gap + 1 < end - start:
        gap = 3 * gap + 1
    while gap > 0:
        for at in range(start + gap, end):
            item = items[at]
            to = at
            while to >= start + gap and items[to - gap] > item:
                items[to] = items[to - gap]
                to -= gap
            items[to] = item
        gap //= 3


@njit(cache=True, nogil=True)
def count_edges(faces: Any, vertices: int) -> Any:
    """(5,) int64: undirected edges with one face, with two, with more; directed edges with more than one face;
    undirected edges whose two directions are used unequally often."""
    offsets, items = _edges_of_vertices(faces, vertices)
    counts = np.zeros(5, dtype=np.int64)
    for v in range(vertices):
        at, end = offsets[v], offsets[v + 1]
        _sort(items, at, end)
        while at < end:
            edge, up, down = items[at] >> 1, 0, 0
            while at < end and items[at] >> 1 == edge:
                down += items[at] & 1
                up += 1 - (items[at] & 1)
                at += 1
            counts[min(up + down, 3) - 1] += 1
            counts[3] += (up > 1) + (down > 1)
            counts[4] += up != down
    return counts


@njit(cache=True, nogil=True)
def face_components(faces: Any, vertices: int) -> Any:
    """Number of connected components, and (F,) int32 component of each face, in order of first appearance."""
    parent = np.arange(vertices)
    for f in range(len(faces)):
        a = faces[f, 0]
        while parent[a] != a:
            parent[a] = parent[parent[a]]
            a = parent[a]
        for corner in range(1, 3):
            b = faces[f, corner]
            while parent[b] != b:
                parent[b] = parent[parent[b]]
                b = parent[b]
            if a < b:
                parent[b] = a
            elif b < a:
                parent[a] = b
                a = b
    name = np.full(vertices, -1, dtype=np.int32)
    labels = np.empty(len(faces), dtype=np.int32)
    count = 0
    for f in range(len(faces)):
        a = faces[f, 0]
        while parent[a] != a:
            a = parent[a]
        if name[a] < 0:
            name[a] = count
            count += 1
        labels[f] = name[a]
    return count, labels


@njit(cache=True, nogil=True)
def areas(vertices: Any, faces: Any) -> Any:
    """(F,) float64 area of every face."""
    found = np.empty(len(faces))
    for f in range(len(faces)):
        a, b, c = vertices[faces[f, 0]], vertices[faces[f, 1]], vertices[faces[f, 2]]
        ux, uy, uz = b[0] - a[0], b[1] - a[1], b[2] - a[2]
        vx, vy, vz = c[0] - a[0], c[1] - a[1], c[2] - a[2]
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        found[f] = np.sqrt(nx * nx + ny * ny + nz * nz) / 2
    return found


@njit(cache=True, nogil=True)
def signed_volume(vertices: Any, faces: Any, centre: Any) -> float:
    """Sum of the signed volumes of the tetrahedra of each face with ``centre`` (3,), a point near the mesh."""
    total = 0.0
    o = centre
    for f in range(len(faces)):
        a, b, c = vertices[faces[f, 0]], vertices[faces[f, 1]], vertices[faces[f, 2]]
        ax, ay, az = a[0] - o[0], a[1] - o[1], a[2] - o[2]
        bx, by, bz = b[0] - o[0], b[1] - o[1], b[2] - o[2]
        cx, cy, cz = c[0] - o[0], c[1] - o[1], c[2] - o[2]
        total += ax * (by * cz - bz * cy) + ay * (bz * cx - bx * cz) + az * (bx * cy - by * cx)
    return total / 6


@njit(cache=True, nogil=True)
def component_measures(vertices: Any, faces: Any, labels: Any, count: int, centre: Any) -> Any:
    """(count,) float64 area and (count,) float64 signed volume of the faces of each label; ``centre``: as above."""
    area, volume = np.zeros(count), np.zeros(count)
    o = centre
    for f in range(len(faces)):
        a, b, c = vertices[faces[f, 0]], vertices[faces[f, 1]], vertices[faces[f, 2]]
        ux, uy, uz = b[0] - a[0], b[1] - a[1], b[2] - a[2]
        vx, vy, vz = c[0] - a[0], c[1] - a[1], c[2] - a[2]
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        area[labels[f]] += np.sqrt(nx * nx + ny * ny + nz * nz) / 2
        volume[labels[f]] += ((a[0] - o[0]) * nx + (a[1] - o[1]) * ny + (a[2] - o[2]) * nz) / 6
    return area, volume
