"""A small software renderer for the figures, numpy only: no OpenGL, no Open3D, no window.

Triangles are scan-converted all at once into fragments, the nearest fragment of every pixel wins; light is a key, a
fill and a rim light, darkened in crevices by screen-space ambient occlusion; antialiasing by supersampling.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pix3d_onet.types import Bool, Float64, Int64, UInt8

AZIMUTH, ELEVATION = 35.0, 22.0
"""Degrees of the three-quarter view: right of the front, above the seat."""
FIELD_OF_VIEW = 24.0
"""Degrees; long, as in product photographs, so that proportions stay true."""
DISTANCE = 4.0
"""From the centre of the normalised box; a unit cube just fits the picture."""
NEAR = 0.05
"""Nearest depth that is drawn."""
SUPERSAMPLING = 3
"""Samples a pixel along each axis."""
CREASE = np.cos(np.radians(40.0))
"""Edges sharper than 40° stay sharp, flatter ones are smoothed."""
FRAGMENT_BUDGET = 4_000_000
"""Fragments held at once (about 200 MB of intermediate arrays)."""
_TINY = 1e-12
"""Guards divisions by the area of degenerate triangles; far below any area in normalised units."""


@dataclass(frozen=True, slots=True, eq=False)
class _Buffers:
    """Of every pixel: ``face`` (N, N) index or -1, ``depth`` (N, N), ``bary`` (N, N, 3)."""

    face: Int64
    depth: Float64
    bary: Float64


def view_matrix(azimuth: float = AZIMUTH, elevation: float = ELEVATION) -> Float64:
    """(3, 3) rotation, normalised frame → camera axes (+x right, +y up, +z toward the viewer).

    The normalised frame has +y up and the object's face looking along −z (Pix3D's +z points inward); azimuth 0 looks
    at the face.
    """
    a, e = np.radians(azimuth), np.radians(elevation)
    toward = np.array([-np.sin(a) * np.cos(e), np.sin(e), -np.cos(a) * np.cos(e)])
    right = np.cross([0.0, 1.0, 0.0], toward)
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(toward, right), toward])


def shade(
    vertices: Float64,
    faces: Int64,
    *,
    size: int = 256,
    colour: tuple[float, float, float] = (0.62, 0.72, 0.84),
    azimuth: float = AZIMUTH,
    elevation: float = ELEVATION,
) -> UInt8:
    """A picture of a mesh on white, (size, size, 3) uint8; an empty mesh gives an empty picture.

    ``vertices`` (V, 3) in the normalised frame, ``faces`` (F, 3); ``colour`` linear RGB in [0, 1].
    """
    side = size * SUPERSAMPLING
    picture = np.ones((side, side, 3))
    if len(faces):
        vertices = np.asarray(vertices, dtype=np.float64)
        faces = np.asarray(faces, dtype=np.int64)
        rotation = view_matrix(azimuth, elevation)
        in_camera = vertices @ rotation.T
        buffers = _rasterise(in_camera, faces, side)
        hit = buffers.face >= 0
        normals = _pixel_normals(in_camera, faces, buffers, hit)
        light = _light(normals) * _occlusion(buffers.depth, hit)[hit]
        picture[hit] = np.clip(np.asarray(colour) * light[:, None], 0, 1)
    small = picture.reshape(size, SUPERSAMPLING, size, SUPERSAMPLING, 3).mean(axis=(1, 3))
    encoded: UInt8 = np.rint(255 * small ** (1 / 2.2)).astype(np.uint8)
    return encoded


def _rasterise(in_camera: Float64, faces: Int64, side: int) -> _Buffers:
    focal = side / 2 / np.tan(np.radians(FIELD_OF_VIEW / 2))
    depth = DISTANCE - in_camera[:, 2]  # (V,) along the view
    safe = np.maximum(depth, NEAR)
    pixels = np.stack([side / 2 + focal * in_camera[:, 0] / safe, side / 2 - focal * in_camera[:, 1] / safe], axis=1)
    spans = _spans(pixels[faces], np.all(depth[faces] > NEAR, axis=1), side)
    inverse = 1 / safe[faces]  # (F, 3): inverse depth is linear on the screen
    face = np.full(side * side, -1, dtype=np.int64)
    nearest = np.zeros(side * side)  # inverse depth: larger is nearer
    bary = np.zeros((side * side, 3))
    for chunk in _chunks(spans.stop - spans.start):
        owner, pixel, weights = _fragments(spans, chunk, side)
        closeness = (weights * inverse[owner]).sum(axis=1)
        order = np.argsort(closeness, kind="stable")  # the last write to a pixel, the nearest, wins
        order = order[closeness[order] > nearest[pixel[order]]]
        pixel = pixel[order]
        nearest[pixel] = closeness[order]
        face[pixel] = owner[order]
        bary[pixel] = weights[order]
    with np.errstate(divide="ignore"):
        z = np.where(nearest > 0, 1 / nearest, np.inf)
    return _Buffers(face.reshape(side, side), z.reshape(side, side), bary.reshape(side, side, 3))


@dataclass(frozen=True, slots=True, eq=False)
class _Spans:
    """Pixel runs ``[start, stop)`` in row ``y`` of triangle ``owner``, each (S,); ``edges`` (F, 3, 3) hold the screen
    barycentric weights of a triangle as ``edges @ (x, y, 1)``."""

    owner: Int64
    y: Int64
    start: Int64
    stop: Int64
    edges: Float64


def _spans(corners: Float64, visible: Any, side: int) -> _Spans:
    """Scan-convert ``corners`` (F, 3, 2): of each row that a triangle meets, the pixel centres inside it."""
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    area = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
    visible = visible & (np.abs(area) > _TINY)
    area = np.where(visible, area, 1.0)[:, None]

    def edge(p: Float64, q: Float64) -> Float64:
        return np.stack([p[:, 1] - q[:, 1], q[:, 0] - p[:, 0], p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0]], axis=1) / area

    edges = np.stack([edge(b, c), edge(c, a), edge(a, b)], axis=1)
    low = np.clip(np.ceil(corners[:, :, 1].min(axis=1) - 0.5), 0, side).astype(np.int64)
    high = np.clip(np.floor(corners[:, :, 1].max(axis=1) - 0.5) + 1, 0, side).astype(np.int64)
    rows = np.where(visible, np.maximum(high - low, 0), 0)
    owner = np.repeat(np.arange(len(corners)), rows)
    y = low[owner] + np.arange(len(owner)) - np.repeat(np.cumsum(rows) - rows, rows)
    slope = edges[owner, :, 0]  # each weight is slope · x + rest along the row
    rest = edges[owner, :, 1] * (y + 0.5)[:, None] + edges[owner, :, 2]
    with np.errstate(divide="ignore", invalid="ignore"):
        crossing = -rest / slope
    left = np.where(slope > 0, crossing, np.where((slope == 0) & (rest < 0), np.inf, -np.inf)).max(axis=1)
    right = np.where(slope < 0, crossing, np.inf).min(axis=1)
    start = np.clip(np.ceil(left - 0.5), 0, side).astype(np.int64)
    stop = np.clip(np.floor(right - 0.5) + 1, 0, side).astype(np.int64)
    return _Spans(owner, y, start, np.maximum(stop, start), edges)


def _chunks(counts: Int64) -> list[Int64]:
    """Spans that cover anything, in groups of at most about ``FRAGMENT_BUDGET`` pixels."""
    present = np.flatnonzero(counts)
    group = np.cumsum(counts[present]) // FRAGMENT_BUDGET
    return np.split(present, np.flatnonzero(np.diff(group)) + 1) if len(present) else []


def _fragments(spans: _Spans, chunk: Int64, side: int) -> tuple[Int64, Int64, Float64]:
    """The pixels of some spans: owner face (K,), flat pixel (K,), screen barycentric weights (K, 3)."""
    length = (spans.stop - spans.start)[chunk]
    row = np.repeat(chunk, length)
    x = spans.start[row] + np.arange(len(row)) - np.repeat(np.cumsum(length) - length, length)
    owner, y = spans.owner[row], spans.y[row]
    edges = spans.edges[owner]  # (K, 3, 3)
    weights = edges[:, :, 0] * (x + 0.5)[:, None] + edges[:, :, 1] * (y + 0.5)[:, None] + edges[:, :, 2]
    return owner, y * side + x, weights


def _pixel_normals(in_camera: Float64, faces: Int64, buffers: _Buffers, hit: Bool) -> Float64:
    """(K, 3) unit normals in camera axes of the hit pixels, turned toward the viewer."""
    corner_normals = crease_normals(in_camera, faces)
    owner = buffers.face[hit]
    normals = (corner_normals[owner] * buffers.bary[hit][:, :, None]).sum(axis=1)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), _TINY)
    return np.asarray(np.where(normals[:, 2:] < 0, -normals, normals), dtype=np.float64)


def crease_normals(vertices: Float64, faces: Int64) -> Float64:
    """(F, 3, 3) unit normal of every corner of every face: area-weighted mean over the faces around the corner's
    vertex that turn less than the crease angle from its own."""
    edges = vertices[faces[:, 1:]] - vertices[faces[:, :1]]
    weighted = np.cross(edges[:, 0], edges[:, 1])  # (F, 3), length = twice the area
    unit = weighted / np.maximum(np.linalg.norm(weighted, axis=1, keepdims=True), _TINY)
    corner = faces.ravel()  # (3F,)
    order = np.argsort(corner, kind="stable")
    counts = np.bincount(corner, minlength=len(vertices))
    start = np.cumsum(counts) - counts
    valence = counts[corner]
    asking = np.repeat(np.arange(len(corner)), valence)  # every corner meets every face around its vertex
    step = np.arange(len(asking)) - np.repeat(np.cumsum(valence) - valence, valence)
    neighbour = order[start[corner[asking]] + step] // 3
    alike = (unit[asking // 3] * unit[neighbour]).sum(axis=1) >= CREASE
    asking, neighbour = asking[alike], neighbour[alike]
    summed = np.stack(
        [np.bincount(asking, weights=weighted[neighbour, k], minlength=len(corner)) for k in range(3)], axis=1
    )
    length = np.linalg.norm(summed, axis=1, keepdims=True)
    result = np.where(length > _TINY, summed / np.maximum(length, _TINY), np.repeat(unit, 3, axis=0))
    normals: Float64 = np.ascontiguousarray(result, dtype=np.float64).reshape(-1, 3, 3)
    return normals


def _light(normals: Float64) -> Float64:
    """(K,) brightness: hemisphere ambient, key light from above left, soft fill from the right."""
    key = np.array([-0.45, 0.72, 0.53])
    fill = np.array([0.75, 0.1, 0.65])
    ambient = 0.42 + 0.16 * normals[:, 1]
    lit = 0.62 * np.clip(normals @ (key / np.linalg.norm(key)), 0, 1)
    return np.asarray(ambient + lit + 0.16 * np.clip(normals @ (fill / np.linalg.norm(fill)), 0, 1))


def _occlusion(depth: Float64, hit: Bool) -> Float64:
    """(N, N) factor that darkens pixels whose surroundings stand in front of them (screen-space ambient occlusion)."""
    side = len(depth)
    finite = np.where(hit, depth, DISTANCE + 10)
    total = np.zeros_like(finite)
    rings, spokes = (0.012, 0.03, 0.06), 8
    for ring, radius in enumerate(rings):
        for spoke in range(spokes):
            angle = 2 * np.pi * (spoke + ring / len(rings)) / spokes
            dx, dy = np.rint(side * radius * np.array([np.cos(angle), np.sin(angle)])).astype(int)
            gap = finite - np.roll(finite, (dy, dx), axis=(0, 1))  # how far the neighbour stands in front
            reach = radius * 2
            total += np.clip(gap / reach, 0, 1) * np.clip(2 - gap / (2 * reach), 0, 1)
    return np.asarray(1 - 0.55 * np.clip(total / (len(rings) * spokes) * 1.8, 0, 1))
