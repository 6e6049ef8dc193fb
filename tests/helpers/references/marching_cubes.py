"""What ``kernels.marching_cubes`` computes, cell by cell and face by face."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
CORNERS = np.array([[c & 1, c >> 1 & 1, c >> 2 & 1] for c in range(8)])


def extract(inside: Array, fractions: Array, counts: Array, table: Array, axes: Array, lower: Array) -> list[Array]:
    """Triangles (3, 3) of every cell of a dense grid, in scan order, from the table of cases."""
    triangles = []
    for cell in np.argwhere(np.ones(np.subtract(inside.shape, 1), dtype=bool)):
        signs = inside[tuple((cell + CORNERS).T)] != 0
        case = int(signs @ (1 << np.arange(8)))
        for edges in table[case, : counts[case]]:
            corners = (cell + lower[edges]).astype(float)
            for corner, edge, node in zip(corners, edges, cell + lower[edges], strict=True):
                corner[axes[edge]] += fractions[(axes[edge], *node)]
            triangles.append(corners)
    return triangles


def clear(inside: Array, vertex: Array, dropped: Array) -> Array:
    """Dense ``inside`` without the inside ends of the edges (3, X, Y, Z) whose ``vertex`` (-1 none) is ``dropped``."""
    result = inside.copy()
    for axis, *lower in np.argwhere(vertex >= 0):
        if dropped[vertex[(axis, *lower)]]:
            upper = [c + (a == axis) for a, c in enumerate(lower)]
            result[tuple(lower)] = result[tuple(upper)] = 0
    return result


def winding(point: Array, triangles: Array) -> float:
    """Winding number of closed ``triangles`` (F, 3, 3) around ``point`` (van Oosterom & Strackee 1983)."""
    a, b, c = (triangles - point).transpose(1, 0, 2)
    la, lb, lc = (np.linalg.norm(x, axis=1) for x in (a, b, c))
    volume = np.einsum("ij,ij->i", a, np.cross(b, c))
    dots = [np.einsum("ij,ij->i", x, y) * lz for x, y, lz in ((a, b, lc), (b, c, la), (c, a, lb))]
    return float(np.arctan2(volume, la * lb * lc + sum(dots)).sum() / (2 * np.pi))


def label(points: Array, triangles: Array) -> Array:
    """(N,) bool: points that the surface encloses an odd number of times."""
    return np.array([round(winding(p, triangles)) % 2 == 1 for p in points])
