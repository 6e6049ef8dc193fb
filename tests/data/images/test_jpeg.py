"""Scans of a JPEG are counted without decoding it; a thumbnail's and the coded data's bytes are none."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pix3d_onet.data.images.decoding import read_rgb
from pix3d_onet.data.images.jpeg import MAX_SCANS, START_OF_SCAN, count_scans
from pix3d_onet.errors import RejectError


def jpeg(*, progressive: bool, side: int = 64, comment: bytes = b"") -> bytes:
    noise = np.random.default_rng(0).integers(0, 255, (side, side, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "JPEG", progressive=progressive, comment=comment)
    return file.getvalue()


@pytest.mark.parametrize(("progressive", "scans"), [(False, 1), (True, 10)])
def test_the_scans_of_libjpeg_are_counted(tmp_path: Path, progressive: bool, scans: int) -> None:
    path = tmp_path / "a.jpg"
    for comment in (b"", bytes([0xFF, START_OF_SCAN]) * 50):
        path.write_bytes(jpeg(progressive=progressive, comment=comment))
        assert count_scans(path) == scans
        path.write_bytes(path.read_bytes() * 2)  # a second picture behind the first, as cameras append
        assert count_scans(path) == scans


def test_a_picture_painted_a_thousand_times_is_rejected_undecoded(tmp_path: Path) -> None:
    good = jpeg(progressive=True)
    last = good[good.rfind(bytes([0xFF, START_OF_SCAN])) : -2]
    path = tmp_path / "a.jpg"
    path.write_bytes(good[:-2] + last * (MAX_SCANS - 10) + good[-2:])
    assert read_rgb(path)[0].shape == (64, 64, 3)
    path.write_bytes(good[:-2] + last * 1000 + good[-2:])
    with pytest.raises(RejectError, match=f"more than {MAX_SCANS} scans of 4,096 pixels"):
        read_rgb(path)
