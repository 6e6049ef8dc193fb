"""Check rotation matrices: one tolerance for all inputs."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

ROTATION_TOLERANCE = 1e-3
"""Largest allowed entry of ``|R·Rᵀ − 1|``. Pix3D's rotations have 1e-6; other sources round to four digits."""


def rotation_problem(matrix: NDArray[np.floating[Any]]) -> str:
    """Why a (3, 3) matrix is not a rotation, in words; empty if it is one."""
    with np.errstate(over="ignore", invalid="ignore"):
        drift = float(np.abs(matrix @ matrix.T - np.eye(3)).max())
    if not drift <= ROTATION_TOLERANCE:
        return f"R·Rᵀ is off by {drift:.2g}"
    return "it is a reflection" if np.linalg.det(matrix) < 0 else ""
