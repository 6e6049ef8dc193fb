"""NumPy references of ``kernels.bricks`` and ``kernels.neighbours``: every node against every triangle."""

from __future__ import annotations

from typing import Any

import numpy as np
from helpers.references.brick_grids import FAR, SIDE, Bricks
from numpy.typing import NDArray

Array = NDArray[Any]


def closest_point(p: Array, t: Array) -> Array:
    """The point of triangle ``t`` (3, 3) nearest to ``p``: its projection where that is inside, else on an edge."""
    candidates = [a + np.clip((p - a) @ (b - a) / max((b - a) @ (b - a), 1e-300), 0, 1) * (b - a)
                  for a, b in zip(t, np.roll(t, -1, axis=0), strict=True)]  # fmt: skip
    edges = np.stack([t[1] - t[0], t[2] - t[0]], axis=1)
    (s, r), _, rank, _ = np.linalg.lstsq(edges, p - t[0], rcond=None)
    if rank == 2 and min(s, r, 1 - s - r) >= 0:
        candidates.append(t[0] + edges @ (s, r))
    return min(candidates, key=lambda q: float((p - q) @ (p - q)))


def squared_distance(p: Array, t: Array) -> float:
    gap = p - closest_point(p, t)
    return float(gap @ gap)


def mark_bricks(triangles: Array, reach: float, dims: Array) -> Array:
    """Bricks that meet a triangle's box widened by ``reach``, with their centre not too far from its plane, nor from
    its edges as seen along the longest axis of its normal."""
    cells = np.argwhere(np.ones(dims, dtype=bool))
    centre = cells * SIDE + (SIDE - 1) / 2
    radius = (SIDE - 1) / 2 * np.sqrt(3) + reach
    marked = np.zeros(len(cells), dtype=bool)
    for t in triangles:
        low, high = np.floor(t.min(axis=0) - reach) // SIDE, np.ceil(t.max(axis=0) + reach) // SIDE
        normal = np.cross(t[1] - t[0], t[2] - t[0])
        near = np.abs((centre - t[0]) @ normal) <= radius * np.linalg.norm(normal)
        seen = np.delete(np.arange(3), np.abs(normal).argmax())
        for corner, after, opposite in zip(t, np.roll(t, -1, axis=0), np.roll(t, -2, axis=0), strict=True):
            across = (after - corner)[seen] @ [[0, 1], [-1, 0]]
            across *= -np.sign(across @ (opposite - corner)[seen]) / np.linalg.norm(across)
            near &= (centre - corner)[:, seen] @ across <= radius
        marked |= near & (cells >= low).all(axis=1) & (cells <= high).all(axis=1)
    return marked.reshape(dims)


def distances(triangles: Array, nodes: Array) -> Array:
    """(N, F) distances of nodes (N, 3) to triangles (F, 3, 3)."""
    return np.sqrt([[squared_distance(p, t) for t in triangles] for p in nodes])


def edge_crossings(triangles: Array, bricks: Bricks) -> tuple[Array, Array]:
    """Dense (3, X, Y, Z) lowest and highest place in [0, 1] at which a triangle crosses each node's edges."""
    shape = tuple(np.multiply(bricks.slots.shape, SIDE))
    first, last = np.full((3, *shape), FAR), np.full((3, *shape), -FAR)
    for axis in range(3):
        others = [(axis + 1) % 3, (axis + 2) % 3]
        for line in np.ndindex(*(shape[a] for a in others)):
            for t in triangles:
                try:
                    weights = np.linalg.solve(np.vstack([t[:, others].T, np.ones(3)]), (*line, 1.0))
                except np.linalg.LinAlgError:
                    continue
                if weights.min() < 0:
                    continue
                place = weights @ t[:, axis]
                edge = np.full(4, axis)
                edge[1 + axis], edge[1 + np.array(others)] = int(place), line
                hit = np.float32(place - int(place))
                first[tuple(edge)] = min(first[tuple(edge)], hit)
                last[tuple(edge)] = max(last[tuple(edge)], hit)
    return first, last


def crossing_faces(triangles: Array, origins: Array, number: Array, fractions: Array, tolerance: float) -> Array:
    """(V,) the triangle that crosses the edge of each vertex nearest to its fraction, within ``tolerance``; -1 none."""
    found = np.full(number.max() + 1, -1)
    for slot, axis, local in np.argwhere(number >= 0):
        others = [(axis + 1) % 3, (axis + 2) % 3]
        node = origins[slot] + (local >> 6, local >> 3 & 7, local & 7)
        gaps = []
        for t in triangles:
            projected = np.vstack([t[:, others].T, np.ones(3)])
            weights = np.full(3, -1.0)
            if abs(np.linalg.det(projected)) > 1e-9:
                weights = np.linalg.solve(projected, (*node[others], 1.0))
            gap = abs(weights @ t[:, axis] - node[axis] - fractions[slot, axis, local])
            gaps.append(gap if weights.min() >= 0 else np.inf)
        if min(gaps) < tolerance:
            found[number[slot, axis, local]] = int(np.argmin(gaps))
    return found


def neighbour_table(slots: Array) -> Array:
    """(n, 3, 3, 3): slot of each neighbouring brick; -1 outside the grid, -2 - b for slotless brick b."""
    names = np.where(slots >= 0, slots, -2 - np.arange(slots.size).reshape(slots.shape))
    padded = np.pad(names, 1, constant_values=-1)
    where = np.argwhere(slots >= 0)
    return np.array([padded[i : i + 3, j : j + 3, k : k + 3] for i, j, k in where], dtype=np.int32)
