"""Compiled cutting of polygons into fans, with a verdict for each on whether its fan is right."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

FINE, CONCAVE, CROSSED = 0, 1, 2
"""Verdicts: the fan (or a quad's other diagonal) covers the polygon once; it does not; nothing can."""

OVERLAP = 1e-6
"""Share of a polygon's area by which triangles may overlap before they count as wrong: rounding of nearly straight
corners stays far below, a real concave corner far above."""

SLIVER = 1e-4
"""Area of a polygon, in squares of its longest side, below which overlaps of its triangles do not matter: corners in
line, but for the digits they are written with."""


@njit(cache=True, nogil=True)
def _newell(vertices: Any, corners: Any, start: int, end: int) -> Any:
    """Twice the polygon's vector area (3,), about its first corner."""
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
    """Twice the area of a triangle seen along ``n``, times its length; negative where it is turned over."""
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
    """Index of the first corner that points nowhere or to a vertex without a place; -2 for none."""
    for k in range(start, end):
        v = corners[k]
        if v < 0 or v >= len(vertices):
            return -1
        if not np.isfinite(vertices[v, 0] + vertices[v, 1] + vertices[v, 2]):
            return v
    return -2


@njit(cache=True, nogil=True)
def verdict_of(vertices: Any, faces: Any, normal: Any) -> int:
    """Whether triangles ``faces`` (n, 3) of one polygon with ``normal`` overlap."""
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
        return FINE  # beyond float64, or without area: nothing to be right about
    if length <= OVERLAP * whole:
        return CROSSED  # as much area one way round as the other: a bow tie
    return FINE if backward <= OVERLAP * forward else CONCAVE


@njit(cache=True, nogil=True)
def last_verdict(vertices: Any, faces: Any, normal: Any) -> int:
    """:func:`verdict_of` for triangles that nothing can mend: CROSSED where they overlap, unless they are a sliver."""
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
    """Fill ``faces`` (Σ(size - 2), 3) with every polygon's fan, in order, and ``verdicts`` (P,).

    ``corners`` (Σsize,) are the polygons' vertex indices one after the other. A quad whose fan is wrong is cut along
    the other diagonal. A polygon with a corner that is no vertex is lost as a whole: its triangles repeat that corner.
    """
    start, row = 0, 0
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
