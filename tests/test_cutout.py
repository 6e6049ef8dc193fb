"""Cutting the object out of a loose photo: every way in, and where the automatic rule gives up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pix3d_onet.data.cutout import auto_mask, load_cutout, otsu, rembg_mask, srgb_to_lab, white_border_mask
from pix3d_onet.errors import MissingDependencyError, RejectError
from pix3d_onet.metrics import iou

SIZE = {"size": 64, "margin": 0.1}


def scene(noise: float = 4.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A brown chair-like outline on a floor and a wall, and its mask."""
    random = np.random.default_rng(seed)
    rgb = np.empty((240, 300, 3))
    rgb[:150] = (205, 210, 215)
    rgb[150:] = (170, 160, 150)
    mask = np.zeros((240, 300), bool)
    mask[40:130, 100:120] = mask[120:140, 100:200] = mask[140:210, 100:112] = mask[140:210, 188:200] = True
    rgb[mask] = (110, 60, 30)
    return np.clip(rgb + random.normal(0, noise, rgb.shape), 0, 255).astype(np.uint8), mask


def save(path: Path, array: np.ndarray) -> Path:
    Image.fromarray(array).save(path)
    return path


def test_auto_finds_the_object_before_wall_and_floor() -> None:
    rgb, mask = scene()
    assert iou(auto_mask(rgb), mask) > 0.85
    np.testing.assert_array_equal(auto_mask(rgb), auto_mask(rgb))
    large = np.asarray(Image.fromarray(rgb).resize((900, 720)))
    assert auto_mask(large).shape == (720, 900)


@pytest.mark.parametrize("rgb", [np.full((60, 60, 3), 90, np.uint8), np.zeros((1, 1, 3), np.uint8)])
def test_auto_gives_up_by_name(rgb) -> None:
    with pytest.raises(RejectError) as error:
        auto_mask(rgb)
    assert error.value.reason == "no-object"
    assert "--mask FILE" in error.value.message


def test_given_mask_and_transparency_and_white_border(tmp_path) -> None:
    rgb, mask = scene()
    photo = save(tmp_path / "photo.png", rgb)
    outline = save(tmp_path / "mask.png", mask.astype(np.uint8) * 255)
    cut = save(tmp_path / "cut.png", np.dstack([rgb, mask.astype(np.uint8) * 255]))
    white = save(tmp_path / "white.png", np.where(mask[..., None], rgb, 255).astype(np.uint8))
    given, alpha, border = (
        load_cutout(photo, outline, **SIZE), load_cutout(cut, None, **SIZE), load_cutout(white, None, **SIZE)
    )  # fmt: skip
    np.testing.assert_array_equal(given.mask, alpha.mask)
    np.testing.assert_array_equal(given.mask, border.mask)
    np.testing.assert_array_equal(given.rgb, alpha.rgb)
    assert given.rgb.shape == (64, 64, 3)
    assert not given.has_pose
    automatic = load_cutout(photo, "auto", **SIZE)
    assert iou(automatic.mask, given.mask) > 0.75


def test_an_opaque_photo_is_taken_whole_with_a_warning(tmp_path) -> None:
    notes = []
    view = load_cutout(save(tmp_path / "a.png", scene()[0]), None, emit=notes.append, **SIZE)
    assert "whole picture" in notes[0].message
    assert notes[0].level == "warning"
    assert view.mask.mean() > 0.5


def test_white_all_over_is_not_an_object() -> None:
    assert white_border_mask(np.full((20, 20, 3), 255, np.uint8)) is None
    assert white_border_mask(scene()[0]) is None


def test_missing_files_are_rejects(tmp_path) -> None:
    with pytest.raises(RejectError, match="does not exist"):
        load_cutout(tmp_path / "no.png", "auto", **SIZE)
    photo = save(tmp_path / "a.png", scene()[0])
    with pytest.raises(RejectError, match="does not exist"):
        load_cutout(photo, tmp_path / "no.png", **SIZE)


def test_rembg_is_asked_for_by_name(monkeypatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "rembg", None)
    with pytest.raises(MissingDependencyError, match="rembg"):
        rembg_mask(scene()[0])


def test_lab_of_known_colours() -> None:
    colours = np.array([[255, 255, 255], [0, 0, 0], [255, 0, 0]], np.uint8)
    expected = [[100, 0, 0], [0, 0, 0], [53.24, 80.09, 67.20]]  # published values
    np.testing.assert_allclose(srgb_to_lab(colours), expected, atol=0.05)


def test_otsu_splits_two_heaps() -> None:
    random = np.random.default_rng(0)
    values = np.concatenate([random.normal(10, 1, 3000), random.normal(40, 1, 500)])
    assert 13 < otsu(values) < 37
    assert np.isfinite(otsu(np.zeros(10)))
