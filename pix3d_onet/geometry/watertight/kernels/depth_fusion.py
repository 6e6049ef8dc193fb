"""Kernels of ``fusion``: depth maps by rasterisation, and the TSDF of bricks whose sign is not certain."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from pix3d_onet.geometry.watertight.kernels.bricks import NODES, SIDE
from pix3d_onet.geometry.watertight.kernels.neighbours import look

TILE = 16
"""Pixels along the side of a tile of the depth bounds."""
SLACK = 1e-6
"""Bounds are widened by this many truncation lengths, far above float32 rounding of depths near 1."""


@njit(cache=True, nogil=True)
def _rasterise(points: Any, faces: Any, rotation: Any, focal: float, size: int, far: float, depth: Any) -> None:
    """z-buffer of camera depth Z at pixel centres; ``points`` (V, 3), camera ``R·X + (0, 0, 1)``."""
    depth[:, :] = far
    n = len(points)
    u, v, w = np.empty(n), np.empty(n), np.empty(n)
    half = size / 2.0
    for p in range(n):
        x = rotation[0, 0] * points[p, 0] + rotation[0, 1] * points[p, 1] + rotation[0, 2] * points[p, 2]
        y = rotation[1, 0] * points[p, 0] + rotation[1, 1] * points[p, 1] + rotation[1, 2] * points[p, 2]
        z = rotation[2, 0] * points[p, 0] + rotation[2, 1] * points[p, 1] + rotation[2, 2] * points[p, 2] + 1.0
        w[p] = 1.0 / z
        u[p] = focal * x * w[p] + half
        v[p] = focal * y * w[p] + half
    for f in range(len(faces)):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        area = (u[b] - u[a]) * (v[c] - v[a]) - (u[c] - u[a]) * (v[b] - v[a])
        if area == 0.0:
            continue
        left = max(0, int(np.ceil(min(u[a], u[b], u[c]) - 0.5)))
        right = min(size - 1, int(np.floor(max(u[a], u[b], u[c]) - 0.5)))
        top = max(0, int(np.ceil(min(v[a], v[b], v[c]) - 0.5)))
        bottom = min(size - 1, int(np.floor(max(v[a], v[b], v[c]) - 0.5)))
        if left > right or top > bottom:
            continue
        inverse = 1.0 / area
        s0u, s0v = (v[b] - v[c]) * inverse, (u[c] - u[b]) * inverse
        s1u, s1v = (v[c] - v[a]) * inverse, (u[a] - u[c]) * inverse
        # 1/Z is affine over the image
        wu = s0u * (w[a] - w[c]) + s1u * (w[b] - w[c])
        wv = s0v * (w[a] - w[c]) + s1v * (w[b] - w[c])
        for row in range(top, bottom + 1):
            py = row + 0.5
            x0 = left + 0.5
            e0 = s0u * (x0 - u[c]) + s0v * (py - v[c])
            e1 = s1u * (x0 - u[c]) + s1v * (py - v[c])
            iz = w[c] + wu * (x0 - u[c]) + wv * (py - v[c])
            for column in range(left, right + 1):
                if e0 >= 0.0 and e1 >= 0.0 and e0 + e1 <= 1.0:
                    z = np.float32(1.0 / iz)
                    depth[row, column] = min(depth[row, column], z)
                e0 += s0u
                e1 += s1u
                iz += wu


@njit(cache=True, nogil=True)
def _erode(depth: Any, scratch: Any, offset: float) -> None:
    """Subtract ``offset`` and take the minimum over 3×3 pixels, in place."""
    n = len(depth)
    shift = np.float32(offset)
    for r in range(n):
        for c in range(n):
            left, right = max(c - 1, 0), min(c + 1, n - 1)
            scratch[r, c] = min(depth[r, left], depth[r, c], depth[r, right])
    for r in range(n):
        up, down = max(r - 1, 0), min(r + 1, n - 1)
        for c in range(n):
            depth[r, c] = min(scratch[up, c], scratch[r, c], scratch[down, c]) - shift


@njit(cache=True, nogil=True)
def depth_maps(points: Any, faces: Any, rotations: Any, focal: float, size: int, far: float, offset: float) -> Any:
    """(n, size, size) float32 depth maps, moved ``offset`` nearer and eroded 3×3; ``far`` without a surface."""
    n = len(rotations)
    depth = np.empty((n, size, size), dtype=np.float32)
    for view in range(n):
        _rasterise(points, faces, rotations[view], focal, size, far, depth[view])
        scratch = np.empty((size, size), dtype=np.float32)
        _erode(depth[view], scratch, offset)
    return depth


@njit(cache=True, nogil=True)
def depth_bounds(depth: Any) -> Any:
    """(n, t, t, 2) float32 lowest and highest depth of each tile."""
    n, size = depth.shape[0], depth.shape[1]
    tiles = (size + TILE - 1) // TILE
    bounds = np.empty((n, tiles, tiles, 2), dtype=np.float32)
    for view in range(n):
        for r in range(tiles):
            for c in range(tiles):
                low, high = np.float32(np.inf), np.float32(-np.inf)
                for y in range(r * TILE, min(size, (r + 1) * TILE)):
                    for x in range(c * TILE, min(size, (c + 1) * TILE)):
                        low = min(low, depth[view, y, x])
                        high = max(high, depth[view, y, x])
                bounds[view, r, c, 0] = low
                bounds[view, r, c, 1] = high
    return bounds


@njit(cache=True, nogil=True)
def _certain(low: Any, high: Any, bounds: Any, rotations: Any, focal: float, size: int, truncation: float) -> int:
    """Sign of the TSDF in a whole box: 1 all outside, -1 all inside, 0 not certain. ``low``, ``high`` (3,) corners."""
    least, most = 0.0, 0.0
    half = size / 2.0
    for view in range(len(rotations)):
        r = rotations[view]
        z_low, z_high, u_low, u_high, v_low, v_high = 1e9, -1e9, 1e9, -1e9, 1e9, -1e9
        for corner in range(8):
            x = high[0] if corner & 1 else low[0]
            y = high[1] if corner & 2 else low[1]
            z = high[2] if corner & 4 else low[2]
            cz = r[2, 0] * x + r[2, 1] * y + r[2, 2] * z + 1.0
            iz = focal / cz
            cu = (r[0, 0] * x + r[0, 1] * y + r[0, 2] * z) * iz + half
            cv = (r[1, 0] * x + r[1, 1] * y + r[1, 2] * z) * iz + half
            z_low, z_high = min(z_low, cz), max(z_high, cz)
            u_low, u_high = min(u_low, cu), max(u_high, cu)
            v_low, v_high = min(v_low, cv), max(v_high, cv)
        left, right = int(np.floor(u_low - 1e-3)), int(np.floor(u_high + 1e-3))
        top, bottom = int(np.floor(v_low - 1e-3)), int(np.floor(v_high + 1e-3))
        partly = left < 0 or top < 0 or right >= size or bottom >= size
        left, right, top, bottom = max(left, 0), min(right, size - 1), max(top, 0), min(bottom, size - 1)
        if left > right or top > bottom:
            continue  # outside the picture: not seen by this view
        near, far = 1e9, -1e9
        for y in range(top // TILE, bottom // TILE + 1):
            for x in range(left // TILE, right // TILE + 1):
                near = min(near, bounds[view, y, x, 0])
                far = max(far, bounds[view, y, x, 1])
        worst = (near - z_high) / truncation - SLACK
        best = (far - z_low) / truncation + SLACK
        if best < -1.0:
            continue  # hidden behind the surface by more than the truncation
        if worst >= -1.0 and not partly:
            least += min(worst, 1.0)
            most += min(best, 1.0)
        else:
            least += max(min(worst, 0.0), -1.0)
            most += max(min(best, 1.0), 0.0)
    if least > 0.0:
        return 1
    return -1 if most <= 0.0 else 0


@njit(cache=True, nogil=True)
def certain_signs(
    dims: Any, resolution: int, bounds: Any, rotations: Any, focal: float, size: int, truncation: float
) -> Any:
    """(Bx, By, Bz) int8: sign of each brick, 0 if its voxels must be evaluated. Blocks of 4³ bricks are tested
    first."""
    signs = np.zeros((dims[0], dims[1], dims[2]), dtype=np.int8)
    blocks = ((dims[0] + 3) // 4, (dims[1] + 3) // 4, (dims[2] + 3) // 4)
    for block in range(blocks[0] * blocks[1] * blocks[2]):
        i0 = block // (blocks[1] * blocks[2]) * 4
        j0 = block // blocks[2] % blocks[1] * 4
        k0 = block % blocks[2] * 4
        low, high = np.empty(3), np.empty(3)
        ends = (min(i0 + 4, dims[0]), min(j0 + 4, dims[1]), min(k0 + 4, dims[2]))
        starts = (i0, j0, k0)
        for a in range(3):
            low[a] = (starts[a] * SIDE + 0.5) / resolution - 0.5
            high[a] = (ends[a] * SIDE - 0.5) / resolution - 0.5
        whole = _certain(low, high, bounds, rotations, focal, size, truncation)
        for i in range(starts[0], ends[0]):
            for j in range(starts[1], ends[1]):
                for k in range(starts[2], ends[2]):
                    if whole != 0:
                        signs[i, j, k] = whole
                        continue
                    position = (i, j, k)
                    for a in range(3):
                        low[a] = (position[a] * SIDE + 0.5) / resolution - 0.5
                        high[a] = (position[a] * SIDE + SIDE - 0.5) / resolution - 0.5
                    signs[i, j, k] = _certain(low, high, bounds, rotations, focal, size, truncation)
    return signs


@njit(cache=True, nogil=True)
def fuse_bricks(origin: Any, resolution: int, depth: Any, rotations: Any, focal: float, truncation: float) -> Any:
    """(n, 512) float32 TSDF in [-1, 1] of all voxels of the bricks with first node ``origin`` (n, 3).

    The mean of min(1, (depth - Z) / truncation) over the views in which the voxel is visible, or at most the truncation
    behind the surface; -1 (inside) if there is none.
    """
    n, size = len(origin), depth.shape[1]
    values = np.empty((n, NODES), dtype=np.float32)
    half = size / 2.0
    inverse = 1.0 / truncation
    for brick in range(n):
        total = np.zeros(NODES)
        seen = np.zeros(NODES, dtype=np.int32)
        for view in range(len(rotations)):
            r = rotations[view]
            picture = depth[view]
            for row in range(SIDE * SIDE):
                x = (origin[brick, 0] + (row >> 3) + 0.5) / resolution - 0.5
                y = (origin[brick, 1] + (row & 7) + 0.5) / resolution - 0.5
                for k in range(SIDE):
                    z = (origin[brick, 2] + k + 0.5) / resolution - 0.5
                    cz = r[2, 0] * x + r[2, 1] * y + r[2, 2] * z + 1.0
                    iz = focal / cz
                    u = (r[0, 0] * x + r[0, 1] * y + r[0, 2] * z) * iz + half
                    v = (r[1, 0] * x + r[1, 1] * y + r[1, 2] * z) * iz + half
                    if u < 0.0 or v < 0.0 or u >= size or v >= size:
                        continue
                    difference = (picture[int(v), int(u)] - cz) * inverse
                    if difference >= -1.0:
                        total[row * SIDE + k] += min(difference, 1.0)
                        seen[row * SIDE + k] += 1
        for local in range(NODES):
            values[brick, local] = total[local] / seen[local] if seen[local] > 0 else -1.0
    return values


@njit(cache=True, nogil=True)
def uncertain_borders(signs: Any, slots: Any, values: Any) -> Any:
    """(Bx, By, Bz) bool: bricks without a slot next to a voxel of the other sign."""
    dims = slots.shape
    wanted = np.zeros(dims, dtype=np.bool_)
    for i in range(dims[0]):
        for j in range(dims[1]):
            for k in range(dims[2]):
                if slots[i, j, k] >= 0:
                    continue
                mine = signs[i, j, k] < 0
                for a in range(-1, 2):
                    for b in range(-1, 2):
                        for c in range(-1, 2):
                            x, y, z = i + a, j + b, k + c
                            if x < 0 or y < 0 or z < 0 or x >= dims[0] or y >= dims[1] or z >= dims[2]:
                                continue
                            slot = slots[x, y, z]
                            if slot < 0:
                                if (signs[x, y, z] < 0) != mine:
                                    wanted[i, j, k] = True
                                continue
                            for p in range(SIDE if a == 0 else 1):
                                for q in range(SIDE if b == 0 else 1):
                                    for s in range(SIDE if c == 0 else 1):
                                        u = p if a == 0 else (0 if a > 0 else SIDE - 1)
                                        v = q if b == 0 else (0 if b > 0 else SIDE - 1)
                                        w = s if c == 0 else (0 if c > 0 else SIDE - 1)
                                        if (values[slot, u << 6 | v << 3 | w] <= 0.0) != mine:
                                            wanted[i, j, k] = True
    return wanted


@njit(cache=True, nogil=True)
def value_fractions(values: Any, brick_values: Any, neighbours: Any) -> Any:
    """(n, 3, 512) float32: position of the zero crossing, by linear interpolation, on edges with ends of unlike
    sign."""
    fractions = np.full((len(values), 3, NODES), np.float32(0.5), dtype=np.float32)
    for slot in range(len(values)):
        for local in range(NODES):
            i, j, k = local >> 6, (local >> 3) & 7, local & 7
            a = values[slot, local]
            for axis in range(3):
                di, dj, dk = (1, 0, 0) if axis == 0 else ((0, 1, 0) if axis == 1 else (0, 0, 1))
                b = look(values, brick_values, neighbours, slot, i + di, j + dj, k + dk)
                if (a <= 0.0) != (b <= 0.0):
                    t = a / (a - b)
                    fractions[slot, axis, local] = min(max(t, np.float32(1e-3)), np.float32(1.0 - 1e-3))
    return fractions
