"""``onet evaluate``: documents, tables, exit statuses, one line for each bad input."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from typing import get_args

import h5py
import numpy as np
import pytest
from helpers import datasets, stored_run, stored_runs
from helpers.command_line import status as onet

from pix3d_onet.config import Baseline
from pix3d_onet.data.store.manifest import read_manifest
from pix3d_onet.data.store.reader import Dataset
from pix3d_onet.runs.record import write_run

SMALL = ["--resolution", "24", "--device", "cpu"]


def test_evaluate_scores_a_run_and_the_baselines(run, data, tmp_path, capsys) -> None:
    table = tmp_path / "scores.csv"
    arguments = ["evaluate", run, "--data", data, "--baselines", "--samples", "500", "--csv", table, *SMALL]
    assert onet(*arguments, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in document["rows"]] == [*get_args(Baseline), "tiny"]
    assert document["protocol"] == "onet"
    assert {m["name"] for m in document["metrics"]} >= {"iou", "chamfer_l1", "normal_consistency", "f_score"}
    assert document["rows"][-1]["settings"]["run"] == "tiny"
    assert document["rows"][-1]["settings"]["folder"] == run.name
    assert {(d["name"], d["against"]) for d in document["differences"]} == {
        (name, "retrieval") for name in (*get_args(Baseline), "tiny") if name != "retrieval"
    }
    for row in document["rows"]:
        assert row["pictures"] == 1
        assert 0 <= row["means"]["iou"]["mean"] <= 1
    assert len(table.read_text().splitlines()) == 1 + len(document["rows"])


def test_a_wide_terminal_shows_every_column_and_a_narrow_one_those_that_fit(data, monkeypatch, capsys) -> None:
    arguments = ["evaluate", "--baseline", "retrieval", "--data", data, "--samples", "100", "-q"]
    lines = {}
    for width in (80, 200):
        monkeypatch.setenv("COLUMNS", str(width))
        assert onet(*arguments) == 0
        lines[width] = capsys.readouterr().out
    for word in ("IoU ↑", "IoU mesh ↑", "Chamfer-L1 ↓", "NC ↑", "F@1% ↑"):
        assert word in lines[80]
        assert word in lines[200]
    for word in ("×10 ↓", "Accuracy ↓", "Completeness ↓"):
        assert word not in lines[80]
        assert word in lines[200]
    assert "Too narrow for: Chamfer-L1 ×10, Accuracy, Completeness." in lines[80]
    assert "Too narrow" not in lines[200]
    assert max(map(len, lines[80].splitlines())) <= 80
    for width in (48, 60):
        monkeypatch.setenv("COLUMNS", str(width))
        assert onet(*arguments) == 0
        shown = capsys.readouterr().out
        assert "…" not in shown  # no number and no heading is cut
        assert "IoU ↑" in shown
        assert "F@1% ↑" in shown
        assert max(map(len, shown.splitlines())) <= width


def test_a_long_name_is_folded_before_numbers_are(tmp_path, data, monkeypatch, capsys) -> None:
    runs = [stored_run.store_run(tmp_path / f"convnext-fp3-pose-of-the-third-kind-{i}") for i in range(2)]
    monkeypatch.setenv("COLUMNS", "80")
    assert onet("evaluate", *runs, "--data", data, "--samples", "100", "-q", *SMALL) == 0
    shown = capsys.readouterr().out
    assert "…" not in shown
    assert max(map(len, shown.splitlines())) <= 80
    for word in ("IoU ↑", "Chamfer-L1 ↓", "F@1% ↑"):
        assert word in shown


def test_after_ctrl_c_the_rows_that_are_done_are_kept(data, tmp_path, monkeypatch, capsys) -> None:
    from pix3d_onet.evaluation import job as module

    plain = module.evaluate

    def stopped(predictor, *arguments, **options):
        if predictor.name == "oracle":
            raise KeyboardInterrupt
        return plain(predictor, *arguments, **options)

    monkeypatch.setattr(module, "evaluate", stopped)
    table, document = tmp_path / "t.csv", tmp_path / "t.json"
    arguments = ["evaluate", "--baselines", "--data", data, "--samples", "100", "--csv", table, "--out", document]
    assert onet(*arguments) == 130
    shown = capsys.readouterr()
    assert "retrieval-cut" in shown.out
    assert "oracle" not in shown.out
    assert "interrupted" in shown.err
    done = [row["name"] for row in json.loads(document.read_text())["rows"]]
    assert done == ["mean-shape", "cone", "retrieval", "retrieval-cut"]
    assert len(table.read_text().splitlines()) == 1 + len(done)


def test_what_is_wrong_with_the_outputs_is_said_before_the_work(data, tmp_path, capsys) -> None:
    common = ["evaluate", "--baselines", "--data", data]
    assert onet(*common, "--csv", tmp_path) == 3
    assert "is a folder" in capsys.readouterr().err
    assert onet(*common, "--csv", tmp_path / "x", "--out", tmp_path / "x") == 2
    assert "are both" in capsys.readouterr().err
    assert onet(*common, "--against", "nobody") == 2
    shown = capsys.readouterr().err
    assert ", ".join(get_args(Baseline)) in shown
    assert "training shapes" not in shown


def test_only_earlier_scores_are_replaced(data, tmp_path, capsys) -> None:
    """A slip of the hand must not cost a shard, a manifest, a run's record or a mesh that was just scored."""
    common = ["evaluate", "--baseline", "mean-shape", "--data", data, "--samples", "100", "--limit", "1", "-q"]
    table, document = tmp_path / "t.csv", tmp_path / "t.json"
    for place in (table, document):
        place.touch()  # an empty file holds nothing to lose
    for _ in range(2):
        assert onet(*common, "--csv", table, "--out", document) == 0
    before = table.read_bytes(), document.read_bytes()
    shard = sorted(data.glob("*.h5"))[0]
    link = tmp_path / "link.json"
    link.symlink_to(document)
    other = tmp_path / "other.csv"
    other.write_text("name,score\n")
    for place in (shard, data / "manifest.json", document, other):
        content = place.read_bytes()
        capsys.readouterr()
        assert onet(*common, "--csv", place) == 3
        assert f"{place} holds no scores of onet evaluate. Name another file, or remove it." in capsys.readouterr().err
        assert place.read_bytes() == content
    for place in (shard, data / "manifest.json", table, link):
        assert onet(*common, "--out", place) == 3
    assert (table.read_bytes(), document.read_bytes()) == before


def test_a_folder_of_runs_names_them(tmp_path, data, capsys) -> None:
    stored_run.store_run(tmp_path / "a" / "0")
    stored_run.store_run(tmp_path / "b")
    assert onet("evaluate", tmp_path, "--data", data, *SMALL) == 3
    shown = capsys.readouterr().err
    assert "holds no trained network" in shown
    assert f"{tmp_path / 'b'}, {tmp_path / 'a' / '0'}" in shown


def test_evaluate_by_the_official_protocol_stands_alone(data, capsys) -> None:
    arguments = ["evaluate", "--baseline", "oracle", "--data", data, "--protocol", "pix3d", "--json"]
    arguments += ["--voxels", "32"]
    assert onet(*arguments) == 0
    document = json.loads(capsys.readouterr().out)
    assert list(document["rows"][0]["means"]) == ["iou_pix3d"]
    assert [m["name"] for m in document["metrics"]] == ["iou_pix3d"]
    assert 0.01 <= document["rows"][0]["settings"]["threshold"] <= 0.5


def test_evaluate_warns_of_other_training_data(tmp_path, data, capsys) -> None:
    stranger = stored_run.store_run(tmp_path / "run", data_hash="0123456789ab")
    assert onet("evaluate", stranger, "--data", data, "--samples", "100", *SMALL) == 0
    assert "other data" in capsys.readouterr().err
    known = stored_run.store_run(tmp_path / "known", data_hash=read_manifest(data).data_hash)
    assert onet("evaluate", known, "--data", data, "--samples", "100", *SMALL) == 0
    assert "other data" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        ([], 2, "nothing to evaluate"),
        (["--baseline", "median"], 2, "'mean-shape', 'cone', 'retrieval', 'retrieval-cut', 'oracle'"),
        (["--baselines", "--data", "nowhere"], 3, "not found"),
        (["--baselines", "--samples", "0"], 2, "--samples"),
        (["no-run", "--threshold", "1.5"], 2, "--threshold"),
        (["no-run", "--csv", "{data}/manifest.json/x.csv"], 3, "is not a folder"),
        (["--baselines", "--protocol", "pix3d", "--voxels", "40"], 2, "--voxels"),
        (["--baselines", "--protocol", "pix3d", "--samples", "40"], 2, "--samples has no effect"),
        (["--baselines", "--voxels", "64"], 2, "--voxels has no effect"),
        (["no-run", "--coarse", "2000"], 2, "--coarse"),
    ],
)
def test_evaluate_bad_input(data, capsys, arguments, status, words) -> None:
    where = [] if "--data" in arguments else ["--data", data]
    assert onet("evaluate", *(a.format(data=data) for a in arguments), *where) == status
    shown = capsys.readouterr().err
    assert words in shown
    assert "Traceback" not in shown


def test_two_runs_of_one_name_are_told_apart(tmp_path, data, capsys) -> None:
    runs = [stored_run.store_run(tmp_path / variant / seed) for variant in "ab" for seed in "01"]
    arguments = ["evaluate", *runs, "--data", data, "--samples", "100", "--json", *SMALL]
    assert onet(*arguments) == 0
    document = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in document["rows"]] == ["tiny (a/0)", "tiny (a/1)", "tiny (b/0)", "tiny (b/1)"]
    assert onet("evaluate", runs[0], runs[0], "--data", data, *SMALL) == 2
    assert "given twice" in capsys.readouterr().err
    assert onet(*arguments, "--against", "tiny (c/0)") == 2
    assert "--against" in capsys.readouterr().err


def test_each_network_at_its_own_threshold(tmp_path, data, run, capsys) -> None:
    common = ["--data", data, "--samples", "100", "--threshold", "val", *SMALL]
    assert onet("evaluate", run, *common) == 3
    assert "run record" in capsys.readouterr().err  # this run is not finished
    runs = [stored_run.store_run(tmp_path / name) for name in "ab"]
    for folder, threshold in zip(runs, (0.35, 0.6), strict=True):
        write_run(folder, replace(stored_runs.make_record("resnet18"), val_threshold=threshold))
    assert onet("evaluate", *runs, *common, "--json") == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["settings"]["threshold"] for row in rows] == [0.35, 0.6]
    assert onet("evaluate", *runs, *common) == 0
    assert "Threshold: tiny (a) 0.35, tiny (b) 0.6." in " ".join(capsys.readouterr().out.split())
    write_run(runs[0], replace(stored_runs.without_own(stored_runs.make_record("resnet18")), val_threshold=None))
    assert onet("evaluate", runs[0], *common) == 3
    assert "no threshold was chosen" in capsys.readouterr().err
    assert onet("evaluate", runs[0], "--data", data, "--threshold", "vla") == 2
    assert "neither a number nor val" in capsys.readouterr().err


@pytest.mark.parametrize("tta", ["none", "flip"])
def test_predicted_cameras_have_a_table_and_are_what_is_scored(tmp_path, data, run, capsys, tta) -> None:
    network = stored_run.store_run(tmp_path / "run", pose="predicted", conditioning="pixel", tta=tta)
    common = ["--data", data, "--samples", "100", *SMALL]
    assert onet("evaluate", network, *common, "--csv", tmp_path / "s.csv", "--json") == 0
    row = json.loads(capsys.readouterr().out)["rows"][0]
    assert row["cameras"]["pictures"] == row["pictures"]
    assert 0 <= row["cameras"]["median_degrees"] <= 180
    assert all(shape["iou_predicted_camera"] == pytest.approx(shape["iou"]) for shape in row["shapes"])
    assert "iou_given_camera" in (tmp_path / "s.csv").read_text()
    assert onet("evaluate", network, run, *common) == 0
    shown = capsys.readouterr().out
    assert "< 30°" in " ".join(shown.split())
    assert re.search(r"^│ tiny \S+ +│ +\d", shown.split("Predicted cameras")[1], re.M)  # at 80 columns
    assert onet("evaluate", run, *common, "--json") == 0
    assert "cameras" not in json.loads(capsys.readouterr().out)["rows"][0]


def test_a_row_that_cannot_be_scored_costs_no_other(tmp_path, run, capsys) -> None:
    folder = datasets.make_dataset(tmp_path / "data", shapes=6, points=256, image_size=32)
    for shard in folder.glob("*.h5"):
        with h5py.File(shard, "r+") as file:
            file["images/intrinsics"][:] = np.nan  # poses are there, focal lengths are not
    blind = stored_run.store_run(tmp_path / "blind", pose="6d")
    table = tmp_path / "scores.csv"
    common = ["--data", folder, "--samples", "100", "--csv", table, *SMALL]
    assert onet("evaluate", blind, run, *common) == 3
    shown = capsys.readouterr()
    assert "it needs cameras" in shown.err
    assert "IoU" in shown.out
    assert len(table.read_text().splitlines()) == 2
    table.unlink()
    other = stored_run.store_run(tmp_path / "other", pose="6d")
    assert onet("evaluate", blind, other, *common, "-q") == 3
    shown = capsys.readouterr().err
    assert "tiny (blind): it needs cameras" in shown
    assert "tiny (other): it needs cameras" in shown
    assert not table.exists()


@pytest.mark.parametrize(
    "written",
    [
        "[1]",
        "{}",
        '{"train": {"threshold": null}}',
        '{"train": {"threshold": "x"}}',
        '{"train": {}, "step": []}',
        '{"train": {}, "data": {"crop_margin": "wide"}}',
    ],
)
def test_a_damaged_description_of_a_run_is_one_line(tmp_path, run, data, capsys, written) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(run, damaged)
    (damaged / "best" / "model.json").write_text(written)
    assert onet("evaluate", damaged, "--data", data, *SMALL) == 3
    assert "does not describe a run" in capsys.readouterr().err


def test_few_samples_are_warned_of(data, capsys) -> None:
    assert onet("evaluate", "--baseline", "retrieval", "--data", data, "--samples", "200") == 0
    assert "200 samples per surface are few" in capsys.readouterr().err


def test_without_cameras_all_baselines_are_those_that_need_none(tmp_path, capsys) -> None:
    folder = datasets.make_dataset(tmp_path / "data", shapes=6, points=256, image_size=32, without_pose=range(6))
    common = ["evaluate", "--data", folder, "--samples", "200", "--json"]
    assert onet(*common, "--baselines") == 0
    shown = capsys.readouterr()
    assert [row["name"] for row in json.loads(shown.out)["rows"]] == ["mean-shape", "retrieval", "oracle"]
    assert "cone: no picture of the test split can be used by cone: it needs cameras" in shown.err
    assert onet(*common, "--baseline", "cone") == 3


def test_differences_are_shown_where_there_are_shapes_enough(tmp_path, capsys) -> None:
    folder = datasets.make_dataset(tmp_path / "data", shapes=40, points=512, image_size=32)
    with Dataset(folder) as dataset:
        assert len(dataset.entries("test")) >= 5
    rows = ("--baseline", "retrieval", "--baseline", "oracle")
    assert onet("evaluate", *rows, "--data", folder, "--samples", "200", "-q") == 0
    shown = capsys.readouterr().out
    assert "Row minus retrieval" in shown
    assert "sign-flip" in shown
