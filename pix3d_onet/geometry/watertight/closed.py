"""``none``: meshes that already bound solids; parts are oriented outward, except cavities.

A point is inside if its winding number is not 0. A part with inward winding would cancel solids that it overlaps, so
each part is flipped outward unless it is a cavity. A part completely inside others keeps its orientation relative to
them: the inner shell of a hollow solid stays a cavity, also in a mirrored file, where both are wound the wrong way. A
part is a set of faces that share vertices in the file, if it is closed; else a set of faces that touch.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pix3d_onet.errors import RejectError
from pix3d_onet.geometry.mesh.cleaning import distinct_corners
from pix3d_onet.geometry.mesh.inside.winding import winding_by_part
from pix3d_onet.geometry.mesh.topology import component_labels, edge_counts, measures_of_parts, unbalanced_edges
from pix3d_onet.types import Bool, Float64, Int64, Mesh

INWARD = 1e-6
"""Distance of test points below a part's surface, in longest sides of the mesh."""
TESTED_FACES = 64
"""Faces per part, evenly picked, with test points below them that show what surrounds the part."""
NEAR_CORNERS = np.array([[0.9, 0.05, 0.05], [0.05, 0.9, 0.05], [0.05, 0.05, 0.9]])
"""Barycentric coordinates of a face's test points."""


def closed(mesh: Mesh) -> Mesh:
    """``mesh`` (cleaned) with equal vertices merged and its parts oriented outward, except cavities.

    RejectError if it does not bound solids: ``not-watertight`` with the numbers of open and inconsistent edges,
    ``doubled-faces`` if a part has every face in both orientations.
    """
    vertices, index = np.unique(mesh.vertices, axis=0, return_inverse=True)
    faces = index.reshape(-1)[mesh.faces].astype(np.int64)
    proper = distinct_corners(faces)
    merged = Mesh(vertices, faces[proper])
    if len(merged.faces) == 0:
        raise RejectError("empty-mesh", "no usable face", "watertight")
    loose = unbalanced_edges(merged)
    if loose:
        boundary = edge_counts(merged)["boundary"]
        detail = f"{boundary} edges are open and {loose - boundary} are wound inconsistently"
        raise RejectError("not-watertight", f"the method none needs closed solids, but {detail}", "watertight")
    parts = _parts(merged, component_labels(Mesh(mesh.vertices, mesh.faces[proper]))[1])
    keys = _face_keys(merged, parts)
    if _cancels(keys).any():
        text = "a part has every face in both orientations, which bounds no solid; use the method tight"
        raise RejectError("doubled-faces", text, "watertight")
    flipped = merged.faces.copy()
    inward = _parts_to_flip(merged, parts, keys)[parts]
    flipped[inward] = flipped[inward][:, ::-1]
    return Mesh(vertices, flipped)


def _parts(merged: Mesh, joined: NDArray[np.int32]) -> NDArray[np.int32]:
    """(F,) int32 part of each face: ``joined`` (F,), the components by the file's vertices, where they are closed. A
    component of ``merged`` with one that is not closed is one part."""
    _, touching = component_labels(merged)
    start, end = merged.faces.reshape(-1), np.roll(merged.faces, -1, axis=1).reshape(-1)
    part = np.repeat(joined, 3)
    low, high = np.minimum(start, end), np.maximum(start, end)
    order = np.lexsort((high, low, part))
    part, low, high = part[order], low[order], high[order]
    first = np.r_[True, (np.diff(part) != 0) | (np.diff(low) != 0) | (np.diff(high) != 0)]
    net = np.add.reduceat(np.where(start < end, 1, -1)[order], np.flatnonzero(first))
    open_parts = np.zeros(int(joined.max()) + 1, dtype=np.bool_)
    open_parts[part[first][net != 0]] = True
    whole = np.zeros(int(touching.max()) + 1, dtype=np.bool_)
    whole[touching[open_parts[joined]]] = True
    names = np.where(whole[touching], touching, joined + len(whole))
    return np.unique(names, return_inverse=True)[1].reshape(-1).astype(np.int32)


def _face_keys(merged: Mesh, parts: NDArray[np.int32]) -> Int64:
    """(F, 5) int64 rows (part, three vertices ascending, orientation 1 or -1), sorted."""
    corners = np.sort(merged.faces, axis=1)
    a, b, c = merged.faces.T
    way = np.where((a < b).astype(int) + (b < c) + (c < a) == 2, 1, -1)
    keys = np.column_stack([parts, corners, way]).astype(np.int64)
    order: Int64 = keys[np.lexsort(keys.T[::-1])]
    return order


def _cancels(keys: Int64) -> Bool:
    """(K,) bool: parts that have every face equally often in both orientations."""
    first = np.r_[True, (np.diff(keys[:, :4], axis=0) != 0).any(axis=1)]
    net = np.add.reduceat(keys[:, 4], np.flatnonzero(first))
    alive = np.zeros(int(keys[:, 0].max()) + 1, dtype=np.bool_)
    alive[keys[first, 0][net != 0]] = True
    return ~alive


def _parts_to_flip(merged: Mesh, parts: NDArray[np.int32], keys: Int64) -> Bool:
    """(K,) bool: parts whose faces must be reversed."""
    count = int(parts.max()) + 1
    _, volumes = measures_of_parts(merged, parts, count)
    turn = np.zeros(count, dtype=np.bool_)
    if not (volumes < 0).any():
        return turn
    if count == 1:
        return volumes < 0
    copies = _reversed_copies(keys, volumes)
    owner, point = _points_inside(merged, parts, volumes)
    asked, around, winding = winding_by_part(merged, point, parts)
    rank = np.empty(count, dtype=np.int64)
    rank[np.argsort(-np.abs(volumes), kind="stable")] = np.arange(count)
    larger = rank[around] < rank[owner[asked]]
    asked, around, winding = asked[larger], around[larger], winding[larger]
    bounds = np.searchsorted(owner, np.arange(count + 1))
    at = np.searchsorted(asked, bounds)
    for part in np.argsort(rank):
        mine = slice(at[part], at[part + 1])
        size = bounds[part + 1] - bounds[part]
        row = asked[mine] - bounds[part]
        was = np.bincount(row, weights=winding[mine], minlength=size)
        now = np.bincount(row, weights=np.where(turn[around[mine]], -winding[mine], winding[mine]), minlength=size)
        if (now != 0).all() and part not in copies:  # inside larger parts: keeps its orientation relative to them
            turn[part] = (now == -was).all()
        else:
            turn[part] = volumes[part] < 0
    return turn


def _reversed_copies(keys: Int64, volumes: Float64) -> set[int]:
    """Inward parts whose faces are those of an outward part, reversed: doubled walls, not cavities."""
    bounds = np.searchsorted(keys[:, 0], np.arange(len(volumes) + 1))
    solids = {keys[bounds[k] : bounds[k + 1], 1:4].tobytes() for k in np.flatnonzero(volumes > 0)}
    return {int(k) for k in np.flatnonzero(volumes < 0) if keys[bounds[k] : bounds[k + 1], 1:4].tobytes() in solids}


def _points_inside(merged: Mesh, parts: NDArray[np.int32], volumes: Float64) -> tuple[Int64, Float64]:
    """Test points just below some faces of each part: (P,) int64 part (ascending), and (P, 3) points."""
    order = np.argsort(parts, kind="stable")
    bounds = np.searchsorted(parts[order], np.arange(len(volumes) + 1))
    picked = []
    for low, high in pairwise(bounds):
        some = min(high - low, TESTED_FACES)
        picked.append(order[low + np.arange(some) * (high - low) // some])
    chosen = np.concatenate(picked)
    corners = merged.triangles[chosen]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    inward = -np.sign(volumes)[parts[chosen]] * INWARD * float(np.ptp(merged.bounds, axis=0).max())
    points = NEAR_CORNERS @ corners + (normals * inward[:, None])[:, None]
    return np.repeat(parts[chosen].astype(np.int64), len(NEAR_CORNERS)), points.reshape(-1, 3)
