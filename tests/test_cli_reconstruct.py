"""``onet reconstruct`` and ``onet evaluate``: documents, files, exit statuses, one line for each bad input."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import datasets
import numpy as np
import pytest
import stored_run
from onet_cli.main import main
from onet_cli.reconstruct import mask_for, plan
from PIL import Image

from pix3d_onet.data.shards import read_manifest
from pix3d_onet.errors import ConfigError
from pix3d_onet.geometry.mesh import is_watertight, load_mesh
from pix3d_onet.geometry.synth import synth_pix3d

SMALL = ["--resolution", "24", "--device", "cpu"]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return stored_run.store_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return datasets.make_dataset(tmp_path_factory.mktemp("data"), shapes=6, points=1024, image_size=32)


@pytest.fixture
def photo(tmp_path) -> Path:
    rgb = np.full((60, 80, 3), 255, np.uint8)
    rgb[10:50, 20:60] = (90, 60, 30)
    path = tmp_path / "photo.png"
    Image.fromarray(rgb).save(path)
    return path


def onet(*arguments: object) -> int:
    with pytest.raises(SystemExit) as leave:
        main([str(a) for a in arguments])
    return int(leave.value.code or 0)


@pytest.mark.parametrize("suffix", ["glb", "obj", "ply", "stl"])
def test_a_closed_mesh_in_any_format_with_a_preview(run, photo, tmp_path, capsys, suffix) -> None:
    out = tmp_path / "out" / f"mesh.{suffix}"
    assert onet("reconstruct", run, photo, "-o", out, "--json", *SMALL) == 0
    document = json.loads(capsys.readouterr().out)["meshes"][0]
    assert document["mesh"] == str(out)
    assert document["error"] is None
    mesh = load_mesh(out)
    assert len(mesh.faces) == document["faces"]
    assert suffix == "stl" or is_watertight(mesh)  # STL has no shared vertices
    assert np.abs(mesh.vertices).max() <= 0.55 + 1e-6
    with Image.open(document["preview"]) as picture:
        assert picture.size == (960, 320)
    assert sorted(p.name for p in out.parent.iterdir()) == sorted([f"mesh.{suffix}", "mesh.preview.png"])


def test_the_photo_beside_is_not_touched(run, photo, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = photo.read_bytes()
    assert onet("reconstruct", run, photo, *SMALL, "-q") == 0
    assert (tmp_path / "photo.glb").exists()
    assert photo.read_bytes() == before


def test_many_pictures_one_of_them_broken(run, photo, tmp_path, capsys) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"not a picture")
    arguments = ["reconstruct", run, photo, broken, "-o", tmp_path / "out", "--no-preview", *SMALL]
    assert onet(*arguments) == 0
    shown = capsys.readouterr()
    assert "photo.glb" in shown.out
    assert "broken.png" in shown.err
    assert onet(*arguments, "--strict") == 4
    assert onet("reconstruct", run, broken, *SMALL) == 3


def test_a_contact_sheet(run, photo, tmp_path) -> None:
    twin = tmp_path / "twin.png"
    twin.write_bytes(photo.read_bytes())
    sheet = tmp_path / "sheet.png"
    assert onet("reconstruct", run, twin, twin, twin, "-o", tmp_path / "out", *SMALL) == 2  # one name for all
    assert onet("reconstruct", run, photo, twin, "-o", tmp_path / "out", "--sheet", sheet, "-q", *SMALL) == 0
    with Image.open(sheet) as picture:
        assert picture.size == (2 * 960, 320)
    assert onet("reconstruct", run, photo, "--sheet", sheet, "--no-preview", *SMALL) == 2


def test_a_page_to_open(run, photo, tmp_path, monkeypatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr("click.launch", opened.append)
    out = tmp_path / "mesh.glb"
    assert onet("reconstruct", run, photo, "-o", out, "--open", "--no-preview", "-q", *SMALL) == 0
    page = out.with_suffix(".html")
    assert page.read_text().startswith("<!doctype html>")
    assert opened == [page.as_uri()]


def test_refined_and_simplified(run, photo, tmp_path, capsys) -> None:
    out = tmp_path / "m.ply"
    options = ["--refine", "--simplify", "300", "--json", "--no-preview"]
    assert onet("reconstruct", run, photo, "-o", out, *options, *SMALL) == 0
    assert json.loads(capsys.readouterr().out)["meshes"][0]["faces"] <= 300
    assert is_watertight(load_mesh(out))


def test_an_empty_field_is_said(tmp_path, photo, capsys) -> None:
    empty = stored_run.store_run(tmp_path / "run", empty=True)
    assert onet("reconstruct", empty, photo, "-o", tmp_path / "m.glb", *SMALL) == 3
    assert "--threshold" in capsys.readouterr().err
    assert not (tmp_path / "m.glb").exists()


@pytest.mark.parametrize("value", [["--threshold", "nan"], ["--resolution", "5000"], ["--simplify", "3"]], ids=str)
def test_a_wrong_value_is_usage_before_any_run_is_looked_at(photo, tmp_path, capsys, value) -> None:
    assert onet("reconstruct", tmp_path / "no-run", photo, *value) == 2
    assert value[0] in capsys.readouterr().err


def test_a_folder_may_have_a_dot_and_the_ending_gives_the_format(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("meshes.v2").mkdir()
    image = [Path("a.jpg")]
    assert plan(image, [], [], Path("meshes.v2"), None)[0].out == Path("meshes.v2/a.glb")
    assert plan(image, [], [], Path("new"), "ply")[0].out == Path("new/a.ply")
    assert plan(image, [], [], Path("a.OBJ"), "obj")[0].out == Path("a.OBJ")
    assert plan(image, [], [], Path("a.stl"), None)[0].out == Path("a.stl")
    with pytest.raises(ConfigError, match="contradict"):
        plan(image, [], [], Path("a.stl"), "glb")


def test_an_index_without_the_camera_says_what_is_missing(tmp_path, photo, capsys) -> None:
    network = stored_run.store_run(tmp_path / "run", pose="matrix")
    root = synth_pix3d(tmp_path / "pix3d", objects=1).out
    index = root / "pix3d.json"
    record = json.loads(index.read_text())[0]
    out = ["--pose-from", index, "-o", tmp_path / "m.glb", "--no-preview", *SMALL]
    assert onet("reconstruct", network, root / record["img"], *out) == 0
    capsys.readouterr()
    assert onet("reconstruct", network, photo, *out) == 3
    assert "no usable record" in capsys.readouterr().err
    index.write_text(json.dumps([{**record, "rot_mat": None}]))
    assert onet("reconstruct", network, root / record["img"], *out) == 3
    assert "has no camera" in capsys.readouterr().err


def test_the_original_frame_is_that_of_the_record_s_model(run, tmp_path, photo, capsys) -> None:
    root = synth_pix3d(tmp_path / "pix3d", objects=1).out
    index = root / "pix3d.json"
    record = json.loads(index.read_text())[0]
    model = load_mesh(root / record["model"])
    out = tmp_path / "m.ply"
    common = [root / record["img"], "--pose-from", index, "-o", out, "--no-preview", "-q", *SMALL]
    assert onet("reconstruct", run, *common) == 0
    inside = load_mesh(out).vertices
    assert onet("reconstruct", run, *common, "--frame", "original") == 0
    low, high = model.bounds
    np.testing.assert_allclose((load_mesh(out).vertices - (low + high) / 2) / (high - low).max(), inside, atol=1e-5)
    assert onet("reconstruct", run, photo, "--pose-from", index, "--frame", "original", "-o", out, *SMALL) == 3
    assert "no usable record" in capsys.readouterr().err
    assert onet("reconstruct", run, photo, "--frame", "original", *SMALL) == 2


@pytest.mark.parametrize("pose", ["matrix", "6d"])
def test_a_pose_network_asks_for_the_pose(tmp_path, photo, capsys, pose) -> None:
    network = stored_run.store_run(tmp_path / "run", pose=pose)
    out = ["-o", tmp_path / "m.glb", "--no-preview", *SMALL]
    assert onet("reconstruct", network, tmp_path / "no-photo.png", *out) == 3  # before any photo is read
    shown = capsys.readouterr().err
    assert "--pose," in shown
    assert "--pose-from" in shown
    camera = tmp_path / "camera.json"
    camera.write_text(json.dumps({"pose": np.eye(4).tolist(), "focal": 1.4}))
    assert onet("reconstruct", network, photo, "--pose", camera, *out) == 0
    camera.write_text("[1, 2]")
    assert onet("reconstruct", network, photo, "--pose", camera, *out) == 3
    assert "camera file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["{run}/none", "{photo}"], 3, "run not found"),
        (["{data}", "{photo}"], 3, "not found"),
        (["{run}", "missing.png"], 3, "does not exist"),
        (["{run}", "{photo}", "--mask", "missing.png"], 3, "does not exist"),
        (["{run}", "{photo}", "--mask", "a.png", "--mask", "b.png"], 2, "--mask"),
        (["{run}", "{photo}", "{photo}", "-o", "m.glb"], 2, "one file"),
        (["{run}", "{photo}", "--resolution", "0"], 2, "--resolution"),
        (["{run}", "{photo}", "--threshold", "2"], 2, "--threshold"),
        (["{run}", "{photo}", "--device", "tpu"], 2, "--device"),
        (["{run}", "{photo}", "--pose", "x.json", "--pose", "y.json"], 2, "--pose"),
        (["{run}", "{photo}", "--pose-from", "none.json"], 3, "not found"),
        (["{run}"], 2, "IMAGE"),
        (["{run}", "{photo}", "-o", "m.gltf"], 2, ".gltf"),
        (["{run}", "{photo}", "-o", "m.glb", "--format", "obj"], 2, "--format"),
        (["{run}", "{photo}", "-o", "{photo}/m.glb"], 3, "is not a folder"),
        (["{run}", "{photo}", "--sheet", "{photo}/sheet.png"], 3, "is not a folder"),
    ],
)
def test_bad_input_is_one_line(run, photo, data, tmp_path, monkeypatch, capsys, arguments, status, words) -> None:
    monkeypatch.chdir(tmp_path)
    filled = [a.format(run=run, photo=photo, data=data) for a in arguments]
    assert onet("reconstruct", *filled) == status
    shown = capsys.readouterr().err
    assert words in shown
    assert "Traceback" not in shown


def test_masks_are_matched_to_pictures(tmp_path) -> None:
    folder = tmp_path / "masks"
    folder.mkdir()
    (folder / "a.png").touch()
    assert mask_for(Path("x/a.jpg"), 0, [str(folder)], 2) == folder / "a.png"
    assert mask_for(Path("x/b.jpg"), 0, [str(folder)], 2) == folder / "b.jpg"  # missing: the reader says so
    assert mask_for(Path("a.jpg"), 1, ["auto"], 2) == "auto"
    assert mask_for(Path("a.jpg"), 1, ["m.png", "auto"], 2) == "auto"
    assert mask_for(Path("a.jpg"), 0, [], 1) is None
    jobs = plan([Path("one/a.jpg"), Path("two/a.jpg")], [], [], Path("out"), "obj")
    assert [j.out.name for j in jobs] == ["a.obj", "two-a.obj"]
    with pytest.raises(ConfigError, match="two pictures"):
        plan([Path("one/a.jpg"), Path("one/a.jpg"), Path("one/a.jpg")], [], [], None, "obj")


def test_evaluate_scores_a_run_and_the_baselines(run, data, tmp_path, capsys) -> None:
    table = tmp_path / "scores.csv"
    arguments = ["evaluate", run, "--data", data, "--baselines", "--samples", "500", "--csv", table, *SMALL]
    assert onet(*arguments, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in document["rows"]] == ["mean-shape", "retrieval", "oracle", "tiny"]
    assert document["protocol"] == "onet"
    assert {m["name"] for m in document["metrics"]} >= {"iou", "chamfer_l1", "normal_consistency", "f_score"}
    for row in document["rows"]:
        assert row["pictures"] == 1
        assert 0 <= row["means"]["iou"]["mean"] <= 1
    assert len(table.read_text().splitlines()) == 5
    assert onet(*arguments) == 0
    shown = capsys.readouterr().out
    assert all(word in shown for word in ("oracle", "IoU", "Chamfer-L1", "F@1%"))


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
    assert max(map(len, lines[80].splitlines())) <= 80


def test_evaluate_by_the_official_protocol_stands_alone(data, capsys) -> None:
    arguments = ["evaluate", "--baseline", "oracle", "--data", data, "--protocol", "pix3d", "--json"]
    assert onet(*arguments) == 0
    document = json.loads(capsys.readouterr().out)
    assert list(document["rows"][0]["means"]) == ["iou_pix3d"]
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
        (["--baseline", "median"], 2, "mean-shape, retrieval, oracle"),
        (["--baselines", "--data", "nowhere"], 3, "not found"),
        (["--baselines", "--samples", "0"], 2, "--samples"),
        (["no-run", "--threshold", "1.5"], 2, "--threshold"),
        (["no-run", "--csv", "{data}/manifest.json/x.csv"], 3, "is not a folder"),
        (["--baselines", "--protocol", "pix3d", "--voxels", "40"], 2, "--voxels"),
    ],
)
def test_evaluate_bad_input(data, capsys, arguments, status, words) -> None:
    where = [] if "--data" in arguments else ["--data", data]
    assert onet("evaluate", *(a.format(data=data) for a in arguments), *where) == status
    shown = capsys.readouterr().err
    assert words in shown
    assert "Traceback" not in shown


def test_help_needs_neither_torch_nor_open3d() -> None:
    code = (
        "import sys\nfrom onet_cli.app import cli\n"
        "for name in ('evaluate', 'reconstruct'):\n    cli.main([name, '--help'], standalone_mode=False)\n"
        "assert not {'torch', 'open3d', 'skimage'} & set(sys.modules)\n"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout
    assert shown.count("Example:") == 2
