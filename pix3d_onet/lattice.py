"""The lattice of stored points: 65536³ cells over the cube [-0.55, 0.55]³.

Uniform points are drawn *on* the lattice and labels are computed for the decoded points, so that rounding never
makes a label wrong.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pix3d_onet.config import POINTS_HALF_SIDE
from pix3d_onet.types import Bool, Float32, UInt16

LATTICE = 65536
"""Cells per axis; a cell is 1.1/65536 = 1.7e-5 units wide (0.004 voxels at 256³)."""


def decode_points(cells: UInt16) -> Float32:
    """(…, 3) uint16 lattice cells → (…, 3) float32 centres of the cells, strictly inside [-0.55, 0.55]³."""
    step = 2 * POINTS_HALF_SIDE / LATTICE
    return ((cells.astype(np.float64) + 0.5) * step - POINTS_HALF_SIDE).astype(np.float32)


def encode_points(points: NDArray[np.floating[Any]]) -> UInt16:
    """(…, 3) points → the (…, 3) uint16 cells that contain them; points outside the cube are clamped to it."""
    step = 2 * POINTS_HALF_SIDE / LATTICE
    cells = np.floor((points.astype(np.float64) + POINTS_HALF_SIDE) / step)
    return np.clip(cells, 0, LATTICE - 1).astype(np.uint16)


def in_cube(points: NDArray[np.floating[Any]]) -> Bool:
    """(N,) bool: which of (N, 3) points are inside the lattice's cube, so that ``encode_points`` moves them less than a
    cell."""
    inside: Bool = (np.abs(points) < POINTS_HALF_SIDE).all(axis=-1)
    return inside
