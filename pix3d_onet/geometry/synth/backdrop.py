"""The background of a synthetic object: a wall, a floor in perspective, a soft shadow, and camera noise.

All arrays are linear light or display values of one picture, (H, W, 3). The background is never white, so that code
that forgets the mask is noticed at once.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pix3d_onet.geometry.render.scene import Rendering
from pix3d_onet.types import Bool, Float32, Float64, UInt8

PLANK = 0.14
"""Width of a floor board as a fraction of the object's longest side."""
SHADOW = 0.55
"""Largest fraction of light that the contact shadow removes."""


def behind(
    picture: Rendering, pose: Float64, intrinsics: Float64, bounds: Float64, rng: np.random.Generator
) -> Float32:
    """(H, W, 3) float32 display values in [0, 1]: ``picture`` (one sample per pixel) in front of a room."""
    height, width = picture.mask.shape
    wall = rng.uniform(0.35, 0.75) * (1 + rng.uniform(-0.12, 0.12, 3))
    floor = rng.uniform(0.25, 0.6) * np.array([1.0, rng.uniform(0.75, 1.0), rng.uniform(0.5, 0.95)])
    u, v = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    rays = np.stack([u, v, np.ones_like(u)], axis=-1) @ np.linalg.inv(intrinsics).T @ pose[:3, :3]  # model frame
    eye = -pose[:3, :3].T @ pose[:3, 3]
    longest = float((bounds[1] - bounds[0]).max())
    gradient = 0.82 + 0.36 * (1 - v / height) * rng.uniform(0.3, 1.0) + 0.1 * _clouds(rng, height, width)
    room = wall * gradient[..., None]
    downwards = rays[..., 1] < -1e-6
    reach = np.where(downwards, (bounds[0, 1] - eye[1]) / np.where(downwards, rays[..., 1], -1.0), np.inf)
    ground = downwards & (reach > 0) & (reach < 8 * longest + float(np.linalg.norm(eye)))
    spot = eye + np.where(ground, reach, 0.0)[..., None] * rays
    boards = np.floor(spot[..., 0] / (PLANK * longest)).astype(np.int64)
    tint = 1 + 0.16 * (rng.random(64)[boards % 64] - 0.5)
    beyond = np.maximum(np.maximum(bounds[0] - spot, spot - bounds[1]), 0)[..., [0, 2]]
    shadow = SHADOW * np.exp(-np.square(beyond / (0.18 * longest)).sum(axis=-1))
    planks = floor * (tint * (1 - shadow))[..., None]
    room = np.where(ground[..., None], planks, room)
    result = np.where(picture.mask[..., None], picture.rgb / 255.0, np.clip(room, 0.02, 0.93))
    return result.astype(np.float32)


def pole_in_front(rgb: Float32, mask: Bool, rng: np.random.Generator) -> tuple[Float32, Bool]:
    """Draw a thin vertical bar in front of the object (``slightly_occluded``) and remove it from the mask."""
    width = mask.shape[1]
    columns = np.flatnonzero(mask.any(axis=0))
    centre = rng.uniform(columns[0], columns[-1] + 1)
    half = 0.012 * width
    across = (np.arange(width) + 0.5 - centre) / half
    bar = np.abs(across) < 1
    tone = rng.uniform(0.15, 0.6, 3) * (0.6 + 0.4 * np.sqrt(np.clip(1 - across**2, 0, 1)))[:, None]
    painted = np.where(bar[None, :, None], tone[None], rgb).astype(np.float32)
    left = mask & ~bar[None, :]
    if 2 * left.sum() < mask.sum():  # a bar in front of an object seen from its narrow side would hide it
        return rgb, mask
    return painted, left


def develop(rgb: Float32, mask: Bool, factor: int, rng: np.random.Generator) -> tuple[UInt8, Bool]:
    """Average ``factor``² samples per pixel, then apply exposure, white balance and noise; the mask by majority."""
    height, width = mask.shape[0] // factor, mask.shape[1] // factor
    small = rgb.reshape(height, factor, width, factor, 3).mean(axis=(1, 3))
    balance = rng.uniform(0.92, 1.06) * (1 + rng.uniform(-0.03, 0.03, 3))
    noise = rng.normal(0, rng.uniform(0.004, 0.015), small.shape)
    photo = np.rint(np.clip(small * balance + noise, 0, 1) * 255).astype(np.uint8)
    covered = mask.reshape(height, factor, width, factor).mean(axis=(1, 3)) >= 0.5
    return photo, covered


def _clouds(rng: np.random.Generator, height: int, width: int) -> NDArray[Any]:
    """(H, W) smooth noise in [-1, 1]: a coarse random grid, linearly interpolated."""
    coarse = rng.uniform(-1, 1, (6, 6))
    y, x = np.linspace(0, 5, height), np.linspace(0, 5, width)
    rows = np.stack([np.interp(y, np.arange(6), coarse[:, k]) for k in range(6)], axis=1)  # (H, 6)
    left = np.minimum(x.astype(np.int64), 4)
    share = x - left
    return rows[:, left] * (1 - share) + rows[:, left + 1] * share
