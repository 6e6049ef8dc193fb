"""Pictures as data URLs: masks are exact, photos recognisable."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from pix3d_onet.pages.pictures import MASK_COLOUR, cut_out, data_url, mask_url


def decoded(url: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(url.partition(";base64,")[2])))


def test_a_mask_lies_over_its_picture_and_nothing_else() -> None:
    mask = np.random.default_rng(0).random((37, 50)) > 0.5
    url = mask_url(mask)
    rgba = np.asarray(decoded(url).convert("RGBA"))
    assert np.array_equal(rgba[..., 3], np.where(mask, 255, 0))
    assert (rgba[mask][:, :3] == MASK_COLOUR).all()
    assert len(url) < 800  # a bit per pixel


def test_a_cut_out_is_transparent_outside_its_mask() -> None:
    mask = np.zeros((16, 16), dtype=bool)
    mask[4:12, 4:12] = True
    url = data_url(cut_out(np.full((16, 16, 3), 90, np.uint8), mask))
    assert url.startswith("data:image/webp;base64,")
    assert np.array_equal(np.asarray(decoded(url))[..., 3] > 0, mask)
