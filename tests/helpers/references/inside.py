"""References of ``geometry.mesh.inside``: rational numbers for signs, solid angles for winding numbers."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def sign_of_determinant(rows: Array, origin: Array) -> int:
    """Exact sign of the determinant of (rows - origin), 2×2 or 3×3."""
    m = [[Fraction(float(x)) - Fraction(float(o)) for x, o in zip(row, origin, strict=True)] for row in rows]
    if len(m) == 2:
        value = m[0][0] * m[1][1] - m[0][1] * m[1][0]
    else:
        value = sum(m[0][i] * (m[1][i - 2] * m[2][i - 1] - m[1][i - 1] * m[2][i - 2]) for i in range(3))
    return (value > 0) - (value < 0)


def winding(point: Array, triangles: Array) -> float:
    """Winding number of closed ``triangles`` (F, 3, 3) around ``point`` (van Oosterom & Strackee 1983)."""
    a, b, c = (triangles - point).transpose(1, 0, 2)
    la, lb, lc = (np.linalg.norm(x, axis=1) for x in (a, b, c))
    volume = np.einsum("ij,ij->i", a, np.cross(b, c))
    dots = [np.einsum("ij,ij->i", x, y) * lz for x, y, lz in ((a, b, lc), (b, c, la), (c, a, lb))]
    return float(np.arctan2(volume, la * lb * lc + sum(dots)).sum() / (2 * np.pi))
