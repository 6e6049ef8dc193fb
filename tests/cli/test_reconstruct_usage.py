"""Wrong arguments of ``onet reconstruct`` are told before anything heavy is imported or written."""

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

from pix3d_onet.geometry.synth.release import synth_pix3d
from pix3d_onet.runs.folder import RunFolder, description


@pytest.fixture
def photo(tmp_path) -> Path:
    path = tmp_path / "photo.png"
    Image.fromarray(np.full((6, 8, 3), 90, np.uint8)).save(path)
    return path


@pytest.mark.parametrize(
    ("given", "hint"), [("Auto", "--mask auto"), ("REMBG", "--mask rembg"), ("no-masks", ""), ("no/masks.d", "")]
)
def test_a_word_that_is_no_mask_is_usage(photo, tmp_path, monkeypatch, capsys, given, hint) -> None:
    monkeypatch.chdir(tmp_path)
    assert onet("reconstruct", "no-run", photo, "--mask", given) == 2
    shown = capsys.readouterr().err
    assert f"--mask {given} is neither a file, a folder, auto nor rembg." in shown
    assert hint in shown


def test_slips_are_told_before_torch_is_imported(tmp_path) -> None:
    """In a process of its own: here torch is loaded long since. The runs need no network that could be loaded."""
    for run in ("runs/a", "runs/seed/b"):
        file = RunFolder(tmp_path / run).best
        file.parent.mkdir(parents=True)
        file.touch()
        description(file).write_text("{}")
    (tmp_path / "empty").mkdir()
    (tmp_path / "photo.png").touch()
    calls = {
        "none photo.png": (3, "run not found: none. Train one with `onet train`."),
        "run photo.png": (3, "run not found: run. Did you mean runs?"),
        "runs/seed/c photo.png": (3, "run not found: runs/seed/c."),
        "empty photo.png": (3, "empty holds no trained network. A run has one after its first validation."),
        "runs photo.png": (3, "Name one of its runs: runs/a, runs/seed/b."),
        "runs/a x.png": (3, "error: x.png does not exist."),
        "runs/a x.png y.png": (3, "no mesh of any of 2 pictures: x.png does not exist; y.png does not exist."),
        "runs/a photo.png --mask m.png": (
            3,
            "no mesh of photo.png: its mask m.png does not exist: give another with --mask, or",
        ),
        "runs/a photo.png --mask empty": (
            3,
            "(looked for photo.png, .jpg, .jpeg, …): give another with --mask, or",
        ),
        "runs/a photo.png --pose-from i.json": (3, "Pix3D index not found: i.json."),
        "runs/a .": (3, "error: . is a folder: give its pictures instead."),
        "runs/a empty": (3, "error: empty is a folder: give its pictures instead."),
        "runs/a photo.png -o -": (2, "--out -: a mesh is not written to stdout."),
        "runs/a photo.png --sheet s.jpg": (2, "--sheet s.jpg must end in .png"),
    }
    code = (
        "import sys, json\nfrom onet_cli.main import main\nfound = {}\n"
        f"for call in {list(calls)!r}:\n"
        "    try:\n        main(['reconstruct', *call.split()])\n"
        "    except SystemExit as leave:\n        found[call] = leave.code\n"
        "    sys.stderr.write('\\0')\n"
        "assert not {'torch', 'trimesh', 'numba', 'scipy'} & set(sys.modules)\nprint(json.dumps(found))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {call: status for call, (status, _) in calls.items()}
    for shown, (_, words) in zip(done.stderr.split("\0"), calls.values(), strict=False):
        assert words in shown
        assert len(shown.splitlines()) == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--sheet", "{photo}"], "--sheet would overwrite a picture"),
        (["--mask", "out.glb", "-o", "out.glb"], "the mesh would overwrite a mask"),
        (["--mask", "out.preview.png", "-o", "out.glb"], "the preview would overwrite a mask"),
        (["--pose", "out.html", "-o", "out.glb", "--open"], "the page would overwrite a camera file"),
        (["--pose-from", "link.json", "--sheet", "sheet.png"], "--sheet would overwrite the index"),
        (["-o", "out.glb", "--sheet", "out.preview.png"], "--sheet and the preview would both be written"),
    ],
)
def test_nothing_is_written_over_an_input(photo, tmp_path, monkeypatch, capsys, options, words) -> None:
    monkeypatch.chdir(tmp_path)
    Path("index.json").write_text("[]")
    Path("link.json").symlink_to("index.json")
    Path("sheet.png").symlink_to("index.json")
    if "overwrite a mask" in words:
        Path(options[1].format(photo=photo)).touch()
    before = photo.read_bytes()
    arguments = [o.format(photo=photo) for o in options]
    assert onet("reconstruct", "no-run", photo, *arguments) == 2  # before any run is looked at
    assert words in capsys.readouterr().err
    assert photo.read_bytes() == before


@pytest.mark.parametrize(
    "value", [["--threshold", "nan"], ["--resolution", "5000"], ["--simplify", "3"], ["--coarse", "0"]], ids=str
)
def test_a_wrong_value_is_usage_before_any_run_is_looked_at(photo, tmp_path, capsys, value) -> None:
    assert onet("reconstruct", tmp_path / "no-run", photo, *value) == 2
    assert value[0] in capsys.readouterr().err


@pytest.mark.parametrize(("key", "option"), [("mask", "--sheet"), ("model", "-o")])
def test_files_that_the_index_names_are_inputs_too(tmp_path, capsys, key, option) -> None:
    run = stored_run.store_run(tmp_path / "run")
    root = synth_pix3d(tmp_path / "pix3d", objects=1).out
    record = json.loads((root / "pix3d.json").read_text())[0]
    read = root / record[key]
    before = read.read_bytes()
    arguments = ["reconstruct", run, root / record["img"], "--pose-from", root / "pix3d.json", "-o", tmp_path / "m.glb"]
    assert onet(*arguments, option, read, "--device", "cpu") == 2
    assert f"would overwrite the {key} of a record" in capsys.readouterr().err
    assert read.read_bytes() == before


def test_help_needs_neither_torch_nor_open3d() -> None:
    code = (
        "import sys\nfrom onet_cli.app import cli\n"
        "for name in ('evaluate', 'reconstruct'):\n    cli.main([name, '--help'], standalone_mode=False)\n"
        "assert not {'torch', 'open3d', 'skimage'} & set(sys.modules)\n"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.count("Example:") == 2
    assert "one an IMAGE" not in shown
    assert "8 to 1024" in " ".join(shown.split())
