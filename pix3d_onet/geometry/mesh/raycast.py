"""A mesh for exact questions by ray and nearest point: Embree, through Open3D, float32, one thread, deterministic."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pix3d_onet.geometry.mesh.topology import component_labels
from pix3d_onet.types import Bool, Float32, Float64, Mesh

DIRECTIONS = ((0.8165, 0.3517, 0.4578), (-0.4271, 0.8043, -0.4131), (0.2911, -0.5237, 0.8006))
"""Of the rays of a point: odd in number, so that a majority exists, and along nothing that a CAD model has."""
RAY_CHUNK = 20_000
"""Rays at a time, which bounds the memory for their hits."""


class RayScene:
    """Distances to a mesh and what is inside of it.

    Points are (N, 3) in the mesh's own frame, which should be of about unit size near the origin: Embree counts in
    float32. ``sample.contains`` takes any frame.
    """

    def __init__(self, mesh: Mesh) -> None:
        import open3d as o3d

        tensor: Any = o3d.core.Tensor  # its stubs know no tensor of a NumPy array alone
        self._tensor, self._mesh = tensor, mesh
        self._scene: Any = o3d.t.geometry.RaycastingScene(nthreads=1)
        self._scene.add_triangles(tensor(mesh.vertices.astype(np.float32)), tensor(mesh.faces.astype(np.uint32)))

    def distance(self, points: Float32 | Float64) -> Float64:
        """(N,) unsigned distance to the surface."""
        found = self._scene.compute_distance(self._query(points), nthreads=1)
        return np.asarray(found.numpy(), dtype=np.float64)

    def closest(self, points: Float32 | Float64) -> Float64:
        """(N, 3) the nearest point on the surface."""
        found = self._scene.compute_closest_points(self._query(points), nthreads=1)["points"]
        return np.asarray(found.numpy(), dtype=np.float64)

    def nearest_face(self, points: Float32 | Float64) -> NDArray[np.int64]:
        """(N,) the face that holds the nearest point."""
        found = self._scene.compute_closest_points(self._query(points), nthreads=1)["primitive_ids"]
        return np.asarray(found.numpy(), dtype=np.int64)

    def inside(self, points: Float32 | Float64) -> Bool:
        """(N,) whether each point is inside; the mesh must be closed.

        Inside where most of three rays cross an odd number of faces (the third is asked where two disagree), outside
        where one of them meets nothing. What is left, even counts all round, lies in a hollow or where solids overlap:
        with several components the winding number decides (not 0 = inside), otherwise it is outside.
        """
        if len(self._mesh.faces) == 0 or len(points) == 0:
            return np.zeros(len(points), dtype=np.bool_)
        local = np.ascontiguousarray(points, dtype=np.float32)
        first, second = (self._crossings(local, direction) for direction in DIRECTIONS[:2])
        inside: Bool = first % 2 == 1
        split = np.flatnonzero(inside != (second % 2 == 1))
        inside[split] = self._crossings(local[split], DIRECTIONS[2]) % 2 == 1
        even = np.flatnonzero(~inside & (first > 0) & (second > 0))
        if len(even) and component_labels(self._mesh)[0] > 1:
            inside[even] = self._winding_numbers(local[even]) != 0
        return inside

    def _query(self, points: Float32 | Float64) -> Any:
        return self._tensor(np.ascontiguousarray(points, dtype=np.float32))

    def _crossings(self, points: Float32, direction: tuple[float, float, float]) -> NDArray[np.int64]:
        """(N,) how many faces a ray from each point crosses."""
        found = self._scene.count_intersections(self._tensor(_rays(points, direction)), nthreads=1)
        return np.asarray(found.numpy(), dtype=np.int64)

    def _winding_numbers(self, points: Float32) -> NDArray[np.int64]:
        """(N,) how often the mesh goes around each point: median of three rays.

        A ray to infinity leaves the mesh once more than it enters it for every time that the mesh goes around its
        start.
        """
        corners = self._mesh.triangles
        normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        found = np.empty((len(DIRECTIONS), len(points)), dtype=np.int64)
        for row, direction in enumerate(DIRECTIONS):
            turn = np.sign(normals @ np.array(direction)).astype(np.int64)
            for start in range(0, len(points), RAY_CHUNK):
                part = points[start : start + RAY_CHUNK]
                hits = self._scene.list_intersections(self._tensor(_rays(part, direction)), nthreads=1)
                face, ray = hits["primitive_ids"].numpy(), hits["ray_ids"].numpy()
                sums = np.bincount(ray.astype(np.int64), weights=turn[face.astype(np.int64)], minlength=len(part))
                found[row, start : start + len(part)] = np.rint(sums)
        middle: NDArray[np.int64] = np.sort(found, axis=0)[len(DIRECTIONS) // 2]
        return middle


def _rays(points: Float32, direction: tuple[float, float, float]) -> Float32:
    """(N, 6) origins and one direction for all."""
    toward = np.broadcast_to(np.asarray(direction, dtype=np.float32), points.shape)
    return np.ascontiguousarray(np.concatenate([points, toward], axis=1))
