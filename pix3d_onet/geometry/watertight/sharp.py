"""Add the model's sharp edges and corners to the surface of a brick grid.

Marching cubes connects the crossings of triangles and grid edges by straight segments, and so cuts off edges and
corners: a square bar of two voxels loses an eighth of its volume. Here the planes of the crossed triangles are
intersected (``kernels.sharp_features``). If the intersection is on the model's surface, it is an edge or corner and
becomes a vertex. Otherwise the surface is curved, and the new vertex is placed so that the volume below the curve is
preserved.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pix3d_onet.geometry.watertight.kernels import bricks, probes, sharp_features
from pix3d_onet.geometry.watertight.kernels.cube_tables import EDGE_AXIS, EDGE_LOWER, EDGE_SIDES, tables
from pix3d_onet.geometry.watertight.kernels.marching_cubes import Cubes
from pix3d_onet.types import Float32, Float64, Int64

CROSSED = 0.006
"""Largest distance, voxels, between a vertex and its crossing, since vertices are kept 0.005 away from nodes."""
REACH = 0.2
"""Distance, voxels, from a triangle within which the distance of points to it is computed."""


def sharpened(
    cubes: Cubes, triangles: Float64, slots: NDArray[np.int32], neighbours: NDArray[np.int32], fractions: Float32
) -> tuple[Float64, Int64]:
    """Vertices (V, 3) and faces (F, 3) of the surface ``cubes`` with the edges and corners of ``triangles`` (T, 3, 3).

    All in grid coordinates. The vertices of ``cubes`` come first, unchanged. The surface stays closed, because a step
    of a loop is split at the same place in both of its cells.
    """
    table, edges, count = tables(), (EDGE_AXIS, EDGE_LOWER, EDGE_SIDES), len(cubes.cases)
    crossed = bricks.crossing_faces(triangles, slots, cubes.number, fractions, len(cubes.vertices), CROSSED)
    normals = sharp_features.outward_normals(triangles, crossed, cubes.cases, cubes.number)
    walk = (cubes.cases, cubes.number, neighbours)
    steps, step_of, touched = sharp_features.bent_steps(*walk, table.segments, edges, normals, cubes.vertices)
    middles, to_planes = sharp_features.middles(steps, normals, cubes.vertices)
    to_surface = to_planes.copy()
    probes.lower_distances(middles, to_surface, triangles, REACH, slots, count)
    on_steps, sharp, kept = sharp_features.place_steps(steps, normals, cubes.vertices, to_planes, to_surface)
    sharp_features.keep_steps(step_of, kept)
    on_steps, sharp = on_steps[kept], sharp[kept]
    loops = (*walk, table.lengths, table.loops, table.sides, edges, step_of)
    fan_offsets, face_offsets, fanned = sharp_features.count_fans(*loops, touched, table.counts)
    fans = sharp_features.place_fans(*loops, fanned, fan_offsets, normals, cubes.vertices, on_steps, sharp)
    faces = sharp_features.faces(
        *loops, table.pieces, fanned, fan_offsets, face_offsets, len(cubes.vertices), len(on_steps)
    )
    return np.concatenate([cubes.vertices, on_steps, fans]), faces
