"""Closed pipes, full disks, narrow encodings and hostile names: files complete, one clear line, never a traceback."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers.datasets import make_dataset
from helpers.hostile import HOSTILE, names
from helpers.programs import forked_calls
from helpers.stored_runs import make_run
from hypothesis import given, settings
from hypothesis import strategies as st
from onet_cli import app, streams, ui
from onet_cli.invocation import Invocation
from onet_cli.main import main
from onet_cli.watch import Board

from pix3d_onet.errors import InputError
from pix3d_onet.events import Note, Progress, RunFinished, RunStarted, TrainStep
from pix3d_onet.files import read_json

COMMANDS = {
    "report": ["report", "runs", "--no-figures", "--out"],
    "inspect": ["inspect", "data", "--out"],
    "verify": ["verify", "data"],
    "synth": ["synth", "pix3d", "--objects", "1"],
    "evaluate": ["evaluate", "--baseline", "mean-shape", "--data", "data", "--limit", "1", "--samples", "50", "--csv"],
    "bench": ["bench", "--variant", "resnet18", "--data", "data", "--dry-run"],
    "doctor": ["doctor", "--no-self-test"],
    "--help": ["--help"],
}  # fmt: skip
WRITTEN = {"report": "report.out", "inspect": "sheet.png", "synth": "synth.out", "evaluate": "scores.csv"}
CASES = {
    "closed": ("closed", "utf-8"),
    "full": ("full", "utf-8"),
    "ascii": ("file", "ascii"),
    "latin": ("file", "latin-1"),
}
"""How standard output is opened and encoded."""
UNSEEN = {*map(chr, (*range(10), *range(11, 32), *range(127, 160))), *"\u202e\u2066\ud800\udcff\u2028"}
"""What no output may hold: control characters but the newline, and marks that turn or hide text."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("place")
    make_dataset(root / "data", shapes=12, points=256, image_size=16)
    make_run(root / "runs", "resnet18")
    make_run(root / "runs", "convnext")
    return root


@pytest.fixture(scope="module")
def answers(place: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """Every command under every case, in processes of their own: exit status, standard output and error."""
    keys = [(name, case) for name in COMMANDS for case in CASES]
    calls = []
    for name, case in keys:
        file = [f"{case}-{WRITTEN[name]}"] if name in WRITTEN else []
        calls.append(([*COMMANDS[name], *file], *CASES[case]))
    done = subprocess.run(
        [sys.executable, forked_calls.__file__, json.dumps(calls)],
        cwd=place, capture_output=True, text=True, check=False, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return dict(zip(keys, json.loads(done.stdout), strict=True))


@pytest.mark.parametrize("name", COMMANDS)
def test_nobody_reads_a_traceback_and_every_file_is_complete(
    place: Path, answers: dict[tuple[str, str], dict[str, Any]], name: str
) -> None:
    for case in CASES:
        assert "Traceback" not in answers[name, case]["err"]
        if name in WRITTEN:
            check_written(name, place / f"{case}-{WRITTEN[name]}")


def check_written(name: str, path: Path) -> None:
    if name == "report":
        assert (path / "report.html").read_text().endswith("</html>\n")
        assert len(read_json(path / "table1.json")["rows"]) == 2
    elif name == "evaluate":
        assert len(list(csv.DictReader(io.StringIO(path.read_text())))) == 1
    else:
        assert path.exists()


@pytest.mark.parametrize("name", COMMANDS)
def test_a_closed_pipe_is_left_quietly(answers: dict[tuple[str, str], dict[str, Any]], name: str) -> None:
    answer = answers[name, "closed"]
    assert answer["status"] == streams.CLOSED_PIPE
    assert "rror" not in answer["err"]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_full_disk_behind_the_answer_is_one_line(answers: dict[tuple[str, str], dict[str, Any]], name: str) -> None:
    answer = answers[name, "full"]
    assert answer["status"] == 3
    assert sum(line.startswith("onet: error: ") for line in answer["err"].splitlines()) == 1
    assert "No space left on device" in answer["err"].splitlines()[-1]


@pytest.mark.parametrize("case", ["ascii", "latin"])
@pytest.mark.parametrize("name", COMMANDS)
def test_an_encoding_that_lacks_signs_gets_others(
    answers: dict[tuple[str, str], dict[str, Any]], name: str, case: str
) -> None:
    answer = answers[name, case]
    assert answer["status"] == (3 if name == "verify" else 0), answer["err"]  # the helper's data set has findings
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
    ):  # fmt: skip
        bars(event)
        screen.print(bars.group)
        if isinstance(event, Note):
            board(event)
    screen.print(board.table())
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
