"""``onet bench`` with real training on a tiny data set: exact counts, nothing trained twice, trouble in one line."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from helpers.stored_runs import make_record
from onet_cli import ui
from onet_cli.app import cli
from onet_cli.watch import Board

from pix3d_onet.ablation.bench import plan_runs
from pix3d_onet.ablation.recipes import RECIPES
from pix3d_onet.ablation.variants import SUITES, variant
from pix3d_onet.config import ModelConfig, TrainConfig
from pix3d_onet.errors import DivergedError, InputError
from pix3d_onet.events import Note, Progress, RunFinished, RunStarted, TrainStep
from pix3d_onet.runs.record import RunRecord, write_run

pytest.importorskip("torch")

TINY = (
    "--preset",
    "quick",
    "--no-pretrained",
    "--steps",
    "2",
    "--batch-size",
    "2",
    "--image-size",
    "32",
    "--device",
    "cpu",
)
COUNTS = [13_414_465, 23_522_625, 26_139_201, 45_131_329, 30_123_617, 86_157_601, 86_338_369]


def onet(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments, env={"COLUMNS": "80", "TERM": "dumb", "NO_COLOR": "1"})


def test_train_then_nothing_left_to_train(data: Path, tmp_path: Path) -> None:
    arguments = ("bench", "--variant", "resnet18", "--data", str(data), "--out", str(tmp_path), "--seeds", "0,1", *TINY)
    first = onet(*arguments, "--json", "--no-report", "--no-examples")
    assert first.exit_code == 0, (first.output, first.exception)
    assert not list(tmp_path.rglob("examples.npz"))
    document = json.loads(first.stdout)
    assert document["trained"] == 2
    (row,) = [r for r in document["rows"] if r["val_iou"] is not None]
    assert (row["variant"], row["params"], row["seeds"], row["steps"]) == ("resnet18", COUNTS[0], [0, 1], 2)
    assert row["val_iou_ci"] is not None
    stamps = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("run.json")}
    second = onet(*arguments)
    assert second.exit_code == 0, second.output
    assert "0 trained, 2 already there" in second.stderr
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("run.json")} == stamps
    assert "ResNet18 (base)" in second.stdout
    assert (tmp_path / "report" / "report.html").is_file()
    reported = json.loads(onet("report", str(tmp_path), "--json").stdout)
    assert reported["rows"] == [r for r in document["rows"] if r["variant"] in {x["variant"] for x in reported["rows"]}]


def test_plan_only(data: Path, tmp_path: Path) -> None:
    result = onet(
        "bench", "--all", "--data", str(data), "--out", str(tmp_path), "--seeds", "0,1", "--dry-run", "--json", *TINY
    )
    plan = json.loads(result.stdout)["plan"]
    assert len(plan) == 14
    assert [p["variant"] for p in plan[:7]] == list(SUITES["table1"].variants)
    assert {p["state"] for p in plan} == {"missing"}
    assert len({p["run_id"] for p in plan}) == 14
    assert list(tmp_path.iterdir()) == []


def test_variants_that_start_from_a_file_are_left_out_with_a_line_each(data: Path, tmp_path: Path) -> None:
    result = onet("bench", "--suite", "pretrain", "--data", str(data), "--dry-run", "--json", *TINY)
    assert [p["variant"] for p in json.loads(result.stdout)["plan"]] == ["lite0", "lite0-pixel"]
    needed = {
        "lite0-weights": "--weights",
        "lite0-frozen": "--weights",
        "lite0-run": "--init-from",
        "lite0-pixel-weights": "--weights",
    }
    assert result.stderr.splitlines()[-4:] == [f"{n} is left out: it starts from {o}." for n, o in needed.items()]


def test_a_recipe_is_a_network_and_its_training_and_options_override_it(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[ModelConfig, TrainConfig]] = []

    def train(model: ModelConfig, config: TrainConfig, *_: object, **__: object) -> RunRecord:
        seen.append((model, config))
        return make_record("resnet18", config=config)

    monkeypatch.setattr("pix3d_onet.learning.training.run.train", train)
    best = RECIPES["best"]
    common = ("train", "--data", str(data), "--out", str(tmp_path / "run"), "--recipe", "best", "--quiet")
    for extra in ("", "--no-mirror --pyramid separate --lr 0.001 --augment flip --schedule constant"):
        result = onet(*common, *extra.split())
        assert result.exit_code == 0, (result.output, result.exception)
    own = replace(best.train, lr=1e-3, augment=("flip",), schedule="constant")
    assert seen == [(best.model, best.train), (replace(best.model, mirror=False, pyramid="separate"), own)]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("bench",), "nothing to run"),
        (("bench", "--variant", "resnet19"), "no variant 'resnet19'"),
        (("bench", "--suite", "nope"), "no suite 'nope'"),
        (("bench", "--all", "--data", "nowhere"), "data set not found"),
        (("bench", "--all", "--steps", "0"), "`steps`"),
        (("bench", "--all", "--seeds", "1,1"), "`seeds`"),
        (("bench", "--all", "--weights", "x.safetensors"), "no chosen variant starts from `weights`"),
        (("bench", "--suite", "pretrain", "--weights", "x.safetensors"), "x.safetensors"),
    ],
)
def test_bad_usage_is_one_clear_line(data: Path, arguments: tuple[str, ...], says: str) -> None:
    result = onet(*arguments, *(() if "--data" in arguments else ("--data", str(data))))
    assert says in str(result.exception)
    assert "\n" not in str(result.exception)


def test_one_failure_leaves_the_others_in_the_table_and_status_3(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(model: ModelConfig, config: TrainConfig, data: Path, folder: Path, **_: object) -> None:
        if folder.parent.name == "resnet34":
            raise DivergedError("the loss is NaN.")
        write_run(folder, make_record("resnet18", config=config))

    monkeypatch.setattr("pix3d_onet.learning.training.run.train", train)
    arguments = ("bench", "--variant", "resnet18", "--variant", "resnet34", "--data", str(data), *TINY)
    result = onet(*arguments, "--out", str(tmp_path), "--no-report")
    assert result.exit_code == 3
    assert "ResNet18 (base)" in result.stdout
    assert "1 run failed: resnet34/0." in result.stderr


def test_a_report_folder_that_is_refused_costs_neither_table_nor_status(data: Path, tmp_path: Path) -> None:
    arguments = ("bench", "--variant", "resnet18", "--data", str(data), "--out", str(tmp_path), *TINY)
    assert onet(*arguments, "--no-report").exit_code == 0
    (tmp_path / "report").touch()  # a file where the folder should be
    result = onet(*arguments)
    assert result.exit_code == 0, result.output
    assert "ResNet18 (base)" in result.stdout
    assert "no report folder: cannot write to" in result.stderr


def test_a_place_that_cannot_be_written_is_said_before_training(data: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for command in ("bench --variant resnet18", "train --encoder resnet18"):
        result = onet(*command.split(), "--data", str(data), "--out", str(tmp_path / "file" / "runs"))
        assert isinstance(result.exception, InputError)
        assert "is not a folder" in str(result.exception)


def test_a_quiet_training_prints_nothing_and_wrong_numbers_are_usage(data: Path, tmp_path: Path) -> None:
    arguments = ("train", "--data", str(data), "--out", str(tmp_path / "run"), *TINY[2:])
    result = onet(*arguments, "--quiet")
    assert (result.exit_code, result.stdout) == (0, ""), result.output
    for flag in ("--weight-decay", "--warmup", "--patience", "--val-points"):
        assert f"`{flag[2:].replace('-', '_')}`" in str(onet(*arguments, flag, "-1").exception)
    assert "`weight_decay`" in str(onet(*arguments, "--weight-decay", "nan").exception)


def test_seeds_must_be_numbers() -> None:
    result = onet("bench", "--all", "--seeds", "0,x")
    assert result.exit_code == 2
    assert "not a list of seeds" in result.stderr


def test_the_live_table_follows_the_runs(tmp_path: Path) -> None:
    plan = plan_runs([variant("resnet18"), variant("convnext")], (0,), TrainConfig(), tmp_path, lambda v, c: v.name)
    write_run(plan[1].folder, make_record("convnext"))
    board = Board(plan)
    assert [s.state for s in board.states.values()] == ["waiting", "done"]
    board(RunStarted("resnet18/0", 1, 2))
    board(TrainStep(1500, 3000, 88.0, 64.0, best_iou=0.31))
    state = board.states["resnet18/0"]
    assert (state.state, state.step, state.iou) == ("training", 1500, 0.31)
    board(Progress("convnext/0", 10, 3000, item="loss 90"))
    assert board.states["convnext/0"].detail == "loss 90"
    board(RunFinished("resnet18/0", 1, 2, val_iou=0.4))
    assert (state.state, state.iou) == ("done", 0.4)
    board(Note("convnext/0 failed, its cells are blank: NaN", "warning"))
    assert board.states["convnext/0"].state == "failed"
    assert board.table().row_count == 2


@pytest.mark.parametrize("width", [56, 64, 80, 120])
def test_the_live_table_cuts_no_number_and_no_warning(tmp_path: Path, width: int) -> None:
    name = "a-very-long-variant-name-of-mine"
    mine = replace(variant("resnet18"), name=name)
    board = Board(plan_runs([mine], (0,), TrainConfig(), tmp_path, lambda v, c: v.name))
    board(RunStarted(f"{name}/0", 1, 1))
    board(TrainStep(1500, 3000, 88.0, 64.0, best_iou=0.3125, seconds_left=4000.0))
    warning = "the best network has learnt no shape: it labels every validation point inside. Train for more --steps."
    board(Note(warning, "warning"))
    screen = ui.Screen(width=width)
    screen.file = shown = io.StringIO()
    screen.print(board.screen())
    lines = shown.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    (row,) = [line for line in lines if "0.3125" in line]
    assert "1500/3000" in row
    assert "1:06:40" in row
    words = " ".join(shown.getvalue().split())
    assert warning in words
    assert "Best IoU" in words


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_all_seven_variants_train_with_exactly_the_reports_sizes(data: Path, tmp_path: Path) -> None:
    result = onet("bench", "--all", "--data", str(data), "--out", str(tmp_path), "--json", *TINY)
    assert result.exit_code == 0, (result.output, result.exception)
    document = json.loads(result.stdout)
    assert [r["params"] for r in document["rows"]] == COUNTS
    assert all(r["val_iou"] is not None for r in document["rows"])


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_twice_it_ends_with_every_run_and_none_trained_twice(data: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "onet_cli.main", "bench", "--variant", "resnet18", "--variant", "resnet34"]
    command += ["--data", str(data), "--out", str(tmp_path), "--seeds", "0,1", "--no-report", *TINY]
    code = "from onet_cli.main import main; main()"
    command[1:3] = ["-c", code]
    stamps: dict[Path, int] = {}
    for kill_at in (1, 2):
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 240
        while (
            len(list(tmp_path.rglob("run.json"))) < kill_at and process.poll() is None and time.monotonic() < deadline
        ):
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        for path, stamp in stamps.items():
            assert path.stat().st_mtime_ns == stamp
        stamps = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("run.json")}
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    assert f"{4 - len(stamps)} trained, {len(stamps)} already there" in done.stderr
    assert len(list(tmp_path.rglob("run.json"))) == 4
    for path, stamp in stamps.items():
        assert path.stat().st_mtime_ns == stamp
