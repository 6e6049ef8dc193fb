"""A run that is killed without warning, again and again, ends with the weights of an undisturbed one."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from helpers.datasets import make_dataset
from helpers.programs import killable_run
from helpers.programs.killable_run import STEPS

KILLS = 10
LONGEST_DELAY = 0.15
"""Seconds from a step's end to the kill at most: about a step, its validation and the writing of its checkpoint."""
EXACT = ("step", "train_loss", "val_loss", "val_iou", "lr")
"""Columns of the history that do not depend on the clock."""


def start(data: Path, out: Path) -> subprocess.Popen[str]:
    command = [sys.executable, str(Path(killable_run.__file__)), str(data), str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def finish(data: Path, out: Path) -> list[int]:
    """The steps that a run to the end took."""
    process = start(data, out)
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


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_at_ten_moments_and_resumed_equals_undisturbed(tmp_path: Path) -> None:
    data = make_dataset(tmp_path / "chairs", shapes=9, points=512, image_size=32)
    whole, out = tmp_path / "whole", tmp_path / "killed"
    assert finish(data, whole) == list(range(1, STEPS + 1))
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
