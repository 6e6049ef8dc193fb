"""NumPy references of ``kernels.thin_parts`` on dense grids."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
from helpers.references.brick_grids import shifted
from helpers.references.bricks import closest_point
from numpy.typing import NDArray

Array = NDArray[Any]


def thin_nodes(out: Array) -> tuple[Array, Array]:
    """Dense: along how many axes an inside node has outside on both sides; whether it has outside on any."""
    sides = [(shifted(out, a, 1) != 0, shifted(out, a, -1) != 0) for a in range(3)]
    thin = sum((up & down).astype(np.uint8) for up, down in sides)
    surface = np.any([up | down for up, down in sides], axis=0)
    return np.where(out == 0, thin, 0), (out == 0) & surface


def thin_sheets(out: Array, distance: Array, first: Array, last: Array, most: float, margin: float) -> Array:
    """Dense: half of what a crossed edge with outside all around it lacks to a thickness of one voxel."""
    push = np.zeros(out.shape)
    for axis in range(3):
        across = [a for a in range(3) if a != axis]
        solid = np.zeros(out.shape, dtype=bool)
        for p, q, along in product((-1, 0, 1), (-1, 0, 1), (0, 1)):
            solid |= shifted(shifted(shifted(out, across[0], p), across[1], q), axis, along) == 0
        lost = (first[axis] <= 1) & ~solid
        for side in (0, 1):  # of the edge: its lower and its upper node
            edge = lost if side == 0 else shifted(lost, axis, -1)
            a, b = (x[axis] if side == 0 else shifted(x[axis], axis, -1) for x in (first, last))
            along = a if side == 0 else 1 - b
            with np.errstate(invalid="ignore", over="ignore"):
                slant = np.minimum(1, distance / np.maximum(along, 1e-6))
                wanted = (1 - np.minimum(1, (b - a) * slant)) / 2 + margin
            push = np.where(edge & (out != 0) & (distance <= most), np.maximum(push, wanted), push)
    return push


def thin_rods(
    inside: Array, distance: Array, nearest: Array, triangles: Array, radius: float, limit: float, zone: Array | None
) -> Array:
    """Dense: outside nodes within ``radius`` of a surface point that has no inside node within sqrt(``limit``).

    ``zone``: flagged nodes, one of which must lie within 3 voxels along every axis (None: no such condition).
    """
    rods = np.zeros(inside.shape, dtype=bool)
    around = np.array(list(product(range(-2, 3), repeat=3)))
    for node in np.argwhere((inside == 0) & (distance <= radius)):
        q = closest_point(node.astype(float), triangles[nearest[tuple(node)]])
        near = node + around
        kept = (inside[tuple(near.T)] != 0) & (((near - q) ** 2).sum(axis=1) <= limit)
        box = tuple(slice(c - 3, c + 4) for c in node)
        rods[tuple(node)] = not kept.any() and (zone is None or bool(zone[box].any()))
    return rods


def drop_rims(
    rods: Array, out: Array, nearest: Array, triangles: Array, thin: Array, first: Array, last: Array,
    reach: float, in_plane: float,
) -> Array:  # fmt: skip
    """Dense ``rods`` without those near whose surface point a solid is crossed in the plane of the same triangle."""
    result = rods.copy()
    crossings = []
    for axis in range(3):
        for up in (True, False):
            other = shifted(out, axis, 1 if up else -1)
            hit = last[axis] if up else shifted(first[axis], axis, -1) - 1
            found = np.argwhere((out == 0) & (thin == 0) & (other != 0) & (np.abs(hit) <= 1))
            crossings.append((found, found + np.eye(3)[axis] * hit[tuple(found.T)][:, None]))
    nodes, places = (np.concatenate(parts) for parts in zip(*crossings, strict=True))
    for node in np.argwhere(rods):
        t = triangles[nearest[tuple(node)]]
        q, normal = closest_point(node.astype(float), t), np.cross(t[1] - t[0], t[2] - t[0])
        gaps = places - q
        near = (np.abs(nodes - node).max(axis=1) <= 2) & ((gaps**2).sum(axis=1) <= reach**2)
        result[tuple(node)] = not (np.abs(gaps @ normal) <= in_plane * np.linalg.norm(normal))[near].any()
    return result


def edge_fractions(
    inside: Array, out: Array, distance: Array, push: Array, first: Array, last: Array, margin: float
) -> Array:
    """Dense (3, X, Y, Z): where the surface crosses each edge, from its lower node; 0.5 where nothing tells."""
    result = np.full(first.shape, 0.5)
    low, high = margin / 4, 1 - margin / 4
    for axis, *lower in np.argwhere([inside != shifted(inside, a, 1) for a in range(3)]):
        upper = [(c + (a == axis)) % inside.shape[a] for a, c in enumerate(lower)]
        ends = [tuple(lower), tuple(upper)]
        i, o = ends if inside[ends[0]] else ends[::-1]
        a, b = first[(axis, *lower)], last[(axis, *lower)]
        crossed = a <= 1
        if out[i] != 0 and push[i] > 0:  # taken in by thickening: where the distance equals the push
            d_in, d_out = distance[i], min(distance[o], distance[i] + 1)
            # The distance falls to 0 at a crossing and grows again behind it; without one it only grows.
            t = (push[i] + d_in) / max(d_in + d_out, 1e-6) if crossed else (push[i] - d_in) / max(d_out - d_in, 1e-6)
            t = np.clip(t, low, high)
            result[(axis, *lower)] = t if i == ends[0] else 1 - t
        elif crossed:
            result[(axis, *lower)] = np.clip(b if i == ends[0] else a, low, high)
    return result
