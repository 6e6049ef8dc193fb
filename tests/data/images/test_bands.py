"""Pictures that are converted some rows at a time are the pictures that are converted at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pix3d_onet.data.images import crop, decoding


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "CMYK", "RGBA", "LA", "P", "I;16", "I", "F"])
def test_bands_change_nothing(tmp_path: Path, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    path = tmp_path / ("a.tif" if mode in ("CMYK", "I", "I;16", "F") else "a.png")
    if mode in ("I;16", "I"):
        kind, top = (np.uint16, 65535) if mode == "I;16" else (np.int32, 255)
        Image.fromarray(rng.integers(0, top, (131, 57)).astype(kind)).save(path)
    elif mode == "F":
        Image.fromarray(np.where(rng.random((131, 57)) < 0.1, np.nan, rng.random((131, 57))).astype(np.float32)).save(
            path
        )
    elif mode == "P":
        Image.fromarray(rng.integers(0, 255, (131, 57), dtype=np.uint8)).convert("P").save(path, transparency=3)
    else:
        Image.fromarray(rng.integers(0, 255, (131, 57, 4), dtype=np.uint8)).convert(mode).save(path)
    rgb, alpha = decoding.read_rgb(path)
    mask = decoding.read_mask(path)
    monkeypatch.setattr(decoding, "BAND_PIXELS", 300)
    again, alpha_again = decoding.read_rgb(path)
    assert np.array_equal(rgb, again)
    assert (alpha is None) == (alpha_again is None) == (mode not in ("RGBA", "LA", "P"))
    assert alpha is None or np.array_equal(alpha, alpha_again)
    assert np.array_equal(mask, decoding.read_mask(path))


@pytest.mark.parametrize(("height", "width"), [(700, 500), (3, 5000), (5000, 2), (90, 90)])
def test_a_crop_in_bands_is_the_crop_at_once(height: int, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    rgb = rng.integers(0, 255, (height, width, 3), dtype=np.uint8)
    mask = rng.random((height, width)) < 0.9
    whole = crop.crop_view(rgb, mask, size=16)
    monkeypatch.setattr(crop, "BAND_PIXELS", 300)
    bands = crop.crop_view(rgb, mask, size=16)
    assert np.array_equal(whole.rgb, bands.rgb)
    assert np.array_equal(whole.mask, bands.mask)
