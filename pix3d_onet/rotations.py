"""What is taken for a rotation: one tolerance for everything that is read."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

ROTATION_TOLERANCE = 1e-3
"""Largest entry of ``|R·Rᵀ − 1|`` of a rotation. Pix3D's are orthonormal to 1e-6; others print four digits."""


def rotation_problem(matrix: NDArray[np.floating[Any]]) -> str:
    """Why a (3, 3) matrix is no rotation, in words; empty when it is one."""
    with np.errstate(over="ignore", invalid="ignore"):
        drift = float(np.abs(matrix @ matrix.T - np.eye(3)).max())
    if not drift <= ROTATION_TOLERANCE:
        return f"R·Rᵀ is off by {drift:.2g}"
    return "it mirrors" if np.linalg.det(matrix) < 0 else ""
