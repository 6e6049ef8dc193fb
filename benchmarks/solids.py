"""Solids with an inside test, volume and surface in closed form, as meshes with overlapping parts.

Each solid is a union of boxes, cylinders, a sphere or a torus, each a closed mesh. If parts overlap, the mesh has faces
inside the solid, like CAD models of chairs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pix3d_onet.types import Mesh

Points = NDArray[np.float64]
SEGMENTS = 96
"""Sides of round parts; the closed forms below are of these prisms, not of ideal cylinders."""


@dataclass(frozen=True)
class Part:
    """A closed mesh and its exact inside test on (N, 3) points."""

    mesh: Mesh
    inside: Callable[[Points], NDArray[np.bool_]]


@dataclass(frozen=True)
class Solid:
    """The union of ``parts``. ``thin``: has parts of 1.2 voxels at 256³."""

    name: str
    parts: tuple[Part, ...]
    thin: bool = False

    @property
    def mesh(self) -> Mesh:
        """All parts' faces in one mesh, overlaps and all."""
        vertices, faces, offset = [], [], 0
        for part in self.parts:
            vertices.append(part.mesh.vertices)
            faces.append(part.mesh.faces + offset)
            offset += len(part.mesh.vertices)
        return Mesh(np.concatenate(vertices), np.concatenate(faces))

    def inside(self, points: Points) -> NDArray[np.bool_]:
        """(N,) bool: exact occupancy of the union."""
        return np.any([part.inside(points) for part in self.parts], axis=0)


def _trimesh(mesh: object) -> Mesh:
    return Mesh(mesh.vertices, mesh.faces)  # type: ignore[attr-defined]


def box(low: tuple[float, float, float], high: tuple[float, float, float]) -> Part:
    import trimesh

    a, b = np.array(low), np.array(high)
    mesh = trimesh.creation.box(b - a)
    mesh.apply_translation((a + b) / 2)
    return Part(_trimesh(mesh), lambda p: ((p > a) & (p < b)).all(axis=1))


def rod(start: tuple[float, float, float], end: tuple[float, float, float], radius: float) -> Part:
    """A prism of SEGMENTS sides from ``start`` to ``end``."""
    import trimesh

    a, b = np.array(start), np.array(end)
    mesh = trimesh.creation.cylinder(radius, segment=np.array([a, b]), sections=SEGMENTS)
    hull = mesh.convex_hull
    normals, offsets = hull.face_normals, np.einsum("ij,ij->i", hull.face_normals, hull.triangles[:, 0])

    def inside(p: Points) -> NDArray[np.bool_]:
        near = np.ones(len(p), dtype=bool)
        axis = (b - a) / np.linalg.norm(b - a)
        along = (p - a) @ axis
        near &= (along > 0) & (along < np.linalg.norm(b - a))
        near[near] = np.linalg.norm(p[near] - a - along[near, None] * axis, axis=1) <= radius
        near[near] = (p[near] @ normals.T < offsets).all(axis=1)
        return near

    return Part(_trimesh(mesh), inside)


def ball(radius: float) -> Part:
    import trimesh

    mesh = trimesh.creation.icosphere(subdivisions=5, radius=radius)
    inner = radius * (1 - 1e-3)  # between the inscribed mesh and the ball the mesh's planes decide
    normals, offsets = mesh.face_normals, np.einsum("ij,ij->i", mesh.face_normals, mesh.triangles[:, 0])

    def inside(p: Points) -> NDArray[np.bool_]:
        r = np.linalg.norm(p, axis=1)
        result = r < inner
        shell = (r >= inner) & (r <= radius)
        if shell.any():
            result[shell] = [bool((normals @ q < offsets).all()) for q in p[shell]]
        return result

    return Part(_trimesh(mesh), inside)


def torus(major: float, minor: float) -> Part:
    import trimesh

    mesh = trimesh.creation.torus(major, minor, major_sections=512, minor_sections=256)
    return Part(_trimesh(mesh), lambda p: np.hypot(np.hypot(p[:, 0], p[:, 1]) - major, p[:, 2]) < minor)


def chair(thickness: float, *, name: str, thin: bool = False) -> Solid:
    """A chair of overlapping boxes and cylinders, 1 high; ``thickness``: of legs and spindles."""
    r = thickness / 2
    parts = [box((-0.25, 0.40, -0.25), (0.25, 0.45, 0.25)), box((-0.25, 0.9, 0.19), (0.25, 1.0, 0.24))]
    parts += [rod((x, 0.0, z), (x, 0.42, z), r) for x in (-0.2, 0.21) for z in (-0.22, 0.2)]
    parts += [rod((x, 0.42, 0.215), (x * 1.1, 0.95, 0.215), r) for x in (-0.2, -0.07, 0.08, 0.2)]
    parts += [box((-0.2, 0.2 - r, -0.22 - r), (0.21, 0.2 + r, -0.22 + r))]
    return Solid(name, tuple(parts), thin)


def solids() -> tuple[Solid, ...]:
    """Sphere, box, torus, chair, chair with rods of 1.2 voxels at 256³ (the longest side spans 230.4 voxels)."""
    return (
        Solid("sphere", (ball(0.5),)),
        Solid("box", (box((-0.5, -0.3, -0.2), (0.5, 0.3, 0.2)),)),
        Solid("torus", (torus(0.35, 0.12),)),
        chair(0.04, name="chair"),
        chair(1.2 / 230.4, name="thin chair", thin=True),
    )
