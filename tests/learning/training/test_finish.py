"""After the last step: scoring and examples are shown and counted; the record is of what was scored, and names all
sessions."""

from __future__ import annotations

import dataclasses
import itertools
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from pix3d_onet.config import ModelConfig, TrainConfig
from pix3d_onet.errors import InterruptedRunError
from pix3d_onet.events import Event, Progress, TrainStep
from pix3d_onet.learning.checkpoint import load_tensors, save_best
from pix3d_onet.learning.training import run as training
from pix3d_onet.learning.training import trainer
from pix3d_onet.runs.record import RunRecord

MODEL = ModelConfig("test_resnet", c_dim=8, hidden_dim=16, blocks=1)
CONFIG = TrainConfig(
    steps=2, batch_size=4, points_per_shape=64, image_size=32, pretrained=False, val_every=1, precision="fp32"
)  # fmt: skip
LONGER = dataclasses.replace(CONFIG, steps=9, val_every=9, lr=1e-3)
"""One checkpoint, so that no threshold chooses another."""


def run(data: Path, out: Path, config: TrainConfig = CONFIG, **options: Any) -> RunRecord:
    return training.train(MODEL, config, data, out, name="tiny", device="cpu", **options)


def test_what_follows_the_last_step_is_told_and_counted(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock that only the examples move on: their minute is in the record."""
    from pix3d_onet.learning.training import examples

    clock = itertools.count(0.0, 0.0)
    shift = [0.0]
    monkeypatch.setattr(training.time, "monotonic", lambda: next(clock) + shift[0])
    monkeypatch.setattr(examples, "write_examples", lambda *_, **__: shift.__setitem__(0, 60.0))
    events: list[Event] = []
    record = run(data, tmp_path / "a", emit=events.append)
    assert record.seconds == 60.0
    stages = [e.stage for e in events if isinstance(e, Progress)]
    assert list(dict.fromkeys(stages)) == ["score val", "score test"]
    steps = [e for e in events if isinstance(e, TrainStep)]
    assert all(e.seconds_left is not None and e.seconds_left > 0 for e in steps)


def test_a_run_can_leave_no_examples(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pix3d_onet.learning.training import examples

    def forbidden(*_: object, **__: object) -> None:
        pytest.fail("examples were asked for")

    monkeypatch.setattr(examples, "write_examples", forbidden)
    record = run(data, tmp_path / "a", examples=False)
    assert "latency_seconds" not in record.cost
    assert not (tmp_path / "a" / "examples.npz").exists()


def test_best_score_is_that_of_the_stored_network(data: Path, tmp_path: Path) -> None:
    record = run(data, tmp_path / "run", dataclasses.replace(LONGER, val_every=3))
    assert sum(record.val_scores.values()) / len(record.val_scores) == pytest.approx(record.best_val_iou, abs=1e-12)
    assert record.val_iou_at_threshold is not None
    assert record.val_iou_at_threshold >= record.best_val_iou
    own = record.val_scores_at_threshold
    assert sum(own.values()) / len(own) == pytest.approx(record.val_iou_at_threshold, abs=1e-12)
    assert own.keys() == record.val_scores.keys()
    assert record.test_scores_at_threshold.keys() == record.test_scores.keys()


def test_the_test_s_own_threshold_is_that_of_validation(data: Path, tmp_path: Path) -> None:
    """A threshold of training that is far off: the stored network scores on test as at validation's best threshold."""
    record = run(data, tmp_path / "run", dataclasses.replace(LONGER, threshold=0.9))
    assert record.val_threshold is not None
    assert record.val_threshold < 0.9
    at_own = run(data, tmp_path / "own", dataclasses.replace(LONGER, threshold=record.val_threshold))
    assert record.test_scores_at_threshold == at_own.test_scores
    assert record.val_scores_at_threshold == at_own.val_scores
    assert record.test_scores != at_own.test_scores


def stop_after(step: int, data: Path, out: Path, config: TrainConfig) -> None:
    """Train, and stop with everything saved."""

    def stop(event: Event) -> None:
        if isinstance(event, TrainStep) and event.step == step:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(InterruptedRunError):
        run(data, out, config, emit=stop, examples=False)


def test_the_record_is_of_the_network_that_is_stored(data: Path, tmp_path: Path) -> None:
    """As after a kill between the best network of step 6 and its checkpoint, if the repeated steps are no better."""
    good = run(data, tmp_path / "good", LONGER, examples=False)
    flat = dataclasses.replace(LONGER, val_every=3, lr=1e-12)
    stop_after(4, data, tmp_path / "run", flat)
    state, header = load_tensors(tmp_path / "good" / "best" / "model.safetensors")
    own = load_tensors(tmp_path / "run" / "best" / "model.safetensors")[1]
    assert own["step"] == 3
    save_best(tmp_path / "run", state, {**own, "step": 6, "val_iou": header["val_iou"]})
    record = run(data, tmp_path / "run", flat, resume=True, examples=False)
    assert (record.best_step, record.best_val_iou) == (6, good.best_val_iou)
    assert record.val_scores == good.val_scores


def test_a_run_that_moves_to_another_machine_names_both(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "device_name", lambda _: "First CPU")
    stop_after(4, data, tmp_path / "run", LONGER)
    monkeypatch.setattr(trainer, "device_name", lambda _: "Second CPU")
    record = run(data, tmp_path / "run", LONGER, resume=True, examples=False)
    assert record.device["name"] == "First CPU + Second CPU"
    assert record.device["precision"] == "fp32"
