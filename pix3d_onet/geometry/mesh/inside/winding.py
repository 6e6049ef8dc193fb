"""Exact winding numbers of closed meshes, any number of parts, nested, mirrored, touching or overlapping."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pix3d_onet.geometry.mesh.inside import _column_kernels
from pix3d_onet.types import Bool, Float32, Float64, Mesh

MOST_CELLS = 512
"""Columns along an axis at most."""
ITEMS_PER_FACE = 16
"""Columns per face at most, on average; a mesh of faces as large as itself gets fewer columns."""


class WindingNumbers:
    """How often a mesh goes around points: a ray along +z per point, in exact float64 arithmetic.

    The mesh must bound solids: every edge has as many faces one way round as the other (``topology.unbalanced_edges``).
    Any frame and scale will do.
    """

    def __init__(self, mesh: Mesh) -> None:
        # A power of two scales without rounding, and keeps products of three coordinates from overflowing.
        _, exponent = np.frexp(np.abs(mesh.bounds).max() if len(mesh.faces) else 1.0)
        self._scale = float(np.ldexp(1.0, -int(exponent)))
        triangles = np.ascontiguousarray(mesh.triangles * self._scale)
        self._tables: tuple[Any, ...] | None = None
        if len(triangles) == 0:
            return
        low, high = triangles.min(axis=(0, 1)), triangles.max(axis=(0, 1))
        extent = np.maximum(high - low, np.finfo(np.float64).tiny)[:2]
        cells = np.clip(np.sqrt(len(triangles) / 2) * extent / extent.max(), 1, MOST_CELLS).astype(np.int64)
        most = ITEMS_PER_FACE * len(triangles)
        while (lists := _column_kernels.columns(triangles, low, cells / extent, cells, most)) is None:
            cells = np.maximum(cells // 2, 1)
        self._tables = (triangles, low, high, cells / extent, cells, *lists)

    def at(self, points: Float32 | Float64) -> NDArray[np.int64]:
        """(N,) int64: how often the mesh goes around each of (N, 3) points, counter-clockwise from outside positive.

        A point exactly on the surface counts for one of its sides.
        """
        if self._tables is None:
            return np.zeros(len(points), dtype=np.int64)
        found: NDArray[np.int64] = _column_kernels.winding(self._local(points), *self._tables)
        return found

    def contains(self, points: Float32 | Float64) -> Bool:
        """(N,) bool: whether the mesh goes around each of (N, 3) points, whichever way round."""
        inside: Bool = self.at(points) != 0
        return inside

    def by_part(self, points: Float64, parts: NDArray[np.int32]) -> tuple[NDArray[np.int64], ...]:
        """Which parts go around which points: (K,) point, (K,) part and (K,) winding number, none of them 0.

        ``parts`` (F,) int32 is the part of every face; each must be closed of itself.
        """
        if self._tables is None:
            return (np.zeros(0, dtype=np.int64),) * 3
        point, face, sign = _column_kernels.crossings(self._local(points), *self._tables)
        count = int(parts.max()) + 1
        keys, index = np.unique(point * count + parts[face], return_inverse=True)
        sums = np.rint(np.bincount(index, weights=sign, minlength=len(keys))).astype(np.int64)
        kept = sums != 0
        return keys[kept] // count, keys[kept] % count, sums[kept]

    def _local(self, points: Float32 | Float64) -> Float64:
        return np.ascontiguousarray(points, dtype=np.float64) * self._scale
