"""A sparse grid of 8³ bricks over the nodes near a mesh: marking, exact distances, exact edge crossings.

Coordinates are *grid coordinates*: float64, one unit per voxel, node (i, j, k) at (i, j, k). A brick with a *slot* s
has row s in the (n, 512) arrays; its node has the local index ``(i & 7) << 6 | (j & 7) << 3 | (k & 7)``. A grid edge
belongs to its lower node.

Kernels have one thread each, since shapes are prepared in parallel.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

SIDE = 8
NODES = SIDE**3
FAR = np.float32(1e9)
"""Distance of nodes outside the band, and ``first_hit`` of edges that no triangle crosses."""

SLACK = 1.000001
"""Relative slack of early rejections by distance, so that rounding never skips the nearest triangle."""

INCLUSIVE = 1e-10
"""Relative slack of the test whether a grid line crosses a triangle: a line through a shared edge crosses both
triangles, so that no line passes between two faces."""


@njit(cache=True, nogil=True)
def edge_lines(t: Any, a: int, b: int, sign: float, lines: Any) -> None:
    """Write lines[e] (3,) = (ea, eb, ec): ea·x + eb·y + ec is the signed distance, positive outside, to edge e of ``t``
    projected along its third axis; ``sign`` is that of the normal along it."""
    for e in range(3):
        p, q = t[e], t[(e + 1) % 3]
        dx, dy = (q[a] - p[a]) * sign, (q[b] - p[b]) * sign
        size = np.sqrt(dx * dx + dy * dy)
        if size > 0:
            lines[e, 0], lines[e, 1] = dy / size, -dx / size
            lines[e, 2] = -(lines[e, 0] * p[a] + lines[e, 1] * p[b])
        else:
            lines[e, 0], lines[e, 1], lines[e, 2] = 0.0, 0.0, -1.0


@njit(cache=True, nogil=True)
def mark_bricks(triangles: Any, reach: float, dims: Any) -> Any:
    """(Bx, By, Bz) bool: the bricks with a node within ``reach`` voxels of a triangle, and possibly a few more.

    Tested by the distance of the brick's centre to the triangle's plane and, projected along the longest axis of its
    normal, to its edges.
    """
    marked = np.zeros((dims[0], dims[1], dims[2]), dtype=np.bool_)
    half = (SIDE - 1) / 2.0
    radius = half * np.sqrt(3.0) + reach
    low = np.empty(3, dtype=np.int64)
    high = np.empty(3, dtype=np.int64)
    brick = np.empty(3, dtype=np.int64)
    lines = np.empty((3, 3))
    for f in range(len(triangles)):
        t = triangles[f]
        for a in range(3):
            lo = min(t[0, a], t[1, a], t[2, a]) - reach
            hi = max(t[0, a], t[1, a], t[2, a]) + reach
            low[a] = max(0, int(np.floor(lo)) >> 3)
            high[a] = min(dims[a] - 1, int(np.ceil(hi)) >> 3)
        ux, uy, uz = t[1, 0] - t[0, 0], t[1, 1] - t[0, 1], t[1, 2] - t[0, 2]
        vx, vy, vz = t[2, 0] - t[0, 0], t[2, 1] - t[0, 1], t[2, 2] - t[0, 2]
        normal = (uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx)
        length = np.sqrt(normal[0] * normal[0] + normal[1] * normal[1] + normal[2] * normal[2])
        c = 2
        if abs(normal[0]) >= abs(normal[1]) and abs(normal[0]) >= abs(normal[2]):
            c = 0
        elif abs(normal[1]) >= abs(normal[2]):
            c = 1
        a, b = (c + 1) % 3, (c + 2) % 3
        flat = length > 1e-12 * max(ux * ux + uy * uy + uz * uz, vx * vx + vy * vy + vz * vz)
        if flat:
            edge_lines(t, a, b, 1.0 if normal[c] > 0 else -1.0, lines)
        for bi in range(low[0], high[0] + 1):
            for bj in range(low[1], high[1] + 1):
                for bk in range(low[2], high[2] + 1):
                    if marked[bi, bj, bk]:
                        continue
                    brick[0], brick[1], brick[2] = bi, bj, bk
                    marked[bi, bj, bk] = not flat or _reaches(brick, t, a, b, normal, length, lines, half, radius)
    return marked


@njit(cache=True, nogil=True, forceinline=True)
def _reaches(
    brick: Any, t: Any, a: int, b: int, normal: Any, length: float, lines: Any, half: float, radius: float
) -> Any:
    """Whether the brick's centre is within ``radius`` of the plane of ``t`` and of its edges as seen along an axis."""
    x, y, z = brick[0] * SIDE + half, brick[1] * SIDE + half, brick[2] * SIDE + half
    off = (x - t[0, 0]) * normal[0] + (y - t[0, 1]) * normal[1] + (z - t[0, 2]) * normal[2]
    if abs(off) > radius * length:
        return False
    p, q = brick[a] * SIDE + half, brick[b] * SIDE + half
    beside = max(
        lines[0, 0] * p + lines[0, 1] * q + lines[0, 2],
        lines[1, 0] * p + lines[1, 1] * q + lines[1, 2],
        lines[2, 0] * p + lines[2, 1] * q + lines[2, 2],
    )
    return beside <= radius


@njit(cache=True, nogil=True, forceinline=True)
def squared_distance(
    px: float, py: float, pz: float, ax: float, ay: float, az: float,
    ux: float, uy: float, uz: float, vx: float, vy: float, vz: float,
    uu: float, uv: float, vv: float,
) -> float:  # fmt: skip
    """Squared distance of p to the triangle a, a+u, a+v (Ericson, Real-Time Collision Detection, 5.1.5)."""
    wx, wy, wz = px - ax, py - ay, pz - az
    d1 = ux * wx + uy * wy + uz * wz
    d2 = vx * wx + vy * wy + vz * wz
    if d1 <= 0.0 and d2 <= 0.0:
        return wx * wx + wy * wy + wz * wz
    d3, d4 = d1 - uu, d2 - uv
    if d3 >= 0.0 and d4 <= d3:
        return (wx - ux) ** 2 + (wy - uy) ** 2 + (wz - uz) ** 2
    d5, d6 = d1 - uv, d2 - vv
    if d6 >= 0.0 and d5 <= d6:
        return (wx - vx) ** 2 + (wy - vy) ** 2 + (wz - vz) ** 2
    vc = d1 * d4 - d3 * d2
    if vc <= 0.0 and d1 >= 0.0 and d3 <= 0.0:
        s = d1 / (d1 - d3)
        return (wx - s * ux) ** 2 + (wy - s * uy) ** 2 + (wz - s * uz) ** 2
    vb = d5 * d2 - d1 * d6
    if vb <= 0.0 and d2 >= 0.0 and d6 <= 0.0:
        s = d2 / (d2 - d6)
        return (wx - s * vx) ** 2 + (wy - s * vy) ** 2 + (wz - s * vz) ** 2
    va = d3 * d6 - d5 * d4
    if va <= 0.0 and d4 - d3 >= 0.0 and d5 - d6 >= 0.0:
        s = (d4 - d3) / ((d4 - d3) + (d5 - d6))
        qx, qy, qz = wx - ux - s * (vx - ux), wy - uy - s * (vy - uy), wz - uz - s * (vz - uz)
        return qx * qx + qy * qy + qz * qz
    inverse = 1.0 / (va + vb + vc)
    s, r = vb * inverse, vc * inverse
    qx, qy, qz = wx - s * ux - r * vx, wy - s * uy - r * vy, wz - s * uz - r * vz
    return qx * qx + qy * qy + qz * qz


@njit(cache=True, nogil=True)
def _nodes_in_reach(t: Any, band: float, slots: Any, low: Any, high: Any) -> None:
    """Write the first and last node (3,) per axis of the box around ``t`` enlarged by ``band``."""
    for axis in range(3):
        low[axis] = max(0, int(np.ceil(min(t[0, axis], t[1, axis], t[2, axis]) - band)))
        top = slots.shape[axis] * SIDE - 1
        high[axis] = min(top, int(np.floor(max(t[0, axis], t[1, axis], t[2, axis]) + band)))


@njit(cache=True, nogil=True)
def _splat_triangle(
    t: Any, f: int, band: float, slots: Any, distance: Any, nearest: Any, scratch: Any, lines: Any
) -> None:
    """Lower the distances of the nodes within ``band`` of triangle ``t``.

    Nodes are visited in columns along the normal's longest axis ``c``. Columns farther than ``band`` from the projected
    triangle are skipped, and in the others nodes farther than ``band`` from its plane. ``scratch`` (3, 3) int64 and
    ``lines`` (3, 3) float64 are overwritten.
    """
    ax, ay, az = t[0, 0], t[0, 1], t[0, 2]
    ux, uy, uz = t[1, 0] - ax, t[1, 1] - ay, t[1, 2] - az
    vx, vy, vz = t[2, 0] - ax, t[2, 1] - ay, t[2, 2] - az
    uu, uv, vv = ux * ux + uy * uy + uz * uz, ux * vx + uy * vy + uz * vz, vx * vx + vy * vy + vz * vz
    normal = (uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx)
    length = np.sqrt(normal[0] * normal[0] + normal[1] * normal[1] + normal[2] * normal[2])
    c = 2
    if abs(normal[0]) >= abs(normal[1]) and abs(normal[0]) >= abs(normal[2]):
        c = 0
    elif abs(normal[1]) >= abs(normal[2]):
        c = 1
    a, b = (c + 1) % 3, (c + 2) % 3
    low, high, node = scratch[0], scratch[1], scratch[2]
    _nodes_in_reach(t, band, slots, low, high)
    if length > 1e-12 * max(uu, vv):
        edge_lines(t, a, b, 1.0 if normal[c] > 0 else -1.0, lines)
        slope_a, slope_b = -normal[a] / normal[c], -normal[b] / normal[c]
        steep = length / abs(normal[c]) * SLACK
        spread = band * steep
    else:  # degenerate: it has no plane
        lines[:, :] = 0.0
        slope_a, slope_b, steep, spread = 0.0, 0.0, 1e18, 1e18
    limit = band * band
    for ia in range(low[a], high[a] + 1):
        for ib in range(low[b], high[b] + 1):
            beside = max(
                lines[0, 0] * ia + lines[0, 1] * ib + lines[0, 2],
                lines[1, 0] * ia + lines[1, 1] * ib + lines[1, 2],
                lines[2, 0] * ia + lines[2, 1] * ib + lines[2, 2],
            )
            if beside > band:
                continue
            middle = t[0, c] + slope_a * (ia - t[0, a]) + slope_b * (ib - t[0, b])
            first, last = low[c], high[c]
            if middle - spread > first:
                first = int(np.ceil(middle - spread))
            if middle + spread < last:
                last = int(np.floor(middle + spread))
            node[a], node[b] = ia, ib
            for ic in range(first, last + 1):
                node[c] = ic
                slot = slots[node[0] >> 3, node[1] >> 3, node[2] >> 3]
                local = (node[0] & 7) << 6 | (node[1] & 7) << 3 | (node[2] & 7)
                best = distance[slot, local]
                if beside > best * SLACK or abs(ic - middle) > best * steep:  # farther than another triangle
                    continue
                d2 = squared_distance(
                    float(node[0]), float(node[1]), float(node[2]),
                    ax, ay, az, ux, uy, uz, vx, vy, vz, uu, uv, vv,
                )  # fmt: skip
                if d2 <= limit:
                    d = np.float32(np.sqrt(d2))
                    if d < best or (d == best and f < nearest[slot, local]):
                        distance[slot, local] = d
                        nearest[slot, local] = f


@njit(cache=True, nogil=True, forceinline=True)
def _lines_in_reach(t: Any, c: int) -> tuple[int, int, int, int]:
    """Ranges, per other axis, of the grid lines along axis ``c`` that may cross ``t``."""
    a, b = (c + 1) % 3, (c + 2) % 3
    low_a, high_a = int(np.ceil(min(t[0, a], t[1, a], t[2, a]))), int(np.floor(max(t[0, a], t[1, a], t[2, a])))
    low_b, high_b = int(np.ceil(min(t[0, b], t[1, b], t[2, b]))), int(np.floor(max(t[0, b], t[1, b], t[2, b])))
    return low_a, high_a, low_b, high_b


@njit(cache=True, nogil=True, forceinline=True)
def _area_along(t: Any, c: int) -> tuple[float, float]:
    """Twice the signed area of ``t`` projected along axis ``c`` (0 if edge-on), and its span."""
    a, b = (c + 1) % 3, (c + 2) % 3
    a1, a2, b1, b2 = t[1, a] - t[0, a], t[2, a] - t[0, a], t[1, b] - t[0, b], t[2, b] - t[0, b]
    area = a1 * b2 - a2 * b1
    span = max(abs(a1), abs(a2), abs(b1), abs(b2))
    return (area if abs(area) > 1e-14 * max(span * span, 1e-30) else 0.0), span


@njit(cache=True, nogil=True, forceinline=True)
def _depth_on_line(t: Any, c: int, ia: int, ib: int, area: float, slack: float) -> Any:
    """Coordinate along axis ``c`` at which the grid line (``ia``, ``ib``) crosses ``t``; NaN if it does not."""
    a, b = (c + 1) % 3, (c + 2) % 3
    # edge functions relative to the node, so that rounding errors are small
    x0, y0, x1, y1, x2, y2 = t[0, a] - ia, t[0, b] - ib, t[1, a] - ia, t[1, b] - ib, t[2, a] - ia, t[2, b] - ib
    w0 = x1 * y2 - x2 * y1
    w1 = x2 * y0 - x0 * y2
    w2 = x0 * y1 - x1 * y0
    sign = 1.0 if area > 0 else -1.0
    if w0 * sign < slack or w1 * sign < slack or w2 * sign < slack:
        return np.nan
    depth = (w0 * t[0, c] + w1 * t[1, c] + w2 * t[2, c]) / area
    return min(max(depth, min(t[0, c], t[1, c], t[2, c])), max(t[0, c], t[1, c], t[2, c]))


@njit(cache=True, nogil=True, forceinline=True)
def _edge_of(c: int, ia: int, ib: int, k: int, slots: Any) -> tuple[int, int]:
    """Slot and local index of the node whose edge along axis ``c`` begins at ``k`` of grid line (``ia``, ``ib``)."""
    if c == 0:
        i, j, m = k, ia, ib
    elif c == 1:
        i, j, m = ib, k, ia
    else:
        i, j, m = ia, ib, k
    return slots[i >> 3, j >> 3, m >> 3], (i & 7) << 6 | (j & 7) << 3 | (m & 7)


@njit(cache=True, nogil=True)
def _cross_triangle(t: Any, slots: Any, first_hit: Any, last_hit: Any) -> None:
    """Update the hits of the grid edges that ``t`` crosses."""
    for c in range(3):
        area, span = _area_along(t, c)
        if area == 0.0:
            continue
        slack = -INCLUSIVE * max(span, 1.0)
        low_a, high_a, low_b, high_b = _lines_in_reach(t, c)
        for ia in range(low_a, high_a + 1):
            for ib in range(low_b, high_b + 1):
                depth = _depth_on_line(t, c, ia, ib, area, slack)
                if not depth >= 0.0:
                    continue
                k = int(depth)
                slot, local = _edge_of(c, ia, ib, k, slots)
                hit = np.float32(depth - k)
                first_hit[slot, c, local] = min(first_hit[slot, c, local], hit)
                last_hit[slot, c, local] = max(last_hit[slot, c, local], hit)


@njit(cache=True, nogil=True)
def splat(triangles: Any, band: float, slots: Any, count: int) -> Any:
    """Exact distances and edge crossings of the nodes of all bricks with a slot.

    Returns ``distance`` (n, 512) float32 to the nearest triangle where it is at most ``band``, else FAR; ``nearest``
    (n, 512) int32 that triangle; ``first_hit`` and ``last_hit`` (n, 3, 512) float32: lowest and highest position in
    [0, 1] at which a triangle crosses the node's +x, +y, +z edge (FAR and -FAR if none does).
    """
    distance = np.full((count, NODES), FAR, dtype=np.float32)
    nearest = np.full((count, NODES), -1, dtype=np.int32)
    first_hit = np.full((count, 3, NODES), FAR, dtype=np.float32)
    last_hit = np.full((count, 3, NODES), -FAR, dtype=np.float32)
    scratch = np.empty((3, 3), dtype=np.int64)
    lines = np.empty((3, 3))
    for f in range(len(triangles)):
        _splat_triangle(triangles[f], f, band, slots, distance, nearest, scratch, lines)
        _cross_triangle(triangles[f], slots, first_hit, last_hit)
    return distance, nearest, first_hit, last_hit


@njit(cache=True, nogil=True)
def crossing_faces(triangles: Any, slots: Any, number: Any, fractions: Any, count: int, tolerance: float) -> Any:
    """(V,) int32: for each of ``count`` vertices the triangle that crosses its edge at the vertex; -1: none.

    ``number`` (n, 3, 512): the vertex on each edge; ``fractions`` (n, 3, 512): its position. The nearest crossing
    within ``tolerance`` voxels is used; the first one of a tie.
    """
    found = np.full(count, -1, dtype=np.int32)
    gaps = np.full(count, tolerance)
    for f in range(len(triangles)):
        t = triangles[f]
        for c in range(3):
            area, span = _area_along(t, c)
            if area == 0.0:
                continue
            slack = -INCLUSIVE * max(span, 1.0)
            low_a, high_a, low_b, high_b = _lines_in_reach(t, c)
            for ia in range(low_a, high_a + 1):
                for ib in range(low_b, high_b + 1):
                    depth = _depth_on_line(t, c, ia, ib, area, slack)
                    if not depth >= 0.0:
                        continue
                    k = int(depth)
                    slot, local = _edge_of(c, ia, ib, k, slots)
                    vertex = number[slot, c, local]
                    if vertex < 0:
                        continue
                    gap = abs(depth - k - fractions[slot, c, local])
                    if gap < gaps[vertex]:
                        gaps[vertex] = gap
                        found[vertex] = f
    return found
