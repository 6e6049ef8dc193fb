"""Pictures and intrinsics in the form that networks take."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from pix3d_onet.types import Bool, Float32, UInt8

RESIZE_BLOCK = 64
"""Pictures resized at a time, to limit memory."""


def relative_intrinsics(intrinsics: Float32, side: int) -> Float32:
    """(…, 3, 3) intrinsics of pictures ``side`` pixels wide and high → the same in units of the side: u and v from 0 to
    1, whatever size the picture is resized to."""
    return (intrinsics / np.array([side, side, 1], dtype=np.float32)[:, None]).astype(np.float32)


def network_pictures(rgb: UInt8, mask: Bool | None, size: int | None) -> Tensor:
    """rgb (N, H, W, 3), mask (N, H, W) → (N, 3, size, size) uint8; with a mask (N, 4, size, size), 255 on the object.

    ``size`` None: as they are.
    """
    images = resize_images(rgb, size)
    if mask is None:
        return images
    return torch.cat([images, resize_images(mask[..., None].astype(np.uint8) * 255, size)], dim=1)


def resize_images(rgb: UInt8, size: int | None) -> Tensor:
    """(N, H, W, C) uint8 → (N, C, size, size) uint8: antialiased bilinear, rounded; unchanged if the size is equal."""
    images = torch.from_numpy(np.ascontiguousarray(rgb)).permute(0, 3, 1, 2)
    if size is None or images.shape[-2:] == (size, size):
        return images.contiguous()
    blocks = [
        functional.interpolate(block.float(), size=(size, size), mode="bilinear", antialias=True)
        .round_()
        .clamp_(0, 255)
        .to(torch.uint8)
        for block in torch.split(images, RESIZE_BLOCK)
    ]
    return torch.cat(blocks)
