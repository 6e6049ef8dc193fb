"""Write meshes to .glb, .obj, .ply, .stl and .off files."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import numpy as np

from pix3d_onet.config import MeshFormat
from pix3d_onet.errors import InputError
from pix3d_onet.files import writing
from pix3d_onet.types import Float64, Mesh

MATERIAL = {"baseColorFactor": [0.55, 0.62, 0.72, 1.0], "metallicFactor": 0.0, "roughnessFactor": 0.8}
"""Material of .glb files: a light grey-blue (linear RGBA), matt; glTF's default is metallic."""
LEAST_NORMAL = 1e-9
"""A weighted sum of unit normals that is shorter than this has no direction."""


def write_mesh(path: Path, mesh: Mesh, normals: Float64 | None = None) -> None:
    """Write a mesh atomically; the file extension gives the format. InputError for an unknown one.

    ``normals``: (V, 3) unit vertex normals, written if the format has them (.glb, .obj, .ply). A .glb always has
    normals (None: :func:`vertex_normals`) and a matt material, because viewers show it faceted and metallic without.
    """
    import trimesh

    suffix = path.suffix.lower()
    if suffix[1:] not in get_args(MeshFormat):
        raise InputError(f"cannot write {path.name}: the extension must be .{', .'.join(get_args(MeshFormat))}.")
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
    """(V, 3) unit normals: mean of the adjacent faces' normals, weighted by their angles (Thürmer and Wüthrich, 1998).

    The weights make the result independent of the triangulation. Without an adjacent face of non-zero area: (0, 1, 0).
    """
    corners = mesh.triangles  # (F, 3, 3)
    sides = np.roll(corners, -1, axis=1) - corners  # side k: from corner k to corner k + 1
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
