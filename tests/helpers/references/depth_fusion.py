"""NumPy references of ``kernels.depth_fusion``: every pixel against every triangle, every voxel in every view."""

from __future__ import annotations

from typing import Any

import numpy as np
from helpers.references.brick_grids import SIDE, shifted
from numpy.typing import NDArray
from scipy import ndimage

Array = NDArray[Any]


def depth_maps(
    points: Array, faces: Array, rotations: Array, focal: float, size: int, far: float, offset: float
) -> Array:
    """(n, size, size) camera depth Z of the first triangle on each pixel's ray, eroded 3×3, ``offset`` nearer."""
    maps = np.full((len(rotations), size, size), far)
    for view, rotation in enumerate(rotations):
        camera = points @ rotation.T + (0, 0, 1)
        for row, column in np.ndindex(size, size):
            ray = np.array([(column + 0.5 - size / 2) / focal, (row + 0.5 - size / 2) / focal, 1.0])
            for a, b, c in camera[faces]:
                z, s, r = np.linalg.solve(np.stack([ray, a - b, a - c], axis=1), a)
                if min(s, r, 1 - s - r) >= 0:
                    maps[view, row, column] = min(maps[view, row, column], z)
    return np.stack([ndimage.minimum_filter(m, 3, mode="nearest") for m in maps]) - offset


def depth_bounds(depth: Array, tile: int) -> Array:
    """(n, t, t, 2) lowest and highest depth of each tile."""
    starts = range(0, depth.shape[1], tile)
    tiles = [[depth[:, r : r + tile, c : c + tile] for c in starts] for r in starts]
    ends = [[[part.min(axis=(1, 2)), part.max(axis=(1, 2))] for part in row] for row in tiles]
    return np.array(ends).transpose(3, 0, 1, 2)


def tsdf(voxels: Array, resolution: int, depth: Array, rotations: Array, focal: float, truncation: float) -> Array:
    """TSDF of voxels (N, 3) int: mean of min(1, (depth - Z) / truncation) over the views where it is at least -1."""
    size = depth.shape[1]
    total, seen = np.zeros(len(voxels)), np.zeros(len(voxels))
    for picture, rotation in zip(depth, rotations, strict=True):
        camera = ((voxels + 0.5) / resolution - 0.5) @ rotation.T + (0, 0, 1)
        u, v = (camera[:, :2] * focal / camera[:, 2:] + size / 2).T
        framed = (u >= 0) & (v >= 0) & (u < size) & (v < size)
        pixel = np.where(framed, v, 0).astype(int), np.where(framed, u, 0).astype(int)
        difference = (picture[pixel] - camera[:, 2]) / truncation
        counted = framed & (difference >= -1)
        total += np.where(counted, np.minimum(difference, 1), 0)
        seen += counted
    return np.where(seen > 0, total / np.maximum(seen, 1), -1)


def uncertain_borders(inside: Array, slots: Array) -> Array:
    """Bricks without a slot that touch (26 ways) a voxel of the other sign; ``inside`` dense bool."""
    wanted = np.zeros(slots.shape, dtype=bool)
    for brick in np.argwhere(slots < 0):
        around = inside[tuple(slice(max(0, c * SIDE - 1), c * SIDE + SIDE + 1) for c in brick)]
        wanted[tuple(brick)] = (around != inside[tuple(brick * SIDE)]).any()
    return wanted


def value_fractions(values: Array) -> Array:
    """Dense (3, X, Y, Z): linear zero crossing of the edges whose ends differ in sign, else 0.5."""
    result = np.full((3, *values.shape), 0.5)
    for axis in range(3):
        other = shifted(values, axis, 1)
        differs = (values <= 0) != (other <= 0)
        result[axis][differs] = np.clip((values / np.where(differs, values - other, 1))[differs], 1e-3, 1 - 1e-3)
    return result
