"""Skins: vertices that are moved by joints instead of their node."""

from __future__ import annotations

import numpy as np

from pix3d_onet.geometry.mesh.formats.gltf.accessors import Accessors
from pix3d_onet.geometry.mesh.formats.gltf.nodes import MAX_NODES, Tree
from pix3d_onet.geometry.mesh.formats.gltf.primitives import Primitive
from pix3d_onet.geometry.mesh.formats.soup import damaged, too_large
from pix3d_onet.types import Float64

MAX_SKINNED = 1_000_000
"""Most vertices of a primitive with a skin: each takes 400 bytes while it is moved."""


def joint_matrices(index: int, accessors: Accessors, tree: Tree) -> Float64:
    """(J, 4, 4): for each joint of a skin, the transform from the mesh's bind pose to the scene."""
    skin = accessors.document.root.item("skins", index)
    joints = skin.indices("joints")
    if len(joints) > MAX_NODES:
        raise too_large(f"{skin.what}: over {MAX_NODES} joints")
    if not joints or not all(k in tree.world for k in joints):
        raise damaged(f"{skin.what}: its joints are not nodes")
    matrices = np.stack([tree.world[k] for k in joints])
    if "inverseBindMatrices" in skin:
        place = skin.integer("inverseBindMatrices")
        if accessors.count(place) > MAX_NODES:
            raise too_large(f"{skin.what}: over {MAX_NODES} matrices")
        inverse = accessors.floats(place, "MAT4")
        if len(inverse) < len(joints):
            raise damaged(f"{skin.what}: {len(inverse)} matrices for {len(joints)} joints")
        matrices = matrices @ inverse[: len(joints)].reshape(-1, 4, 4).transpose(0, 2, 1)
    return matrices


def skinned(local: Float64, part: Primitive, matrices: Float64, accessors: Accessors) -> tuple[Float64, bool]:
    """(V, 3) vertices moved by the weighted ``matrices`` of their joints, and whether this mirrors them.

    The node's own transform is not applied (glTF 2.0, 3.7.3.3).
    """
    if len(local) > MAX_SKINNED:
        raise too_large(f"{part.spec.what}: {len(local)} vertices with a skin, at most {MAX_SKINNED} are read")
    blended, total = np.zeros((len(local), 3, 4)), np.zeros(len(local))
    sets = [k for k in range(8) if f"JOINTS_{k}" in part.attributes]
    for k in sets:
        joint = accessors.integers(part.attributes.integer(f"JOINTS_{k}"), "VEC4")
        weight = accessors.floats(part.attributes.integer(f"WEIGHTS_{k}"), "VEC4")
        if len(joint) != len(local) or len(weight) != len(local) or joint.max() >= len(matrices):
            raise damaged(f"{part.spec.what}: its joints do not fit its vertices or its skin")
        for column in range(4):
            blended += weight[:, column, None, None] * matrices[joint[:, column], :3]
            total += weight[:, column]
    if not sets or not (total > 0).all():
        raise damaged(f"{part.spec.what}: vertices without a joint")
    blended /= total[:, None, None]
    moved = np.einsum("vij,vj->vi", blended[:, :, :3], local) + blended[:, :, 3]
    return moved, bool(np.median(np.linalg.det(blended[:, :, :3])) < 0)
