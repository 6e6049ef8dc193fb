"""Convert a mesh's primitives to triangles in the mesh's frame: lists, strips, fans, Draco, morph targets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pix3d_onet.geometry.mesh.formats.gltf.accessors import Accessors
from pix3d_onet.geometry.mesh.formats.gltf.checked import Checked
from pix3d_onet.geometry.mesh.formats.gltf.compression import draco_mesh, installed
from pix3d_onet.geometry.mesh.formats.gltf.container import check_used
from pix3d_onet.geometry.mesh.formats.soup import damaged, too_large, unsupported
from pix3d_onet.geometry.mesh.formats.strips import fan_triangles, strip_triangles
from pix3d_onet.types import Float64, Int64

POINTS, TRIANGLES, STRIP, FAN = 0, 4, 5, 6
MORPHED_PER_ELEMENT = 16
"""Most vertices of a primitive's morph targets, as a multiple of the file's budget of vertices."""
DRACO = "KHR_draco_mesh_compression"


@dataclass(frozen=True, slots=True, eq=False)
class Primitive:
    """A primitive with a surface; ``vertices`` and ``faces``: their numbers as declared in the JSON."""

    spec: Checked
    attributes: Checked
    mode: int
    vertices: int
    faces: int


def surfaces(mesh: Checked, accessors: Accessors, left_out: Counter[str]) -> list[Primitive]:
    """The primitives of a mesh that have a surface; others are counted in ``left_out``. Reads only the JSON."""
    check_used(mesh)
    found = []
    for spec in mesh.items("primitives"):
        check_used(spec)
        attributes, mode = spec.part("attributes"), spec.integer("mode", TRIANGLES, high=FAN)
        if mode < TRIANGLES:
            left_out["points" if mode == POINTS else "lines"] += 1
        elif "POSITION" not in attributes:
            left_out["primitives without positions"] += 1
        else:
            vertices = accessors.count(attributes.integer("POSITION"))
            corners = accessors.count(spec.integer("indices")) if "indices" in spec else vertices
            if mode == TRIANGLES and corners % 3:
                raise damaged(f"{spec.what}: {corners} corners, not a multiple of 3")
            faces = corners // 3 if mode == TRIANGLES else max(0, corners - 2)
            found.append(Primitive(spec, attributes, mode, vertices, faces))
    return found


def triangles(primitive: Primitive, accessors: Accessors, weights: Sequence[float]) -> tuple[Float64, Int64]:
    """(V, 3) vertices and (F, 3) faces of a primitive; morph targets are added with their ``weights``."""
    spec, position = primitive.spec, primitive.attributes.integer("POSITION")
    packed = spec.extension(DRACO)
    if packed is not None and not installed("DracoPy") and accessors.has_data(position):
        packed = None  # use the uncompressed copy
    if packed is not None:
        vertices, faces = _draco(primitive, packed, accessors, position)
    else:
        vertices = accessors.floats(position, "VEC3")
        faces = _faces(_corners(primitive, accessors, len(vertices)), primitive.mode)
    return _morphed(vertices, spec, accessors, weights), faces


def _corners(primitive: Primitive, accessors: Accessors, vertices: int) -> Int64:
    """(N,) indices. RejectError for a strip or fan with the restart value, which glTF 2.0 (3.7.2.1) forbids."""
    if "indices" not in primitive.spec:
        return np.arange(vertices)
    index = primitive.spec.integer("indices")
    corners = accessors.integers(index)[:, 0]
    if primitive.mode != TRIANGLES and (corners == np.iinfo(accessors.component(index)).max).any():
        raise damaged(f"{primitive.spec.what}: its strip has primitive restarts")
    return corners


def _faces(corners: Int64, mode: int) -> Int64:
    if mode == STRIP:
        return strip_triangles(corners)
    return fan_triangles(corners) if mode == FAN else corners.reshape(-1, 3)


def _draco(primitive: Primitive, packed: Checked, accessors: Accessors, position: int) -> tuple[Float64, Int64]:
    if primitive.mode != TRIANGLES or accessors.component(position) != "<f4":
        raise unsupported(f"{primitive.spec.what}: Draco with strips or integer positions")
    vertices, faces = draco_mesh(accessors.bytes_of(packed.integer("bufferView")))
    if (len(vertices), len(faces)) != (primitive.vertices, primitive.faces):
        declared = f"{primitive.vertices} vertices and {primitive.faces} triangles"
        raise damaged(f"{packed.what}: {len(vertices)} vertices and {len(faces)} triangles, but declared {declared}")
    return vertices, faces


def _morphed(vertices: Float64, spec: Checked, accessors: Accessors, weights: Sequence[float]) -> Float64:
    targets = spec.items("targets")
    if not any(weights) or not targets:
        return vertices
    if len(weights) != len(targets):
        raise damaged(f"{spec.what}: {len(targets)} morph targets, {len(weights)} weights")
    if np.count_nonzero(weights) * len(vertices) > MORPHED_PER_ELEMENT * accessors.budget:
        raise too_large(f"{spec.what}: {len(targets)} morph targets of {len(vertices)} vertices")
    for target, weight in zip(targets, weights, strict=True):
        if weight and "POSITION" in target:
            moved = accessors.floats(target.integer("POSITION"), "VEC3")
            if len(moved) != len(vertices):
                raise damaged(f"{target.what}: {len(moved)} positions for {len(vertices)} vertices")
            vertices = vertices + weight * moved
    return vertices
