"""Cutting the object out of a loose photo: every way in, and where the automatic rule gives up."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from helpers.shared import real
from PIL import Image

from pix3d_onet.data.images.cutout import (
    auto_cut,
    load_cutout,
    otsu,
    rembg_mask,
    srgb_to_lab,
    white_border_mask,
)
from pix3d_onet.data.images.decoding import read_mask, read_rgb
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
    assert iou(auto_cut(rgb).mask, mask) > 0.85
    np.testing.assert_array_equal(auto_cut(rgb).mask, auto_cut(rgb).mask)
    large = np.asarray(Image.fromarray(rgb).resize((900, 720)))
    assert auto_cut(large).mask.shape == (720, 900)


@pytest.mark.parametrize("rgb", [np.full((60, 60, 3), 90, np.uint8), np.zeros((1, 1, 3), np.uint8)])
def test_auto_gives_up_by_name(rgb) -> None:
    with pytest.raises(RejectError) as error:
        auto_cut(rgb)
    assert error.value.reason == "no-object"
    assert "`mask=FILE`" in error.value.message


@pytest.mark.parametrize("inverted", [False, True])
def test_a_mask_that_looks_inverted_is_a_warning(tmp_path, inverted: bool) -> None:
    rgb, mask = scene()
    photo = save(tmp_path / "photo.png", rgb)
    path = save(tmp_path / "mask.png", (mask ^ inverted).astype(np.uint8) * 255)
    notes: list[str] = []
    load_cutout(photo, path, **SIZE, emit=lambda event: notes.append(event.message))
    said = "photo.png: its mask covers all four corners of the picture; is it inverted?"
    assert notes == [said] * inverted


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
    assert (given.mask_from, alpha.mask_from, border.mask_from) == ("file", "alpha", "white-border")
    assert given.rgb.shape == (64, 64, 3)
    assert not given.has_pose
    automatic = load_cutout(photo, "auto", **SIZE)
    assert iou(automatic.mask, given.mask) > 0.75
    assert automatic.mask_from == "auto"


def test_an_opaque_photo_is_taken_whole_with_a_warning(tmp_path) -> None:
    notes = []
    view = load_cutout(save(tmp_path / "a.png", scene()[0]), None, emit=notes.append, **SIZE)
    assert "whole picture" in notes[0].message
    assert notes[0].level == "warning"
    assert view.mask.mean() > 0.5
    assert view.mask_from == "whole"


def test_a_portrait_photo_is_upright_and_so_is_its_mask(tmp_path) -> None:
    """A phone stores it sideways with a tag; a mask drawn on what is shown has no tag, one from the phone has."""
    rgb, mask = scene()
    shown = np.where(mask[..., None], rgb, 255).astype(np.uint8)
    exif = Image.Exif()
    exif[274] = 6
    sideways = Image.fromarray(shown).transpose(Image.Transpose.ROTATE_90)
    sideways.save(tmp_path / "photo.png", exif=exif)
    drawn = save(tmp_path / "drawn.png", mask.astype(np.uint8) * 255)
    Image.open(drawn).transpose(Image.Transpose.ROTATE_90).save(tmp_path / "tagged.png", exif=exif)
    wanted = load_cutout(save(tmp_path / "upright.png", shown), drawn, **SIZE)
    for given in (None, "auto", drawn, tmp_path / "tagged.png"):
        found = load_cutout(tmp_path / "photo.png", given, **SIZE)
        assert iou(found.mask, wanted.mask) > 0.9
    np.testing.assert_array_equal(load_cutout(tmp_path / "photo.png", drawn, **SIZE).rgb, wanted.rgb)
    stored = load_cutout(tmp_path / "photo.png", None, upright=False, **SIZE)
    assert iou(stored.mask, wanted.mask) < 0.5
    with pytest.raises(RejectError, match="the mask is 300×240 but its image 240×300"):
        load_cutout(tmp_path / "photo.png", drawn, upright=False, **SIZE)


def test_a_doubtful_automatic_mask_is_a_warning_and_a_plain_one_is_not(tmp_path) -> None:
    rgb, mask = scene()
    assert auto_cut(rgb).doubts == ()
    notes = []
    load_cutout(save(tmp_path / "plain.png", rgb), "auto", emit=notes.append, **SIZE)
    assert notes == []
    across = rgb.copy()
    across[100:125] = (110, 60, 30)  # from side to side, but too little of the frame to be a colour of the ground
    assert "it touches the picture's border" in auto_cut(across).doubts
    two = rgb.copy()
    two[20:100, 230:270] = (110, 60, 30)
    assert auto_cut(two).doubts == ("it is in 2 parts",)
    restless = np.where(mask[..., None], rgb, np.random.default_rng(0).integers(0, 256, rgb.shape)).astype(np.uint8)
    assert "the background is not plain" in auto_cut(restless).doubts
    load_cutout(save(tmp_path / "restless.png", restless), "auto", emit=notes.append, **SIZE)
    assert notes[0].level == "warning"
    assert "restless.png: the automatic mask may be wrong (the background is not plain" in notes[0].message


@pytest.mark.realdata
def test_the_published_counts_on_real_photos() -> None:
    """The numbers of docs/reconstruct.md: how good the automatic masks are, and which of them are doubted."""
    shared = real("pix3d-photos")
    scores, doubted = [], []
    for record in json.loads((shared / "pix3d.json").read_text()):
        cut = auto_cut(read_rgb(shared / record["img"])[0])
        scores.append(iou(cut.mask, read_mask(shared / record["mask"])))
        doubted.append(bool(cut.doubts))
    bad, warned = np.array(scores) < 0.5, np.array(doubted)
    assert len(bad) == 48
    assert np.median(scores) == pytest.approx(0.42, abs=0.015)
    counts = [(bad & warned).sum(), bad.sum(), (~bad & warned).sum(), (~bad).sum()]
    # decoders of JPEG differ in single grey values: a picture or two may cross a threshold
    np.testing.assert_allclose(counts, [24, 31, 2, 17], atol=2)


def test_white_all_over_is_not_an_object() -> None:
    assert white_border_mask(np.full((20, 20, 3), 255, np.uint8)) is None
    assert white_border_mask(scene()[0]) is None


def test_missing_files_are_rejects(tmp_path) -> None:
    with pytest.raises(RejectError, match="does not exist"):
        load_cutout(tmp_path / "no.png", "auto", **SIZE)
    photo = save(tmp_path / "a.png", scene()[0])
    with pytest.raises(RejectError) as missing:
        load_cutout(photo, tmp_path / "no.png", **SIZE)
    assert missing.value.message == f"its mask {tmp_path / 'no.png'} does not exist"
    assert missing.value.reason == "missing-mask"


def test_rembg_is_asked_for_by_name(monkeypatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "rembg", None)
    with pytest.raises(MissingDependencyError, match="rembg"):
        rembg_mask(scene()[0])


def test_the_automatic_mask_names_the_library_that_it_needs(monkeypatch) -> None:
    for module in ("skimage", "skimage.color", "skimage.filters"):
        monkeypatch.setitem(__import__("sys").modules, module, None)
    with pytest.raises(MissingDependencyError, match="scikit-image"):
        auto_cut(scene()[0])


def test_what_rembg_cut_out_says_so(tmp_path, monkeypatch) -> None:
    rgb, mask = scene()
    monkeypatch.setattr("pix3d_onet.data.images.cutout.rembg_mask", lambda _: mask)
    assert load_cutout(save(tmp_path / "a.png", rgb), "rembg", **SIZE).mask_from == "rembg"


def test_lab_of_known_colours() -> None:
    colours = np.array([[255, 255, 255], [0, 0, 0], [255, 0, 0]], np.uint8)
    expected = [[100, 0, 0], [0, 0, 0], [53.24, 80.09, 67.20]]  # published values
    np.testing.assert_allclose(srgb_to_lab(colours), expected, atol=0.05)


def test_otsu_splits_two_heaps() -> None:
    random = np.random.default_rng(0)
    values = np.concatenate([random.normal(10, 1, 3000), random.normal(40, 1, 500)])
    assert 13 < otsu(values) < 37
    assert np.isfinite(otsu(np.zeros(10)))
