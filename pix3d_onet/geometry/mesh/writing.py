"""Meshes to files: .glb, .obj, .ply, .stl, .off."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import numpy as np

from pix3d_onet.config import MeshFormat
from pix3d_onet.errors import InputError
from pix3d_onet.files import writing
from pix3d_onet.types import Float64, Mesh

MATERIAL = {"baseColorFactor": [0.55, 0.62, 0.72, 1.0], "metallicFactor": 0.0, "roughnessFactor": 0.8}
"""glTF's material of what is written: a light grey-blue (linear RGBA), matt. glTF's own default is a metal."""
LEAST_NORMAL = 1e-9
"""A sum of unit normals times angles that is shorter has no direction."""


def write_mesh(path: Path, mesh: Mesh, normals: Float64 | None = None) -> None:
    """Write a mesh atomically; the format follows the ending (.glb .obj .ply .stl .off). InputError for another.

    ``normals`` (V, 3) unit, of the vertices, go along where the format has them (.glb, .obj, .ply). A .glb always gets
    normals, :func:`vertex_normals` where none are given, and a matt material: without, viewers show flat, metal faces.
    """
    import trimesh

    suffix = path.suffix.lower()
    if suffix[1:] not in get_args(MeshFormat):
        raise InputError(f"cannot write {path.name}: take .{', .'.join(get_args(MeshFormat))}.")
    if suffix == ".glb" and normals is None:
        normals = vertex_normals(mesh)
    body: Any = trimesh.Trimesh(mesh.vertices, mesh.faces, vertex_normals=normals, process=False)
    if suffix == ".glb":
        visual: Any = trimesh.visual
        body.visual = visual.TextureVisuals(material=visual.material.PBRMaterial(**MATERIAL))
        scene: Any = trimesh.Scene([body])
        exported = scene.export(file_type="glb", include_normals=True)
    else:
        exported = body.export(file_type=suffix[1:])
    with writing(path) as part:
        part.write_bytes(exported.encode() if isinstance(exported, str) else exported)


def vertex_normals(mesh: Mesh) -> Float64:
    """(V, 3) unit normals: those of the faces around a vertex, weighted by their angle there (Thürmer and Wüthrich,
    1998), so that no triangulation shows. Vertices of no face with an area point up (0, 1, 0).
    """
    corners = mesh.triangles  # (F, 3, 3)
    sides = np.roll(corners, -1, axis=1) - corners  # side k leads from corner k to corner k + 1
    crosses = np.cross(sides[:, 0], sides[:, 1])
    with np.errstate(divide="ignore", invalid="ignore"):
        flat = np.nan_to_num(crosses / np.linalg.norm(crosses, axis=1, keepdims=True))
        sides = np.nan_to_num(sides / np.linalg.norm(sides, axis=2, keepdims=True))
    angles = np.arccos(np.clip(-(sides * np.roll(sides, 1, axis=1)).sum(axis=2), -1.0, 1.0))  # (F, 3)
    weighted = (angles[..., None] * flat[:, None]).reshape(-1, 3)
    index = mesh.faces.reshape(-1)
    summed = np.stack([np.bincount(index, weighted[:, k], len(mesh.vertices)) for k in range(3)], axis=1)
    length = np.linalg.norm(summed, axis=1, keepdims=True)
    normals: Float64 = np.where(length > LEAST_NORMAL, summed / np.maximum(length, LEAST_NORMAL), (0.0, 1.0, 0.0))
    return normals
