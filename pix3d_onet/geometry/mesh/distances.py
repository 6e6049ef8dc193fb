"""Exact unsigned distances of many points to a mesh."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pix3d_onet.geometry.mesh.kernels.nearest import WIDTH, nearest_distances, wide_tree
from pix3d_onet.lattice import encode_points
from pix3d_onet.types import Float32, Float64, Mesh


def surface_distances(mesh: Mesh, points: Float32) -> Float32:
    """(N,) float32 distances of (N, 3) points to the nearest face of ``mesh``, which has faces.

    Both in the normalised frame; the error is below 1e-6.
    """
    corner = mesh.vertices[mesh.faces[:, 0]]
    faces = mesh.faces[np.argsort(_z_order(corner), kind="stable")]
    leaves, nodes, children = wide_tree(mesh.vertices.astype(np.float32), faces)
    order = np.argsort(_z_order(points), kind="stable")
    distances = np.empty(len(points), dtype=np.float32)
    sequence = np.ascontiguousarray(points[order], dtype=np.float32)
    room = np.empty(WIDTH, dtype=np.float32)
    distances[order] = nearest_distances(leaves, nodes, children, sequence, room)
    return distances


def independent_distances(mesh: Mesh, points: Float32) -> Float64:
    """As :func:`surface_distances`, in any frame, by libigl in float64: for checks, since it is slower."""
    import igl

    faces = np.ascontiguousarray(mesh.faces, dtype=np.int64)
    squared = igl.point_mesh_squared_distance(np.asarray(points, dtype=np.float64), mesh.vertices, faces)[0]
    return np.sqrt(np.asarray(squared, dtype=np.float64))


def _z_order(points: NDArray[np.floating[Any]]) -> NDArray[np.uint32]:
    """(N,) positions of (N, 3) points along a Z-order curve (Morton 1966) through 1024³ cells of the lattice's cube."""
    codes = np.zeros(len(points), dtype=np.uint32)
    for axis, cells in enumerate(encode_points(points).T):
        spread = cells.astype(np.uint32) >> 6
        for shift, mask in ((16, 0x030000FF), (8, 0x0300F00F), (4, 0x030C30C3), (2, 0x09249249)):
            spread = (spread | (spread << shift)) & mask
        codes |= spread << axis
    return codes
