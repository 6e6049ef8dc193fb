"""The nodes of a scene: where every mesh stands, how often, mirrored or not, bent by a skin or not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pix3d_onet.geometry.mesh.formats.gltf.accessors import Accessors
from pix3d_onet.geometry.mesh.formats.gltf.checked import Checked
from pix3d_onet.geometry.mesh.formats.gltf.container import (
    Document,
    SideFiles,
    check_extensions,
    check_used,
    external_uris,
    read_document,
)
from pix3d_onet.geometry.mesh.formats.gltf.primitives import Primitive, surfaces, triangles
from pix3d_onet.geometry.mesh.formats.soup import MAX_FACES, Soup, damaged, too_large, unsupported
from pix3d_onet.types import Float64

INSTANCING = "EXT_mesh_gpu_instancing"
FREE_ELEMENTS = 2_000_000
"""Vertices or faces that a file of any size may give: instances and strips make more of a few bytes."""
IDENTITY = np.eye(4)


@dataclass(frozen=True, slots=True, eq=False)
class Placement:
    """A mesh at ``matrices`` (N, 4, 4) in the scene's frame; ``node`` is None for a file without nodes."""

    mesh: int
    node: Checked | None
    matrices: Float64


def parse_gltf(data: bytes, files: SideFiles) -> Soup:
    """Triangles of the default scene in its rest pose: animations are left out, skins and morph weights are applied.

    A file without scenes gives all its nodes, one without nodes its only mesh. Mirrored instances keep their outside
    out. RejectError for whatever is required and not read, and before anything is built that outgrows the file.
    """
    document = read_document(data)
    root = document.root
    check_extensions(root)
    size = len(data) + sum(files.size(uri) for uri in external_uris(root))
    budget = min(MAX_FACES, max(FREE_ELEMENTS, size))
    accessors = Accessors(document, files, budget)
    tree = _Tree(root)
    left_out: Counter[str] = Counter()
    placements = list(_placements(root, tree, accessors, left_out))
    parts = {p.mesh: surfaces(root.item("meshes", p.mesh), accessors, left_out) for p in placements}
    for what in ("vertices", "faces"):
        total = sum(len(p.matrices) * getattr(part, what) for p in placements for part in parts[p.mesh])
        if total > budget:
            raise too_large(f"its instances make {total} {what}, at most {budget} are read from a file of this size")
    left_out["animations"] += len(root.items("animations"))
    return _built(placements, parts, accessors, tree, left_out)


class _Tree:
    """All nodes of a document and their transforms. RejectError unless they form trees."""

    def __init__(self, root: Checked) -> None:
        self.nodes = root.items("nodes")
        self.children = [node.indices("children") for node in self.nodes]
        parents = [0] * len(self.nodes)
        for node, children in zip(self.nodes, self.children, strict=True):
            for child in children:
                if not 0 <= child < len(self.nodes):
                    raise damaged(f"{node.what}: there is no node {child}")
                parents[child] += 1
                if parents[child] > 1:
                    raise damaged(f"node {child} has two parents")
        self.roots = [k for k, count in enumerate(parents) if count == 0]
        self.world: dict[int, Float64] = {}
        waiting = [(k, IDENTITY) for k in self.roots]
        while waiting:
            k, above = waiting.pop()
            self.world[k] = above @ _local(self.nodes[k])
            waiting += [(child, self.world[k]) for child in self.children[k]]
        if len(self.world) < len(self.nodes):
            raise damaged("its nodes form a circle")

    def below(self, roots: list[int]) -> list[int]:
        """The nodes of the trees under ``roots``, parents first, in the document's order."""
        found, waiting = [], list(reversed(roots))
        while waiting:
            k = waiting.pop()
            found.append(k)
            waiting += reversed(self.children[k])
        return found


def _local(node: Checked) -> Float64:
    """(4, 4) transform of a node to its parent (glTF 2.0, 3.5.3)."""
    if "matrix" in node:
        if any(key in node for key in ("translation", "rotation", "scale")):
            raise damaged(f"{node.what} has a matrix and parts of one")
        matrix: Float64 = np.array(node.numbers("matrix", 16, ())).reshape(4, 4).T
        if not np.array_equal(matrix[3], (0, 0, 0, 1)):
            raise unsupported(f"{node.what}: its matrix is not affine")
        return matrix
    translation = np.array(node.numbers("translation", 3, (0, 0, 0)))
    rotation = np.array(node.numbers("rotation", 4, (0, 0, 0, 1)))
    scale = np.array(node.numbers("scale", 3, (1, 1, 1)))
    return np.asarray(_composed(translation[None], rotation[None], scale[None], node)[0])


def _composed(translation: Float64, rotation: Float64, scale: Float64, holder: Checked) -> Float64:
    """(N, 4, 4) of translations (N, 3), quaternions x, y, z, w (N, 4) and scales (N, 3)."""
    length = np.linalg.norm(rotation, axis=1, keepdims=True)
    if not (np.isfinite(length).all() and (length > 0.5).all()):
        raise damaged(f"{holder.what}: a rotation is not a unit quaternion")
    x, y, z, w = (rotation / length).T
    matrices = np.zeros((len(rotation), 4, 4))
    matrices[:, 0, :3] = np.stack([1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)], axis=1)
    matrices[:, 1, :3] = np.stack([2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)], axis=1)
    matrices[:, 2, :3] = np.stack([2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)], axis=1)
    matrices[:, :3, :3] *= scale[:, None, :]
    matrices[:, :3, 3] = translation
    matrices[:, 3, 3] = 1.0
    return matrices


def _placements(root: Checked, tree: _Tree, accessors: Accessors, left_out: Counter[str]) -> Iterator[Placement]:
    """Every mesh of the scene with where it stands."""
    meshes = root.items("meshes")
    if not tree.nodes:
        if len(meshes) > 1:
            raise unsupported(f"{len(meshes)} meshes and no node that places them")
        yield from (Placement(k, None, IDENTITY[None]) for k in range(len(meshes)))
        return
    taken = tree.below(_scene(root, tree))
    left_out["meshes outside of the scene"] += sum("mesh" in n for n in tree.nodes) - sum(
        "mesh" in tree.nodes[k] for k in taken
    )
    for k in taken:
        node = tree.nodes[k]
        check_used(node)
        if "mesh" not in node:
            continue
        mesh, matrices = node.integer("mesh"), tree.world[k][None]
        if (instances := node.extension(INSTANCING)) is not None:
            if "skin" in node:
                raise unsupported(f"{node.what} has instances and a skin")
            matrices = matrices @ _instances(instances, accessors)
        yield Placement(mesh, node, matrices)


def _scene(root: Checked, tree: _Tree) -> list[int]:
    """The roots of the default scene: the one named, else the first, else all."""
    if "scene" not in root and not root.items("scenes"):
        return tree.roots
    scene = root.item("scenes", root.integer("scene", 0))
    roots = scene.indices("nodes")
    if len(set(roots)) < len(roots) or not set(roots) <= set(tree.roots):
        raise damaged(f"{scene.what} lists a node twice, or one that is missing or has a parent")
    return roots


def _instances(extension: Checked, accessors: Accessors) -> Float64:
    """(N, 4, 4) of EXT_mesh_gpu_instancing."""
    attributes = extension.part("attributes")
    counts = {accessors.count(attributes.integer(name)) for name in attributes}
    if len(counts) != 1:
        raise damaged(f"{extension.what}: attributes of different lengths, or none")
    count = counts.pop()

    def values(name: str, kind: str, default: tuple[float, ...]) -> Float64:
        if name not in attributes:
            return np.tile(np.array(default), (count, 1))
        return accessors.floats(attributes.integer(name), kind)

    translation, scale = values("TRANSLATION", "VEC3", (0, 0, 0)), values("SCALE", "VEC3", (1, 1, 1))
    return _composed(translation, values("ROTATION", "VEC4", (0, 0, 0, 1)), scale, extension)


def _built(
    placements: list[Placement],
    parts: dict[int, list[Primitive]],
    accessors: Accessors,
    tree: _Tree,
    left_out: Counter[str],
) -> Soup:
    """All placements as one soup; the arrays have their final size from the start."""
    sizes = [(len(p.matrices), part) for p in placements for part in parts[p.mesh]]
    vertices = np.empty((sum(n * part.vertices for n, part in sizes), 3))
    faces = np.empty((sum(n * part.faces for n, part in sizes), 3), dtype=np.int64)
    v = f = 0
    for placement in placements:
        node = placement.node
        weights = _weights(placement, accessors.document)
        left_out["morph targets at rest"] += sum(len(part.spec.items("targets")) for part in parts[placement.mesh]) * (
            not any(weights)
        )
        for part in parts[placement.mesh]:
            local, own = triangles(part, accessors, weights)
            matrices = placement.matrices
            if node is not None and "skin" in node:
                local, mirrored = _skinned(local, part, node, accessors, tree)
                own, matrices = own[:, ::-1] if mirrored else own, IDENTITY[None]
            for matrix in matrices:
                vertices[v : v + len(local)] = local @ matrix[:3, :3].T + matrix[:3, 3]
                turned = own[:, ::-1] if np.linalg.det(matrix[:3, :3]) < 0 else own
                # An index behind this part's vertices must not point into the next part's.
                faces[f : f + len(own)] = np.where(turned < len(local), turned + v, -1)
                v, f = v + len(local), f + len(own)
    return Soup(vertices, faces, left_out=left_out)


def _weights(placement: Placement, document: Document) -> list[float]:
    """Weights of the morph targets: the node's, else the mesh's, else none."""
    mesh = document.root.item("meshes", placement.mesh)
    holder = placement.node if placement.node is not None and "weights" in placement.node else mesh
    values = holder.get("weights", [])
    return holder.numbers("weights", len(values) if isinstance(values, list) else 0, ())


def _skinned(local: Float64, part: Primitive, node: Checked, accessors: Accessors, tree: _Tree) -> tuple[Float64, bool]:
    """Vertices moved by their joints (glTF 2.0, 3.7.3.3: the node's own transform does not count), and whether that
    mirrors them."""
    skin = accessors.document.root.item("skins", node.integer("skin"))
    joints = skin.indices("joints")
    if not joints or not all(k in tree.world for k in joints):
        raise damaged(f"{skin.what}: its joints are not nodes")
    matrices = np.stack([tree.world[k] for k in joints])
    if "inverseBindMatrices" in skin:
        inverse = accessors.floats(skin.integer("inverseBindMatrices"), "MAT4")
        if len(inverse) < len(joints):
            raise damaged(f"{skin.what}: {len(inverse)} matrices for {len(joints)} joints")
        matrices = matrices @ inverse[: len(joints)].reshape(-1, 4, 4).transpose(0, 2, 1)
    blended, total = np.zeros((len(local), 3, 4)), np.zeros(len(local))
    sets = [k for k in range(8) if f"JOINTS_{k}" in part.attributes]
    for k in sets:
        joint = accessors.integers(part.attributes.integer(f"JOINTS_{k}"), "VEC4")
        weight = accessors.floats(part.attributes.integer(f"WEIGHTS_{k}"), "VEC4")
        if len(joint) != len(local) or len(weight) != len(local) or joint.max() >= len(joints):
            raise damaged(f"{part.spec.what}: its joints do not fit its vertices or its skin")
        for column in range(4):
            blended += weight[:, column, None, None] * matrices[joint[:, column], :3]
            total += weight[:, column]
    if not sets or not (total > 0).all():
        raise damaged(f"{part.spec.what}: vertices that no joint holds")
    blended /= total[:, None, None]
    moved = np.einsum("vij,vj->vi", blended[:, :, :3], local) + blended[:, :, 3]
    return moved, bool(np.median(np.linalg.det(blended[:, :, :3])) < 0)
