"""References of ``render.kernels``: pixel by pixel and triangle by triangle."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def random_triangles(rng: np.random.Generator, height: int, width: int) -> tuple[Array, Array]:
    """(9, 3) screen positions, some beyond the picture, with 1/Z; (6, 3) faces."""
    screen = rng.uniform((-6, -6, 0.3), (width + 6, height + 6, 1), (9, 3))
    return screen, np.array([rng.choice(9, 3, replace=False) for _ in range(6)], dtype=np.int32)


def weights(corners: Array, pixel: Array) -> Array:
    """Barycentric coordinates (3,) of a screen position in a triangle (3, 2)."""
    return np.linalg.solve(np.vstack([corners.T, np.ones(3)]), (*pixel, 1.0))


def rasterise(screen: Array, faces: Array, height: int, width: int) -> tuple[Array, Array]:
    """(H, W) largest 1/Z over the triangles that cover each sample, 0 without, and that triangle, -1 without."""
    inverse_depth, ids = np.zeros((height, width)), np.full((height, width), -1)
    for y, x in np.ndindex(height, width):
        for f, corners in enumerate(screen[faces]):
            w = weights(corners[:, :2], np.array([x + 0.5, y + 0.5]))
            if w.min() >= 0 and w @ corners[:, 2] > inverse_depth[y, x]:
                inverse_depth[y, x], ids[y, x] = w @ corners[:, 2], f
    return inverse_depth.astype(np.float32), ids.astype(np.int32)


def corner_normals(faces: Array, normals: Array, crease: float) -> Array:
    """(F, 3, 3): sum of the normals around each corner within the crease angle, each turned to the face's side."""
    result = np.zeros((len(faces), 3, 3))
    for f, k in np.ndindex(faces.shape):
        around = normals[(faces == faces[f, k]).any(axis=1)]
        dots = around @ normals[f]
        near = np.abs(dots) >= crease * np.linalg.norm(normals[f]) * np.linalg.norm(around, axis=1)
        total = (np.where(dots >= 0, 1, -1)[:, None] * around)[near].sum(axis=0)
        if np.any(normals[f]) and np.any(total):
            result[f, k] = total / np.linalg.norm(total)
    return result


def shade(
    ids: Array, inverse_depth: Array, screen: Array, faces: Array, source: Array, normals: Array, colours: Array,
    rays: Array, rotation: Array, lights: Array,
) -> Array:  # fmt: skip
    """(H, W, 3) linear light: sky and ground, an eye light, wrapped diffuse lights, one soft highlight."""
    out = np.ones((*ids.shape, 3))
    for y, x in np.argwhere(ids >= 0):
        corners, pixel = screen[faces[ids[y, x]]], np.array([x + 0.5, y + 0.5])
        w = weights(corners[:, :2], pixel) * corners[:, 2] / inverse_depth[y, x]  # perspective-correct
        w[2] = 1 - w[0] - w[1]
        normal = w @ normals[source[ids[y, x]]]
        sight = rays @ (*pixel, 1.0)
        sight[2] = 1.0
        sight /= np.linalg.norm(sight)
        normal *= (-1 if (rotation @ normal) @ sight > 0 else 1) / np.linalg.norm(normal)
        n = rotation @ normal
        light = 0.16 + 0.16 * normal[1] - 0.08 * n @ sight
        light += sum(s * max((n @ lamp + wrap) / (1 + wrap), 0) for *lamp, s, wrap in lights)
        half = lights[0, :3] - sight
        gloss = 0.06 * max(n @ half / np.linalg.norm(half), 0) ** 16
        out[y, x] = np.clip(colours[source[ids[y, x]]] * light + gloss, 0, 1)
    return out


def resolve(linear: Array, ids: Array, inverse_depth: Array, factor: int, gamma: float) -> tuple[Array, Array, Array]:
    """Display codes, mask (at least half covered) and nearest depth of blocks of ``factor``² samples."""
    h, w = ids.shape[0] // factor, ids.shape[1] // factor

    def blocks(samples: Array) -> Array:
        return samples.reshape(h, factor, w, factor, -1).swapaxes(1, 2).reshape(h, w, factor**2, -1)

    hit = blocks(ids)[..., 0] >= 0
    with np.errstate(divide="ignore"):
        depth = 1 / np.where(hit, blocks(inverse_depth)[..., 0], 0).max(axis=2)
    rgb = np.floor(255 * blocks(linear).mean(axis=2) ** (1 / gamma) + 0.5)
    return np.where(hit.any(axis=2)[..., None], rgb, 255), 2 * hit.sum(axis=2) >= factor**2, depth
