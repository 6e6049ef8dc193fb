"""``none``: meshes that bound solids already, and which of their parts are solids and which are cavities.

A point is inside where the winding number is not 0. Parts that are wound inward would cancel solids that they overlap,
so every part is turned outward, but for cavities. A part that lies wholly inside of others stays, relative to these,
what it was: the inner shell of a hollow solid is a cavity, also in a mirrored file, in which both are wound the wrong
way. A part is what the file joins by shared vertices, where that is closed of itself; otherwise what touches.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pix3d_onet.errors import RejectError
from pix3d_onet.geometry.mesh.inside.winding import winding_by_part
from pix3d_onet.geometry.mesh.topology import component_labels, edge_counts, measures_of_parts, unbalanced_edges
from pix3d_onet.types import Bool, Float64, Int64, Mesh

INWARD = 1e-6
"""Longest sides by which points beside a part's surface are moved into it."""
ASKED_FACES = 64
"""Faces of a part, evenly picked, beside whose corners it is asked what surrounds the part."""
NEAR_CORNERS = np.array([[0.9, 0.05, 0.05], [0.05, 0.9, 0.05], [0.05, 0.05, 0.9]])
"""Barycentric places of these points."""


def closed(mesh: Mesh) -> Mesh:
    """The faces of ``mesh`` (cleaned), equal vertices made one, parts wound outward but for cavities.

    RejectError where it does not bound solids: ``not-watertight`` with the number of edges that are not used equally
    often both ways, ``doubled-faces`` where a part has every face both ways round.
    """
    vertices, index = np.unique(mesh.vertices, axis=0, return_inverse=True)
    faces = index.reshape(-1)[mesh.faces].astype(np.int64)
    a, b, c = faces.T
    proper = (a != b) & (b != c) & (c != a)
    merged = Mesh(vertices, faces[proper])
    if len(merged.faces) == 0:
        raise RejectError("empty-mesh", "no usable face", "watertight")
    loose = unbalanced_edges(merged)
    if loose:
        boundary = edge_counts(merged)["boundary"]
        detail = f"{boundary} edges are open and {loose - boundary} wound inconsistently"
        raise RejectError("not-watertight", f"the method none needs closed solids; here {detail}", "watertight")
    parts = _parts(merged, component_labels(Mesh(mesh.vertices, mesh.faces[proper]))[1])
    keys = _face_keys(merged, parts)
    if _cancels(keys).any():
        text = "a part has every face both ways round, which bounds nothing; tight makes a solid of it"
        raise RejectError("doubled-faces", text, "watertight")
    turned = merged.faces.copy()
    inward = _to_turn(merged, parts, keys)[parts]
    turned[inward] = turned[inward][:, ::-1]
    return Mesh(vertices, turned)


def _parts(merged: Mesh, joined: NDArray[np.int32]) -> NDArray[np.int32]:
    """(F,) int32 part of every face: ``joined`` (F,), by the file's vertices, where these parts are closed of
    themselves; a component in which one is not is one part."""
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
    """(F, 5) int64 rows (part, three vertices ascending, 1 or -1 for the way round), sorted."""
    corners = np.sort(merged.faces, axis=1)
    a, b, c = merged.faces.T
    way = np.where((a < b).astype(int) + (b < c) + (c < a) == 2, 1, -1)
    keys = np.column_stack([parts, corners, way]).astype(np.int64)
    order: Int64 = keys[np.lexsort(keys.T[::-1])]
    return order


def _cancels(keys: Int64) -> Bool:
    """(K,) bool: parts of which every face is there both ways round."""
    first = np.r_[True, (np.diff(keys[:, :4], axis=0) != 0).any(axis=1)]
    net = np.add.reduceat(keys[:, 4], np.flatnonzero(first))
    alive = np.zeros(int(keys[:, 0].max()) + 1, dtype=np.bool_)
    alive[keys[first, 0][net != 0]] = True
    return ~alive


def _to_turn(merged: Mesh, parts: NDArray[np.int32], keys: Int64) -> Bool:
    """(K,) bool: parts whose faces must be turned round."""
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
        if (now != 0).all() and part not in copies:  # wholly inside of larger parts: stays what it was to them
            turn[part] = (now == -was).all()
        else:
            turn[part] = volumes[part] < 0
    return turn


def _reversed_copies(keys: Int64, volumes: Float64) -> set[int]:
    """Inward parts that have the faces of an outward one the other way round: doubled walls, not cavities."""
    bounds = np.searchsorted(keys[:, 0], np.arange(len(volumes) + 1))
    solids = {keys[bounds[k] : bounds[k + 1], 1:4].tobytes() for k in np.flatnonzero(volumes > 0)}
    return {int(k) for k in np.flatnonzero(volumes < 0) if keys[bounds[k] : bounds[k + 1], 1:4].tobytes() in solids}


def _points_inside(merged: Mesh, parts: NDArray[np.int32], volumes: Float64) -> tuple[Int64, Float64]:
    """Points just inside of every part, beside some of its faces: (P,) int64 part, ascending, and (P, 3)."""
    order = np.argsort(parts, kind="stable")
    bounds = np.searchsorted(parts[order], np.arange(len(volumes) + 1))
    picked = []
    for low, high in pairwise(bounds):
        some = min(high - low, ASKED_FACES)
        picked.append(order[low + np.arange(some) * (high - low) // some])
    chosen = np.concatenate(picked)
    corners = merged.triangles[chosen]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    inward = -np.sign(volumes)[parts[chosen]] * INWARD * float(np.ptp(merged.bounds, axis=0).max())
    points = NEAR_CORNERS @ corners + (normals * inward[:, None])[:, None]
    return np.repeat(parts[chosen].astype(np.int64), len(NEAR_CORNERS)), points.reshape(-1, 3)
