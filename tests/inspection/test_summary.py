from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers.command_line import onet
from helpers.datasets import make_dataset
from PIL import Image

from pix3d_onet.data.store.manifest import read_manifest
from pix3d_onet.data.store.reader import Dataset
from pix3d_onet.errors import InputError
from pix3d_onet.inspection.contact_sheet import CELL, contact_sheet, overlay
from pix3d_onet.inspection.summary import rejects, summarise, worst_shapes


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = make_dataset(tmp_path_factory.mktemp("data") / "d", shapes=12, points=512, image_size=32, views=2)
    document = json.loads((root / "manifest.json").read_text())
    for k, shape in enumerate(document["shapes"]):
        shape["qc"] = {"label_agreement": 1.0 - (k == 3) * 0.2, "watertight": k != 5, "faces": 100 + k}
    document["shapes"][7]["qc"]["warnings"] = ["thin"]
    (root / "manifest.json").write_text(json.dumps(document))
    return root


@pytest.fixture
def data(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "d"))


def test_counts_add_up(data: Path) -> None:
    found = summarise(data)
    assert found.shapes == sum(s.shapes for s in found.splits) == 12
    assert found.pictures == sum(s.pictures for s in found.splits) == 24
    assert found.categories == {"chair": 12}
    assert found.bytes == sum(p.stat().st_size for p in data.glob("*.h5"))
    assert found.bytes_per_shape == found.bytes / 12
    assert found.warnings == {"thin": 1}


def test_rejects_are_counted_by_reason_and_bad_lines_are_not_lost(data: Path) -> None:
    assert rejects(data) == {}
    row = {"object_id": "a", "record_id": "b", "stage": "image", "reason": "empty-mask", "detail": ""}
    (data / "rejects.jsonl").write_text(json.dumps(row) + "\n" + json.dumps(row) + "\n{broken\n\n")
    assert rejects(data) == {"image: empty-mask": 2, "unreadable row": 1}


def test_quality_figures_name_the_worst_shape(data: Path) -> None:
    shapes = read_manifest(data).shapes
    rows = {r.key: r for r in summarise(data).qc}
    assert rows["label_agreement"].worst == shapes[3].object_id
    assert (rows["label_agreement"].least, rows["label_agreement"].median) == (0.8, 1.0)
    assert rows["watertight"].worst == shapes[5].object_id
    assert rows["faces"].worst == ""  # more faces are not worse
    assert rows["faces"].most == 111


def test_the_worst_come_first_warned_ones_before_all(data: Path) -> None:
    shapes = read_manifest(data).shapes
    order = worst_shapes(read_manifest(data), 4)
    assert order[0][0].object_id == shapes[7].object_id
    assert "thin" in order[0][1]
    assert len(order) == 4


def test_a_bad_figure_outranks_equal_ones(data: Path) -> None:
    document = json.loads((data / "manifest.json").read_text())
    for k, shape in enumerate(document["shapes"]):
        shape["qc"] = {"distance_mean": 0.001 * k, "volume_ratio": 1.2}
    (data / "manifest.json").write_text(json.dumps(document))
    order = [e.object_id for e, _ in worst_shapes(read_manifest(data), 12)]
    assert order == [s["object_id"] for s in reversed(document["shapes"])]


def test_a_shrunk_shape_is_as_bad_as_a_grown_one_and_a_ratio_near_1_is_not(data: Path) -> None:
    document = json.loads((data / "manifest.json").read_text())
    for k, shape in enumerate(document["shapes"]):
        shape["qc"] = {"volume_ratio": {2: 0.4, 5: 1.9, 6: 0.9988}.get(k, 1.0005)}
    (data / "manifest.json").write_text(json.dumps(document))
    names = [s["object_id"] for s in document["shapes"]]
    assert [e.object_id for e, _ in worst_shapes(read_manifest(data), 3)] == [names[2], names[5], names[6]]
    assert {r.key: r for r in summarise(data).qc}["volume_ratio"].worst == names[2]


def test_the_sheet_is_a_png_of_the_shapes_asked_for(data: Path, tmp_path: Path) -> None:
    path = tmp_path / "sheet.png"
    shown = contact_sheet(data, path, shapes=5, seed=1)
    assert len(shown) == 5
    first = path.read_bytes()
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert image.width > 3 * 3 * CELL
        assert np.asarray(image).std() > 10
    assert contact_sheet(data, path, shapes=5, seed=1) == shown
    assert path.read_bytes() == first
    assert contact_sheet(data, path, shapes=5, seed=2) != shown


def test_a_split_shows_its_own_shapes_only(data: Path, tmp_path: Path) -> None:
    own = {s.object_id for s in read_manifest(data).shapes if s.split == "val"}
    assert set(contact_sheet(data, tmp_path / "s.png", split="val")) == own


def test_the_overlay_tints_the_mask_and_nothing_else(data: Path) -> None:
    with Dataset(data) as dataset:
        view = dataset.sample(dataset.entries()[0]).images[0]
    picture = overlay(view).astype(int)
    assert (picture[~view.mask] >= 250).mean() > 0.9
    blue_over_red = picture[view.mask][:, 2] - picture[view.mask][:, 0]
    assert np.median(blue_over_red) > 0


def test_trouble_is_one_clear_error(data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not found"):
        summarise(tmp_path / "nowhere")
    (data / "shard-00000.h5").unlink()
    with pytest.raises(InputError, match="missing"):
        contact_sheet(data, tmp_path / "s.png")


def test_no_name_and_no_number_is_cut_at_80_columns(
    data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = data / "manifest.json"
    document = json.loads(path.read_text())
    for k, shape in enumerate(document["shapes"]):
        shape["qc"] = {"dropped_few_corners": 12345678, "distance_mean": 0.000123456 * (k + 1), "warnings": ["hollow"]}
        shape["object_id"] = f"chair-IKEA_{'HERMAN_AND_OTHERS_' * 3}{k}"
    path.write_text(json.dumps(document))
    monkeypatch.setenv("COLUMNS", "80")
    assert onet("inspect", data, "--qc", "--no-sheet").status == 0
    out = capsys.readouterr().out
    assert "…" not in out
    assert {"dropped_few_corners", "12345678", "0.000123", "0.00148"} <= set(out.replace("│", " ").split())
    assert "warning: 12 × hollow (the file's surface has a hole" in out
    assert "close the hole in the model" in out


def test_command(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert onet("inspect", data, "--json", "--qc", "--shapes", "3").status == 0
    document = json.loads(capsys.readouterr().out)
    assert document["shapes"] == 12
    assert len(document["worst"]) == 3
    assert Path(document["sheet"]).is_file()
    assert document["qc"]["label_agreement"]["unit"] == "share"
    onet("inspect", data, "--no-sheet")
    out = capsys.readouterr().out
    assert "train" in out
    assert "kB per shape" in out
    assert not (data / "contact-sheet.png").exists()


def test_the_worst_shapes_of_a_split_are_only_its_own(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for split in ("train", "val", "test"):
        assert onet("inspect", data, "--json", "--qc", "--no-sheet", "--shapes", "12", "--split", split).status == 0
        named = [row["object_id"] for row in json.loads(capsys.readouterr().out)["worst"]]
        assert sorted(named) == sorted(e.object_id for e in read_manifest(data).in_split(split))
        assert named


@pytest.mark.parametrize("flag", ["--out", "--sheet"])
def test_the_sheet_goes_where_it_is_told(data: Path, tmp_path: Path, flag: str) -> None:
    place = tmp_path / "here.png"
    for target, status in ((place, 0), (place / "below.png", 3)):
        assert onet("inspect", data, flag, target, "--shapes", "1").status == status
    assert place.is_file()
    assert onet("inspect", data, flag, tmp_path / "here.jpg", "--shapes", "1").status == 2
    assert not (tmp_path / "here.jpg").exists()


def test_a_read_only_data_set_is_shown_without_pictures(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: mode != os.W_OK)
    assert onet("inspect", data).status == 0
    shown = capsys.readouterr()
    assert "pictures" in shown.out
    assert shown.err.startswith("no pictures: cannot write to ")
    assert len(shown.err.splitlines()) == 1
