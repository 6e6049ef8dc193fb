"""Building blocks of procedural furniture: convex solids and open sheets, and typical defects of CAD exports.

Frame: Pix3D's model axes (+x left, +y up, +z inward: the front faces -z), in metres until ``release`` scales them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from pix3d_onet.types import Bool, Float64, Int64, Mesh

Polygon = tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """One piece: ``vertices`` (V, 3) float64 and ``polygons`` into them, counter-clockwise from outside.

    ``solid`` parts are convex and closed before any defect; ``material`` is a key of the palette; ``planes``
    (K, 4) are the half-spaces ``n·x <= d`` of a solid; defects do not change them, so the true solid stays known.
    """

    vertices: Float64
    polygons: tuple[Polygon, ...]
    material: str
    solid: bool
    planes: Float64

    @property
    def triangles(self) -> Int64:
        """(T, 3) int64: the polygons as triangle fans."""
        fans = [(p[0], p[k], p[k + 1]) for p in self.polygons for k in range(1, len(p) - 1)]
        return np.array(fans, dtype=np.int64).reshape(-1, 3)

    def holds(self, points: Float64) -> Bool:
        """(N, 3) points → (N,) bool: inside the solid; all false for a sheet."""
        if not self.solid:
            return np.zeros(len(points), dtype=np.bool_)
        return np.asarray((points @ self.planes[:, :3].T <= self.planes[:, 3]).all(axis=1))


def _solid(vertices: Float64, polygons: Sequence[Polygon], material: str) -> Part:
    planes = []
    for polygon in polygons:
        corners = vertices[list(polygon)]
        following = np.roll(corners, -1, axis=0)
        normal = np.cross(corners, following).sum(axis=0)  # Newell's method: robust if the first corners are collinear
        length = float(np.linalg.norm(normal))
        if length > 0.0:
            planes.append([*(normal / length), float(normal @ corners.mean(axis=0)) / length])
    return Part(vertices, tuple(polygons), material, True, np.array(planes))


def box(centre: Sequence[float], size: Sequence[float], material: str, tilt: float = 0.0) -> Part:
    """A box; ``tilt``: radians around the x axis through its centre (positive: the top leans backwards)."""
    signs = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], dtype=np.float64)
    local = signs * np.asarray(size) / 2
    c, s = math.cos(tilt), math.sin(tilt)
    vertices = local @ np.array([[1, 0, 0], [0, c, s], [0, -s, c]]) + np.asarray(centre)
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    return _solid(vertices, quads, material)


def tube(
    start: Sequence[float], end: Sequence[float], radii: tuple[float, float], material: str, sides: int = 12
) -> Part:
    """A cylinder or cone frustum from ``start`` to ``end``; ``radii`` at both ends."""
    a, b = np.asarray(start, dtype=np.float64), np.asarray(end, dtype=np.float64)
    axis = (b - a) / np.linalg.norm(b - a)
    helper = np.array([1.0, 0.0, 0.0]) if abs(axis[0]) < 0.9 else np.array([0.0, 0.0, 1.0])
    u = np.cross(axis, helper)
    u /= np.linalg.norm(u)
    w = np.cross(axis, u)
    turn = 2 * math.pi * np.arange(sides) / sides
    ring = np.cos(turn)[:, None] * u + np.sin(turn)[:, None] * w
    vertices = np.concatenate([a + radii[0] * ring, b + radii[1] * ring])
    walls = [(k, (k + 1) % sides, (k + 1) % sides + sides, k + sides) for k in range(sides)]
    caps = [tuple(reversed(range(sides))), tuple(range(sides, 2 * sides))]
    return _solid(vertices, [*walls, *caps], material)


def cushion(centre: Sequence[float], size: Sequence[float], material: str, steps: int = 10) -> Part:
    """A rounded box: a superellipsoid of exponent 4, ``steps`` bands from pole to pole."""
    power = 0.5  # signed cosine and sine to this power give |x|^4 + |y|^4 + |z|^4 = 1
    latitude = np.linspace(-math.pi / 2, math.pi / 2, steps + 1)[1:-1]
    longitude = 2 * math.pi * np.arange(2 * steps) / (2 * steps)

    def bent(value: Float64) -> Float64:
        return np.sign(value) * np.abs(value) ** power

    rings = [
        np.stack(
            [
                bent(np.cos([phi])) * bent(np.cos(longitude)),
                np.full(len(longitude), bent(np.sin(np.array([phi])))[0]),
                bent(np.cos([phi])) * bent(np.sin(longitude)),
            ],
            axis=1,
        )
        for phi in latitude
    ]
    vertices = np.concatenate([*rings, [[0.0, -1.0, 0.0], [0.0, 1.0, 0.0]]]) * np.asarray(size) / 2 + np.asarray(centre)
    around, south = 2 * steps, (steps - 1) * 2 * steps
    polygons: list[Polygon] = []
    for k in range(around):
        n = (k + 1) % around
        for ring in range(steps - 2):
            low, high = ring * around, (ring + 1) * around
            polygons.append((low + k, high + k, high + n, low + n))
        top = (steps - 2) * around
        polygons += [(south, k, n), (south + 1, top + n, top + k)]
    triangles = [t for p in polygons for t in ([p] if len(p) == 3 else [(p[0], p[1], p[2]), (p[0], p[2], p[3])])]
    return _solid(vertices, triangles, material)


def sheet(grid: Float64, material: str) -> Part:
    """An open surface of zero thickness through ``grid`` (R, C, 3)."""
    rows, columns, _ = grid.shape
    quads = [
        (r * columns + c, r * columns + c + 1, (r + 1) * columns + c + 1, (r + 1) * columns + c)
        for r in range(rows - 1)
        for c in range(columns - 1)
    ]
    return Part(grid.reshape(-1, 3).copy(), tuple(quads), material, False, np.empty((0, 4)))


def path(points: Sequence[Sequence[float]], radius: float, material: str, sides: int = 10) -> list[Part]:
    """A bent tube: one cylinder per segment, overlapping at the bends as in CAD exports."""
    return [tube(a, b, (radius, radius), material, sides) for a, b in pairwise(points)]


def _open(part: Part, rng: np.random.Generator) -> Part:
    keep = list(part.polygons)
    del keep[int(rng.integers(len(keep)))]
    return replace(part, polygons=tuple(keep))


def _doubled(part: Part, rng: np.random.Generator) -> Part:
    turned = tuple(tuple(reversed(p)) for p in part.polygons) if rng.random() < 0.5 else part.polygons
    return replace(part, polygons=part.polygons + turned)


def _inverted(part: Part, rng: np.random.Generator) -> Part:
    return replace(part, polygons=tuple(tuple(reversed(p)) for p in part.polygons))


def _mixed(part: Part, rng: np.random.Generator) -> Part:
    flips = rng.random(len(part.polygons)) < 0.5
    polygons = (tuple(reversed(p)) if f else p for p, f in zip(part.polygons, flips, strict=True))
    return replace(part, polygons=tuple(polygons))


def _split(part: Part, rng: np.random.Generator) -> Part:
    vertices = np.concatenate([part.vertices[list(p)] for p in part.polygons])
    ends = np.cumsum([0, *(len(p) for p in part.polygons)])
    polygons = tuple(tuple(range(int(a), int(b))) for a, b in pairwise(ends))
    return replace(part, vertices=vertices, polygons=polygons)


DEFECTS = {
    "open-solid": _open,
    "doubled-faces": _doubled,
    "inverted-winding": _inverted,
    "mixed-winding": _mixed,
    "unmerged-vertices": _split,
}
"""Defects of CAD exports, modelled after the release. Overlaps and sheets are part of the designs."""


def spoil(parts: Sequence[Part], rng: np.random.Generator) -> tuple[list[Part], tuple[str, ...]]:
    """Add defects to some parts; returns the parts and the sorted names of the defects (none in one object of five)."""
    if rng.random() < 0.2:
        return list(parts), ()
    kinds = rng.permutation(list(DEFECTS))[: int(rng.integers(1, 4))]
    result, used = list(parts), set()
    for kind in kinds:
        for index in np.flatnonzero(rng.random(len(result)) < 0.35):
            if kind == "open-solid" and not result[index].solid:
                continue
            result[index] = DEFECTS[kind](result[index], rng)
            used.add(str(kind))
    return result, tuple(sorted(used))


def assemble(parts: Sequence[Part]) -> tuple[Mesh, Int64]:
    """All parts as one mesh, and the part index of each face, (F,) int64."""
    starts = np.cumsum([0, *(len(p.vertices) for p in parts)])
    faces = [p.triangles + start for p, start in zip(parts, starts[:-1], strict=True)]
    owner = np.repeat(np.arange(len(parts)), [len(f) for f in faces])
    return Mesh(np.concatenate([p.vertices for p in parts]), np.concatenate(faces)), owner
