"""NumPy references of ``kernels.marching_cubes``: cell by cell and face by face."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
CORNERS = np.array([[c & 1, c >> 1 & 1, c >> 2 & 1] for c in range(8)])


def extract(inside: Array, fractions: Array, triangles_of: list[list[Array]], axes: Array, lower: Array) -> list[Array]:
    """Triangles (3, 3) of every cell of a dense grid, in scan order, from the table of cases."""
    triangles = []
    for cell in np.argwhere(np.ones(np.subtract(inside.shape, 1), dtype=bool)):
        signs = inside[tuple((cell + CORNERS).T)] != 0
        case = int(signs @ (1 << np.arange(8)))
        for edges in triangles_of[case]:
            corners = (cell + lower[edges]).astype(float)
            for corner, edge, node in zip(corners, edges, cell + lower[edges], strict=True):
                corner[axes[edge]] += fractions[(axes[edge], *node)]
            triangles.append(corners)
    return triangles
