"""Triangle fans of polygons, and whether each fan covers its polygon exactly once."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

FINE, CONCAVE, CROSSED = 0, 1, 2
"""FINE: the fan (of a quad, with either diagonal) covers the polygon once. CONCAVE: it does not. CROSSED: no
triangulation does."""

OVERLAP = 1e-6
"""Allowed overlap of a polygon's triangles, as a fraction of its area: rounding at nearly straight corners is far
below, a concave corner far above."""

SLIVER = 1e-4
"""Area of a polygon, relative to the square of its longest side, below which overlaps are ignored: its corners are
collinear except for rounding."""


@njit(cache=True, nogil=True)
def _newell(vertices: Any, corners: Any, start: int, end: int) -> Any:
    """Twice the polygon's vector area (3,), relative to its first corner."""
    o = vertices[corners[start]]
    x, y, z = 0.0, 0.0, 0.0
    for k in range(start + 1, end - 1):
        b, c = vertices[corners[k]], vertices[corners[k + 1]]
        ux, uy, uz = b[0] - o[0], b[1] - o[1], b[2] - o[2]
        vx, vy, vz = c[0] - o[0], c[1] - o[1], c[2] - o[2]
        x += uy * vz - uz * vy
        y += uz * vx - ux * vz
        z += ux * vy - uy * vx
    return x, y, z


@njit(cache=True, nogil=True)
def _turned(vertices: Any, a: int, b: int, c: int, n: Any) -> Any:
    """Twice the area of a triangle seen along ``n``, times the length of ``n``; negative if it is reversed."""
    o, p, q = vertices[a], vertices[b], vertices[c]
    ux, uy, uz = p[0] - o[0], p[1] - o[1], p[2] - o[2]
    vx, vy, vz = q[0] - o[0], q[1] - o[1], q[2] - o[2]
    return (uy * vz - uz * vy) * n[0] + (uz * vx - ux * vz) * n[1] + (ux * vy - uy * vx) * n[2]


@njit(cache=True, nogil=True)
def _area(vertices: Any, a: int, b: int, c: int) -> Any:
    o, p, q = vertices[a], vertices[b], vertices[c]
    ux, uy, uz = p[0] - o[0], p[1] - o[1], p[2] - o[2]
    vx, vy, vz = q[0] - o[0], q[1] - o[1], q[2] - o[2]
    x, y, z = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
    return np.sqrt(x * x + y * y + z * z)


@njit(cache=True, nogil=True)
def _spoilt(vertices: Any, corners: Any, start: int, end: int) -> Any:
    """The first corner with an index out of range or a vertex that is not finite; -2 if there is none."""
    for k in range(start, end):
        v = corners[k]
        if v < 0 or v >= len(vertices):
            return -1
        if not np.isfinite(vertices[v, 0] + vertices[v, 1] + vertices[v, 2]):
            return v
    return -2


@njit(cache=True, nogil=True)
def verdict_of(vertices: Any, faces: Any, normal: Any) -> int:
    """FINE, CONCAVE or CROSSED for the triangles ``faces`` (n, 3) of a polygon with ``normal`` (3,)."""
    forward, backward, whole = 0.0, 0.0, 0.0
    for f in range(len(faces)):
        seen = _turned(vertices, faces[f, 0], faces[f, 1], faces[f, 2], normal)
        whole += _area(vertices, faces[f, 0], faces[f, 1], faces[f, 2])
        if seen < 0:
            backward -= seen
        else:
            forward += seen
    length = np.sqrt(normal[0] * normal[0] + normal[1] * normal[1] + normal[2] * normal[2])
    if not np.isfinite(length) or whole == 0.0:
        return FINE  # no area, or beyond float64: no triangulation is better than another
    if length <= OVERLAP * whole:
        return CROSSED  # a bow tie: equal areas in both orientations
    return FINE if backward <= OVERLAP * forward else CONCAVE


@njit(cache=True, nogil=True)
def last_verdict(vertices: Any, faces: Any, normal: Any) -> int:
    """As :func:`verdict_of` for the final triangles: CROSSED if they overlap, unless the polygon is a sliver."""
    if verdict_of(vertices, faces, normal) == FINE:
        return FINE
    whole, longest = 0.0, 0.0
    for f in range(len(faces)):
        whole += _area(vertices, faces[f, 0], faces[f, 1], faces[f, 2])
        for k in range(3):
            side = vertices[faces[f, k]] - vertices[faces[f, k - 1]]
            longest = max(longest, side[0] * side[0] + side[1] * side[1] + side[2] * side[2])
    return FINE if whole <= 2 * SLIVER * longest else CROSSED


@njit(cache=True, nogil=True)
def fans(vertices: Any, corners: Any, sizes: Any, faces: Any, verdicts: Any) -> None:
    """Fill ``faces`` (Σ(size - 2), 3) with the fan of each polygon, in order, and ``verdicts`` (P,).

    ``corners`` (Σsize,): the polygons' vertex indices. A quad whose fan is wrong is split along the other diagonal. The
    triangles of a polygon with an unusable corner all repeat this corner.
    """
    start: Any = np.int64(0)  # not the literal, for which numba would compile the helpers a second time
    row = 0
    for p in range(len(sizes)):
        end, count = start + sizes[p], sizes[p] - 2
        bad = _spoilt(vertices, corners, start, end) if count > 1 else -2
        own = faces[row : row + count]
        for k in range(count):
            if bad != -2:
                own[k, :] = bad
            else:
                own[k, 0], own[k, 1], own[k, 2] = corners[start], corners[start + k + 1], corners[start + k + 2]
        verdicts[p] = FINE
        if count > 1 and bad == -2:
            normal = _newell(vertices, corners, start, end)
            verdicts[p] = verdict_of(vertices, own, normal)
            if verdicts[p] == CONCAVE and count == 2:
                a, b, c, d = corners[start], corners[start + 1], corners[start + 2], corners[start + 3]
                own[0, 0], own[0, 1], own[0, 2] = b, c, d
                own[1, 0], own[1, 1], own[1, 2] = b, d, a
            if verdicts[p] == CROSSED or (verdicts[p] == CONCAVE and count == 2):
                verdicts[p] = last_verdict(vertices, own, normal)
        start, row = end, row + count
