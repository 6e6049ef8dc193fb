"""Image augmentation. The background stays white; labels, masks and cameras stay correct."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from pix3d_onet import seeding
from pix3d_onet.learning.batches.batch import Batch
from pix3d_onet.learning.batches.split import to_device
from pix3d_onet.learning.network.camera import mirrored_intrinsics, mirrored_pose
from pix3d_onet.learning.network.decoder_inference import reflected

GAMMA = 0.35
"""Half-range of the logarithm of the gamma exponent."""
GAIN = 0.15
"""Half-range of each channel's gain in darkness (1 - value)."""
GREY = 0.5
"""Largest fraction of grey mixed in."""
ZOOM = 0.15
"""Half-range of the logarithm of the zoom."""
SHIFT = 0.08
"""Largest shift in each direction, as a fraction of the image's side."""
STRETCH = 0.12
"""Half-range of the logarithm of each axis' scale."""
DARKEST = 0.25
"""Least brightness of a tint's brightest channel."""
COLUMNS = 9
"""Random numbers per picture."""


def augment(batch: Batch, kinds: tuple[str, ...], seed: int, step: int, first: int) -> Batch:
    """Augment a batch. The random numbers depend only on seed, step and position in the batch of all processes.

    ``first``: position of this process's first picture. ``color``: gamma, gain and grey, none of which changes white.
    ``crop``: zoom and shift, white outside. ``flip``: mirror the picture and its shape. ``stretch``: scale the shape.
    These three move the camera, too. ``tint``: paint the object; the pictures must have masks.
    """

    def uniform(name: str, columns: int) -> Tensor:  # (B, columns) in [-1, 1)
        numbers = seeding.generator(seed, name, str(step)).random((first + len(batch.images), columns))[first:]
        return to_device((2 * numbers - 1).astype(np.float32), batch.images.device)

    u = uniform("augment", COLUMNS)
    if "tint" in kinds:
        batch = replace(batch, images=tint(batch.images, (uniform("tint", 5) + 1) / 2))
    if "color" in kinds:
        batch = replace(batch, images=color(batch.images, u[:, 0], u[:, 1:4], (u[:, 4] + 1) / 2))
    if "crop" in kinds:
        batch = crop(batch, torch.exp(ZOOM * u[:, 5]), SHIFT * u[:, 6], SHIFT * u[:, 8])
    if "flip" in kinds:
        batch = flip(batch, u[:, 7] < 0)
    if "stretch" in kinds:
        batch = stretch(batch, torch.exp(STRETCH * uniform("stretch", 3)))
    return batch


def color(images: Tensor, gamma: Tensor, gain: Tensor, grey: Tensor) -> Tensor:
    """images (B, 3 or 4, H, W) in [0, 1]; gamma (B,), gain (B, 3) in [-1, 1], grey (B,) in [0, 1] → the same shape."""
    dark = 1 - images[:, :3].clamp(0, 1).pow(torch.exp(GAMMA * gamma)[:, None, None, None])
    dark = dark * torch.exp(GAIN * gain)[:, :, None, None]
    mixed = torch.lerp(dark, dark.mean(dim=1, keepdim=True), GREY * grey[:, None, None, None])
    return torch.cat([(1 - mixed).clamp_(0, 1), images[:, 3:]], dim=1)


def tint(images: Tensor, numbers: Tensor) -> Tensor:
    """images (B, 4, H, W) in [0, 1], the mask last, numbers (B, 5) in [0, 1) → objects multiplied by random colours.

    A colour is a vivid one (3 numbers), mixed with white and darkened, down to ``DARKEST``. Rendered views are grey:
    without it, a network learns from them what it does not find again in photos (Su et al., ICCV 2015, vary the look of
    rendered pictures for the same reason). White behind the object's rim, where the mask is between 0 and 1, stays.
    """
    vivid = numbers[:, :3] / numbers[:, :3].amax(dim=1, keepdim=True).clamp(min=1e-6)
    colour = (1 - (1 - DARKEST) * numbers[:, 4:]) * (1 - numbers[:, 3:4] * (1 - vivid))
    mask = images[:, 3:]
    own = (images[:, :3] - (1 - mask)).clamp_(min=0)  # the object's part of a pixel
    return torch.cat([images[:, :3] - own * (1 - colour[:, :, None, None]), mask], dim=1)


def crop(batch: Batch, zoom: Tensor, right: Tensor, down: Tensor) -> Batch:
    """Zoom about the centre and shift by fractions of the side, (B,) each; pixels from outside are white background.

    In units of the side, u' = zoom · (u - 1/2) + 1/2 + right, and v' likewise.
    """
    images = batch.images
    theta = torch.zeros(len(images), 2, 3, device=images.device)
    theta[:, 0, 0] = theta[:, 1, 1] = 1 / zoom
    theta[:, 0, 2], theta[:, 1, 2] = -2 * right / zoom, -2 * down / zoom
    grid = functional.affine_grid(theta, list(images.shape), align_corners=False)
    outside = torch.ones(images.shape[1], 1, 1, device=images.device)
    outside[3:] = 0  # white, no object
    inner = functional.grid_sample(outside - images, grid, padding_mode="zeros", align_corners=False)
    images = (outside - inner).contiguous(memory_format=torch.channels_last)
    moved = torch.zeros_like(batch.intrinsics)
    moved[:, 0, 0] = moved[:, 1, 1] = zoom
    moved[:, 0, 2], moved[:, 1, 2] = (1 - zoom) / 2 + right, (1 - zoom) / 2 + down
    moved[:, 2, 2] = 1
    return replace(batch, images=images, intrinsics=moved @ batch.intrinsics)


def flip(batch: Batch, chosen: Tensor) -> Batch:
    """Mirror the chosen (B,) pictures left-right and their shapes in x, see ``network.camera.mirrored_pose``."""
    images = torch.where(chosen[:, None, None, None], batch.images.flip(-1), batch.images)
    points = torch.where(chosen[:, None, None], reflected(batch.points), batch.points)
    pose = torch.where(chosen[:, None, None], mirrored_pose(batch.pose), batch.pose)
    intrinsics = torch.where(chosen[:, None, None], mirrored_intrinsics(batch.intrinsics), batch.intrinsics)
    images = images.contiguous(memory_format=torch.channels_last)
    return replace(batch, images=images, points=points, pose=pose, intrinsics=intrinsics)


def stretch(batch: Batch, scale: Tensor) -> Batch:
    """Scale the shapes by ``scale`` (B, 3) along the axes of their frames; the pictures stay.

    With p' = S p the pose's rotation becomes R S⁻¹, no rotation any more, so that R S⁻¹ p' + t is the same point before
    the camera: the picture shows the new shape. Without it, only what a point's place says of the shape changes.
    """
    pose = batch.pose.clone()
    pose[:, :3, :3] /= scale[:, None]
    return replace(batch, points=batch.points * scale[:, None], pose=pose)
