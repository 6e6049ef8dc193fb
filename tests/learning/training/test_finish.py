"""After the last step: scoring and examples are shown, counted, and the examples can be left out."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from pix3d_onet.config import ModelConfig, TrainConfig
from pix3d_onet.events import Event, Progress, TrainStep
from pix3d_onet.learning.training import run as training
from pix3d_onet.runs.record import RunRecord

MODEL = ModelConfig("test_resnet", c_dim=8, hidden_dim=16, blocks=1)
CONFIG = TrainConfig(
    steps=2, batch_size=4, points_per_shape=64, image_size=32, pretrained=False, val_every=1, precision="fp32"
)  # fmt: skip


def run(data: Path, out: Path, **options: Any) -> RunRecord:
    return training.train(MODEL, CONFIG, data, out, name="tiny", device="cpu", **options)


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
