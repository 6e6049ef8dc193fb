"""Closed meshes as occupancy grids, by following their surface: a tenth of the inside tests of a dense grid."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from pix3d_onet.config import POINTS_HALF_SIDE
from pix3d_onet.learning.mise import sample_surface
from pix3d_onet.types import Bool, Float32, Mesh

Contains = Callable[[Mesh, Float32], Bool]
"""``geometry.sample.contains``: mesh, (N, 3) points → (N,) bool."""
COARSE = 32
"""Intervals of the lattice on which parts of the mesh are found; a part is followed wherever it leads."""
CHUNK = 1 << 16
"""Points an inside test is asked for at once: building its tree costs more than a few thousand rays."""


def voxel_centres(voxels: int, half_side: float) -> Float32:
    """(voxels³, 3) float32 centres of the voxels of a cube around the origin, last axis fastest."""
    axis = ((np.arange(voxels) + 0.5) / voxels * 2 - 1) * half_side
    return np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3).astype(np.float32)


def voxelised(mesh: Mesh, contains: Contains, voxels: int, half_side: float) -> Bool:
    """(voxels, voxels, voxels) bool: which voxel centres of the cube [−half_side, half_side]³ lie in ``mesh``.

    ``contains`` is asked near the surface only (see ``learning.mise`` for what that leaves out: closed parts that lie
    between the points of a lattice of 32 intervals and touch nothing). ValueError for fewer than 2 voxels.
    """
    if voxels < 2:
        raise ValueError(f"a grid needs at least 2 voxels an axis, not {voxels}")
    zoom = half_side * (voxels - 1) / voxels / POINTS_HALF_SIDE  # the lattice's corners are the voxels' centres

    def field(points: torch.Tensor) -> torch.Tensor:
        inside = contains(mesh, points.numpy() * np.float32(zoom))
        return torch.from_numpy(inside.astype(np.float32)) * 2 - 1

    return sample_surface(field, voxels - 1, coarse=COARSE, chunk=CHUNK).inside()
