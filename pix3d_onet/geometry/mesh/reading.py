"""Reading, cleaning and writing triangle meshes. Nothing outside the root is opened, nothing is trusted.

trimesh parses the formats; its objects do not leave this file.
"""

from __future__ import annotations

import io
import logging
from pathlib import Path
from typing import Any

import numpy as np
from trimesh.resolvers import Resolver

from pix3d_onet.errors import RejectError
from pix3d_onet.files import inside
from pix3d_onet.geometry.mesh.cleaning import clean
from pix3d_onet.geometry.mesh.obj import parse_obj
from pix3d_onet.types import MESH_SUFFIXES, Mesh

MAX_MESH_BYTES = 1 << 30
"""Larger files are rejected unread."""
logging.getLogger("trimesh").setLevel(logging.CRITICAL)  # its log lines are not for our users


def load_mesh(path: Path, *, root: Path | None = None) -> Mesh:
    """Read a mesh file as one soup of triangles in its own frame; polygons are cut into triangles.

    Files that it refers to (glTF buffers) are opened only inside ``root`` (the file's folder when None); OBJ material
    libraries never. Raises RejectError (stage ``mesh``) with reason ``missing-mesh``, ``unreadable-mesh``,
    ``mesh-format``, ``mesh-too-large`` or one of :func:`clean`'s.
    """
    suffix = path.suffix.lower()
    if suffix not in MESH_SUFFIXES:
        raise RejectError("mesh-format", f"{path.name}: not one of {', '.join(MESH_SUFFIXES)}", "mesh")
    try:
        if path.stat().st_size > MAX_MESH_BYTES:
            raise RejectError("mesh-too-large", f"{path.name} has over {MAX_MESH_BYTES >> 20} MiB", "mesh")
        data = path.read_bytes()
    except FileNotFoundError:
        raise RejectError("missing-mesh", f"{path.name} does not exist", "mesh") from None
    except OSError as error:
        raise RejectError("unreadable-mesh", f"{path.name}: {error.strerror}", "mesh") from None
    return clean(_parse(data, suffix, path, root or path.parent))


def _parse(data: bytes, suffix: str, path: Path, root: Path) -> Mesh:
    try:
        if suffix == ".obj":
            return parse_obj(data)
        return _parse_with_trimesh(data, suffix, path, root)
    except RejectError:
        raise
    except MemoryError:
        raise RejectError(
            "mesh-too-large", f"{path.name}: its header asks for more memory than there is", "mesh"
        ) from None
    except Exception as error:  # noqa: BLE001 - parsers of damaged files raise anything; the record is rejected by name
        detail = f"{path.name}: {type(error).__name__}: {error}".splitlines()[0][:200]
        raise RejectError("unreadable-mesh", detail, "mesh") from None


def _parse_with_trimesh(data: bytes, suffix: str, path: Path, root: Path) -> Mesh:
    import trimesh

    resolver = _RootResolver(path.parent, root)
    options: dict[str, Any] = {"process": False, "resolver": resolver, "skip_materials": True}
    scene = trimesh.load_scene(io.BytesIO(data), file_type=suffix[1:], **options)
    vertices, faces, offset = [], [], 0
    for name in sorted(scene.graph.nodes_geometry):
        transform, geometry_name = scene.graph[name]
        geometry = scene.geometry[geometry_name]
        if not isinstance(geometry, trimesh.Trimesh) or len(geometry.faces) == 0:
            continue
        local = np.asarray(geometry.vertices, dtype=np.float64)
        vertices.append(local @ np.asarray(transform)[:3, :3].T + np.asarray(transform)[:3, 3])
        faces.append(np.asarray(geometry.faces, dtype=np.int64) + offset)
        offset += len(local)
    if not faces:
        return Mesh(np.zeros((0, 3)), np.zeros((0, 3), dtype=np.int64))
    return Mesh(np.concatenate(vertices), np.concatenate(faces))


class _RootResolver(Resolver):
    """Opens side files of a mesh (glTF buffers) only inside the root."""

    def __init__(self, folder: Path, root: Path) -> None:
        self.folder = folder
        self.root = root

    def get(self, name: str) -> bytes:
        relative = (self.folder / name).relative_to(self.root)
        path = inside(self.root, str(relative))
        if path.stat().st_size > MAX_MESH_BYTES:
            raise RejectError("mesh-too-large", f"{name} is too large", "mesh")
        return path.read_bytes()

    def write(self, name: str, data: bytes) -> None:
        raise PermissionError(name)

    def namespaced(self, namespace: str) -> Any:
        return _RootResolver(self.folder / namespace, self.root)

    def keys(self) -> list[str]:
        return []
