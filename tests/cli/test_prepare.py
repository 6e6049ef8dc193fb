"""The contract of ``onet prepare``: statuses, one-line errors, JSON, help."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.command_line import onet
from helpers.releases import write_box, write_index

from pix3d_onet.data.sources.registry import SOURCES
from pix3d_onet.data.store.reader import load_dataset

SMALL = ["--resolution", "32", "--points", "4096", "--surface-points", "512", "--image-size", "32", "--jobs", "1"]


@pytest.fixture(autouse=True)
def no_release_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ONET_PIX3D_ROOT", raising=False)


def test_the_road_from_release_to_samples(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "data"
    status, text, errors = onet("prepare", "pix3d", "--root", root, "--out", out, *SMALL, "--render-views", 2, "--json")
    assert status == 0, errors
    assert "prepare: 4/4 shapes" in errors  # progress is shown beside the document, too
    found = json.loads(text)
    assert (found["shapes"], found["rejected"], found["records"]) == (4, 0, 4)
    assert found["images_by_split"] == {"train": 6, "val": 3, "test": 3}
    assert found["bytes_per_shape"] * 4 == pytest.approx(found["bytes"], abs=4)
    assert {"watertight", "labels", "images"} <= set(found["stage_seconds"])
    sample = load_dataset(out, "train")[0]
    assert abs(sample.points).max() <= 0.55
    # an independent inside test: the shape is a box
    low, high = sample.mesh.bounds
    clearly = (abs(sample.points - low).min(axis=1) > 0.02) & (abs(sample.points - high).min(axis=1) > 0.02)
    inside = ((sample.points > low) & (sample.points < high)).all(axis=1)
    assert (sample.occupancy == inside)[clearly].all()
    assert [v.rendered for v in sample.images] == [False, True, True]
    status, text, errors = onet("prepare", "pix3d", "--root", root, "--out", out, *SMALL, "--render-views", 2)
    assert status == 0
    assert "(already" in text
    status, text, errors = onet("prepare", "pix3d", "--root", root, "--out", out, *SMALL)
    assert status == 3
    assert "render_views 2 instead of 0" in errors


def test_strict_tells_rejects(root: Path, tmp_path: Path) -> None:
    write_box(root / "model/chair/BOX_002/model.obj", (float("nan"),) * 3)
    (root / "mask/chair/0003.png").unlink()
    arguments = ["prepare", "pix3d", "--root", root, "--out", tmp_path / "data", *SMALL]
    status, text, _ = onet(*arguments, "--strict")
    assert status == 4
    assert "2 prepared" in text
    assert "4: 2 used, 2 rejected, 0 not taken" in text
    assert "img/chair/0003.jpg: missing-mask" in text
    assert "--retry-failed" not in text
    rows = [json.loads(line) for line in (tmp_path / "data" / "rejects.jsonl").read_text().splitlines()]
    assert [set(r) for r in rows] == [{"object_id", "record_id", "stage", "reason", "detail"}] * 2
    status, text, _ = onet(*arguments, "--json")
    assert status == 0
    assert json.loads(text)["rejected"] == 2
    assert "once it is mended, with --retry-failed" in onet(*arguments)[1]
    (tmp_path / "data" / "rejects.jsonl").unlink()
    status, _, errors = onet(*arguments, "--strict")
    assert status == 3
    assert "rejects.jsonl has 0 rejects, and the manifest counts 2." in errors


def test_root_and_out_have_defaults(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ONET_PIX3D_ROOT", str(root))
    status, text, errors = onet("prepare", "pix3d", *SMALL, "--limit", 1, "--quiet")
    assert (status, text, errors) == (0, "", "")
    assert (tmp_path / "data/prepared/pix3d-chair/manifest.json").is_file()


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["--root", "nowhere"], 3, "onet synth pix3d"),
        (["--category", "sofa"], 2, "--category sofa"),
        (["--points", "9"], 2, "--points must be"),
        (["--resolution", "4"], 2, "--resolution must be"),
        (["--split", "s1"], 2, "--split-file"),
        (["--split", "random"], 2, "'random' is not one of"),
        (["--backend", "dask"], 2, "--scheduler"),
        (["--jobs", "-3"], 2, "--jobs"),
        (["--memory-limit", "nan"], 2, "--memory-limit"),
        (["--memory-limit", "1e300"], 2, "--memory-limit"),
        (["--time-limit", "inf"], 2, "--time-limit"),
        (["--time-limit", "-1"], 2, "--time-limit"),
        (["--watertight", "magic"], 2, "magic"),
        (["--seed", "x"], 2, "seed"),
        (["--out", "/proc/nope/data"], 3, "cannot write"),
    ],
)
def test_bad_usage_is_clear(
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    status: int,
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    default = [] if "--root" in arguments else ["--root", str(root)]
    found, text, errors = onet("prepare", "pix3d", *default, *arguments)
    assert found == status
    assert words in errors
    assert text == ""
    assert "Traceback" not in errors
    assert not (tmp_path / "data").exists()


def test_nothing_usable_is_status_3(root: Path, tmp_path: Path) -> None:
    (root / "pix3d.json").write_text("[{]")
    status, _, errors = onet("prepare", "pix3d", "--root", root, "--out", tmp_path / "data")
    assert status == 3
    assert len(errors.strip().splitlines()) == 1
    write_index(root, [{"category": "chair", "img": "../../etc/passwd"}])
    status, _, errors = onet("prepare", "pix3d", "--root", root, "--out", tmp_path / "data")
    assert status == 3
    assert "1 unsafe-path" in errors


@pytest.mark.parametrize("name", list(SOURCES))
def test_every_source_is_a_command_with_an_example(name: str) -> None:
    status, text, _ = onet("prepare", name, "--help")
    assert status == 0
    assert "Example:" in text
    assert f"onet prepare {name}" in text


def test_the_paper_preset(root: Path, tmp_path: Path) -> None:
    from onet_cli.commands.prepare import configure

    paper = configure(SOURCES["pix3d"], {"preset": "paper", "points": None})
    assert (paper.watertight, paper.resolution, paper.points, paper.image_size) == ("fusion", 256, 100_000, 224)
    assert configure(SOURCES["pix3d"], {"preset": "paper", "points": 64}).points == 64
