"""A software renderer for the report's thumbnails in NumPy, since a report must not need numba.

It draws the same pictures as ``geometry.render``, which is ten times as fast (a test compares them). All triangles are
scan-converted to fragments at once, and the nearest fragment per pixel is shown; antialiasing is by supersampling.
Camera, light and colours are those of ``geometry.render.look``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pix3d_onet.geometry.render.look import (
    AZIMUTH,
    CREASE,
    DISTANCE,
    ELEVATION,
    FIELD_OF_VIEW,
    GAMMA,
    PREDICTION_COLOUR,
    brightness,
    welded,
)
from pix3d_onet.types import Bool, Float64, Int64, UInt8

NEAR = 0.05
"""Nearest depth that is drawn."""
SUPERSAMPLING = 3
"""Samples per pixel and axis."""
FRAGMENT_BUDGET = 4_000_000
"""Fragments in memory at a time (about 200 MB)."""
_TINY = 1e-12
"""Avoids division by the area of degenerate triangles; far below other areas in normalised units."""


@dataclass(frozen=True, slots=True, eq=False)
class _Buffers:
    """Per pixel: ``face`` (N, N) index or -1, ``bary`` (N, N, 3) barycentric weights of its corners."""

    face: Int64
    bary: Float64


def view_matrix(azimuth: float = AZIMUTH, elevation: float = ELEVATION) -> Float64:
    """(3, 3) rotation, normalised frame → camera axes (+x right, +y up, +z toward the viewer).

    In the normalised frame +y is up and the object faces −z; azimuth 0 looks at its front.
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
    colour: tuple[float, float, float] = PREDICTION_COLOUR,
    azimuth: float = AZIMUTH,
    elevation: float = ELEVATION,
    transparent: bool = False,
) -> UInt8:
    """A picture of a mesh: (size, size, 3) uint8 on white, or (size, size, 4) ``transparent``; empty without faces.

    ``vertices`` (V, 3) in the normalised frame, ``faces`` (F, 3); ``colour`` linear RGB in [0, 1].
    """
    side = size * SUPERSAMPLING
    picture, hit = np.zeros((side, side, 3)), np.zeros((side, side), dtype=np.bool_)
    if len(faces):
        vertices = np.asarray(vertices, dtype=np.float64)
        faces = np.asarray(faces, dtype=np.int64)
        rotation = view_matrix(azimuth, elevation)
        in_camera = vertices @ rotation.T
        buffers = _rasterise(in_camera, faces, side)
        hit = buffers.face >= 0
        sight = _sight(side)[hit]
        normals = _pixel_normals(in_camera, faces, buffers, hit, sight)
        axes = [-1, 1, -1]  # to the camera frame of ``look``: left, up, forward
        light, gloss = brightness(normals * axes, normals @ rotation[:, 1], sight * axes)
        picture[hit] = np.clip(np.asarray(colour) * light[:, None] + gloss[:, None], 0, 1)
    blocks = (size, SUPERSAMPLING, size, SUPERSAMPLING)
    small, alpha = picture.reshape(*blocks, 3).mean(axis=(1, 3)), hit.reshape(blocks).mean(axis=(1, 3))[..., None]
    mixed = small / np.maximum(alpha, _TINY) if transparent else small + (1 - alpha)
    encoded: UInt8 = np.rint(255 * np.clip(mixed, 0, 1) ** (1 / GAMMA)).astype(np.uint8)
    return np.dstack([encoded, np.rint(255 * alpha).astype(np.uint8)]) if transparent else encoded


def _sight(side: int) -> Float64:
    """(side, side, 3) unit directions from the eye through the centres of pixels, in camera axes."""
    middle = (np.arange(side) + 0.5 - side / 2) / _focal(side)
    x, y = np.broadcast_arrays(middle[None, :], -middle[:, None])
    rays = np.stack([x, y, np.full_like(x, -1.0)], axis=-1)
    return np.asarray(rays / np.linalg.norm(rays, axis=-1, keepdims=True))


def _focal(side: int) -> float:
    return float(side / 2 / np.tan(np.radians(FIELD_OF_VIEW / 2)))


def _rasterise(in_camera: Float64, faces: Int64, side: int) -> _Buffers:
    focal = _focal(side)
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
        order = np.argsort(closeness, kind="stable")  # nearest last, since the last write to a pixel counts
        order = order[closeness[order] > nearest[pixel[order]]]
        pixel = pixel[order]
        nearest[pixel] = closeness[order]
        face[pixel] = owner[order]
        bary[pixel] = weights[order]
    safe_nearest = np.where(nearest > 0, nearest, 1.0)
    corrected = bary * inverse[face] / safe_nearest[:, None]  # perspective-correct: from screen to surface
    return _Buffers(face.reshape(side, side), corrected.reshape(side, side, 3))


@dataclass(frozen=True, slots=True, eq=False)
class _Spans:
    """Pixels ``[start, stop)`` in row ``y`` of triangle ``owner``, (S,) each.

    ``edges`` (F, 3, 3): a triangle's barycentric weights on the screen are ``edges @ (x, y, 1)``.
    """

    owner: Int64
    y: Int64
    start: Int64
    stop: Int64
    edges: Float64


def _spans(corners: Float64, visible: Any, side: int) -> _Spans:
    """Scan-convert triangles (F, 3, 2): for each row of pixels, the pixel centres inside the triangle."""
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
    """Indices of non-zero counts, in groups with a sum of about ``FRAGMENT_BUDGET`` at most."""
    present = np.flatnonzero(counts)
    group = np.cumsum(counts[present]) // FRAGMENT_BUDGET
    return np.split(present, np.flatnonzero(np.diff(group)) + 1) if len(present) else []


def _fragments(spans: _Spans, chunk: Int64, side: int) -> tuple[Int64, Int64, Float64]:
    """The pixels of the spans ``chunk``: face (K,), flat pixel index (K,), barycentric weights on the screen (K, 3)."""
    length = (spans.stop - spans.start)[chunk]
    row = np.repeat(chunk, length)
    x = spans.start[row] + np.arange(len(row)) - np.repeat(np.cumsum(length) - length, length)
    owner, y = spans.owner[row], spans.y[row]
    edges = spans.edges[owner]  # (K, 3, 3)
    weights = edges[:, :, 0] * (x + 0.5)[:, None] + edges[:, :, 1] * (y + 0.5)[:, None] + edges[:, :, 2]
    return owner, y * side + x, weights


def _pixel_normals(in_camera: Float64, faces: Int64, buffers: _Buffers, hit: Bool, sight: Float64) -> Float64:
    """(K, 3) unit normals of the hit pixels in camera axes, turned towards the eye."""
    normals = (crease_normals(in_camera, faces)[buffers.face[hit]] * buffers.bary[hit][:, :, None]).sum(axis=1)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), _TINY)
    return np.asarray(np.where((normals * sight).sum(axis=1, keepdims=True) > 0, -normals, normals))


def crease_normals(vertices: Float64, faces: Int64) -> Float64:
    """(F, 3, 3) unit normals of the corners of faces, with creases kept.

    Each is the area-weighted mean over the faces at the corner's position that differ from its own by less than the
    crease angle; their winding does not matter. Pairs of corner and face are processed in groups of
    ``FRAGMENT_BUDGET``, because one vertex may belong to all faces.
    """
    edges = vertices[faces[:, 1:]] - vertices[faces[:, :1]]
    weighted = np.cross(edges[:, 0], edges[:, 1])  # (F, 3), length = twice the area
    unit = weighted / np.maximum(np.linalg.norm(weighted, axis=1, keepdims=True), _TINY)
    corner = welded(vertices)[faces].ravel()  # (3F,)
    order = np.argsort(corner, kind="stable")
    counts = np.bincount(corner)
    start, valence = (np.cumsum(counts) - counts)[corner], counts[corner]
    summed = np.zeros((len(corner), 3))
    for chunk in _chunks(valence):
        row = np.repeat(chunk, valence[chunk])  # every corner with every face at its position
        first = np.repeat(np.cumsum(valence[chunk]) - valence[chunk], valence[chunk])
        neighbour = order[start[row] + np.arange(len(row)) - first] // 3
        cosine = (unit[row // 3] * unit[neighbour]).sum(axis=1)
        share = weighted[neighbour] * np.where(np.abs(cosine) >= CREASE, np.sign(cosine), 0)[:, None]
        for k in range(3):
            summed[:, k] += np.bincount(row, weights=share[:, k], minlength=len(corner))
    length = np.linalg.norm(summed, axis=1, keepdims=True)
    result = np.where(length > _TINY, summed / np.maximum(length, _TINY), np.repeat(unit, 3, axis=0))
    return np.asarray(result, dtype=np.float64).reshape(-1, 3, 3)
