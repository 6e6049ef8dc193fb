"""Signed crossings of triangles with rays along +z, in exact arithmetic.

Ties are broken as if every point were moved by infinitesimal steps along +x, +y and +z, each smaller than the one
before (simulation of simplicity, Edelsbrunner & Mücke 1990). So a ray through an edge or a vertex crosses exactly one
of the faces around it, like a ray in general position.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from pix3d_onet.geometry.mesh.inside.kernels.predicates import side_of_line, side_of_plane


@njit(cache=True, nogil=True, forceinline=True)
def _turn(a: Any, b: Any, x: float, y: float) -> int:
    """Contribution of edge a→b to the winding number of the projected triangle around (x, y): 1, -1 or 0.

    The ends are ordered by y first, so that both triangles at the edge get the same result.
    """
    if (a[1] <= y) == (b[1] <= y):
        return 0
    p, q, sign = (a, b, 1) if a[1] <= y else (b, a, -1)
    return sign if side_of_line(p[0], p[1], q[0], q[1], x, y) > 0 else 0


@njit(cache=True, nogil=True, forceinline=True)
def _crossing(p: Any, a: Any, b: Any, c: Any) -> int:
    """1 if the ray from ``p`` along +z leaves through triangle abc, -1 if it enters, 0 if it misses."""
    sign = _turn(a, b, p[0], p[1]) + _turn(b, c, p[0], p[1]) + _turn(c, a, p[0], p[1])
    if sign == 0:
        return 0
    return sign if side_of_plane(a, b, c, p) == sign else 0


@njit(cache=True, nogil=True, forceinline=True)
def _cell(value: float, low: float, scale: float, cells: int) -> int:
    """Index of the column that contains ``value``, along one axis; outside the grid the nearest one."""
    return min(max(int((value - low) * scale), 0), cells - 1)


@njit(cache=True, nogil=True)
def _columns(points: Any, low: Any, scale: Any, cells: int) -> Any:
    """The points in each column of a (cells, cells) grid: CSR offsets and point indices."""
    offsets = np.zeros(cells * cells + 1, dtype=np.int64)
    for n in range(len(points)):
        i, j = _cell(points[n, 0], low[0], scale[0], cells), _cell(points[n, 1], low[1], scale[1], cells)
        offsets[i * cells + j + 1] += 1
    offsets = np.cumsum(offsets)
    items = np.empty(len(points), dtype=np.int64)
    cursor = offsets[:-1].copy()
    for n in range(len(points)):
        i, j = _cell(points[n, 0], low[0], scale[0], cells), _cell(points[n, 1], low[1], scale[1], cells)
        items[cursor[i * cells + j]] = n
        cursor[i * cells + j] += 1
    return offsets, items


@njit(cache=True, nogil=True)
def crossings(points: Any, vertices: Any, faces: Any, low: Any, scale: Any, cells: int, found: Any, each: Any) -> int:
    """Add the signs of all crossings of the rays from (N, 3) points to ``found`` (N,) int64.

    The points are sorted into (cells, cells) columns with corner ``low`` (2,) and ``scale`` (2,) columns per unit.
    ``each`` (C, 3) int64 receives the first C crossings as point, face and sign. Returns the number of crossings.
    """
    offsets, items = _columns(points, low, scale, cells)
    sorted_points = points[items]
    count = 0
    for f in range(len(faces)):
        a, b, c = vertices[faces[f, 0]], vertices[faces[f, 1]], vertices[faces[f, 2]]
        x0, x1 = min(a[0], b[0], c[0]), max(a[0], b[0], c[0])
        y0, y1 = min(a[1], b[1], c[1]), max(a[1], b[1], c[1])
        top = max(a[2], b[2], c[2])
        j0, j1 = _cell(y0, low[1], scale[1], cells), _cell(y1, low[1], scale[1], cells)
        for i in range(_cell(x0, low[0], scale[0], cells), _cell(x1, low[0], scale[0], cells) + 1):
            # the columns of a row are adjacent in memory
            for at in range(offsets[i * cells + j0], offsets[i * cells + j1 + 1]):
                p = sorted_points[at]
                if p[0] < x0 or p[0] > x1 or p[1] < y0 or p[1] > y1 or p[2] > top:
                    continue
                sign = _crossing(p, a, b, c)
                if sign != 0:
                    found[items[at]] += sign
                    if count < len(each):
                        each[count, 0], each[count, 1], each[count, 2] = items[at], f, sign
                    count += 1
    return count
