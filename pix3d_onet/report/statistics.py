"""The statistics of the ablation: intervals over seeds, a paired test over shapes, a correction for many tests.

Two sources of chance are kept apart. Seeds: Student's interval of the mean over training runs. Shapes: the difference
to the base over test shapes, all pictures of a shape together: a sign-flip permutation test (Fisher, *The Design of
Experiments*, 1935, section 21), which keeps its level however few the shapes, and a BCa bootstrap interval (Efron and
Tibshirani, *An Introduction to the Bootstrap*, 1993, chapter 14).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from pix3d_onet.types import Float64

CONFIDENCE = 0.95
"""Level of every interval."""
SIGNIFICANCE = 0.05
"""Holm-corrected p below which a difference is marked."""
RESAMPLES = 9999
"""Bootstrap resamples, and sign flips where there are more (from 14 shapes on; below, p is exact). No p is under
1/10000."""
MIN_SHAPES = 5
"""Fewest shapes for a paired test; below this a bootstrap says nothing."""
BATCH = 1000
"""Resamples held at once, so that thousands of shapes fit in memory."""
ROUNDING = 1e-12
"""Differences that vary by less than this share of their size are one number with rounding: no interval to estimate."""


@dataclass(frozen=True, slots=True)
class PairedTest:
    """A difference of means over ``shapes`` shapes, its confidence interval and its two-sided p value."""

    difference: float
    low: float
    high: float
    p: float
    shapes: int


def half_width(values: Sequence[float]) -> float | None:
    """Half the Student-t interval, at ``CONFIDENCE``, of the mean over training runs; None for fewer than two."""
    if len(values) < 2:
        return None
    quantile = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1))
    return quantile * (float(np.std(values, ddof=1)) / math.sqrt(len(values)))


def per_shape(scores: Mapping[str, float], objects: Mapping[str, str]) -> dict[str, float]:
    """Record id → score to shape → mean score over its pictures; a record of unknown shape stands for itself."""
    gathered: dict[str, list[float]] = {}
    for record, score in scores.items():
        gathered.setdefault(objects.get(record, record), []).append(score)
    return {shape: float(np.mean(values)) for shape, values in sorted(gathered.items())}


def paired_test(
    scores: Mapping[str, float], base: Mapping[str, float], *, seed: int = 0, resamples: int = RESAMPLES
) -> PairedTest | None:
    """Is the mean of ``scores`` another than that of ``base``, over the shapes that both have?

    The p value is two-sided, the share of sign flips of the shapes' differences whose mean is as far from zero, itself
    among them: never 0, and over n shapes never under 2/2ⁿ. The interval is a bias-corrected and accelerated bootstrap
    (BCa). None when fewer than ``MIN_SHAPES`` shapes are shared.
    """
    shared = sorted(set(scores) & set(base))
    if len(shared) < MIN_SHAPES:
        return None
    difference = np.array([scores[s] - base[s] for s in shared], dtype=np.float64)
    observed = float(difference.mean())
    flips = stats.permutation_test(
        (difference,), _distance_from_zero, permutation_type="samples", alternative="greater",
        n_resamples=resamples, batch=BATCH, rng=np.random.default_rng(seed),
    )  # fmt: skip
    low = high = observed
    if np.ptp(difference) > ROUNDING * np.abs(difference).max():
        bootstrap = stats.bootstrap(
            (difference,), np.mean, method="BCa", confidence_level=CONFIDENCE,
            n_resamples=resamples, batch=BATCH, rng=np.random.default_rng(seed),
        )  # fmt: skip
        low, high = map(float, bootstrap.confidence_interval)
    return PairedTest(observed, low, high, float(flips.pvalue), len(shared))


def _distance_from_zero(values: Float64, axis: int) -> Float64:
    return np.asarray(np.abs(values.mean(axis=axis)))


def holm(p_values: Sequence[float | None]) -> tuple[float | None, ...]:
    """Holm's step-down correction (1979) for as many tests as there are values; None stays None and is not counted."""
    present = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    running = 0.0
    for rank, (p, index) in enumerate(present):
        running = max(running, min(1.0, p * (len(present) - rank)))
        adjusted[index] = running
    return tuple(adjusted)
