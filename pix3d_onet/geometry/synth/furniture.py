"""Procedural furniture: one design per category with random dimensions. See ``solids`` for frame and units."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from pix3d_onet.geometry.synth.solids import Part, box, cushion, path, sheet, tube
from pix3d_onet.types import Float64

Rng = np.random.Generator


def _curved_back(width: float, height: float, bend: float, base: tuple[float, float], tilt: float) -> Float64:
    """(R, C, 3) grid of a curved backrest; ``base`` = (y, z) of its lower edge."""
    u, v = np.meshgrid(np.linspace(-1, 1, 13), np.linspace(0, 1, 7))
    lean = math.tan(tilt) * v * height
    return np.stack([u * width / 2, base[0] + v * height, base[1] + lean - bend * u**2], axis=2)


def _legs(rng: Rng, width: float, depth: float, top: float, material: str) -> list[Part]:
    """Legs for a seat or table top at height ``top``: posts, splayed cones, sled, star or side panels."""
    style = rng.choice(["posts", "cones", "sled", "star", "panels"], p=[0.3, 0.25, 0.15, 0.2, 0.1])
    x, z = width / 2 - 0.03, depth / 2 - 0.03
    corners = [(sx * x, sz * z) for sx in (-1, 1) for sz in (-1, 1)]
    if style == "posts":
        side = rng.uniform(0.025, 0.06)
        parts = [box((cx, (top + 0.01) / 2, cz), (side, top + 0.01, side), material) for cx, cz in corners]
        if rng.random() < 0.5:
            y = rng.uniform(0.15, 0.5) * top
            parts += [box((cx, y, 0), (side * 0.5, side * 0.7, 2 * z), material) for cx in (-x, x)]
        return parts
    if style == "cones":
        splay, radius = rng.uniform(1.0, 1.35), rng.uniform(0.012, 0.025)
        return [
            tube((cx * splay, 0, cz * splay), (cx * 0.85, top + 0.01, cz * 0.85), (radius * 0.7, radius), material)
            for cx, cz in corners
        ]
    if style == "sled":
        r = rng.uniform(0.01, 0.016)
        return [
            part for cx in (-x, x) for part in path([(cx, top, z), (cx, r, z), (cx, r, -z), (cx, top, -z)], r, material)
        ]
    if style == "star":
        arms, reach, r = int(rng.integers(4, 6)), rng.uniform(0.75, 0.95) * max(x, z), rng.uniform(0.018, 0.03)
        turn = 2 * math.pi * np.arange(arms) / arms + 0.3
        tips = [(reach * math.cos(t), 0.05, reach * math.sin(t)) for t in turn]
        parts = [tube((0, 0.08, 0), (0, top + 0.01, 0), (r, r * 0.8), material, 16)]
        parts += [tube((0, 0.1, 0), tip, (r * 0.7, r * 0.5), material, 8) for tip in tips]
        wheels = [
            tube((tx - 0.012, 0.025, tz), (tx + 0.012, 0.025, tz), (0.025, 0.025), "plastic") for tx, _, tz in tips
        ]
        return [*parts, *wheels]
    thick = rng.uniform(0.015, 0.04)
    return [box((cx, (top + 0.01) / 2, 0), (thick, top + 0.01, 2 * z), material) for cx in (-x, x)]


def _backrest(rng: Rng, width: float, base: tuple[float, float], frame: str, cloth: str) -> list[Part]:
    y, z = base
    style = rng.choice(
        ["panel", "curved", "vertical", "horizontal", "framed", "none"], p=[0.25, 0.2, 0.2, 0.15, 0.15, 0.05]
    )
    height, tilt, thick = rng.uniform(0.3, 0.6), rng.uniform(0.0, 0.25), rng.uniform(0.015, 0.06)
    middle = (y + height / 2 * math.cos(tilt), z + height / 2 * math.sin(tilt))
    if style == "none":
        return []
    if style == "panel":
        return [box((0, *middle), (width * rng.uniform(0.8, 1.0), height, thick), cloth, tilt)]
    if style == "curved":
        posts = [
            tube((s * width * 0.3, y - 0.02, z), (s * width * 0.3, y + height * 0.4, z + 0.05), (0.012, 0.012), frame)
            for s in (-1, 1)
        ]
        return [sheet(_curved_back(width, height, rng.uniform(0.03, 0.12), (y + 0.04, z + 0.04), tilt), cloth), *posts]
    posts = [box((s * (width / 2 - 0.02), *middle), (0.035, height, 0.03), frame, tilt) for s in (-1, 1)]
    top_y, top_z = y + height * math.cos(tilt), z + height * math.sin(tilt)
    rail = box((0, top_y, top_z), (width, rng.uniform(0.04, 0.1), 0.03), frame, tilt)
    if style == "vertical":
        count = int(rng.integers(3, 7))
        slats = [
            box((x, *middle), (0.018, height, 0.012), frame, tilt)
            for x in np.linspace(-1, 1, count + 2)[1:-1] * (width / 2 - 0.02)
        ]
    elif style == "horizontal":
        shares = np.linspace(0.2, 0.8, int(rng.integers(2, 5)))
        slats = [
            box((0, y + a * (top_y - y), z + a * (top_z - z)), (width - 0.05, 0.05, 0.014), frame, tilt) for a in shares
        ]
    else:
        slats = [sheet(_curved_back(width - 0.06, height * 0.9, 0.0, (y + 0.03, z + 0.01), tilt), cloth)]
    return [*posts, rail, *slats]


def chair(rng: Rng) -> list[Part]:
    """Seat, legs, usually a backrest, sometimes arms and a cushion."""
    width, depth, top = rng.uniform(0.38, 0.56), rng.uniform(0.38, 0.52), rng.uniform(0.4, 0.5)
    thick = rng.uniform(0.02, 0.08)
    frame, cloth = str(rng.choice(["wood", "metal", "paint"])), str(rng.choice(["fabric", "leather", "wood"]))
    if rng.random() < 0.3:
        seat = cushion((0, top, 0), (width, thick + 0.05, depth), cloth)
    else:
        seat = box((0, top, 0), (width, thick, depth), cloth)
    parts = [seat, *_legs(rng, width, depth, top - thick / 2, frame)]
    parts += _backrest(rng, width, (top, depth / 2 - 0.03), frame, cloth)
    if rng.random() < 0.35:
        height = rng.uniform(0.18, 0.26)
        for s in (-1, 1):
            x = s * (width / 2 + 0.01)
            parts.append(box((x, top + height, -0.02), (rng.uniform(0.03, 0.06), 0.03, depth * 0.9), frame))
            parts += [
                tube((x, top - 0.01, dz), (x, top + height, dz), (0.014, 0.014), frame, 8)
                for dz in (-depth * 0.3, depth * 0.3)
            ]
    return parts


def table(rng: Rng) -> list[Part]:
    """A rectangular or round top on legs."""
    width, depth, top = rng.uniform(0.6, 1.6), rng.uniform(0.5, 0.9), rng.uniform(0.4, 0.76)
    frame, surface = str(rng.choice(["wood", "metal", "paint"])), str(rng.choice(["wood", "paint"]))
    thick = rng.uniform(0.015, 0.06)
    if rng.random() < 0.3:
        radius = depth / 2 + 0.1
        return [
            tube((0, top, 0), (0, top + thick, 0), (radius, radius), surface, 40),
            *_legs(rng, radius * 1.3, radius * 1.3, top, frame),
        ]
    parts = [box((0, top + thick / 2, 0), (width, thick, depth), surface), *_legs(rng, width, depth, top, frame)]
    if rng.random() < 0.5:
        parts.append(box((0, top - 0.04, 0), (width * 0.88, 0.09, depth * 0.85), surface))
    return parts


def desk(rng: Rng) -> list[Part]:
    """A table top on panels with a stack of drawers."""
    width, depth, top = rng.uniform(1.0, 1.7), rng.uniform(0.55, 0.8), rng.uniform(0.7, 0.76)
    thick = rng.uniform(0.02, 0.04)
    wood = str(rng.choice(["wood", "paint"]))
    side = 1 if rng.random() < 0.5 else -1
    stack = rng.uniform(0.3, 0.45)
    x = side * (width / 2 - stack / 2 - 0.02)
    parts = [
        box((0, top, 0), (width, thick, depth), wood),
        box((x, top / 2, 0), (stack, top, depth * 0.9), wood),
        box((-side * (width / 2 - 0.03), top / 2, 0), (thick, top, depth * 0.9), wood),
    ]
    drawers = int(rng.integers(2, 5))
    for k in range(drawers):
        y = top * (k + 0.5) / drawers
        parts.append(box((x, y, -depth * 0.45), (stack * 0.92, top / drawers * 0.86, 0.03), "paint"))
        parts.append(tube((x - 0.05, y, -depth * 0.5), (x + 0.05, y, -depth * 0.5), (0.006, 0.006), "metal", 8))
    if rng.random() < 0.5:
        u, v = np.meshgrid(np.linspace(-0.5, 0.5, 2), np.linspace(0.3, 0.9, 2))
        parts.append(sheet(np.stack([u * width * 0.9, v * top, np.full_like(u, depth * 0.42)], axis=2), wood))
    return parts


def bookcase(rng: Rng) -> list[Part]:
    """Uprights, shelves and often a back of zero thickness."""
    width, height, depth = rng.uniform(0.5, 1.2), rng.uniform(0.9, 2.1), rng.uniform(0.25, 0.4)
    thick = rng.uniform(0.015, 0.03)
    wood = str(rng.choice(["wood", "paint"]))
    columns, shelves = int(rng.integers(1, 4)), int(rng.integers(3, 7))
    parts = [
        box((x, height / 2, 0), (thick, height, depth), wood) for x in np.linspace(-width / 2, width / 2, columns + 1)
    ]
    parts += [box((0, y, 0), (width, thick, depth * 0.98), wood) for y in np.linspace(thick, height - thick, shelves)]
    if rng.random() < 0.7:
        u, v = np.meshgrid([-width / 2, width / 2], [0.0, height])
        parts.append(sheet(np.stack([u, v, np.full_like(u, depth / 2)], axis=2), wood))
    return parts


def sofa(rng: Rng) -> list[Part]:
    """Base, cushions, back and arms."""
    width, depth, seat = rng.uniform(1.3, 2.3), rng.uniform(0.75, 0.95), rng.uniform(0.3, 0.42)
    cloth, arm, back = str(rng.choice(["fabric", "leather"])), rng.uniform(0.08, 0.2), rng.uniform(0.35, 0.5)
    count = int(rng.integers(1, 4))
    inner = width - 2 * arm
    parts = [
        box((0, seat / 2 + 0.05, 0), (width, seat - 0.1, depth), cloth),
        box((0, seat + back / 2 - 0.05, depth / 2 - 0.08), (width, back + 0.1, 0.16), cloth, rng.uniform(0, 0.15)),
    ]
    parts += [box((s * (width - arm) / 2, seat / 2 + 0.18, 0), (arm, seat + 0.2, depth), cloth) for s in (-1, 1)]
    for x in (np.arange(count) + 0.5) / count * inner - inner / 2:
        parts.append(cushion((x, seat + 0.04, -0.06), (inner / count, 0.18, depth * 0.8), cloth))
        if rng.random() < 0.8:
            parts.append(cushion((x, seat + 0.28, depth / 2 - 0.22), (inner / count, 0.42, 0.2), cloth))
    feet = [(sx * (width / 2 - 0.08), sz * (depth / 2 - 0.08)) for sx in (-1, 1) for sz in (-1, 1)]
    return [*parts, *(tube((x, 0, z), (x, 0.12, z), (0.02, 0.03), "wood") for x, z in feet)]


def bed(rng: Rng) -> list[Part]:
    """Frame, mattress, pillows, headboard."""
    width, length, height = rng.uniform(0.9, 1.8), rng.uniform(1.9, 2.1), rng.uniform(0.25, 0.4)
    wood, head = str(rng.choice(["wood", "paint", "fabric"])), rng.uniform(0.5, 1.1)
    parts = [
        box((0, height, 0), (width + 0.06, 0.12, length + 0.06), wood),
        cushion((0, height + 0.13, 0), (width, 0.24, length), "linen"),
        box((0, head / 2 + 0.1, length / 2 + 0.03), (width + 0.08, head, rng.uniform(0.03, 0.1)), wood),
    ]
    pillows = 1 if width < 1.2 else 2
    for x in (np.arange(pillows) + 0.5) / pillows * width - width / 2:
        parts.append(cushion((x, height + 0.29, length / 2 - 0.25), (width / pillows * 0.85, 0.14, 0.4), "fabric"))
    feet = [(sx * width / 2, sz * length / 2) for sx in (-1, 1) for sz in (-1, 1)]
    return [*parts, *(box((x, height / 2, z), (0.06, height, 0.06), wood) for x, z in feet)]


def wardrobe(rng: Rng) -> list[Part]:
    """A tall body with doors and handles."""
    width, height, depth = rng.uniform(0.8, 1.8), rng.uniform(1.7, 2.2), rng.uniform(0.5, 0.65)
    wood, doors = str(rng.choice(["wood", "paint"])), int(rng.integers(2, 5))
    parts = [box((0, height / 2, 0), (width, height, depth), wood)]
    for x in (np.arange(doors) + 0.5) / doors * width - width / 2:
        parts.append(box((x, height / 2, -depth / 2), (width / doors * 0.97, height * 0.95, 0.04), "paint"))
        low, high = ((x + 0.08, height * share, -depth / 2 - 0.03) for share in (0.45, 0.55))
        parts.append(tube(low, high, (0.008, 0.008), "metal", 8))
    return parts


DESIGNS: dict[str, Callable[[Rng], list[Part]]] = {
    "chair": chair,
    "table": table,
    "desk": desk,
    "bookcase": bookcase,
    "sofa": sofa,
    "bed": bed,
    "wardrobe": wardrobe,
}
"""Category → design. A new category is one function and one line here."""

PALETTES: dict[str, tuple[tuple[float, float, float], ...]] = {
    "wood": ((0.42, 0.24, 0.11), (0.20, 0.10, 0.05), (0.60, 0.42, 0.23), (0.33, 0.16, 0.08)),
    "metal": ((0.45, 0.46, 0.48), (0.06, 0.06, 0.07), (0.65, 0.65, 0.66)),
    "paint": ((0.72, 0.71, 0.68), (0.05, 0.05, 0.06), (0.10, 0.22, 0.35), (0.55, 0.10, 0.08)),
    "fabric": ((0.30, 0.33, 0.36), (0.12, 0.20, 0.32), (0.48, 0.14, 0.10), (0.50, 0.44, 0.34), (0.14, 0.26, 0.16)),
    "leather": ((0.05, 0.04, 0.04), (0.28, 0.12, 0.05), (0.60, 0.56, 0.50)),
    "plastic": ((0.04, 0.04, 0.04), (0.30, 0.30, 0.30)),
    "linen": ((0.78, 0.77, 0.74), (0.62, 0.66, 0.70)),
}
"""Material → linear albedos; each object uses one of them."""
