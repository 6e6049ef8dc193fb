"""Triangles met by the ray along +z from a point, counted with their sign, in exact arithmetic.

Ties are broken as if every point lay an infinitesimal step along +x, a smaller one along +y and one along +z from where
it is (simulation of simplicity, Edelsbrunner & Mücke 1990): a ray that touches an edge or corner of the projection
meets exactly one of the faces around it, so the count is that of a ray in general position.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, prange

from pix3d_onet.geometry.mesh.inside._predicate_kernels import side_of_line, side_of_plane


@njit(cache=True, nogil=True, inline="always")
def _turn(a: Any, b: Any, x: float, y: float) -> int:
    """What edge a→b adds to the winding of the projected triangle around (x, y): 1, -1 or 0.

    The edge is always asked in the order of its ends along y, so that both of its triangles get the same answer.
    """
    if a[1] <= y:
        return 1 if b[1] > y and side_of_line(a[0], a[1], b[0], b[1], x, y) > 0 else 0
    return -1 if b[1] <= y and side_of_line(b[0], b[1], a[0], a[1], x, y) > 0 else 0


@njit(cache=True, nogil=True, inline="always")
def _crossing(p: Any, a: Any, b: Any, c: Any) -> int:
    """1 where the ray from ``p`` along +z leaves through abc, -1 where it enters, 0 where it misses."""
    sign = _turn(a, b, p[0], p[1]) + _turn(b, c, p[0], p[1]) + _turn(c, a, p[0], p[1])
    if sign == 0:
        return 0
    return sign if side_of_plane(a, b, c, p) == sign else 0


@njit(cache=True, nogil=True, inline="always")
def _range(t: Any, axis: int, low: float, scale: float, cells: int) -> tuple[int, int]:
    """The first and last column along ``axis`` under triangle ``t`` (3, 3)."""
    first = int((min(t[0, axis], t[1, axis], t[2, axis]) - low) * scale)
    last = int((max(t[0, axis], t[1, axis], t[2, axis]) - low) * scale)
    return min(max(first, 0), cells - 1), min(max(last, 0), cells - 1)


@njit(cache=True, nogil=True)
def columns(triangles: Any, low: Any, scale: Any, cells: Any, most: int) -> Any:
    """The triangles over every column of an (X, Y) grid: CSR offsets (X·Y+1,) and items; None where over ``most``."""
    offsets = np.zeros(cells[0] * cells[1] + 1, dtype=np.int64)
    total = 0
    for f in range(len(triangles)):
        i0, i1 = _range(triangles[f], 0, low[0], scale[0], cells[0])
        j0, j1 = _range(triangles[f], 1, low[1], scale[1], cells[1])
        total += (i1 - i0 + 1) * (j1 - j0 + 1)
        if total > most:
            return None
        for i in range(i0, i1 + 1):
            for j in range(j0, j1 + 1):
                offsets[i * cells[1] + j + 1] += 1
    offsets = np.cumsum(offsets)
    items = np.empty(total, dtype=np.int32)
    cursor = offsets[:-1].copy()
    for f in range(len(triangles)):
        i0, i1 = _range(triangles[f], 0, low[0], scale[0], cells[0])
        j0, j1 = _range(triangles[f], 1, low[1], scale[1], cells[1])
        for i in range(i0, i1 + 1):
            for j in range(j0, j1 + 1):
                items[cursor[i * cells[1] + j]] = f
                cursor[i * cells[1] + j] += 1
    return offsets, items


@njit(cache=True, nogil=True, inline="always")
def _column(p: Any, low: Any, high: Any, scale: Any, cells: Any) -> Any:
    """The column that holds ``p``; -1 outside of the mesh's box or above it, where the ray meets nothing."""
    if not (low[0] <= p[0] <= high[0] and low[1] <= p[1] <= high[1] and low[2] <= p[2] <= high[2]):
        return -1
    i = min(int((p[0] - low[0]) * scale[0]), cells[0] - 1)
    return i * cells[1] + min(int((p[1] - low[1]) * scale[1]), cells[1] - 1)


@njit(cache=True, nogil=True, inline="always")
def _misses(p: Any, t: Any) -> Any:
    """Whether the box of ``t`` already shows that the ray from ``p`` passes it."""
    return (
        (t[0, 0] > p[0] and t[1, 0] > p[0] and t[2, 0] > p[0])
        or (t[0, 0] < p[0] and t[1, 0] < p[0] and t[2, 0] < p[0])
        or (t[0, 1] > p[1] and t[1, 1] > p[1] and t[2, 1] > p[1])
        or (t[0, 1] < p[1] and t[1, 1] < p[1] and t[2, 1] < p[1])
        or (t[0, 2] < p[2] and t[1, 2] < p[2] and t[2, 2] < p[2])
    )


@njit(cache=True, nogil=True, parallel=True)
def winding(points: Any, triangles: Any, low: Any, high: Any, scale: Any, cells: Any, offsets: Any, items: Any) -> Any:
    """(N,) int64 winding number of (N, 3) points; ``low`` and ``high`` are the box of ``triangles`` (F, 3, 3)."""
    result = np.zeros(len(points), dtype=np.int64)
    for n in prange(len(points)):
        p = points[n]
        column = _column(p, low, high, scale, cells)
        if column < 0:
            continue
        for at in range(offsets[column], offsets[column + 1]):
            t = triangles[items[at]]
            if not _misses(p, t):
                result[n] += _crossing(p, t[0], t[1], t[2])
    return result


@njit(cache=True, nogil=True)
def crossings(
    points: Any, triangles: Any, low: Any, high: Any, scale: Any, cells: Any, offsets: Any, items: Any
) -> Any:
    """Every crossing of the rays from (N, 3) points: (C,) int64 point, (C,) int64 face and (C,) int64 sign."""
    size, used = 4 * len(points) + 16, 0
    found = np.empty((3, size), dtype=np.int64)
    for n in range(len(points)):
        p = points[n]
        column = _column(p, low, high, scale, cells)
        if column < 0:
            continue
        for at in range(offsets[column], offsets[column + 1]):
            t = triangles[items[at]]
            sign = 0 if _misses(p, t) else _crossing(p, t[0], t[1], t[2])
            if sign == 0:
                continue
            if used == size:
                more = np.empty((3, 2 * size), dtype=np.int64)
                more[:, :size] = found
                found, size = more, 2 * size
            found[0, used], found[1, used], found[2, used] = n, items[at], sign
            used += 1
    return found[:, :used]
