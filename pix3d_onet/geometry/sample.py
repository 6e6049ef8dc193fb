"""Points: uniform in the box with exact labels, and uniform on the surface with normals."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pix3d_onet.data.codec import LATTICE, decode_points, generator
from pix3d_onet.geometry.mesh import component_labels, face_areas
from pix3d_onet.types import Bool, Float32, Float64, Mesh, UInt16

DIRECTIONS = ((0.8165, 0.3517, 0.4578), (-0.4271, 0.8043, -0.4131), (0.2911, -0.5237, 0.8006))
"""Of the rays of a point: odd in number, so that a majority exists, and along nothing that a CAD model has."""
RAY_CHUNK = 20_000
"""Rays at a time, which bounds the memory for their hits."""


def draw_cells(n: int, seed: int, name: str = "") -> UInt16:
    """(n, 3) uint16 i.i.d. uniform lattice cells; decode with ``codec.decode_points``."""
    return generator(seed, "points", name).integers(0, LATTICE, size=(n, 3), dtype=np.uint16)


def contains(mesh: Mesh, points: Float64 | Float32) -> Bool:
    """(N,) bool: whether each of (N, 3) points is inside ``mesh`` (closed, any frame).

    Crossings of three rays in float32 (Embree through Open3D): inside where most of them count an odd number,
    outside where one of them meets nothing. What is left, even counts all round, lies in a hollow or where solids
    overlap: with several components the winding number decides (not 0 = inside), otherwise it is outside.
    """
    if len(mesh.faces) == 0 or len(points) == 0:
        return np.zeros(len(points), dtype=np.bool_)
    centre, scale = mesh.bounds.mean(axis=0), max(float(np.ptp(mesh.bounds, axis=0).max()), np.finfo(np.float64).tiny)
    unit = Mesh((mesh.vertices - centre) / scale, mesh.faces)
    scene, local = ray_scene(unit), ((points - centre) / scale).astype(np.float32)
    crossings = _crossings(scene, local)
    inside: Bool = (crossings % 2).sum(axis=0) * 2 > len(DIRECTIONS)
    even = np.flatnonzero(~inside & (crossings.min(axis=0) > 0))
    if len(even) and component_labels(unit)[0] > 1:
        inside[even] = winding_numbers(scene, unit, local[even]) != 0
    return inside


def _crossings(scene: Any, points: Float32) -> NDArray[np.int64]:
    """(D, N) how many faces a ray from each of (N, 3) points crosses, for each of ``DIRECTIONS``."""
    import open3d as o3d

    tensor: Any = o3d.core.Tensor
    found = np.empty((len(DIRECTIONS), len(points)), dtype=np.int64)
    for row, direction in enumerate(DIRECTIONS):
        toward = np.broadcast_to(np.asarray(direction, dtype=np.float32), points.shape)
        rays = np.ascontiguousarray(np.concatenate([points, toward], axis=1))
        found[row] = scene.count_intersections(tensor(rays), nthreads=1).numpy()
    return found


def ray_scene(mesh: Mesh) -> Any:
    """``mesh`` in Embree (an Open3D ``RaycastingScene``), float32, one thread."""
    import open3d as o3d

    tensor: Any = o3d.core.Tensor
    scene: Any = o3d.t.geometry.RaycastingScene(nthreads=1)
    scene.add_triangles(tensor(mesh.vertices.astype(np.float32)), tensor(mesh.faces.astype(np.uint32)))
    return scene


def winding_numbers(scene: Any, mesh: Mesh, points: Float32) -> NDArray[np.int64]:
    """(N,) int64 winding number of a closed ``mesh`` (in ``scene``) around (N, 3) points: median of three rays.

    A ray to infinity leaves the mesh once more than it enters it for every time that the mesh goes around its start.
    """
    import open3d as o3d

    normals = np.cross(mesh.triangles[:, 1] - mesh.triangles[:, 0], mesh.triangles[:, 2] - mesh.triangles[:, 0])
    tensor: Any = o3d.core.Tensor
    found = np.empty((len(DIRECTIONS), len(points)), dtype=np.int64)
    for row, direction in enumerate(DIRECTIONS):
        turn = np.sign(normals @ np.array(direction)).astype(np.int64)
        for start in range(0, len(points), RAY_CHUNK):
            part = points[start : start + RAY_CHUNK]
            rays = np.concatenate([part, np.broadcast_to(np.asarray(direction, dtype=np.float32), part.shape)], axis=1)
            hits = scene.list_intersections(tensor(np.ascontiguousarray(rays, dtype=np.float32)), nthreads=1)
            face, ray = hits["primitive_ids"].numpy(), hits["ray_ids"].numpy()
            sums = np.bincount(ray.astype(np.int64), weights=turn[face.astype(np.int64)], minlength=len(part))
            found[row, start : start + len(part)] = np.rint(sums)
    middle: NDArray[np.int64] = np.sort(found, axis=0)[len(DIRECTIONS) // 2]
    return middle


def sample_occupancy(mesh: Mesh, n: int, seed: int) -> tuple[Float32, Bool]:
    """``n`` i.i.d. uniform points in [-0.55, 0.55]³, (n, 3) float32, and their labels, (n,) bool.

    ``mesh`` must be watertight and in the normalised frame. The points lie on the storage lattice, so labels are those
    of the points as a data set stores them.
    """
    points = decode_points(draw_cells(n, seed))
    return points, contains(mesh, points)


def sample_surface(mesh: Mesh, n: int, seed: int, name: str = "") -> tuple[Float64, Float64]:
    """``n`` points uniform on the surface, (n, 3) float64, and the normals of their faces, (n, 3) float64.

    Stratified over the area (systematic sampling): the count on any patch is within one of its share. Points come in
    random order. An empty mesh gives (0, 3) arrays.
    """
    if len(mesh.faces) == 0 or n == 0:
        return np.zeros((0, 3)), np.zeros((0, 3))
    random = generator(seed, "surface", name)
    cumulative = np.cumsum(face_areas(mesh))
    positions = (np.arange(n) + random.random(n)) * (cumulative[-1] / n)
    face = np.minimum(np.searchsorted(cumulative, positions, side="right"), len(cumulative) - 1)
    random.shuffle(face)
    triangles = mesh.triangles[face]
    root = np.sqrt(random.random((n, 1)))
    second = random.random((n, 1))
    a, b, c = triangles[:, 0], triangles[:, 1], triangles[:, 2]
    points = (1 - root) * a + root * (1 - second) * b + root * second * c
    normals = np.cross(b - a, c - a)
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    return points, normals / np.maximum(length, np.finfo(np.float64).tiny)
