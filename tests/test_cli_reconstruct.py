"""``onet reconstruct``: documents, files, exit statuses, one line for each bad input."""

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
from onet_cli.reconstruct import photos_among, plan
from PIL import Image

from pix3d_onet.errors import ConfigError, InputError
from pix3d_onet.geometry.mesh import is_watertight, load_mesh
from pix3d_onet.geometry.preview import LINE, contact_sheet
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
        assert (np.asarray(picture)[:, 960] == LINE).all()
    assert onet("reconstruct", run, photo, "--sheet", sheet, "--no-preview", *SMALL) == 2


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


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--sheet", "{photo}"], "--sheet would be written over a picture"),
        (["--mask", "out.glb", "-o", "out.glb"], "the mesh would be written over a mask"),
        (["--mask", "out.preview.png", "-o", "out.glb"], "the preview would be written over a mask"),
        (["--pose", "out.html", "-o", "out.glb", "--open"], "the page would be written over a camera file"),
        (["--pose-from", "link.json", "--sheet", "index.json"], "--sheet would be written over the index"),
        (["-o", "out.glb", "--sheet", "out.preview.png"], "--sheet and the preview would both be written"),
    ],
)
def test_nothing_is_written_over_an_input(photo, tmp_path, monkeypatch, capsys, options, words) -> None:
    monkeypatch.chdir(tmp_path)
    Path("index.json").write_text("[]")
    Path("link.json").symlink_to("index.json")
    before = photo.read_bytes()
    arguments = [o.format(photo=photo) for o in options]
    assert onet("reconstruct", "no-run", photo, *arguments) == 2  # before any run is looked at
    assert words in capsys.readouterr().err
    assert photo.read_bytes() == before


def test_previews_of_an_earlier_call_are_not_photos(run, photo, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    mask = tmp_path / "masks" / "photo.png"
    mask.parent.mkdir()
    Image.fromarray(np.full((60, 80), 255, np.uint8)).save(mask)
    assert onet("reconstruct", run, photo, *SMALL, "-q") == 0
    capsys.readouterr()
    preview = tmp_path / "photo.preview.png"
    both = ["reconstruct", run, preview, photo, "--mask", preview, "--mask", mask, "-o", "photo.glb", "--json"]
    assert onet(*both, *SMALL) == 0
    shown = capsys.readouterr()
    assert [m["image"] for m in json.loads(shown.out)["meshes"]] == [str(photo)]
    assert "photo.preview.png is left out" in " ".join(shown.err.split())
    assert not list(tmp_path.glob("*.preview.preview.png"))
    assert photos_among([preview]) == [0]
    with pytest.raises(InputError, match="previews"):
        photos_among([preview, preview])


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
    shown = " ".join(capsys.readouterr().err.split())
    assert "--threshold" in shown
    assert "no point of the coarse lattice" in shown
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
    assert "has no record of it" in capsys.readouterr().err
    index.write_text(json.dumps([{**record, "rot_mat": None}]))
    assert onet("reconstruct", network, root / record["img"], *out) == 3
    assert "has no camera" in capsys.readouterr().err
    index.write_text(json.dumps([{**record, "model": "model/none.obj"}]))
    assert onet("reconstruct", network, root / record["img"], *out) == 3
    shown = " ".join(capsys.readouterr().err.split())
    assert "cannot be used: 'model/none.obj' does not exist" in shown


def test_a_network_without_a_pose_needs_no_model(run, tmp_path, photo, monkeypatch, capsys) -> None:
    """The record's mask is taken; the CAD model is not even looked for."""
    root = synth_pix3d(tmp_path / "pix3d", objects=1).out
    index = root / "pix3d.json"
    record = json.loads(index.read_text())[0]
    (root / record["model"]).write_text("not a mesh")
    arguments = [root / record["img"], "--pose-from", index, "-o", tmp_path / "m.glb", "-q", *SMALL]
    assert onet("reconstruct", run, *arguments) == 0
    (root / record["model"]).unlink()
    seen = []
    monkeypatch.setattr("onet_cli.reconstruct.extras", lambda view, *_: (seen.append(view), (None, None))[1])
    out = ["--pose-from", index, "-o", tmp_path / "m.glb", "--no-preview", *SMALL]
    assert onet("reconstruct", run, root / record["img"], *out) == 0
    shown = capsys.readouterr().err
    assert "whole picture" not in shown
    assert "no record" not in shown
    assert seen[0].mask.mean() < 0.8
    assert onet("reconstruct", run, photo, *out) == 0
    assert "has no record of" in " ".join(capsys.readouterr().err.split())
    assert onet("reconstruct", run, root / record["img"], *out, "--frame", "original") == 3
    assert "does not exist" in capsys.readouterr().err


def test_both_ways_to_name_a_camera_give_the_network_the_same(tmp_path, monkeypatch) -> None:
    from pix3d_onet.learning import extract

    network = stored_run.store_run(tmp_path / "run", pose="6d")
    root = synth_pix3d(tmp_path / "pix3d", objects=1).out
    record = json.loads((root / "pix3d.json").read_text())[0]
    seen = []
    image_field = extract.image_field

    def spied(model, image, **options):
        seen.append((options["pose"], options["focal"], image))
        return image_field(model, image, **options)

    monkeypatch.setattr(extract, "image_field", spied)
    image, out = root / record["img"], ["-o", tmp_path / "m.glb", "--no-preview", "-q", *SMALL]
    assert onet("reconstruct", network, image, "--pose-from", root / "pix3d.json", *out) == 0
    camera = tmp_path / "camera.json"
    camera.write_text(json.dumps({"pose": seen[0][0].tolist(), "focal": record["focal_length"] / 32}))
    assert onet("reconstruct", network, image, "--pose", camera, "--mask", root / record["mask"], *out) == 0
    np.testing.assert_allclose(seen[1][0], seen[0][0], atol=1e-6)
    assert seen[1][1] == pytest.approx(seen[0][1], rel=1e-6)
    np.testing.assert_array_equal(seen[1][2], seen[0][2])


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
    assert "has no record of it" in capsys.readouterr().err
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
    camera.write_text(json.dumps(np.eye(4).tolist()))
    assert onet("reconstruct", network, photo, "--pose", camera, *out) == (3 if pose == "6d" else 0)
    assert ("widths of the whole photo" in " ".join(capsys.readouterr().err.split())) == (pose == "6d")
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
    def masks(images: list[str], *given: object) -> list[object]:
        return [job.mask for job in plan([Path(i) for i in images], [str(g) for g in given], [], Path("out"), "obj")]

    folder = tmp_path / "masks"
    folder.mkdir()
    for name in ("a.png", "c.PNG", "d.TIF", "d.webp", "d.JPG", "d.txt", "e.PNG", "e.png"):
        (folder / name).touch()
    assert masks(["x/a.jpg", "x/b.jpg"], folder) == [folder / "a.png", folder / "b.jpg"]  # the reader misses the latter
    assert masks(["x/c.jpg", "x/e.jpg"], folder) == [folder / "c.PNG", folder / "e.PNG"]
    assert masks(["x/d.jpg"], folder) == masks(["x/d.jpeg"], folder) == [folder / "d.JPG"]
    assert masks(["x/d.tif"], folder) == [folder / "d.TIF"]  # the picture's own ending comes first
    assert masks(["x/d.png"], folder) == [folder / "d.JPG"]
    assert masks(["a.jpg", "b.jpg"], "auto") == ["auto", "auto"]
    assert masks(["a.jpg", "b.jpg"], "m.png", "auto") == [Path("m.png"), "auto"]
    assert masks(["a.jpg"]) == [None]
    for given in (folder, folder / "a.png"):
        with pytest.raises(ConfigError, match="is the picture itself"):
            masks([str(folder / "a.png")], given)
    jobs = plan([Path("one/a.jpg"), Path("two/a.jpg")], [], [], Path("out"), "obj")
    assert [j.out.name for j in jobs] == ["a.obj", "two-a.obj"]
    with pytest.raises(ConfigError, match="two pictures"):
        plan([Path("one/a.jpg"), Path("one/a.jpg"), Path("one/a.jpg")], [], [], None, "obj")


def test_help_needs_neither_torch_nor_open3d() -> None:
    code = (
        "import sys\nfrom onet_cli.app import cli\n"
        "for name in ('evaluate', 'reconstruct'):\n    cli.main([name, '--help'], standalone_mode=False)\n"
        "assert not {'torch', 'open3d', 'skimage'} & set(sys.modules)\n"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout
    assert shown.count("Example:") == 2
