"""Voxelise closed meshes. Only voxels near the surface are tested; the result is the same as testing all."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.ndimage import maximum_filter

from pix3d_onet.geometry.mesh.sampling import spread
from pix3d_onet.types import Bool, Float32, Mesh

Contains = Callable[[Mesh, Float32], Bool]
"""``geometry.mesh.inside.winding.contains``: mesh, (N, 3) points → (N,) bool."""


def voxel_centres(voxels: int, half_side: float) -> Float32:
    """(voxels³, 3) float32 centres of the voxels of a cube around the origin, last axis fastest."""
    axis = ((np.arange(voxels) + 0.5) / voxels * 2 - 1) * half_side
    return np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3).astype(np.float32)


def voxelised(mesh: Mesh, contains: Contains, voxels: int, half_side: float) -> Bool:
    """(voxels, voxels, voxels) bool: which voxel centres of the cube [−half_side, half_side]³ are in ``mesh`` (closed).

    ``contains`` is called only for centres near the surface; between two of these along an axis nothing changes.
    """
    shape = (voxels,) * 3
    near = _near_surface(mesh, voxels, half_side)
    inside = np.zeros(voxels**3, np.bool_)
    rows = np.flatnonzero(near)
    inside[rows] = contains(mesh, voxel_centres(voxels, half_side)[rows])
    line = near.reshape(shape)
    last = np.where(line, np.arange(voxels), -1)
    np.maximum.accumulate(
        last, axis=2, out=last
    )  # index of the last tested centre before each one; -1: none, so outside
    filled: Bool = np.take_along_axis(inside.reshape(shape), np.maximum(last, 0), axis=2) & (last >= 0)
    return filled


def _near_surface(mesh: Mesh, voxels: int, half_side: float) -> Bool:
    """(voxels³,) bool: true at least for every centre with an axis neighbour on the other side of the surface.

    The surface is covered with points so that every place on it is within 0.58 voxels of one. So the cell (between
    eight centres) that contains a place on the surface is the cell of such a point, or adjacent to it.
    """
    cells = np.zeros((voxels + 1,) * 3, np.bool_)  # cell k lies between centres k - 1 and k
    for points in spread(mesh.triangles / (2 * half_side / voxels), 1.0):
        index = np.floor(points + (voxels + 1) / 2).astype(np.int64)  # centre k is at k + 0.5 - voxels / 2
        index = np.clip(
            index, 0, voxels
        )  # points outside the cube mark its border cells: that adds tests, it never skips one
        cells[index[:, 0], index[:, 1], index[:, 2]] = True
    cells = maximum_filter(cells, 3)
    for axis in range(3):
        low, high = [slice(None)] * 3, [slice(None)] * 3
        low[axis], high[axis] = slice(None, -1), slice(1, None)
        cells = cells[tuple(low)] | cells[tuple(high)]
    return cells.reshape(-1)
