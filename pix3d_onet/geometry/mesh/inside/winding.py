"""Exact winding numbers of closed meshes, any number of parts, nested, mirrored, touching or overlapping.

The meshes must bound solids: every edge has as many faces one way round as the other (``topology.unbalanced_edges``).
How often such a mesh goes around a point is how much more often a ray from it leaves the mesh than enters it; here a
ray along +z, in exact float64 arithmetic. Any frame and scale will do. A point exactly on the surface counts for one of
its sides.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pix3d_onet.geometry.mesh.inside import _column_kernels
from pix3d_onet.types import Bool, Float32, Float64, Int64, Mesh

POINTS_PER_COLUMN = FACES_PER_COLUMN = 2
"""On average, of whichever needs more columns: a face is compared with the points of all columns that it lies over, and
points beside a surface stand in few of them."""
MOST_COLUMNS = 512
"""Columns along an axis at most."""


def winding_numbers(mesh: Mesh, points: Float32 | Float64) -> Int64:
    """(N,) int64: how often ``mesh`` goes around each of (N, 3) points, counter-clockwise from outside positive."""
    return _crossed(mesh, points, 0)[0]


def winding_by_part(mesh: Mesh, points: Float64, parts: NDArray[np.int32]) -> tuple[Int64, Int64, Int64]:
    """Which parts go around which points: (K,) point, ascending, (K,) part and (K,) winding number, none of them 0.

    ``parts`` (F,) int32 is the part of every face; each must be closed of itself.
    """
    each = _crossed(mesh, points, 8 * len(points))[1]
    count = int(parts.max()) + 1
    keys, index = np.unique(each[:, 0] * count + parts[each[:, 1]], return_inverse=True)
    sums = np.rint(np.bincount(index.reshape(-1), weights=each[:, 2], minlength=len(keys))).astype(np.int64)
    kept = sums != 0
    return keys[kept] // count, keys[kept] % count, sums[kept]


def contains(mesh: Mesh, points: Float32 | Float64) -> Bool:
    """(N,) bool: whether ``mesh`` goes around each of (N, 3) points, whichever way round."""
    inside: Bool = winding_numbers(mesh, points) != 0
    return inside


def _crossed(mesh: Mesh, points: Float32 | Float64, room: int) -> tuple[Int64, Int64]:
    """(N,) sums of the crossings' signs; (C, 3) all crossings, if ``room`` for them is not 0 (it grows as needed)."""
    found: Int64 = np.zeros(len(points), dtype=np.int64)
    if len(mesh.faces) == 0 or len(points) == 0:
        return found, np.zeros((0, 3), dtype=np.int64)
    low, high = mesh.bounds
    # A power of two scales without rounding, and keeps products of three coordinates from overflowing.
    scale = np.ldexp(1.0, -int(np.frexp(np.abs(mesh.bounds).max())[1]))
    local = np.asarray(points, dtype=np.float64)
    near = np.flatnonzero(((local >= low) & (local <= high)).all(axis=1))
    local = np.ascontiguousarray(local[near]) * scale
    vertices = mesh.vertices * scale
    columns = max(len(near) / POINTS_PER_COLUMN, len(mesh.faces) / FACES_PER_COLUMN)
    cells = int(np.clip(np.sqrt(columns), 1, MOST_COLUMNS))
    per_column = cells / np.maximum((high - low)[:2] * scale, np.finfo(np.float64).tiny)
    while True:
        sums, each = np.zeros(len(near), dtype=np.int64), np.empty((room, 3), dtype=np.int64)
        count = _column_kernels.crossings(local, vertices, mesh.faces, low[:2] * scale, per_column, cells, sums, each)
        if room == 0 or count <= room:
            break
        room = count
    found[near] = sums
    each = each[: min(count, room)]
    each[:, 0] = near[each[:, 0]]
    return found, each
