"""Assemble a scene: the triangles of all meshes, placed by their nodes, instances and skins."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pix3d_onet.geometry.mesh.formats.gltf.accessors import Accessors
from pix3d_onet.geometry.mesh.formats.gltf.checked import Checked
from pix3d_onet.geometry.mesh.formats.gltf.container import (
    MAX_BUFFER_BYTES,
    SideFiles,
    check_extensions,
    check_used,
    external_uris,
    read_document,
)
from pix3d_onet.geometry.mesh.formats.gltf.nodes import IDENTITY, Tree, instance_count, instance_matrices
from pix3d_onet.geometry.mesh.formats.gltf.primitives import Primitive, surfaces, triangles
from pix3d_onet.geometry.mesh.formats.gltf.skins import joint_matrices, skinned
from pix3d_onet.geometry.mesh.formats.soup import MAX_FACES, Soup, damaged, too_large, unsupported
from pix3d_onet.types import Float64, Int64

FREE_ELEMENTS = 2_000_000
"""Vertices or faces allowed for a file of any size, since instances and strips make many from few bytes."""
BYTES_PER_ELEMENT = 2
"""Bytes per vertex or face of a larger file; without compression an index takes one, a vertex three."""
UNPACKED_PER_BYTE = 32
"""Bytes to which compressed buffer views may unpack, per byte of the file; meshopt usually needs below 10."""


@dataclass(frozen=True, slots=True, eq=False)
class Placement:
    """``count`` instances of ``mesh`` (its index) at ``node``; ``world`` (4, 4): the node's transform to the scene.

    ``node`` is None for a file without nodes.
    """

    mesh: int
    node: Checked | None
    world: Float64
    count: int


def parse_gltf(data: bytes, files: SideFiles) -> Soup:
    """Triangles of the default scene in its rest pose: skins and morph weights are applied, animations are not.

    Without scenes, all nodes are used; without nodes, the only mesh. The winding of mirrored instances is reversed, so
    that the outside stays outside. RejectError for required features that are not read, and, before memory is
    allocated, for a scene too large for the file's size.
    """
    document = read_document(data)
    root = document.root
    check_extensions(root)
    size = len(data) + files.size(external_uris(root))
    if size > MAX_BUFFER_BYTES:
        raise too_large(f"with its buffers over {MAX_BUFFER_BYTES >> 20} MiB")
    budget = min(MAX_FACES, max(FREE_ELEMENTS, size // BYTES_PER_ELEMENT))
    accessors = Accessors(document, files, budget, UNPACKED_PER_BYTE * max(FREE_ELEMENTS, size))
    tree = Tree(root)
    left_out: Counter[str] = Counter()
    placements = list(_placements(root, tree, accessors, left_out))
    meshes = {p.mesh: root.item("meshes", p.mesh) for p in placements}
    parts = {k: surfaces(mesh, accessors, left_out) for k, mesh in meshes.items()}
    for what in ("vertices", "faces"):
        total = sum(p.count * getattr(part, what) for p in placements for part in parts[p.mesh])
        if total > budget:
            raise too_large(f"its instances make {total} {what}, at most {budget} are read from a file of this size")
    left_out["animations"] += len(root.items("animations"))
    return _Builder(meshes, parts, accessors, tree, left_out).build(placements)


def _placements(root: Checked, tree: Tree, accessors: Accessors, left_out: Counter[str]) -> Iterator[Placement]:
    """The placements of all meshes in the scene; meshes outside it are counted in ``left_out``."""
    meshes = root.items("meshes")
    if not tree.nodes:
        if len(meshes) > 1:
            raise unsupported(f"{len(meshes)} meshes, but no nodes that place them")
        yield from (Placement(k, None, IDENTITY, 1) for k in range(len(meshes)))
        return
    taken = tree.below(_scene(root, tree))
    for k in taken:
        node = tree.nodes[k]
        check_used(node)
        if "mesh" in node:
            yield Placement(node.integer("mesh"), node, tree.world[k], instance_count(node, accessors))
    shown = set(taken)
    hidden = sum("mesh" in node for k, node in enumerate(tree.nodes) if k not in shown)
    left_out["meshes outside of the scene"] += hidden


def _scene(root: Checked, tree: Tree) -> list[int]:
    """The roots of the default scene: the one named, else the first, else all but coarser levels of detail."""
    if "scene" not in root and not root.items("scenes"):
        levels = [lod for node in tree.nodes if (lod := node.extension("MSFT_lod")) is not None]
        coarser = {k for lod in levels for k in lod.indices("ids")}
        return [k for k in tree.roots if k not in coarser]
    scene = root.item("scenes", root.integer("scene", 0))
    roots = scene.indices("nodes")
    if len(set(roots)) < len(roots) or not set(roots) <= set(tree.roots):
        raise damaged(f"{scene.what} lists a node twice, or one that is missing or has a parent")
    return roots


class _Builder:
    """Combines the triangles of all placements; each mesh is read only once."""

    def __init__(
        self,
        meshes: dict[int, Checked],
        parts: dict[int, list[Primitive]],
        accessors: Accessors,
        tree: Tree,
        left_out: Counter[str],
    ) -> None:
        self.meshes = meshes
        self.parts = parts
        self.accessors = accessors
        self.tree = tree
        self.left_out = left_out
        self.read: dict[tuple[int, tuple[float, ...] | None], list[tuple[Float64, Int64]]] = {}
        self.joints: dict[int, Float64] = {}

    def build(self, placements: list[Placement]) -> Soup:
        """The triangles of all placements; the arrays are allocated once, with their final size."""
        sizes = [(p.count, part) for p in placements for part in self.parts[p.mesh]]
        vertices = np.empty((sum(n * part.vertices for n, part in sizes), 3))
        faces = np.empty((sum(n * part.faces for n, part in sizes), 3), dtype=np.int64)
        v = f = 0
        for placement in placements:
            for moved, own in self._placed(placement):
                instances, each = moved.shape[:2]
                count, rows = instances * each, instances * own.shape[1]
                vertices[v : v + count] = moved.reshape(-1, 3)
                shift = v + each * np.arange(instances)[:, None, None]
                block = faces[f : f + rows].reshape(instances, -1, 3)
                np.add(own, shift, out=block)
                # an index out of range must not refer to a vertex of the next part
                block[np.broadcast_to(own >= each, block.shape)] = -1
                v, f = v + count, f + rows
        return Soup(vertices, faces, left_out=self.left_out)

    def _placed(self, placement: Placement) -> Iterator[tuple[Float64, Int64]]:
        """For each primitive: (N, V, 3) vertices and (N, F, 3), or (1, F, 3), faces of its N instances;
        indices start at 0 in each."""
        node, matrices = placement.node, placement.world[None]
        if node is not None:
            matrices = matrices @ instance_matrices(node, placement.count, self.accessors)
        mirrored = np.linalg.det(matrices[:, :3, :3]) < 0
        for part, (local, own) in zip(self.parts[placement.mesh], self._local(placement), strict=True):
            if node is not None and "skin" in node:
                moved, flipped = skinned(local, part, self._joints(node.integer("skin")), self.accessors)
                yield moved[None], (own[:, ::-1] if flipped else own)[None]
            else:
                moved = local @ matrices[:, :3, :3].transpose(0, 2, 1)
                moved += matrices[:, None, :3, 3]
                yield moved, np.where(mirrored[:, None, None], own[:, ::-1], own) if mirrored.any() else own[None]

    def _local(self, placement: Placement) -> list[tuple[Float64, Int64]]:
        """Vertices and faces of the mesh's primitives in the mesh's frame, with the morph weights of the node or,
        without, of the mesh."""
        node = placement.node
        own = _weights(node) if node is not None and "weights" in node else None
        key = (placement.mesh, own)
        if key not in self.read:
            weights = _weights(self.meshes[placement.mesh]) if own is None else own
            parts = self.parts[placement.mesh]
            self.read[key] = [triangles(part, self.accessors, weights) for part in parts]
            if not any(weights):
                self.left_out["morph targets"] += sum(len(part.spec.items("targets")) for part in parts)
        return self.read[key]

    def _joints(self, skin: int) -> Float64:
        if skin not in self.joints:
            self.joints[skin] = joint_matrices(skin, self.accessors, self.tree)
        return self.joints[skin]


def _weights(holder: Checked) -> tuple[float, ...]:
    """Morph weights of a node or mesh; none if it has none."""
    values = holder.get("weights", [])
    return tuple(holder.numbers("weights", len(values) if isinstance(values, list) else 0, ()))
