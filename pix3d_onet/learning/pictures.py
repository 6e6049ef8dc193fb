"""Resize stored pictures, and focal lengths in the unit that networks use."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from pix3d_onet.types import Float32, UInt8, View

RESIZE_BLOCK = 64
"""Pictures resized at a time, to limit memory."""


def focal_of(view: View) -> float:
    """Focal length divided by the picture's width, the input of a ``6d`` pose encoder; NaN without a camera."""
    return float(abs(view.intrinsics[0, 0]) / view.rgb.shape[1])


def focal_lengths(intrinsics: Float32, side: int) -> Float32:
    """(N, 3, 3) intrinsics of pictures ``side`` pixels wide → (N,) float32 focal lengths divided by the width."""
    return np.abs(intrinsics[:, 0, 0] / side).astype(np.float32)


def resize_images(rgb: UInt8, size: int) -> Tensor:
    """(N, H, W, 3) uint8 → (N, 3, size, size) uint8: antialiased bilinear, rounded; unchanged if the size is equal."""
    images = torch.from_numpy(np.ascontiguousarray(rgb)).permute(0, 3, 1, 2)
    if images.shape[-2:] == (size, size):
        return images.contiguous()
    blocks = [
        functional.interpolate(block.float(), size=(size, size), mode="bilinear", antialias=True)
        .round_()
        .clamp_(0, 255)
        .to(torch.uint8)
        for block in torch.split(images, RESIZE_BLOCK)
    ]
    return torch.cat(blocks)
