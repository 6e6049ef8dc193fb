"""NumPy references of ``kernels.sharp_features``: loop by loop, with vertices named by what they lie on."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def outward_normals(triangles: Array, crossed: Array, outward: Array) -> Array:
    """(V, 3) unit normals of the crossed triangles that agree with ``outward`` (V, 3); 0 where none is crossed."""
    t = triangles[crossed]
    normals = np.cross(t[:, 1] - t[:, 0], t[:, 2] - t[:, 0])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    normals *= np.where((normals * outward).sum(axis=1) > 0, 1, -1)[:, None]
    normals[crossed < 0] = 0
    return normals


def off_planes(p: Array, n: Array, q: Array, m: Array) -> tuple[float, float]:
    """Distances of q to the plane (p, n), and of p to the plane (q, m)."""
    return abs(float(n @ (q - p))), abs(float(m @ (p - q)))


def meeting_edge(p: Array, n: Array, q: Array, m: Array, axis: int, limits: Any) -> Array | None:
    """Where the planes (p, n) and (q, m) meet: in the cube face across ``axis`` where that is over the step p-q and not
    too far, else nearest to its middle. ``limits``: the module with FLAT, FARTHEST and PARALLEL."""
    if not n.any() or not m.any() or max(off_planes(p, n, q, m)) < limits.FLAT:
        return None
    line = np.cross(n, m)
    if line @ line < limits.PARALLEL:
        return None
    middle = (p + q) / 2
    nearest, *_ = np.linalg.lstsq(np.stack([n, m]), np.array([n @ (p - middle), m @ (q - middle)]), rcond=None)
    if np.linalg.norm(nearest) > limits.FARTHEST:
        return None
    if line[axis] ** 2 >= limits.PARALLEL * (line @ line):
        rows = np.stack([n, m, np.eye(3)[axis]])
        place = np.linalg.solve(rows, [n @ p, m @ q, p[axis]])
        share = (place - p) @ (q - p) / ((q - p) @ (q - p))
        if 0 <= share <= 1 and np.linalg.norm(place - middle) <= limits.FARTHEST:
            return place
    return middle + nearest


def meeting_corner(points: Array, normals: Array, near: Array, limits: Any) -> tuple[Array, float] | None:
    """Where the first plane, the one most different from it and the one most different from both meet, near enough;
    and the volume that their normals span."""
    first = int(np.argmax(normals.any(axis=1)))
    crosses = np.cross(normals[first], normals)
    second = int(np.argmax((crosses**2).sum(axis=1)))
    volumes = normals @ crosses[second]
    third = int(np.argmax(np.abs(volumes)))
    if abs(volumes[third]) < limits.PARALLEL:
        return None
    chosen = [first, second, third]
    place = np.linalg.solve(normals[chosen], (normals[chosen] * points[chosen]).sum(axis=1))
    return (place, abs(volumes[third])) if np.linalg.norm(place - near) <= limits.FARTHEST else None


def place_step(p: Array, n: Array, q: Array, m: Array, axis: int, share: float, limits: Any) -> tuple[Array, bool]:
    """The vertex of a bent step and whether it is sharp; the surface is ``share`` times as far as the nearer plane."""
    meeting = meeting_edge(p, n, q, m, axis, limits)
    assert meeting is not None
    if share >= 1 - limits.ON_PLANES:
        return meeting, True
    middle, way = (p + q) / 2, (q - p) / np.linalg.norm(q - p)
    square = meeting - p - ((meeting - p) @ way) * way
    height = share * min(off_planes(p, n, q, m)) / 2
    return middle + min(1.0, limits.BULGE * height / np.linalg.norm(square)) * square, False


def fan(points: Array, normals: Array, tops: list[Array | None], sharp: list[bool], limits: Any) -> Array:
    """The vertex of a loop's fan; ``tops`` are the vertices of its steps (None: not bent)."""
    bent = [t for t in tops if t is not None]
    edge, middle = np.mean(bent, axis=0), np.concatenate([points, bent]).mean(axis=0)
    chords = (points + np.roll(points, -1, axis=0)) / 2
    heights = [t - c for t, c in zip(tops, chords, strict=True) if t is not None]
    dome = points.mean(axis=0) + limits.DOME[len(points)] * np.sum(heights, axis=0)
    corner = meeting_corner(points, normals, edge, limits) if len(bent) >= 3 and sum(sharp) >= 2 else None
    sure = corner is not None and (all(sharp) or corner[1] > limits.CORNER)
    if sure and not folds(corner[0], points, normals, tops, limits):
        return corner[0]
    candidates = [edge if len(bent) >= 2 and all(sharp) else dome, middle]
    return next((c for c in candidates if not folds(c, points, normals, tops, limits)), candidates[0])


def folds(apex: Array, points: Array, normals: Array, tops: list[Array | None], limits: Any) -> bool:
    """Whether a triangle of the fan faces away from the plane of one of its corners."""
    for k, top in enumerate(tops):
        after = (k + 1) % len(points)
        for plane, a, b in ((k, points[k], points[after] if top is None else top),
                            (after, points[k] if top is None else top, points[after])):  # fmt: skip
            if normals[plane] @ np.cross(a - apex, b - apex) < -limits.TURNED:
                return True
    return False
