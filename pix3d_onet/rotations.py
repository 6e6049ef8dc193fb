"""Check rotations and poses: one tolerance for all inputs."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

ROTATION_TOLERANCE = 1e-3
"""Largest allowed entry of ``|R·Rᵀ − 1|``. Pix3D's rotations have 1e-6; other sources round to four digits."""
LAST_ROW = (0.0, 0.0, 0.0, 1.0)
"""Last row of a pose. A matrix for row vectors has its translation there."""


def rotation_problem(matrix: NDArray[np.floating[Any]]) -> str:
    """Why a (3, 3) matrix is not a rotation, in words; empty if it is one."""
    with np.errstate(over="ignore", invalid="ignore"):
        drift = float(np.abs(matrix @ matrix.T - np.eye(3)).max())
    if not drift <= ROTATION_TOLERANCE:
        return f"R·Rᵀ is off by {drift:.2g}"
    return "it is a reflection" if np.linalg.det(matrix) < 0 else ""


def pose_problem(matrix: NDArray[np.floating[Any]]) -> str:
    """Why a finite (4, 4) matrix does not map column vectors by rotation, one scale and translation, in words; empty
    if it does."""
    if not np.allclose(matrix[3], LAST_ROW):
        return "its last row is not 0 0 0 1"
    scale = float(np.sqrt((matrix[:3, :3] ** 2).sum() / 3))
    if not scale > 0:
        return "its upper left part is zero"
    problem = rotation_problem(matrix[:3, :3] / scale)
    return f"its upper left part is not a rotation times a scale ({problem})" if problem else ""
