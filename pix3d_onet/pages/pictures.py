"""Pictures for pages: cut out by their mask, tinted by it, as ``data:`` URLs."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from pix3d_onet.types import Bool, UInt8

QUALITY = 88
MASK_ALPHA = 0.3
"""Opacity of the mask over the picture, as in the published Figure 5."""
MASK_COLOUR = (213, 94, 0)
"""Okabe-Ito vermillion."""


def cut_out(rgb: UInt8, mask: Bool) -> UInt8:
    """``rgb`` (H, W, 3) on nothing, (H, W, 4): what is outside the mask is transparent."""
    return np.dstack([rgb, mask.astype(np.uint8) * np.uint8(255)])


def with_mask(rgb: UInt8, mask: Bool) -> UInt8:
    """``rgb`` (H, W, 3) uint8 with the mask (H, W) drawn over it."""
    tinted = rgb.astype(np.float64)
    tinted[mask] = (1 - MASK_ALPHA) * tinted[mask] + MASK_ALPHA * np.asarray(MASK_COLOUR)
    return np.rint(tinted).astype(np.uint8)


def data_url(pixels: UInt8, *, lossless: bool = False, quality: int = QUALITY) -> str:
    """A picture (H, W, 3 or 4) uint8 as a ``data:`` URL: JPEG, WebP if it is transparent, or PNG if ``lossless``."""
    lossy = "WEBP" if pixels.shape[-1] == 4 else "JPEG"
    kind, options = ("PNG", {"optimize": True}) if lossless else (lossy, {"quality": quality})
    return _url(Image.fromarray(pixels), kind, **options)


def mask_url(mask: Bool) -> str:
    """A mask (H, W) as a ``data:`` URL to lay over its picture: PNG of one bit, opaque on the object."""
    picture = Image.fromarray(mask.astype(np.uint8), "P")
    picture.putpalette([0, 0, 0, *MASK_COLOUR])
    return _url(picture, "PNG", bits=1, transparency=0, optimize=True)


def _url(picture: Image.Image, kind: str, **options: object) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"
