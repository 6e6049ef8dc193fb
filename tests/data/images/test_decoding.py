"""Pictures that people have and Pillow has not, or not quite: floats, HEIC, addresses, what is no picture at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pix3d_onet.data.images.decoding import array_mask, array_rgb, no_file, read_mask, read_rgb
from pix3d_onet.errors import RejectError


def float_tiff(path: Path, values: object) -> Path:
    Image.fromarray(np.asarray(values, dtype=np.float32)).save(path)
    return path


@pytest.mark.parametrize(
    ("samples", "grey"),
    [
        ([0.0, 0.5, 1.0], [0, 128, 255]),
        ([-0.1, 0.5, 1.04], [0, 128, 255]),  # resampling overshoots
        ([0.0, 0.5, np.nan], [0, 128, 0]),
        ([0.0, 0.5, np.inf], [0, 128, 255]),
        ([0.0, 100.0, 255.0], [0, 100, 255]),
        ([0.0, 25700.0, 65535.0], [0, 100, 255]),
        ([0.0, 0.0, 0.0], [0, 0, 0]),
    ],
)
def test_floats_are_in_the_range_that_their_highest_tells(
    tmp_path: Path, samples: list[float], grey: list[int]
) -> None:
    rgb, alpha = read_rgb(float_tiff(tmp_path / "x.tiff", [samples]))
    assert rgb.tolist() == [[[value] * 3 for value in grey]]
    assert alpha is None


@pytest.mark.parametrize("high", [1.0, 1.04, 255.0, 65535.0])
def test_a_mask_of_floats_is_cut_at_half_its_range(tmp_path: Path, high: float) -> None:
    path = float_tiff(tmp_path / "x.tiff", [[0.0, 0.4 * high, 0.6 * high, high]])
    assert read_mask(path).tolist() == [[False, False, True, True]]


@pytest.mark.parametrize("values", [(0, 2), (0, 127), (0, 0.3)])
def test_a_mask_of_labels_is_not_said_to_be_empty(tmp_path: Path, values: tuple[float, float]) -> None:
    """White is what is at least half of the scale; files with only 0 and 1 have their own."""
    if isinstance(values[1], float):
        path = float_tiff(tmp_path / "x.tiff", [[*values]])
    else:
        path = tmp_path / "x.png"
        Image.fromarray(np.array([values], np.uint8)).save(path)
    scale = 1 if values[1] < 1 else 255
    with pytest.raises(RejectError, match=f"the brightest has {values[1]} of {scale}; make the object white") as caught:
        read_mask(path)
    assert caught.value.reason == "empty-mask"
    Image.fromarray(np.zeros((1, 2), np.uint8)).save(tmp_path / "black.png")
    assert not read_mask(tmp_path / "black.png").any()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic" + bytes(40), "HEIC|cannot be read"),
        (b"\x00\x00\x00\x0cJXL \r\n\x87\n" + bytes(40), "JPEG XL"),
        (b"%PDF-1.7\n", "PDF"),
        (b"<?xml version='1.0'?>\n<!-- drawn -->\n<svg width='3'/>", "SVG"),
        (b"<!DOCTYPE html><html>", "HTML page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"II*\x00" + bytes(60), "TIFF of a kind"),
        (b"", "it is empty: get the file again"),
        (b"plain words", "not a picture in a known format .JPEG, PNG, TIFF"),
    ],
)
def test_what_is_no_picture_is_named(tmp_path: Path, content: bytes, told: str) -> None:
    path = tmp_path / "x.jpg"
    path.write_bytes(content)
    for read in (read_rgb, read_mask):
        with pytest.raises(RejectError, match=told):
            read(path)


def test_heic_is_read_where_pillow_heif_is_installed(tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif", reason="pillow-heif is not installed")
    path = tmp_path / "x.jpg"
    heif.from_pillow(Image.new("RGB", (64, 48), (200, 100, 50))).save(tmp_path / "x.heic", quality=100)
    (tmp_path / "x.heic").rename(path)
    rgb, _ = read_rgb(path)
    assert rgb.shape == (48, 64, 3)
    assert np.abs(rgb.astype(int) - (200, 100, 50)).max() <= 6


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("-", "standard input"),
        ("https://example.org/chair.jpg", "URL"),
        ("https:/example.org/chair.jpg", "URL"),  # as a path has it
        ("s3://bucket/chair.jpg", "URL"),
        ("chair.jpg", "does not exist"),
        ("a:b/chair.jpg", "does not exist"),
    ],
)
def test_what_is_no_file_is_told(path: str, told: str) -> None:
    assert told in no_file(Path(path))
    with pytest.raises(RejectError, match=told) as error:
        read_rgb(Path(path))
    assert error.value.reason == "missing-image"


@pytest.mark.parametrize(
    ("name", "size", "said"),
    [
        ("a.png", (70_000, 2), "a side of more than 65,535; scale it down"),
        ("a.webp", (7100, 7100), "more than 50,000,000; scale it down"),
        ("a.png", (20_000, 10_000), "more than 100,000,000 pixels; scale it down"),
    ],
)
def test_a_picture_that_would_take_gigabytes_is_refused_by_its_header(
    tmp_path: Path, name: str, size: tuple[int, int], said: str
) -> None:
    Image.new("L", size).save(tmp_path / name)
    with pytest.raises(RejectError, match=said) as refused:
        read_rgb(tmp_path / name)
    assert refused.value.reason == "image-too-large"


def test_a_damaged_picture_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "x.jpg"
    Image.effect_noise((64, 64), 50).save(path)
    path.write_bytes(path.read_bytes()[:-500])
    said = "x.jpg cannot be read: it is damaged or incomplete (image file is truncated): get the file again"
    with pytest.raises(RejectError) as caught:
        read_rgb(path)
    assert caught.value.message == said


def test_pictures_with_a_palette_are_their_colours_not_its_indices() -> None:
    """Black and white have the indices 1 and 0 here, so that indices would be the mask's opposite."""
    picture = Image.fromarray(np.array([[1, 0, 0], [0, 1, 1]], np.uint8), mode="P")
    picture.putpalette([255, 255, 255, 0, 0, 0])
    np.testing.assert_array_equal(array_mask(picture), [[False, True, True], [True, False, False]])
    rgb, _ = array_rgb(picture)
    np.testing.assert_array_equal(rgb[..., 0], [[0, 255, 255], [255, 0, 0]])
