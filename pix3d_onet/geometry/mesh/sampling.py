"""Sample points: uniform in the cube with exact labels, uniform on the surface with normals, and near the surface."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pix3d_onet.geometry.mesh.inside.winding import contains
from pix3d_onet.geometry.mesh.topology import face_areas
from pix3d_onet.lattice import LATTICE, decode_points, encode_points, in_cube
from pix3d_onet.seeding import generator
from pix3d_onet.types import Bool, Float32, Float64, Mesh, UInt16

BATCH = 1 << 20
"""Points of :func:`spread` in memory at a time: 24 MB."""


def draw_cells(n: int, seed: int, name: str = "") -> UInt16:
    """(n, 3) uint16 i.i.d. uniform lattice cells; decode with ``lattice.decode_points``."""
    return generator(seed, "points", name).integers(0, LATTICE, size=(n, 3), dtype=np.uint16)


def sample_occupancy(mesh: Mesh, n: int, seed: int) -> tuple[Float32, Bool]:
    """``n`` i.i.d. uniform points in [-0.55, 0.55]³, (n, 3) float32, and their labels, (n,) bool.

    ``mesh`` must be watertight and in the normalised frame. The points lie on the lattice of stored points, so storing
    them does not change a label.
    """
    points = decode_points(draw_cells(n, seed))
    return points, contains(mesh, points)


def draw_near_cells(mesh: Mesh, n: int, sigmas: tuple[float, ...], seed: int, name: str = "") -> UInt16:
    """(n, 3) uint16 lattice cells near the surface of ``mesh``, which has faces and is in the normalised frame.

    Uniform surface samples, moved by isotropic Gaussian noise whose standard deviation is any of ``sigmas`` with equal
    probability (Chibane et al., *Implicit Functions in Feature Space*, CVPR 2020; with other constants Park et al.,
    *DeepSDF*, CVPR 2019). Noise that leads out of the cube is drawn again. In random order, so any slice is a sample.
    """
    surface, _ = sample_surface(mesh, n, seed, name, stream="near-surface")
    random = generator(seed, "near", name)
    sigma = np.asarray(sigmas)[random.integers(len(sigmas), size=n)]
    points, outside = surface.copy(), np.arange(n)
    while len(outside):
        points[outside] = surface[outside] + sigma[outside, None] * random.standard_normal((len(outside), 3))
        outside = outside[~in_cube(points[outside])]
    return encode_points(points)


def sample_surface(
    mesh: Mesh, n: int, seed: int, name: str = "", *, stream: str = "surface"
) -> tuple[Float64, Float64]:
    """``n`` points uniform on the surface, (n, 3) float64, and the normals of their faces, (n, 3) float64.

    Stratified by area: one point per n-th part of the area, faces in order. Points are in random order. An empty mesh
    gives (0, 3) arrays. ``stream``: name of the random numbers, different for samples that must not be the same.
    """
    if len(mesh.faces) == 0 or n == 0:
        return np.zeros((0, 3)), np.zeros((0, 3))
    random = generator(seed, stream, name)
    cumulative = np.cumsum(face_areas(mesh))
    positions = (np.arange(n) + random.random(n)) * (cumulative[-1] / n)
    face = np.minimum(np.searchsorted(cumulative, positions, side="right"), len(cumulative) - 1)
    random.shuffle(face)
    triangles = mesh.vertices[mesh.faces[face]]
    root = np.sqrt(random.random((n, 1)))
    second = random.random((n, 1))
    a, b, c = triangles[:, 0], triangles[:, 1], triangles[:, 2]
    points = (1 - root) * a + root * (1 - second) * b + root * second * c
    normals = np.cross(b - a, c - a)
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    return points, normals / np.maximum(length, np.finfo(np.float64).tiny)


def spread(triangles: Float64, spacing: float) -> Iterator[Float64]:
    """Points (N, 3) on (F, 3, 3) triangles, in batches: the vertices of a subdivision into edges of ≤ ``spacing``.

    Every place on a triangle is within ``spacing``/√3 of one of them.
    """
    edges = np.linalg.norm(triangles - np.roll(triangles, 1, axis=1), axis=2).max(axis=1, initial=0)
    parts = np.maximum(np.ceil(edges / spacing), 1).astype(np.int64)
    for n in np.unique(parts):
        i, j = np.divmod(np.arange((n + 1) ** 2), n + 1)
        keep = i + j <= n
        weights = np.stack([i[keep], j[keep], n - i[keep] - j[keep]], axis=1) / n
        chosen = triangles[parts == n]
        for block in np.array_split(chosen, -(-len(chosen) * len(weights) // BATCH)):
            yield np.einsum("kc,tcd->tkd", weights, block).reshape(-1, 3)
