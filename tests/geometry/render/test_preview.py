"""Previews and contact sheets: sizes compare, and what has no mesh is there with its reason."""

from __future__ import annotations

import numpy as np
import pytest

# ruff: noqa: E402 - the geometry libraries are an extra
trimesh = pytest.importorskip("trimesh")
pytest.importorskip("numba")

from pix3d_onet import Mesh
from pix3d_onet.geometry.render.preview import (
    LINE,
    UNIT_BOX,
    contact_sheet,
    labelled,
    mesh_pictures,
    preview,
    without_mesh,
)
from pix3d_onet.types import UInt8, View

SIDE = 160


def box(side: float, at: tuple[float, float, float] = (0, 0, 0)) -> Mesh:
    body = trimesh.creation.box((side, side, side))
    return Mesh(body.vertices + np.array(at), body.faces)


def view() -> View:
    nowhere = np.full((4, 4), np.nan, np.float32)
    rgb = np.full((32, 32, 3), 7, np.uint8)
    return View(rgb, np.ones((32, 32), np.bool_), nowhere, nowhere[:3, :3], "r")


def extent(picture: UInt8) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of what is not white."""
    rows, columns = np.nonzero((picture < 255).any(axis=-1))
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


def test_the_unit_box_fills_the_tile_and_sizes_compare() -> None:
    whole, half = (preview(view(), box(side), SIDE) for side in (1.0, 0.5))
    assert whole.shape == half.shape == (SIDE, 3 * SIDE, 3)
    assert (whole[:, :SIDE] == 7).all()
    for k in (1, 2):
        left, top, right, bottom = extent(whole[:, k * SIDE : (k + 1) * SIDE])
        assert 0.75 * SIDE < max(right - left, bottom - top) < SIDE
        small = extent(half[:, k * SIDE : (k + 1) * SIDE])
        # nearly half: the camera is as near, and so its perspective less strong for a smaller box
        assert (small[2] - small[0]) / (right - left) == pytest.approx(0.48, abs=0.03)
        assert (small[0] + small[2]) / 2 == pytest.approx(SIDE / 2, abs=2)


def test_a_mesh_off_its_place_is_drawn_there_and_one_in_the_padding_is_whole() -> None:
    right_way = extent(mesh_pictures(box(0.3), SIDE, UNIT_BOX)[0])
    raised = extent(mesh_pictures(box(0.3, (0, 0.3, 0)), SIDE, UNIT_BOX)[0])
    assert raised[3] < right_way[3] - 0.1 * SIDE
    left, top, right, bottom = extent(mesh_pictures(box(1.1), 320, UNIT_BOX)[0])
    assert min(left, top) > 0
    assert max(right, bottom) < 320
    own = extent(mesh_pictures(box(0.3), SIDE)[0])  # without a box the mesh itself fills it
    assert max(own[2] - own[0], own[3] - own[1]) > 0.75 * SIDE


def test_an_empty_mesh_leaves_its_pictures_white() -> None:
    empty = Mesh(np.empty((0, 3)), np.empty((0, 3), np.int64))
    assert (preview(view(), empty, SIDE)[:, SIDE:] == 255).all()


def test_a_picture_without_a_mesh_has_its_photo_and_the_reason() -> None:
    tile = without_mesh(np.full((40, 80, 3), 9, np.uint8), "nothing found", SIDE)
    assert tile.shape == (SIDE, 3 * SIDE, 3)
    assert (tile[SIDE // 4 + 1 : SIDE * 3 // 4 - 1, :SIDE] == 9).all()  # whole, not cropped
    assert (tile[: SIDE // 4 - 1, :SIDE] == 255).all()
    assert (tile[:, SIDE:] < 200).any()
    unreadable = without_mesh(None, f"its mask {'long' * 60}.png does not exist " * 2, SIDE)
    assert (unreadable[:, :SIDE] == 255).all()
    left, _, right, _ = extent(unreadable[:, SIDE:])
    assert 0 < left < right < 2 * SIDE  # long words are cut, nothing leaves the tile


@pytest.mark.parametrize("name", ["chair.png", "x" * 300 + ".png", "стул 椅子.png", "odd\udcff\nname.png"])
def test_a_label_stands_at_the_bottom_left(name: str) -> None:
    blank = np.full((SIDE, 3 * SIDE, 3), 255, np.uint8)
    left, top, right, bottom = extent(labelled(blank, name))
    assert left < 10
    assert top > 0.85 * SIDE
    assert bottom <= SIDE
    assert right < 3 * SIDE
    dark = labelled(np.zeros_like(blank), name)  # legible before a dark photo, which is left alone elsewhere
    assert (dark[top - 1 : bottom + 1, left - 1 : right + 1] > 100).all()
    assert (dark[: top - 4] == 0).all()


def test_lines_part_the_entries_of_a_sheet() -> None:
    entries = [np.full((4, 6, 3), value, np.uint8) for value in (10, 20, 30)]
    sheet = contact_sheet(entries)
    assert sheet.shape == (8, 12, 3)
    assert (sheet[4] == LINE).all()
    assert (sheet[:, 6] == LINE).all()
    assert (sheet[0, :6] == 10).all()
    assert (sheet[1:4, 7:] == 20).all()
    assert (sheet[5:, :6] == 30).all()
    np.testing.assert_array_equal(contact_sheet(entries[:1]), entries[0])
