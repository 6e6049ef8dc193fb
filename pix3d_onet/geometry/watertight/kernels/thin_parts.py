"""Thin parts: thicken sheets and rods that contain no node, and compute the surface's crossings with the grid.

The method as a whole: see ``geometry.watertight.tight``. Arrays are as in ``bricks``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from pix3d_onet.geometry.watertight.kernels.bricks import FAR, NODES
from pix3d_onet.geometry.watertight.kernels.neighbours import look

ROD_RADIUS = np.float32(0.5 * np.sqrt(3.0))
"""Radius around a curve, voxels, that always contains a 6-connected chain of nodes: half a cell's diagonal."""

REPRESENTED = 3.0
"""Squared distance, voxels², to an inside node, below which a surface point is represented by it."""

COVERED = 0.5
"""Squared distance, voxels², to an inside node of all points of a curve, below which it is covered without gaps."""

FACE_REACH = 1.7
"""Distance, voxels, within which a crossing in the plane of a face shows that the face bounds a solid with nodes. With
a larger one, rods in the plane of a solid's face would be taken for its rim and removed."""

IN_PLANE = 0.02
"""Largest distance, voxels, of a crossing in a plane from it."""

ROD_ZONE = 3
"""Distance per axis, voxels, from thin nodes within which the surface must be covered, not only represented."""

MARGIN = np.float32(0.02)
"""Smallest depth of thickened nodes below the new surface, voxels, so that no vertex falls on a node."""

MOST_PUSH = np.float32(0.5) + MARGIN
"""Largest thickening of a sheet on each side, voxels."""


@njit(cache=True, nogil=True, forceinline=True)
def _solid_near_edge(out: Any, brick_out: Any, table: Any, slot: int, i: int, j: int, k: int, axis: int) -> bool:
    """Whether one of the four cells around a node's +axis edge has an inside corner."""
    for p in range(-1, 2):
        for q in range(-1, 2):
            for e in range(2):
                if axis == 0:
                    x, y, z = i + e, j + p, k + q
                elif axis == 1:
                    x, y, z = i + p, j + e, k + q
                else:
                    x, y, z = i + p, j + q, k + e
                if look(out, brick_out, table, slot, x, y, z) == 0:
                    return True
    return False


@njit(cache=True, nogil=True)
def thin_sheets(out: Any, brick_out: Any, table: Any, distance: Any, first_hit: Any, last_hit: Any) -> Any:
    """(n, 512) float32: distance by which the surface must move outward at nodes next to sheets thinner than a voxel.

    If a triangle crosses an edge whose ends are both outside, and no node around it is inside, the surface would be
    lost. Moving it outward on each side by half the missing thickness makes one end of the edge inside.
    """
    offset = np.zeros(out.shape, dtype=np.float32)
    for slot in range(len(out)):
        for local in range(NODES):
            i, j, k = local >> 6, (local >> 3) & 7, local & 7
            push = np.float32(0.0)
            if out[slot, local] == 0 or distance[slot, local] > MOST_PUSH:
                continue
            for axis in range(3):
                di, dj, dk = (1, 0, 0) if axis == 0 else ((0, 1, 0) if axis == 1 else (0, 0, 1))
                for side in range(2):
                    x, y, z = i - side * di, j - side * dj, k - side * dk
                    s = table[slot, (x >> 3) + 1, (y >> 3) + 1, (z >> 3) + 1]
                    if s < 0:
                        continue
                    m = (x & 7) << 6 | (y & 7) << 3 | (z & 7)
                    a, b = first_hit[s, axis, m], last_hit[s, axis, m]
                    if a > 1.0:
                        continue
                    far = look(
                        out,
                        brick_out,
                        table,
                        slot,
                        i + (1 - 2 * side) * di,
                        j + (1 - 2 * side) * dj,
                        k + (1 - 2 * side) * dk,
                    )
                    if far == 0 or _solid_near_edge(out, brick_out, table, slot, x, y, z, axis):
                        continue
                    along = a if side == 0 else np.float32(1.0) - b
                    slant = min(np.float32(1.0), distance[slot, local] / max(along, np.float32(1e-6)))
                    push = max(push, (np.float32(1.0) - min(np.float32(1.0), (b - a) * slant)) / 2 + MARGIN)
            offset[slot, local] = push
    return offset


@njit(cache=True, nogil=True)
def thin_nodes(out: Any, brick_out: Any, table: Any) -> Any:
    """(n, 512) uint8: number of axes along which an inside node has outside nodes on both sides; (n,) int64: number of
    surface nodes per brick."""
    flags = np.zeros(out.shape, dtype=np.uint8)
    counts = np.zeros(len(out), dtype=np.int64)
    for slot in range(len(out)):
        for local in range(NODES):
            if out[slot, local] != 0:
                continue
            i, j, k = local >> 6, (local >> 3) & 7, local & 7
            thin, surface = 0, False
            for axis in range(3):
                di, dj, dk = (1, 0, 0) if axis == 0 else ((0, 1, 0) if axis == 1 else (0, 0, 1))
                up = look(out, brick_out, table, slot, i + di, j + dj, k + dk) != 0
                down = look(out, brick_out, table, slot, i - di, j - dj, k - dk) != 0
                thin += up and down
                surface = surface or up or down
            flags[slot, local] = thin
            counts[slot] += surface
    return flags, counts


@njit(cache=True, nogil=True)
def closest_point(p: Any, t: Any, q: Any) -> None:
    """Write the point of triangle ``t`` (3, 3) nearest to ``p`` (3,) into ``q`` (3,) (Ericson, 5.1.5)."""
    u = (t[1, 0] - t[0, 0], t[1, 1] - t[0, 1], t[1, 2] - t[0, 2])
    v = (t[2, 0] - t[0, 0], t[2, 1] - t[0, 1], t[2, 2] - t[0, 2])
    w = (p[0] - t[0, 0], p[1] - t[0, 1], p[2] - t[0, 2])
    d1, d2 = u[0] * w[0] + u[1] * w[1] + u[2] * w[2], v[0] * w[0] + v[1] * w[1] + v[2] * w[2]
    uu, vv = u[0] * u[0] + u[1] * u[1] + u[2] * u[2], v[0] * v[0] + v[1] * v[1] + v[2] * v[2]
    uv = u[0] * v[0] + u[1] * v[1] + u[2] * v[2]
    s, r = 0.0, 0.0
    d3, d4, d5, d6 = d1 - uu, d2 - uv, d1 - uv, d2 - vv
    va, vb, vc = d3 * d6 - d5 * d4, d5 * d2 - d1 * d6, d1 * d4 - d3 * d2
    if d1 <= 0.0 and d2 <= 0.0:
        pass
    elif d3 >= 0.0 and d4 <= d3:
        s = 1.0
    elif d6 >= 0.0 and d5 <= d6:
        r = 1.0
    elif vc <= 0.0 and d1 >= 0.0 and d3 <= 0.0:
        s = d1 / (d1 - d3)
    elif vb <= 0.0 and d2 >= 0.0 and d6 <= 0.0:
        r = d2 / (d2 - d6)
    elif va <= 0.0 and d4 - d3 >= 0.0 and d5 - d6 >= 0.0:
        r = (d4 - d3) / ((d4 - d3) + (d5 - d6))
        s = 1.0 - r
    else:
        s, r = vb / (va + vb + vc), vc / (va + vb + vc)
    for a in range(3):
        q[a] = t[0, a] + s * u[a] + r * v[a]


@njit(cache=True, nogil=True)
def _kept(inside: Any, brick_inside: Any, table: Any, slot: int, node: Any, p: Any, q: Any, limit: float) -> bool:
    """Whether an inside node is within sqrt(``limit``) of the surface point ``q``; ``node``: ``p`` in local
    coordinates."""
    for x in range(-2, 3):
        for y in range(-2, 3):
            for z in range(-2, 3):
                gap = (p[0] + x - q[0]) ** 2 + (p[1] + y - q[1]) ** 2 + (p[2] + z - q[2]) ** 2
                if gap <= limit and look(inside, brick_inside, table, slot, node[0] + x, node[1] + y, node[2] + z) != 0:
                    return True
    return False


@njit(cache=True, nogil=True, forceinline=True)
def _beside_inside(inside: Any, brick_inside: Any, table: Any, slot: int, i: int, j: int, k: int) -> Any:
    """Whether one of the six nodes around a node is inside."""
    return (
        look(inside, brick_inside, table, slot, i - 1, j, k) != 0
        or look(inside, brick_inside, table, slot, i + 1, j, k) != 0
        or look(inside, brick_inside, table, slot, i, j - 1, k) != 0
        or look(inside, brick_inside, table, slot, i, j + 1, k) != 0
        or look(inside, brick_inside, table, slot, i, j, k - 1) != 0
        or look(inside, brick_inside, table, slot, i, j, k + 1) != 0
    )


@njit(cache=True, nogil=True, forceinline=True)
def _first_hit_at(first_hit: Any, table: Any, slot: int, i: int, j: int, k: int, axis: int) -> Any:
    """``first_hit`` on an edge of the node at local coordinates, also in a neighbouring brick."""
    s = table[slot, (i >> 3) + 1, (j >> 3) + 1, (k >> 3) + 1]
    return first_hit[s, axis, (i & 7) << 6 | (j & 7) << 3 | (k & 7)] if s >= 0 else FAR


@njit(cache=True, nogil=True)
def _crossed_nearby(
    out: Any, brick_out: Any, table: Any, thin: Any, first_hit: Any, last_hit: Any, slot: int, node: Any, p: Any,
    q: Any, t: Any,
) -> bool:  # fmt: skip
    """Whether the surface of a solid crosses a grid edge in the plane of ``t``, within FACE_REACH of its point ``q``.

    ``node``: ``p`` in local coordinates.
    """
    nx = (t[1, 1] - t[0, 1]) * (t[2, 2] - t[0, 2]) - (t[1, 2] - t[0, 2]) * (t[2, 1] - t[0, 1])
    ny = (t[1, 2] - t[0, 2]) * (t[2, 0] - t[0, 0]) - (t[1, 0] - t[0, 0]) * (t[2, 2] - t[0, 2])
    nz = (t[1, 0] - t[0, 0]) * (t[2, 1] - t[0, 1]) - (t[1, 1] - t[0, 1]) * (t[2, 0] - t[0, 0])
    limit = IN_PLANE * np.sqrt(nx * nx + ny * ny + nz * nz)
    for x in range(-2, 3):
        for y in range(-2, 3):
            for z in range(-2, 3):
                i, j, k = node[0] + x, node[1] + y, node[2] + z
                s = table[slot, (i >> 3) + 1, (j >> 3) + 1, (k >> 3) + 1]
                m = (i & 7) << 6 | (j & 7) << 3 | (k & 7)
                if s < 0 or out[s, m] != 0 or thin[s, m] > 0:
                    continue
                for turn in range(6):
                    axis, up = turn >> 1, turn & 1
                    di, dj, dk = (1, 0, 0) if axis == 0 else ((0, 1, 0) if axis == 1 else (0, 0, 1))
                    step = 2 * up - 1
                    if look(out, brick_out, table, slot, i + step * di, j + step * dj, k + step * dk) == 0:
                        continue
                    if up:
                        place = last_hit[s, axis, m]
                    else:
                        place = _first_hit_at(first_hit, table, slot, i - di, j - dj, k - dk, axis) - 1.0
                    if abs(place) > 1.0:
                        continue
                    gx = p[0] + x + place * di - q[0]
                    gy = p[1] + y + place * dj - q[1]
                    gz = p[2] + z + place * dk - q[2]
                    near = gx * gx + gy * gy + gz * gz <= FACE_REACH * FACE_REACH
                    if near and abs(nx * gx + ny * gy + nz * gz) <= limit:
                        return True
    return False


@njit(cache=True, nogil=True)
def _zone_around(flags: Any, table: Any) -> Any:
    """(n, 512) bool: nodes with a flagged node within ROD_ZONE voxels along every axis."""
    zone = np.zeros(flags.shape, dtype=np.bool_)
    for slot in range(len(flags)):
        for local in range(NODES):
            if flags[slot, local] == 0:
                continue
            for x in range(-ROD_ZONE, ROD_ZONE + 1):
                for y in range(-ROD_ZONE, ROD_ZONE + 1):
                    for z in range(-ROD_ZONE, ROD_ZONE + 1):
                        i, j, k = (local >> 6) + x, ((local >> 3) & 7) + y, (local & 7) + z
                        s = table[slot, (i >> 3) + 1, (j >> 3) + 1, (k >> 3) + 1]
                        if s >= 0:
                            zone[s, (i & 7) << 6 | (j & 7) << 3 | (k & 7)] = True
    return zone


@njit(cache=True, nogil=True)
def thin_rods(
    inside: Any,
    brick_inside: Any,
    table: Any,
    origin: Any,
    distance: Any,
    nearest: Any,
    triangles: Any,
    before: Any,
    again: bool,
) -> Any:
    """(n, 512) bool: nodes that must become inside, so that rods, needles and specks are kept.

    These are nodes within half a cell's diagonal of a surface point without an inside node near it. ``origin`` (n, 3)
    int32: first node of each brick. With ``again``, the surface around the thin nodes ``before`` (n, 512) uint8 must
    also be covered without gaps; ``inside`` and ``before`` then contain the rods of the first call.
    """
    limit = COVERED if again else REPRESENTED
    near = np.sqrt(limit) - 1e-5
    rods = np.zeros(inside.shape, dtype=np.bool_)
    zone = _zone_around(before, table) if again else rods
    for slot in range(len(inside)):
        p = np.empty(3)
        q = np.empty(3)
        for local in range(NODES):
            if inside[slot, local] != 0 or distance[slot, local] > ROD_RADIUS or (again and not zone[slot, local]):
                continue
            i, j, k = local >> 6, (local >> 3) & 7, local & 7
            if distance[slot, local] + 1.0 < near and _beside_inside(inside, brick_inside, table, slot, i, j, k):
                continue  # by the triangle inequality
            p[0], p[1], p[2] = origin[slot, 0] + i, origin[slot, 1] + j, origin[slot, 2] + k
            closest_point(p, triangles[nearest[slot, local]], q)
            rods[slot, local] = not _kept(inside, brick_inside, table, slot, (i, j, k), p, q, limit)
    return rods


@njit(cache=True, nogil=True)
def drop_rims(
    rods: Any, out: Any, brick_out: Any, table: Any, origin: Any, nearest: Any, triangles: Any, thin: Any,
    first_hit: Any, last_hit: Any,
) -> None:  # fmt: skip
    """Clear ``rods`` (n, 512) bool, in place, at edges and corners of solids, which need no thickening.

    These may be as far from the nearest inside node as a rod. But their faces cross grid edges nearby (in the plane of
    the nearest triangle, within FACE_REACH of the nearest surface point), and ``sharp`` reconstructs them from these
    crossings. Crossings at thin nodes (``thin_nodes``) belong to rods and plates, which must be kept, and do not count.
    """
    for slot in range(len(rods)):
        p = np.empty(3)
        q = np.empty(3)
        for local in range(NODES):
            if not rods[slot, local]:
                continue
            i, j, k = local >> 6, (local >> 3) & 7, local & 7
            p[0], p[1], p[2] = origin[slot, 0] + i, origin[slot, 1] + j, origin[slot, 2] + k
            t = triangles[nearest[slot, local]]
            closest_point(p, t, q)
            rods[slot, local] = not _crossed_nearby(
                out, brick_out, table, thin, first_hit, last_hit, slot, (i, j, k), p, q, t
            )


@njit(cache=True, nogil=True)
def edge_fractions(
    inside: Any, brick_inside: Any, out: Any, table: Any, distance: Any, push: Any, first_hit: Any, last_hit: Any
) -> Any:
    """(n, 3, 512) float32: position of the surface on edges with one end inside, as a fraction from the lower node.

    Solids: the exact crossing of a triangle that is nearest to the outside end. Thickened nodes: the position at which
    the distance to the surface equals the push. Closed gaps: the middle.
    """
    fractions = np.full(first_hit.shape, np.float32(0.5), dtype=np.float32)
    low_limit, high_limit = MARGIN / 4, np.float32(1.0) - MARGIN / 4
    for slot in range(len(inside)):
        for local in range(NODES):
            i, j, k = local >> 6, (local >> 3) & 7, local & 7
            mine = inside[slot, local] != 0
            if i < 7 and j < 7 and k < 7:  # all in this brick
                along_x, along_y, along_z = inside[slot, local + 64], inside[slot, local + 8], inside[slot, local + 1]
                if (along_x != 0) == mine and (along_y != 0) == mine and (along_z != 0) == mine:
                    continue
            for axis in range(3):
                di, dj, dk = (1, 0, 0) if axis == 0 else ((0, 1, 0) if axis == 1 else (0, 0, 1))
                x, y, z = i + di, j + dj, k + dk
                other = look(inside, brick_inside, table, slot, x, y, z) != 0
                if other == mine:
                    continue
                s = table[slot, (x >> 3) + 1, (y >> 3) + 1, (z >> 3) + 1]
                m = (x & 7) << 6 | (y & 7) << 3 | (z & 7)
                far_distance = distance[s, m] if s >= 0 else FAR
                in_push = push[slot, local] if mine else (push[s, m] if s >= 0 else np.float32(0.0))
                in_out = out[slot, local] if mine else (out[s, m] if s >= 0 else np.uint8(0))
                d_in = distance[slot, local] if mine else far_distance
                d_out = far_distance if mine else distance[slot, local]
                a, b = first_hit[slot, axis, local], last_hit[slot, axis, local]
                if in_out != 0 and in_push > 0:  # thickening has made the inside end inside
                    d_out = min(d_out, d_in + np.float32(1.0))
                    if a <= 1.0:
                        t = (in_push + d_in) / max(d_in + d_out, np.float32(1e-6))
                    else:
                        t = (in_push - d_in) / max(d_out - d_in, np.float32(1e-6))
                    t = min(max(t, low_limit), high_limit)
                    fractions[slot, axis, local] = t if mine else np.float32(1.0) - t
                elif a <= 1.0:
                    fractions[slot, axis, local] = min(max(b if mine else a, low_limit), high_limit)
    return fractions
