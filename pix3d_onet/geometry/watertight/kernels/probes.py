"""Distances from scattered points to the nearest triangle, for far fewer points than the grid has nodes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from pix3d_onet.geometry.watertight.kernels.bricks import NODES, SIDE, SLACK, edge_lines, squared_distance

HALF_CELL = 0.7072
"""Voxels from the middle of a square cell to its corners."""


@njit(cache=True, nogil=True)
def _chain(points: Any, slots: Any, count: int) -> Any:
    """The points in each cell as linked lists: (n, 512) int32 first point, (K,) int32 next point; -1 ends a list."""
    first = np.full((count, NODES), -1, dtype=np.int32)
    following = np.full(len(points), -1, dtype=np.int32)
    dims = slots.shape
    for n in range(len(points)):
        x, y, z = points[n, 0], points[n, 1], points[n, 2]
        if not (0.0 <= x < dims[0] * SIDE and 0.0 <= y < dims[1] * SIDE and 0.0 <= z < dims[2] * SIDE):
            continue  # also if a coordinate is NaN
        i, j, k = int(x), int(y), int(z)
        slot = slots[i >> 3, j >> 3, k >> 3]
        if slot >= 0:
            local = (i & 7) << 6 | (j & 7) << 3 | (k & 7)
            following[n] = first[slot, local]
            first[slot, local] = n
    return first, following


@njit(cache=True, nogil=True, forceinline=True)
def _is_farther(p: Any, t: Any, a: int, b: int, normal: Any, limit: float, lines: Any, squared: float) -> bool:
    """Whether ``t`` is farther than ``squared`` by its plane, or by its edges projected along its normal's longest
    axis."""
    off = normal[0] * (p[0] - t[0, 0]) + normal[1] * (p[1] - t[0, 1]) + normal[2] * (p[2] - t[0, 2])
    if limit > 0.0 and off * off > squared * limit:
        return True
    for e in range(3):
        beside = lines[e, 0] * p[a] + lines[e, 1] * p[b] + lines[e, 2]
        if beside > 0.0 and beside * beside > squared * SLACK:
            return True
    return False


@njit(cache=True, nogil=True)
def _probe_triangle(
    t: Any, reach: float, slots: Any, first: Any, following: Any, points: Any, squared: Any, scratch: Any,
    lines: Any,
) -> None:  # fmt: skip
    """Lower the squared distances of the points in the cells within ``reach`` of ``t``.

    As in ``bricks.splat``, cells are visited in columns along the longest axis of the normal, near the plane of ``t``.
    """
    ux, uy, uz = t[1, 0] - t[0, 0], t[1, 1] - t[0, 1], t[1, 2] - t[0, 2]
    vx, vy, vz = t[2, 0] - t[0, 0], t[2, 1] - t[0, 1], t[2, 2] - t[0, 2]
    uu, uv, vv = ux * ux + uy * uy + uz * uz, ux * vx + uy * vy + uz * vz, vx * vx + vy * vy + vz * vz
    normal = (uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx)
    size = (abs(normal[0]), abs(normal[1]), abs(normal[2]))
    c = 2
    if size[0] >= size[1] and size[0] >= size[2]:
        c = 0
    elif size[1] >= size[2]:
        c = 1
    a, b = (c + 1) % 3, (c + 2) % 3
    low, high, cell = scratch[0], scratch[1], scratch[2]
    for axis in range(3):
        low[axis] = max(0, int(np.floor(min(t[0, axis], t[1, axis], t[2, axis]) - reach)))
        high[axis] = min(slots.shape[axis] * SIDE - 1, int(np.floor(max(t[0, axis], t[1, axis], t[2, axis]) + reach)))
    length = np.sqrt(normal[0] * normal[0] + normal[1] * normal[1] + normal[2] * normal[2])
    if length > 1e-12 * max(uu, vv):
        edge_lines(t, a, b, 1.0 if normal[c] > 0 else -1.0, lines)
        slope_a, slope_b = -normal[a] / normal[c], -normal[b] / normal[c]
        spread = reach * length / size[c] + (abs(slope_a) + abs(slope_b)) / 2
        limit = length * length * SLACK
    else:
        lines[:, :] = 0.0
        slope_a, slope_b, spread, limit = 0.0, 0.0, 1e18, 0.0
    for ia in range(low[a], high[a] + 1):
        for ib in range(low[b], high[b] + 1):
            x, y = ia + 0.5, ib + 0.5
            if (
                lines[0, 0] * x + lines[0, 1] * y + lines[0, 2] > reach + HALF_CELL
                or lines[1, 0] * x + lines[1, 1] * y + lines[1, 2] > reach + HALF_CELL
                or lines[2, 0] * x + lines[2, 1] * y + lines[2, 2] > reach + HALF_CELL
            ):
                continue
            middle = t[0, c] + slope_a * (x - t[0, a]) + slope_b * (y - t[0, b])
            start, end = low[c], high[c]
            if middle - spread > start:
                start = int(middle - spread)
            if middle + spread < end:
                end = int(np.floor(middle + spread))
            cell[a], cell[b] = ia, ib
            for ic in range(start, end + 1):
                cell[c] = ic
                slot = slots[cell[0] >> 3, cell[1] >> 3, cell[2] >> 3]
                if slot < 0:
                    continue
                n = first[slot, (cell[0] & 7) << 6 | (cell[1] & 7) << 3 | (cell[2] & 7)]
                while n >= 0:
                    if _is_farther(points[n], t, a, b, normal, limit, lines, squared[n]):
                        n = following[n]
                        continue
                    d2 = squared_distance(
                        points[n, 0], points[n, 1], points[n, 2],
                        t[0, 0], t[0, 1], t[0, 2], ux, uy, uz, vx, vy, vz, uu, uv, vv,
                    )  # fmt: skip
                    squared[n] = min(squared[n], d2)
                    n = following[n]


@njit(cache=True, nogil=True)
def lower_distances(points: Any, squared: Any, triangles: Any, reach: float, slots: Any, count: int) -> None:
    """Lower ``squared`` (K,) to the squared distance of ``points`` (K, 3) to the nearest of ``triangles``, in place.

    Only triangles within ``reach`` voxels, and only points inside bricks with a slot, are considered. The smaller the
    initial values, the faster.
    """
    first, following = _chain(points, slots, count)
    scratch = np.empty((3, 3), dtype=np.int64)
    lines = np.empty((3, 3))
    for f in range(len(triangles)):
        _probe_triangle(triangles[f], reach, slots, first, following, points, squared, scratch, lines)
