"""The time left is the time that the rest takes, validations and final scoring included."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pix3d_onet.config import TrainConfig
from pix3d_onet.runs.forecast import BACKWARD, Forecast, forecast


@dataclass
class Run:
    step: int = 0
    train_seconds: float = 0.0
    val_seconds: float = 0.0
    history: list[int] = field(default_factory=list)


@given(st.integers(1, 60), st.integers(1, 25), st.floats(0.01, 5), st.floats(0.01, 50), st.integers(0, 40))
def test_at_equal_speed_it_is_exact_after_the_first_validation(
    steps: int, val_every: int, step: float, validation: float, test: int
) -> None:
    told, run, clock = Forecast(steps, val_every, 1.0, 1 + test / 10), Run(), 0.0
    left: list[tuple[float, float]] = []
    for number in range(1, steps + 1):
        run.step, run.train_seconds, clock = number, run.train_seconds + step, clock + step
        if run.history:
            left.append((clock, told.seconds_left(run) or 0.0))
        if number % val_every == 0 or number == steps:
            run.val_seconds, clock = run.val_seconds + validation, clock + validation
            run.history.append(number)
            left.append((clock, told.seconds_left(run) or 0.0))
    end = clock + validation * (1 + test / 10)
    assert [now + rest for now, rest in left] == pytest.approx([end] * len(left))


def test_before_the_first_validation_its_cost_is_told_from_the_steps() -> None:
    config = TrainConfig(steps=100, val_every=50, batch_size=10, points_per_shape=1000)
    told = forecast(config, val=20, test=10, points=5000)
    run = Run(step=10, train_seconds=20.0)
    validation = 2.0 * (20 * 5000) / (10 * 1000) / BACKWARD
    assert told.seconds_left(run) == pytest.approx(90 * 2.0 + (2 + 1.5) * validation)


def test_before_the_first_step_nothing_is_told() -> None:
    assert forecast(TrainConfig(), 10, 0, 1000).seconds_left(Run()) is None
