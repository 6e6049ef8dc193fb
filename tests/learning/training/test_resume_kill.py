"""A run that is killed without warning, again and again, ends with weights and curves of an undisturbed one."""

from __future__ import annotations

import csv
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from helpers.programs import killable_run
from helpers.programs.killable_run import STEPS

KILLS = 10
LONGEST_DELAY = 0.15
"""Seconds from a step's end to the kill at most: about a step, its validation and the writing of its checkpoint."""
EXACT = ("step", "train_loss", "val_loss", "val_iou", "lr")
"""Columns of the history that do not depend on the clock."""


def start(data: Path, out: Path, every: int = 1) -> subprocess.Popen[str]:
    command = [sys.executable, str(Path(killable_run.__file__)), str(data), str(out), str(every)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(data: Path, out: Path, every: int = 1) -> list[int]:
    """The steps that a run to the end took."""
    process = start(data, out, every)
    said, errors = process.communicate(timeout=250)
    assert process.returncode == 0, errors
    return [int(line) for line in said.split()]


def kill_after(process: subprocess.Popen[str], step: int, delay: float) -> list[int]:
    """SIGKILL ``delay`` seconds after the first step that is ``step`` or later; the steps it told before."""
    assert process.stdout is not None
    taken: list[int] = []
    for line in process.stdout:
        taken.append(int(line))
        if taken[-1] >= step:
            break
    time.sleep(delay)
    process.kill()
    process.communicate()
    assert process.returncode == -9, "it was over before it could be killed"
    return taken


def files(run: Path) -> list[str]:
    """Names in a run folder; TensorBoard's carry the time and the process."""
    return sorted(p.relative_to(run).as_posix() for p in run.rglob("*") if p.is_file() and "events" not in p.name)


def history(run: Path) -> list[list[str]]:
    with (run / "history.csv").open() as handle:
        return [[row[name] for name in EXACT] for row in csv.DictReader(handle)]


def told(run: Path) -> dict[tuple[str, int], float]:
    """Tag and step → value, of every scalar in TensorBoard's files but the speed; none stands there twice."""
    loader = pytest.importorskip("tensorboard.backend.event_processing.event_file_loader").EventFileLoader
    found: dict[tuple[str, int], float] = {}
    for path in sorted((run / "tensorboard").iterdir()):
        for event in loader(str(path)).Load():
            for value in event.summary.value:
                assert (value.tag, event.step) not in found
                found[value.tag, event.step] = float(value.tensor.float_val[0])
    return {key: value for key, value in found.items() if not key[0].startswith("speed")}


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an undisturbed run."""
    folder = tmp_path_factory.mktemp("whole")
    assert finish(data, folder) == list(range(1, STEPS + 1))
    return folder


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_at_ten_moments_and_resumed_equals_undisturbed(data: Path, whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "killed"
    rng = np.random.default_rng(5)
    moments = np.sort(rng.choice(np.arange(2, STEPS - 4), size=KILLS, replace=False))
    first = [kill_after(start(data, out), int(s), float(rng.uniform(0, LONGEST_DELAY)))[0] for s in moments]
    assert first[0] == 1
    assert sum(step > 1 for step in first) >= KILLS // 2  # most went on from a checkpoint, not from the start
    assert not (out / "run.json").exists()
    assert finish(data, out)[-1] == STEPS
    for name in ("best/model.safetensors", "last/model.safetensors"):
        assert (out / name).read_bytes() == (whole / name).read_bytes(), name
    assert history(out) == history(whole)
    assert files(out) == files(whole)
    assert told(out) == told(whole)


@pytest.mark.parametrize(
    ("every", "kills"), [(0, (5,)), pytest.param(3, (5, 16), marks=pytest.mark.slow)], ids=["none", "lagging"]
)
def test_every_step_is_told_once_however_far_checkpoints_lag(
    data: Path, whole: Path, tmp_path: Path, every: int, kills: tuple[int, ...]
) -> None:
    """At 0 every kill comes before the first checkpoint: the run starts anew."""
    out = tmp_path / "killed"
    for step in kills:
        kill_after(start(data, out, every), step, 0.0)
        assert history(out)
        assert (every > 0 and step > 5) == any((out / "last").glob("step-*.safetensors"))
    first = finish(data, out, every)[0]
    assert first == 1 if every == 0 else 6 < first <= 17
    assert history(out) == history(whole)
    assert told(out) == told(whole)
    for name in ("best/model.safetensors", "last/model.safetensors"):
        assert (out / name).read_bytes() == (whole / name).read_bytes(), name
