"""Exact winding numbers of closed meshes, also with parts that are nested, mirrored, touching or overlapping.

Every edge must be used equally often in both directions (``topology.unbalanced_edges`` is 0). Then the winding number
of a point is the number of times that a ray from it leaves the mesh minus the number of times that it enters. The ray
is along +z, and its crossings are computed exactly. Any frame and scale is allowed. A point exactly on the surface
counts as being on one of its sides.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pix3d_onet.geometry.mesh.inside.kernels.columns import crossings
from pix3d_onet.types import Bool, Float32, Float64, Int64, Mesh

POINTS_PER_COLUMN = FACES_PER_COLUMN = 2
"""Mean number of points or faces (whichever needs more columns) per column of a grid over (x, y). A face is compared
with the points in all columns below it, and points near a surface are in few columns."""
MOST_COLUMNS = 512
"""Most columns per axis."""


def winding_numbers(mesh: Mesh, points: Float32 | Float64) -> Int64:
    """(N,) int64 winding number of ``mesh`` around each of (N, 3) points; 1 inside a solid with outward normals."""
    return _crossed(mesh, points, 0)[0]


def winding_by_part(mesh: Mesh, points: Float64, parts: NDArray[np.int32]) -> tuple[Int64, Int64, Int64]:
    """The non-zero winding numbers of each part around each point: (K,) point (ascending), (K,) part, (K,) number.

    ``points`` (N, 3); ``parts`` (F,) int32: the part of each face. Each part must be closed.
    """
    each = _crossed(mesh, points, 8 * len(points))[1]
    count = int(parts.max()) + 1
    keys, index = np.unique(each[:, 0] * count + parts[each[:, 1]], return_inverse=True)
    sums = np.rint(np.bincount(index.reshape(-1), weights=each[:, 2], minlength=len(keys))).astype(np.int64)
    kept = sums != 0
    return keys[kept] // count, keys[kept] % count, sums[kept]


def contains(mesh: Mesh, points: Float32 | Float64) -> Bool:
    """(N,) bool: whether each of (N, 3) points is inside ``mesh``, that is its winding number is not 0."""
    inside: Bool = winding_numbers(mesh, points) != 0
    return inside


def _crossed(mesh: Mesh, points: Float32 | Float64, room: int) -> tuple[Int64, Int64]:
    """(N,) sums of the crossings' signs, and (C, 3) all crossings: point, face and sign.

    ``room``: initial capacity for crossings, increased as needed; 0: none are returned.
    """
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
        count = crossings(local, vertices, mesh.faces, low[:2] * scale, per_column, cells, sums, each)
        if room == 0 or count <= room:
            break
        room = count
    found[near] = sums
    each = each[: min(count, room)]
    each[:, 0] = near[each[:, 0]]
    return found, each
