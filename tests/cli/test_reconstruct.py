"""``onet reconstruct``: documents, files, exit statuses, one line for each bad input."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import stored_run
from helpers.command_line import status as onet
from PIL import Image

from pix3d_onet.geometry.mesh.reading import load_mesh
from pix3d_onet.geometry.mesh.topology import is_watertight
from pix3d_onet.geometry.render.preview import LINE
from pix3d_onet.geometry.synth.release import synth_pix3d
from pix3d_onet.reconstruction.job import SHOWN_PER_KIND, PhotoJob
from pix3d_onet.reconstruction.surface import fills_the_box, probability
from pix3d_onet.runs.folder import RunFolder, description
from pix3d_onet.types import Mesh

SMALL = ["--resolution", "24", "--device", "cpu"]


@pytest.fixture
def photo(tmp_path) -> Path:
    rgb = np.full((60, 80, 3), 255, np.uint8)
    rgb[10:50, 20:60] = (90, 60, 30)
    path = tmp_path / "photo.png"
    Image.fromarray(rgb).save(path)
    return path


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


def test_quiet_still_says_what_could_not_be_used(run, photo, tmp_path, capsys) -> None:
    """-q leaves errors alone: one line with every picture and its reason."""
    broken, gone = tmp_path / "broken.png", tmp_path / "gone.png"
    broken.write_bytes(b"not a picture")
    out = ["-o", tmp_path / "out", "--no-preview", "-q", *SMALL]
    assert onet("reconstruct", run, photo, broken, gone, *out) == 0
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err == (
        f"2 of 3 pictures could not be used: {broken} cannot be read: it is not a picture in a known format "
        "(JPEG, PNG, TIFF, WEBP, BMP, GIF, PPM, TGA, JPEG2000, AVIF, HEIF); "
        f"{gone} does not exist.\n"
    )
    assert onet("reconstruct", run, photo, *out) == 0
    assert capsys.readouterr().err == ""
    assert onet("reconstruct", run, broken, gone, *out) == 3  # nothing at all: the error itself names them
    (line,) = capsys.readouterr().err.splitlines()
    assert "no mesh of any of 2 pictures" in line
    assert line.count("broken.png") == line.count("gone.png") == 1


def test_a_missing_mask_is_not_a_missing_picture(run, photo, tmp_path, capsys) -> None:
    masks = tmp_path / "masks"
    masks.mkdir()
    out = ["-o", tmp_path / "m.glb", "--no-preview", *SMALL]
    assert onet("reconstruct", run, photo, "--mask", masks, *out) == 3
    said = f"no mask of {photo} in {masks} (looked for photo.png, .jpg, .jpeg, …): "
    said += "give another with --mask, or let onet find the object with --mask auto."
    assert capsys.readouterr().err == f"onet: error: {said}\n"
    assert onet("reconstruct", run, photo, "--mask", masks / "photo.png", *out) == 3
    assert f"no mesh of {photo}: its mask {masks / 'photo.png'} does not exist: " in capsys.readouterr().err
    (masks / "photo.png").write_bytes(b"not a picture")
    assert onet("reconstruct", run, photo, "--mask", masks, *out) == 3
    assert "mask photo.png cannot be read" in capsys.readouterr().err
    camera = tmp_path / "no-camera.json"
    assert onet("reconstruct", run, photo, "--pose", camera, *out) == 3
    assert f"its camera file {camera} does not exist" in capsys.readouterr().err


def test_ctrl_c_among_many_says_what_was_made(tmp_path) -> None:
    """A real signal in a real process, sent when the second picture's turn comes; the network is none of its matter."""
    for name in ("one", "two", "three"):
        (tmp_path / f"{name}.png").touch()
    network = RunFolder(tmp_path).best
    network.parent.mkdir()
    for file in (network, description(network)):
        file.touch()
    code = (
        "import os, signal, sys, time, types\nfrom onet_cli.main import main\n"
        "from pix3d_onet.reconstruction import job as module\n"
        "from pix3d_onet.reconstruction.outcome import Reconstruction\n"
        "def make(self, job, emit):\n"
        "    if job.image.stem == 'two':\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n        time.sleep(60)\n"
        "    return Reconstruction(str(job.image), str(job.out), vertices=8, faces=12)\n"
        "module.PhotoJob.make = make\n"
        "network = types.SimpleNamespace(settings={'run': 'x'})\n"
        "module.open_job = lambda plan, emit: module.PhotoJob(plan, network, {})\nmain(sys.argv[1:])\n"
    )
    arguments = ["reconstruct", ".", "one.png", "two.png", "three.png", "-o", "out", "--json"]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 130, done.stderr
    assert done.stderr.splitlines()[-1] == "onet: interrupted; everything finished so far is kept."
    assert '"image": "one.png"' in done.stdout
    assert "two.png" not in done.stdout
    assert json.loads(done.stdout)["run"] == {"run": "x"}


def test_ctrl_c_leaves_meshes_their_lines_and_their_sheet(run, photo, tmp_path, monkeypatch, capsys) -> None:
    twin = tmp_path / "twin.png"
    twin.write_bytes(photo.read_bytes())
    make = PhotoJob.make

    def interrupted(self, job, emit):
        if job.image == twin:
            raise KeyboardInterrupt
        return make(self, job, emit)

    monkeypatch.setattr(PhotoJob, "make", interrupted)
    out = ["-o", tmp_path / "out", "--sheet", tmp_path / "sheet.png", *SMALL]
    assert onet("reconstruct", run, photo, twin, *out) == 130
    assert capsys.readouterr().out.startswith(f"{tmp_path / 'out' / 'photo.glb'}: ")
    assert is_watertight(load_mesh(tmp_path / "out" / "photo.glb"))
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (960, 320)
    assert onet("reconstruct", run, twin, photo, *out, "--json") == 130  # nothing was made: no document
    assert capsys.readouterr().out == ""


def test_the_document_says_where_meshes_come_from(run, photo, tmp_path, capsys) -> None:
    outline = tmp_path / "outline.png"
    Image.fromarray(np.asarray(np.asarray(Image.open(photo))[..., 0] < 255, np.uint8) * 255).save(outline)
    out = ["-o", tmp_path / "m.glb", "--no-preview", "--json", "--threshold", "0.3", *SMALL]
    for mask, used in (([], "white-border"), (["--mask", "auto"], "auto"), (["--mask", outline], "file")):
        assert onet("reconstruct", run, photo, *mask, *out) == 0
        document = json.loads(capsys.readouterr().out)
        asked = {
            "run": "tiny",
            "folder": run.name,
            "run_id": "0" * 12,
            "threshold": 0.3,
            "resolution": 24,
            "precision": "fp32",
        }
        assert document["run"].items() >= asked.items()
        assert document["meshes"][0]["mask"] == used
        assert 0.3 < document["meshes"][0]["highest"] <= 1


def test_an_error_in_the_middle_keeps_what_was_made(run, photo, tmp_path, monkeypatch, capsys) -> None:
    from pix3d_onet.reconstruction import job

    plain = job.write_mesh

    def full(path, *arguments):
        if path.stem == "second":
            raise OSError(28, "No space left on device")
        plain(path, *arguments)

    monkeypatch.setattr(job, "write_mesh", full)
    second = tmp_path / "second.png"
    second.write_bytes(photo.read_bytes())
    arguments = ["reconstruct", run, photo, second, "-o", tmp_path / "out", "--json", "--no-preview", *SMALL]
    assert onet(*arguments) not in (0, 130)
    document = json.loads(capsys.readouterr().out)
    assert [Path(m["mesh"]).name for m in document["meshes"]] == ["photo.glb"]


def test_warnings_that_come_with_every_picture_are_few(run, tmp_path, capsys) -> None:
    pictures = [tmp_path / f"{i}.png" for i in range(SHOWN_PER_KIND + 2)]
    for i, path in enumerate(pictures):
        Image.fromarray(np.full((20, 20, 3), 40 + i, np.uint8)).save(path)
    assert onet("reconstruct", run, *pictures, "-o", tmp_path / "out", "--no-preview", *SMALL) == 0
    shown = capsys.readouterr().err
    assert shown.count("the whole picture is used") == SHOWN_PER_KIND
    assert "… and 2 more: no mask and no alpha channel: 3.png, 4.png." in shown


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


def test_a_contact_sheet_has_a_tile_for_every_picture(run, photo, tmp_path, monkeypatch) -> None:
    from pix3d_onet.geometry.render import preview

    written = []
    label = preview.labelled
    monkeypatch.setattr(preview, "labelled", lambda tile, name: (written.append(name), label(tile, name))[1])
    alone = preview.without_mesh
    monkeypatch.setattr(preview, "without_mesh", lambda *given: (written.append(given[1]), alone(*given))[1])
    broken, gone, sheet = tmp_path / "broken.png", tmp_path / "gone.png", tmp_path / "sheet.png"
    Image.fromarray(np.full((50, 40, 4), (200, 0, 0, 0), np.uint8)).save(broken)  # readable; its mask is empty
    out = ["-o", tmp_path / "out", "--sheet", sheet, "-q", *SMALL]
    assert onet("reconstruct", run, broken, photo, gone, *out) == 0
    covers = "the mask covers no pixel"
    assert written == [covers, "broken.png", "photo.png", "gone.png does not exist", "gone.png"]
    with Image.open(sheet) as picture:
        assert picture.size == (2 * 960, 2 * 320)
        assert (np.asarray(picture)[321:, :960] < 255).any()
    written.clear()
    empty = stored_run.store_run(tmp_path / "run", empty=True)
    assert onet("reconstruct", empty, photo, *out) == 3
    assert written == ["nothing found", "photo.png"]


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
    assert "photo.preview.png is skipped" in " ".join(shown.err.split())
    assert not list(tmp_path.glob("*.preview.preview.png"))


def test_a_page_to_open(run, photo, tmp_path, monkeypatch, capsys) -> None:
    opened: list[str] = []
    answers = iter([0, 1, 0])
    monkeypatch.setattr("click.launch", lambda url: (opened.append(url), next(answers))[1])
    out = tmp_path / "mesh.glb"
    assert onet("reconstruct", run, photo, "-o", out, "--open", "--no-preview", "-q", *SMALL) == 0
    page = out.with_suffix(".html")
    assert page.read_text().startswith("<!doctype html>")
    assert opened == [page.as_uri()]
    assert capsys.readouterr().err == ""
    assert onet("reconstruct", run, photo, "-o", out, "--open", "--no-preview", "-q", *SMALL) == 0
    assert capsys.readouterr().err == f"open {page} in a browser\n"  # the system has none, or none that it knows of
    assert onet("reconstruct", run, photo, "-o", out, "--open", "--no-preview", *SMALL) == 0
    assert f"opening {page}; if no browser appears, open it by hand\n" in capsys.readouterr().err


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
    assert "highest occupancy below 1e-6, threshold 0.20" in shown
    assert not (tmp_path / "m.glb").exists()


def test_a_network_that_finds_every_point_inside_is_not_taken_for_a_shape(run, photo, tmp_path, capsys) -> None:
    out = ["-o", tmp_path / "m.glb", "--no-preview", *SMALL]
    said = "photo.png: the network finds every point inside, so the mesh is a box, no shape. Try a higher --threshold"
    assert onet("reconstruct", run, photo, *out, "--threshold", "1e-30") == 0
    assert said in " ".join(capsys.readouterr().err.split())
    made = load_mesh(tmp_path / "m.glb")
    assert fills_the_box(made)
    assert not fills_the_box(Mesh(made.vertices * 0.9, made.faces))  # as large as a shape may be
    bitten = made.vertices.copy()
    bitten[0] *= 0.5
    assert not fills_the_box(Mesh(bitten, made.faces))
    assert not fills_the_box(Mesh(made.vertices[:0], made.faces[:0]))


def test_how_far_below_the_threshold_a_picture_stays_is_said(run, photo, tmp_path, capsys) -> None:
    out = ["-o", tmp_path / "m.glb", "--no-preview", "--json", *SMALL]
    assert onet("reconstruct", run, photo, *out) == 0
    highest = json.loads(capsys.readouterr().out)["meshes"][0]["highest"]
    level = (1 + highest) / 2
    assert onet("reconstruct", run, photo, *out, "--threshold", level) == 3
    shown = capsys.readouterr()
    assert f"highest occupancy {probability(highest, level)}, threshold {level:g}" in " ".join(shown.err.split())
    made = json.loads(shown.out)["meshes"][0]
    assert made["highest"] == pytest.approx(highest, abs=1e-3)
    assert made["mask"] == "white-border"
    assert made["mesh"] is None
    assert made["error"].startswith("the network sees nothing in it")


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
    monkeypatch.setattr("pix3d_onet.reconstruction.job.write_preview", lambda path, view, mesh: seen.append(view))
    out = ["--pose-from", index, "-o", tmp_path / "m.glb", *SMALL]
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
    from pix3d_onet.learning.extraction import predictor

    network = stored_run.store_run(tmp_path / "run", pose="6d")
    root = synth_pix3d(tmp_path / "pix3d", objects=1).out
    record = json.loads((root / "pix3d.json").read_text())[0]
    seen = []
    image_field = predictor.image_field

    def spied(model, image, **options):
        seen.append((options["pose"], options["intrinsics"], image))
        return image_field(model, image, **options)

    monkeypatch.setattr(predictor, "image_field", spied)
    image, out = root / record["img"], ["-o", tmp_path / "m.glb", "--no-preview", "-q", *SMALL]
    assert onet("reconstruct", network, image, "--pose-from", root / "pix3d.json", *out) == 0
    camera = tmp_path / "camera.json"
    camera.write_text(json.dumps({"pose": seen[0][0].tolist(), "focal": record["focal_length"] / 32}))
    assert onet("reconstruct", network, image, "--pose", camera, "--mask", root / record["mask"], *out) == 0
    np.testing.assert_allclose(seen[1][0], seen[0][0], atol=1e-6)
    np.testing.assert_allclose(seen[1][1], seen[0][1], rtol=1e-6)
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


def test_a_network_that_predicts_cameras_needs_none_and_takes_one(tmp_path, photo, capsys) -> None:
    network = stored_run.store_run(tmp_path / "run", pose="predicted", conditioning="pixel")
    out = ["-o", tmp_path / "m.glb", "--no-preview", "--json", *SMALL]
    assert onet("reconstruct", network, photo, *out) == 0
    alone = json.loads(capsys.readouterr().out)["meshes"][0]["highest"]
    camera = tmp_path / "camera.json"
    pose = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 2.2], [0, 0, 0, 1]]
    camera.write_text(json.dumps({"pose": pose, "focal": 1.4}))
    assert onet("reconstruct", network, photo, "--pose", camera, *out) == 0
    assert json.loads(capsys.readouterr().out)["meshes"][0]["highest"] != alone
    camera.write_text(json.dumps(pose))
    assert onet("reconstruct", network, photo, "--pose", camera, *out) == 3
    assert "focal" in capsys.readouterr().err


@pytest.mark.parametrize("kind", list(stored_run.CAMERAS))
def test_a_network_with_a_camera_asks_for_it(tmp_path, photo, capsys, kind) -> None:
    network = stored_run.store_run(tmp_path / "run", **stored_run.CAMERAS[kind])
    out = ["-o", tmp_path / "m.glb", "--no-preview", *SMALL]
    broken = tmp_path / "broken.png"
    broken.touch()
    assert onet("reconstruct", network, broken, *out) == 3  # before any photo is read
    shown = capsys.readouterr().err
    assert "--pose," in shown
    assert "--pose-from" in shown
    camera = tmp_path / "camera.json"
    camera.write_text(json.dumps({"pose": np.eye(4).tolist(), "focal": 1.4}))
    assert onet("reconstruct", network, photo, "--pose", camera, *out) == 0
    camera.write_text(json.dumps(np.eye(4).tolist()))
    assert onet("reconstruct", network, photo, "--pose", camera, *out) == (0 if kind == "matrix" else 3)
    assert ("divided by the photo's width" in " ".join(capsys.readouterr().err.split())) == (kind != "matrix")
    camera.write_text("[1, 2]")
    assert onet("reconstruct", network, photo, "--pose", camera, *out) == 3
    assert "camera file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["{run}/none", "{photo}"], 3, "run not found"),
        (["{data}", "{photo}"], 3, "is a data set, not a run. Name a folder that `onet train` wrote."),
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
