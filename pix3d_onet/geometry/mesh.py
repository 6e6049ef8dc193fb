"""Reading, cleaning and writing triangle meshes. Nothing outside the root is opened, nothing is trusted.

trimesh parses the formats; its objects do not leave this file.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from trimesh.resolvers import Resolver

from pix3d_onet.errors import InputError, RejectError
from pix3d_onet.files import inside, writing
from pix3d_onet.geometry._components import face_components
from pix3d_onet.geometry._edges import count_edges
from pix3d_onet.geometry._measure import areas, signed_volume
from pix3d_onet.geometry.obj import parse_obj
from pix3d_onet.types import Bool, Float64, Mesh, Normalisation

MESH_SUFFIXES = (".obj", ".off", ".ply", ".stl", ".glb", ".gltf")
"""Formats that ``load_mesh`` reads, by file name ending (case does not matter)."""

MAX_MESH_BYTES = 1 << 30
"""Larger files are rejected unread."""

MAX_FACES = 20_000_000
"""More faces than any model of the field has; guards memory against a lying header."""

MAX_ABS_COORDINATE = 1e150
"""Beyond it squares overflow float64; such files are damaged."""

MIN_RELATIVE_EXTENT = 1e-12
"""A model whose longest side is a smaller share of its distance from the origin has lost its shape to rounding."""

MATERIAL = {"baseColorFactor": [0.55, 0.62, 0.72, 1.0], "metallicFactor": 0.0, "roughnessFactor": 0.8}
"""glTF's material of what is written: a light grey-blue (linear RGBA), matt. glTF's own default is a metal."""

LEAST_NORMAL = 1e-9
"""A sum of unit normals times angles that is shorter has no direction."""

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


def clean(mesh: Mesh) -> Mesh:
    """Drop faces with bad indices, NaN or infinite corners or equal corners; then vertices that none uses.

    Raises RejectError (stage ``mesh``): ``empty-mesh`` when no face is left, ``bad-extent`` when the box is a point
    or too large or too small for its coordinates to mean anything.
    """
    vertices, faces = mesh.vertices, mesh.faces
    if len(faces) > MAX_FACES:
        raise RejectError("mesh-too-large", f"{len(faces)} faces, at most {MAX_FACES} are read", "mesh")
    faces = faces[((faces >= 0) & (faces < len(vertices))).all(axis=1)]
    with np.errstate(invalid="ignore"):
        good: Bool = np.all(np.abs(vertices) < MAX_ABS_COORDINATE, axis=1)
    if len(faces):
        faces = faces[good[faces].all(axis=1)]
    a, b, c = faces[:, 0], faces[:, 1], faces[:, 2]
    faces = faces[(a != b) & (b != c) & (c != a)]
    if len(faces) == 0:
        raise RejectError("empty-mesh", "no usable face", "mesh")
    used = np.zeros(len(vertices), dtype=bool)
    used[faces] = True
    if not used.all():
        faces = (np.cumsum(used) - 1)[faces]
        vertices = vertices[used]
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    extent = float((high - low).max())
    reach = float(np.abs(np.stack([low, high])).max())
    if extent <= MIN_RELATIVE_EXTENT * reach or extent < 1.0 / MAX_ABS_COORDINATE:
        raise RejectError("bad-extent", f"the model's longest side is {extent:g} at {reach:g} from the origin", "mesh")
    return Mesh(vertices, faces)


def box_normalisation(mesh: Mesh) -> Normalisation:
    """The normalisation that centres the mesh's bounding box at the origin and makes its longest side 1."""
    low, high = mesh.bounds
    return Normalisation((low + high) / 2, float((high - low).max()))


def transformed(mesh: Mesh, normalisation: Normalisation) -> Mesh:
    """The mesh in the normalised frame."""
    return Mesh(normalisation.apply(mesh.vertices), mesh.faces)


def merge_vertices(mesh: Mesh) -> Mesh:
    """The same triangles with exactly equal vertices made one; faces that collapse are dropped."""
    vertices, index = np.unique(mesh.vertices, axis=0, return_inverse=True)
    faces = index.reshape(-1)[mesh.faces]
    a, b, c = faces[:, 0], faces[:, 1], faces[:, 2]
    return Mesh(vertices, faces[(a != b) & (b != c) & (c != a)])


def write_mesh(path: Path, mesh: Mesh, normals: Float64 | None = None) -> None:
    """Write a mesh atomically; the format follows the ending (.glb .obj .ply .stl .off). InputError for another.

    ``normals`` (V, 3) unit, of the vertices, go along where the format has them (.glb, .obj, .ply). A .glb always gets
    normals, :func:`vertex_normals` where none are given, and a matt material: without, viewers show flat, metal faces.
    """
    import trimesh

    suffix = path.suffix.lower()
    if suffix not in (".glb", ".obj", ".ply", ".stl", ".off"):
        raise InputError(f"cannot write {path.name}: take .glb, .obj, .ply, .stl or .off.")
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


def edge_counts(mesh: Mesh) -> Mapping[str, int]:
    """Counts of undirected edges by how many faces use them, and of winding clashes.

    Keys ``boundary`` (one face), ``regular`` (two), ``nonmanifold`` (more), ``clashes`` (directed edges used twice).
    A mesh is watertight with consistent winding iff only ``regular`` is not zero.
    """
    counts = count_edges(mesh.faces, len(mesh.vertices))
    return dict(zip(("boundary", "regular", "nonmanifold", "clashes"), map(int, counts), strict=False))


def unbalanced_edges(mesh: Mesh) -> int:
    """Undirected edges that not as many faces use one way round as the other.

    Where there is none, the winding number is an integer everywhere off the surface: the mesh bounds solids.
    """
    return int(count_edges(mesh.faces, len(mesh.vertices))[4])


def is_watertight(mesh: Mesh) -> bool:
    """Every edge is used by exactly two faces, once in each direction."""
    counts = edge_counts(mesh)
    return len(mesh.faces) > 0 and counts["boundary"] == counts["nonmanifold"] == counts["clashes"] == 0


def volume(mesh: Mesh) -> float:
    """Signed volume by the divergence theorem; positive when faces wind counter-clockwise seen from outside."""
    if len(mesh.faces) == 0:
        return 0.0
    return float(signed_volume(mesh.vertices, mesh.faces, mesh.vertices.mean(axis=0)))


def face_areas(mesh: Mesh) -> np.ndarray[Any, np.dtype[np.float64]]:
    """(F,) float64 areas in squared units of the vertices."""
    found: np.ndarray[Any, np.dtype[np.float64]] = areas(mesh.vertices, mesh.faces)
    return found


def component_labels(mesh: Mesh) -> tuple[int, np.ndarray[Any, np.dtype[np.int32]]]:
    """Number of connected components (faces joined by shared vertices) and (F,) int32 component of every face."""
    count, labels = face_components(mesh.faces, len(mesh.vertices))
    return int(count), labels
