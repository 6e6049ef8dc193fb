"""Estimate the time left of a run: steps, validations, and the scoring after the last step."""

from __future__ import annotations

from collections.abc import Sized
from dataclasses import dataclass
from math import ceil
from typing import Protocol

from pix3d_onet.config import TrainConfig

BACKWARD = 3.0
"""A training step costs about three forward passes: one forward, two backward (Kaplan et al. 2020)."""


class Clock(Protocol):
    """The counters of a run that the estimate needs."""

    step: int
    train_seconds: float
    val_seconds: float

    @property
    def history(self) -> Sized:
        """One entry per validation."""
        ...


@dataclass(frozen=True, slots=True)
class Forecast:
    """Estimated costs.

    ``validation``: of a validation in training steps, used until one is measured; ``scored``: of the scoring after the
    last step, in validations.
    """

    steps: int
    val_every: int
    validation: float
    scored: float

    def seconds_left(self, run: Clock) -> float | None:
        """Seconds until the end of the run, at the mean speed so far; None before the first step."""
        if run.step < 1 or run.train_seconds <= 0:
            return None
        each = run.train_seconds / run.step
        done = len(run.history)
        validation = run.val_seconds / done if done and run.val_seconds else self.validation * each
        to_come = max(0, ceil(self.steps / self.val_every) - done) + self.scored
        return (self.steps - run.step) * each + to_come * validation


def forecast(config: TrainConfig, val: int, test: int, points: int) -> Forecast:
    """The forecast for ``val`` and ``test`` pictures with ``points`` stored points per shape.

    Cost is assumed to be proportional to the number of decoded points.
    """
    per_picture = min(config.val_points or points, points)
    share = val * per_picture / (config.batch_size * min(config.points_per_shape, points))
    return Forecast(config.steps, config.val_every, share / BACKWARD, 1 + test / max(val, 1))
