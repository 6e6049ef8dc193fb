"""The tree of nodes with their transforms, and the instances of EXT_mesh_gpu_instancing."""

from __future__ import annotations

import numpy as np

from pix3d_onet.geometry.mesh.formats.gltf.accessors import Accessors
from pix3d_onet.geometry.mesh.formats.gltf.checked import Checked
from pix3d_onet.geometry.mesh.formats.soup import damaged, too_large, unsupported
from pix3d_onet.types import Float64

INSTANCING = "EXT_mesh_gpu_instancing"
MAX_NODES = 100_000
MAX_INSTANCES = 1_000_000
"""Most instances of one node: each takes 300 bytes while it is placed."""
IDENTITY = np.eye(4)


class Tree:
    """All nodes of a document; ``world``: node → (4, 4) transform to the scene. RejectError unless they form trees."""

    def __init__(self, root: Checked) -> None:
        self.nodes = root.items("nodes", MAX_NODES)
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
            raise damaged("its nodes form a cycle")

    def below(self, roots: list[int]) -> list[int]:
        """The nodes of the trees below ``roots``, parents first, in the document's order."""
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
            raise damaged(f"{node.what} has both a matrix and translation, rotation or scale")
        matrix: Float64 = np.array(node.numbers("matrix", 16, ())).reshape(4, 4).T
        if np.abs(matrix[3] - IDENTITY[3]).max() > 1e-6:  # writers multiply matrices in float32
            raise unsupported(f"{node.what}: its matrix is not affine")
        matrix[3] = IDENTITY[3]
        return matrix
    translation = np.array(node.numbers("translation", 3, (0, 0, 0)))
    rotation = np.array(node.numbers("rotation", 4, (0, 0, 0, 1)))
    scale = np.array(node.numbers("scale", 3, (1, 1, 1)))
    return np.asarray(_composed(translation[None], rotation[None], scale[None], node)[0])


def _composed(translation: Float64, rotation: Float64, scale: Float64, holder: Checked) -> Float64:
    """(N, 4, 4) matrices of translations (N, 3), quaternions x, y, z, w (N, 4) and scales (N, 3)."""
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


def instance_count(node: Checked, accessors: Accessors) -> int:
    """Number of instances of a node's mesh."""
    extension = node.extension(INSTANCING)
    if extension is None:
        return 1
    if "skin" in node:
        raise unsupported(f"{node.what} has instances and a skin")
    attributes = extension.part("attributes")
    counts = {accessors.count(attributes.integer(name)) for name in attributes}
    if len(counts) != 1:
        raise damaged(f"{extension.what}: attributes of different lengths, or none")
    if (count := counts.pop()) > MAX_INSTANCES:
        raise too_large(f"{extension.what}: {count} instances, at most {MAX_INSTANCES} are read")
    return count


def instance_matrices(node: Checked, count: int, accessors: Accessors) -> Float64:
    """(count, 4, 4) transforms from the instances of a node's mesh to the node."""
    extension = node.extension(INSTANCING)
    if extension is None:
        return IDENTITY[None]
    attributes = extension.part("attributes")

    def values(name: str, kind: str, default: tuple[float, ...]) -> Float64:
        if name not in attributes:
            return np.tile(np.array(default, dtype=np.float64), (count, 1))
        return accessors.floats(attributes.integer(name), kind)

    translation, scale = values("TRANSLATION", "VEC3", (0, 0, 0)), values("SCALE", "VEC3", (1, 1, 1))
    return _composed(translation, values("ROTATION", "VEC4", (0, 0, 0, 1)), scale, extension)
