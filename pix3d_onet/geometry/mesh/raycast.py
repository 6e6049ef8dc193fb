"""Distances and ray tests with Embree through Open3D: float32, one thread, deterministic."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pix3d_onet.types import Float32, Float64, Mesh


class RayScene:
    """Distances to a mesh, nearest points, and ray tests.

    Points are (N, 3) in the mesh's frame. The mesh should be of about unit size near the origin, since Embree computes
    in float32.
    """

    def __init__(self, mesh: Mesh) -> None:
        import open3d as o3d

        tensor: Any = o3d.core.Tensor  # Open3D's stubs do not allow a NumPy array as only argument
        self._tensor = tensor
        self._mesh = mesh
        self._scene: Any = o3d.t.geometry.RaycastingScene(nthreads=1)
        self._scene.add_triangles(tensor(mesh.vertices.astype(np.float32)), tensor(mesh.faces.astype(np.uint32)))

    def distance(self, points: Float32 | Float64) -> Float64:
        """(N,) unsigned distance to the surface."""
        found = self._scene.compute_distance(self._query(points), nthreads=1)
        return np.asarray(found.numpy(), dtype=np.float64)

    def closest(self, points: Float32 | Float64) -> Float64:
        """(N, 3) nearest point on the surface."""
        found = self._scene.compute_closest_points(self._query(points), nthreads=1)["points"]
        return np.asarray(found.numpy(), dtype=np.float64)

    def nearest_face(self, points: Float32 | Float64) -> NDArray[np.int64]:
        """(N,) face with the nearest point."""
        found = self._scene.compute_closest_points(self._query(points), nthreads=1)["primitive_ids"]
        return np.asarray(found.numpy(), dtype=np.int64)

    def open_views(self, points: Float32 | Float64, directions: Float64) -> NDArray[np.int64]:
        """(N,) number of the (D, 3) directions in which a ray from each point hits nothing."""
        found = np.zeros(len(points), dtype=np.int64)
        for direction in directions.astype(np.float32):
            toward = np.broadcast_to(direction, (len(points), 3))
            rays = np.concatenate([np.asarray(points, dtype=np.float32), toward], axis=1)
            found += ~self._scene.test_occlusions(self._tensor(rays), nthreads=1).numpy()
        return found

    def wide_views(self, points: Float32 | Float64, directions: Float64, clearance: float) -> NDArray[np.int64]:
        """As :meth:`open_views`, but counts only rays that stay ``clearance`` away from the surface, by sphere tracing:
        rays through narrow gaps are not counted."""
        low, high = self._mesh.bounds
        found = np.zeros(len(points), dtype=np.int64)
        for direction in directions / np.linalg.norm(directions, axis=1, keepdims=True):
            at = np.asarray(points, dtype=np.float64).copy()
            alive = np.arange(len(at))
            while len(alive):
                free = self.distance(at[alive]) - clearance
                alive, free = alive[free >= 0], free[free >= 0]
                at[alive] += np.maximum(free, clearance / 2)[:, None] * direction
                gone = ((at[alive] < low) | (at[alive] > high)).any(axis=1)
                found[alive[gone]] += 1
                alive = alive[~gone]
        return found

    def _query(self, points: Float32 | Float64) -> Any:
        return self._tensor(np.ascontiguousarray(points, dtype=np.float32))
