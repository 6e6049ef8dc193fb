"""References of the kernels of ``geometry.mesh``: face by face in NumPy and Python."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

Array = NDArray[Any]


def areas(vertices: Array, faces: Array) -> Array:
    a, b, c = vertices[faces].transpose(1, 0, 2)
    return np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2


def signed_volume(vertices: Array, faces: Array) -> float:
    return float(np.linalg.det(vertices[faces]).sum() / 6)


def face_components(faces: Array, vertices: int) -> tuple[int, Array]:
    """Components of the faces joined by shared vertices, numbered by first appearance."""
    ends = np.concatenate([faces[:, :2], faces[:, 1:]]).T
    _, of_vertex = connected_components(coo_array((np.ones(ends.shape[1]), ends), shape=(vertices, vertices)))
    found, first, labels = np.unique(of_vertex[faces[:, 0]], return_index=True, return_inverse=True)
    return len(found), np.argsort(np.argsort(first))[labels]


def count_edges(faces: Array) -> list[int]:
    """Undirected edges of one, two, more faces; directed edges used more than once; unbalanced undirected edges."""
    directed = Counter((int(f[c]), int(f[(c + 1) % 3])) for f in faces for c in range(3))
    both = {tuple(sorted(e)): (directed[e], directed[e[::-1]]) for e in directed}
    uses = [sum(pair) for pair in both.values()]
    clashes = sum(n > 1 for n in directed.values())
    unbalanced = sum(one != other for one, other in both.values())
    return [uses.count(1), uses.count(2), sum(n > 2 for n in uses), clashes, unbalanced]


def quadrics(vertices: Array, faces: Array) -> Array:
    """(V, 4, 4) sum over the faces around a vertex of area/3 · p pᵀ, p = (n, d) the face's plane."""
    result = np.zeros((len(vertices), 4, 4))
    for face in faces:
        a, b, c = vertices[face]
        normal = np.cross(b - a, c - a)
        plane = np.append(normal, -normal @ a) / np.linalg.norm(normal)
        result[face] += np.linalg.norm(normal) / 6 * np.outer(plane, plane)
    return result


def best_point(quadric: Array, a: Array, b: Array, limit: float) -> tuple[float, Array]:
    """Cost and place of the quadric's minimum if it lies near the edge and is good enough, else of the cheapest of
    it, the edge's middle and its ends."""
    places = [(a + b) / 2, a, b]
    A = quadric[:3, :3]
    if abs(np.linalg.det(A)) > 1e-6 * np.trace(A) ** 3:
        minimum = -np.linalg.solve(A, quadric[:3, 3])
        if np.linalg.norm(minimum - places[0]) <= np.linalg.norm(b - a):
            places.insert(0, minimum)
    costs = [np.append(p, 1) @ quadric @ np.append(p, 1) for p in places]
    best = 0 if len(places) == 4 and costs[0] <= limit else int(np.argmin(costs))
    return float(costs[best]), places[best]


def turns(vertices: Array, faces: Array, moved: int, other: int, target: Array, cosine: float) -> bool:
    """Whether moving a vertex flattens or turns one of its faces that ``other`` is not in."""
    for face in faces[(faces == moved).any(axis=1) & ~(faces == other).any(axis=1)]:
        at = int(np.argmax(face == moved))
        o, p, q = vertices[np.roll(face, -at)]
        old, new = (np.cross(q - p, x - p) for x in (o, target))
        if new @ new <= 1e-6 * ((q - p) @ (q - p)) ** 2 or old @ new <= cosine * np.sqrt((old @ old) * (new @ new)):
            return True
    return False


def collapse_pass(
    vertices: Array, faces: Array, quadric: Array, weight: Array, limit: float, cosine: float
) -> tuple[Array, Array, int]:
    """One sweep over the edges in face order; each vertex takes part in one collapse at most."""
    vertices, faces, quadric, weight = vertices.copy(), faces.copy(), quadric.copy(), weight.copy()
    dirty: set[int] = set()
    done = 0
    for f in range(len(faces)):
        for corner in range(3):
            a, b = int(faces[f, corner]), int(faces[f, (corner + 1) % 3])
            if a < 0 or a > b or {a, b} & dirty:
                continue
            allowed = limit * (weight[a] + weight[b])
            cost, target = best_point(quadric[a] + quadric[b], vertices[a], vertices[b], allowed)
            around = [faces[(faces == v).any(axis=1)] for v in (a, b)]
            shared = (set(around[0].flat) & set(around[1].flat)) - {a, b}
            manifold = len(shared) == 2 and sum(map(len, around)) >= 8
            if cost > allowed or not manifold:
                continue
            if turns(vertices, faces, a, b, target, cosine) or turns(vertices, faces, b, a, target, cosine):
                continue
            dirty |= {a, b}
            vertices[a], quadric[a], weight[a] = target, quadric[a] + quadric[b], weight[a] + weight[b]
            faces[(faces == a).any(axis=1) & (faces == b).any(axis=1)] = -1
            faces[faces == b] = a
            done += 1
            break
    return vertices, faces, done


def compact(vertices: Array, faces: Array) -> tuple[Array, Array]:
    """Without faces of -1 and vertices that no face uses, in order."""
    kept = faces[faces[:, 0] >= 0]
    used, renumbered = np.unique(kept, return_inverse=True)
    return vertices[used], renumbered.reshape(-1, 3)


def distances(vertices: Array, faces: Array, points: Array) -> Array:
    """(N,) distances of points (N, 3) to the nearest face: of the plane's foot if it is inside, and of three edges."""
    found = np.full(len(points), np.inf)
    for a, b, c in vertices[faces]:
        for p, q in ((a, b), (b, c), (c, a)):
            along = (points - p) @ (q - p) / max((q - p) @ (q - p), 1e-300)
            feet = p + np.clip(along, 0, 1)[:, None] * (q - p)
            found = np.minimum(found, np.linalg.norm(points - feet, axis=1))
        normal = np.cross(b - a, c - a)
        if not normal.any():
            continue
        normal /= np.linalg.norm(normal)
        height = (points - a) @ normal
        feet = points - height[:, None] * normal
        inside = np.all([np.cross(q - p, feet - p) @ normal >= 0 for p, q in ((a, b), (b, c), (c, a))], axis=0)
        found = np.where(inside, np.minimum(found, np.abs(height)), found)
    return found
