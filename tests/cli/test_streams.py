"""Closed pipes, full disks, narrow encodings and hostile names: files complete, one clear line, never a traceback."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers.command_line import commands, status
from helpers.datasets import make_dataset
from helpers.hostile import HOSTILE, names
from helpers.programs import forked_calls
from helpers.releases import write_box, write_release
from helpers.stored_run import store_run, write_original
from helpers.stored_runs import make_run
from hypothesis import given, settings
from hypothesis import strategies as st
from onet_cli import app, streams, ui
from onet_cli.invocation import Invocation
from onet_cli.main import main
from onet_cli.watch import Board
from PIL import Image

from pix3d_onet.errors import InputError
from pix3d_onet.events import Note, OperationTime, Profiled, Progress, RunFinished, RunStarted, TrainStep
from pix3d_onet.files import read_json

SMALL = ("--points", "4096", "--surface-points", "256", "--image-size", "32", "--jobs", "1")
TINY = ("--no-pretrained", "--steps", "2", "--batch-size", "4", "--image-size", "32", "--device", "cpu")
pytestmark = pytest.mark.timeout(900)
COMMANDS = {
    "doctor": ["--no-self-test"],
    "download pix3d": ["--from-zip", "../release.zip", "--to", "made"],
    "synth pix3d": ["made", "--objects", "1"],
    "prepare pix3d": ["--root", "../release", "--out", "made", "--resolution", "32", *SMALL],
    "prepare shapenet": ["../shapenet", "--out", "made", "--render-views", "1", "--resolution", "32", *SMALL],
    "prepare meshes": ["../meshes", "--out", "made", "--render-views", "1", "--resolution", "32", *SMALL],
    "prepare onet": ["../exported", "--out", "made", *SMALL],
    "verify": ["../data"],
    "inspect": ["../data", "--out", "made.png"],
    "export onet": ["../data", "made"],
    "export deepsdf": ["../data", "made"],
    "export sdf-grid": ["../data", "made", "--resolution", "16"],
    "train": ["--encoder", "test_resnet", "--data", "../data", "--out", "made", "--no-examples", *TINY],
    "bench": ["--variant", "timm:test_resnet", "--data", "../data", "--out", "made", "--no-report", *TINY],
    "report": ["../runs", "--no-figures", "--out", "made"],
    "evaluate": ["--baseline", "mean-shape", "--data", "../data", "--samples", "50", "--csv", "made.csv"],
    "reconstruct": ["../tiny", "../photo.png", "--device", "cpu", "--resolution", "24", "-o", "made.glb"],
    "import-checkpoint": ["../original.pt", "--out", "made"],
    "--help": [],
}
"""A call of every command; what it writes is ``made`` or ``made.*`` in its own folder."""
HEAVY = ("prepare pix3d", "prepare shapenet", "prepare meshes", "prepare onet", "bench")
"""Left to ``-m slow``: they start processes of their own."""
NAMES = [pytest.param(name, marks=[pytest.mark.slow] if name in HEAVY else []) for name in COMMANDS]
WRITES_NOTHING = {"doctor", "verify", "--help"}
CASES = {
    "closed": ("closed", "utf-8"),
    "full": ("full", "utf-8"),
    "ascii": ("file", "ascii"),
    "latin": ("file", "latin-1"),
}
"""How standard output is opened and encoded."""
OF_THE_CLOCK = re.compile(r"timings\.csv|run\.json|history\.csv|events\.out.*|model\.json|model\.safetensors|.*\.html")
"""Files that tell times, and so are never the same twice."""
UNSEEN = {*map(chr, (*range(10), *range(11, 32), *range(127, 160))), *"\u202e\u2066\ud800\udcff\u2028"}
"""What no output may hold: control characters but the newline, and marks that turn or hide text."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("place")
    make_dataset(root / "data", shapes=6, points=4096, image_size=32, near=512, sdf=True)
    make_run(root / "runs", "resnet18")
    make_run(root / "runs", "convnext")
    store_run(root / "tiny")
    write_original(root / "original.pt")
    write_release(root / "release", 3)
    shutil.make_archive(str(root / "release"), "zip", root, "release")
    for i in range(3):
        write_box(root / f"meshes/{i}.obj", (1, 0.5, 0.4 + 0.1 * i))
        write_box(root / f"shapenet/03001627/{i}/model.obj", (1, 0.5, 0.4 + 0.1 * i))
    picture = Image.new("RGBA", (64, 64))
    picture.paste((90, 60, 30, 255), (16, 16, 48, 48))
    picture.save(root / "photo.png")
    return root


@pytest.fixture(scope="module")
def answers(place: Path, request: pytest.FixtureRequest) -> dict[tuple[str, str], dict[str, Any]]:
    """Every command that a test asks for under every case, each a process: exit status, standard output and error."""
    items = [item for item in request.session.items if item.path == request.path]
    asked = {item.callspec.params.get("name") for item in items if hasattr(item, "callspec")}
    if "prepare onet" in asked:
        assert status("export", "onet", place / "data", place / "exported") == 0
    keys = [(name, case) for name in COMMANDS if name in asked for case in CASES]
    calls = [
        ([*name.split(), *COMMANDS[name]], *CASES[case], f"{case}-{name}".replace(" ", "-")) for name, case in keys
    ]
    done = subprocess.run(
        [sys.executable, forked_calls.__file__, json.dumps(calls)],
        cwd=place, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return dict(zip(keys, json.loads(done.stdout), strict=True))


def test_no_command_is_forgotten() -> None:
    assert set(COMMANDS) == {*commands(), "--help"}


@pytest.mark.parametrize("name", NAMES)
def test_nobody_reads_a_traceback_and_every_file_is_complete(
    place: Path, answers: dict[tuple[str, str], dict[str, Any]], name: str
) -> None:
    whole = files(place, name, "latin")
    assert bool(whole) == (name not in WRITES_NOTHING)
    for case in CASES:
        said = answers[name, case]["err"]
        assert "Traceback" not in said
        assert "unexpected" not in said
        assert files(place, name, case) == whole, case


def files(place: Path, name: str, case: str) -> dict[str, bytes]:
    """What a call has written by its path; of what tells times, whether it holds anything."""
    folder = place / f"{case}-{name}".replace(" ", "-")
    found = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {
        re.sub(r"tfevents\..*", "tfevents", key): bytes(path.stat().st_size > 0)
        if OF_THE_CLOCK.fullmatch(path.name)
        else path.read_bytes()
        for key, path in found.items()
    }


@pytest.mark.parametrize("name", NAMES)
def test_a_closed_pipe_is_left_quietly(answers: dict[tuple[str, str], dict[str, Any]], name: str) -> None:
    answer = answers[name, "closed"]
    assert answer["status"] == streams.CLOSED_PIPE
    assert "rror" not in answer["err"]


@pytest.mark.parametrize("name", NAMES)
def test_a_full_disk_behind_the_answer_is_one_line(answers: dict[tuple[str, str], dict[str, Any]], name: str) -> None:
    answer = answers[name, "full"]
    assert answer["status"] == 3
    (told,) = (line for line in answer["err"].splitlines() if line.startswith("onet: error: "))
    assert "No space left on device" in told


@pytest.mark.parametrize("case", ["ascii", "latin"])
@pytest.mark.parametrize("name", NAMES)
def test_an_encoding_that_lacks_signs_gets_others(
    answers: dict[tuple[str, str], dict[str, Any]], name: str, case: str
) -> None:
    answer = answers[name, case]
    expected = 3 if name == "verify" else 0  # the helper's data set has findings
    assert answer["status"] == expected, answer["err"]
    assert answer["out"].isascii() or case == "latin"
    if name == "report":
        assert "-8." in answer["out"] or "+" in answer["out"]
        assert "?" not in answer["out"]


def test_progress_that_nobody_reads_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stderr", Gone())
    with ui.live() as emit:
        for i in range(3):
            emit(Note(f"still working {i}", "warning"))
    streams.say("bye", err=True)


@settings(max_examples=40)
@given(names, names)
def test_no_name_reaches_a_terminal_as_it_is(name: str, other: str) -> None:
    """Tables, panels, live lines and the board of ``bench --watch``."""
    screen = ui.Screen()
    screen.file = shown = io.StringIO()
    for thing in (
        ui.table(name, ("a", f">{other}"), [(name, other), (None, 1)]),
        ui.panel(name, [(other, name)]),
        ui.styled((name, "bold"), other),
        ui.stacked(name, other),
        name,
    ):
        screen.print(thing)
    bars = ui.Bars(screen, verbose=True)
    board = Board(())
    for event in (
        Note(name, "warning"), Progress(name, 1, 2, item=other, rejected=1), RunStarted(name, 1, 1),
        TrainStep(1, 2, 0.5, 1.0, val_iou=0.5, seconds_left=1.0), RunFinished(name, 1, 1, val_iou=0.5),
        Profiled(1, name, (OperationTime(other, 1.0, 1.0, 1),), 0.1),
    ):  # fmt: skip
        bars(event)
        screen.print(bars.group)
        if isinstance(event, Note):
            board(event)
    screen.print(board.screen())
    assert not UNSEEN & set(shown.getvalue())


@given(st.lists(names, min_size=1, max_size=2))
def test_no_name_reaches_a_person_by_an_error(found: list[str]) -> None:
    shown = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stderr", shown)
        assert app.report(InputError(*found[:1], hint=found[-1]), Invocation()) == 3
    assert shown.getvalue().count("\n") == 1
    assert not UNSEEN & set(shown.getvalue())


@pytest.mark.parametrize("format_", ["table", "markdown", "csv", "latex", "json", "html"])
def test_every_format_takes_every_name(tmp_path: Path, capsys: pytest.CaptureFixture[str], format_: str) -> None:
    folder = make_run(tmp_path, "resnet18")
    record = read_json(folder / "run.json")
    hostile = "".join(HOSTILE)
    record["name"], record["data"]["name"], record["model"]["hidden_dim"] = hostile, hostile, 128
    (folder / "run.json").write_text(json.dumps(record))
    with pytest.raises(SystemExit) as leave:
        main(["report", str(tmp_path), "--format", format_, "--no-examples", "--no-figures"])
    assert leave.value.code == 0
    shown = capsys.readouterr().out
    assert not UNSEEN & set(shown)
