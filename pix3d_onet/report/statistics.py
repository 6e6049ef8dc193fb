"""The statistics of the ablation: intervals over seeds, a paired test over shapes, a correction for many tests.

Two sources of chance are kept apart. Seeds: Student's interval of the mean over training runs. Shapes: the difference
to the base over test shapes, all pictures of a shape together: a sign-flip permutation test (Fisher, *The Design of
Experiments*, 1935, section 21), which keeps its level however few the shapes, and a BCa bootstrap interval (Efron and
Tibshirani, *An Introduction to the Bootstrap*, 1993, chapter 14).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special, stats

from pix3d_onet.types import Float64

CONFIDENCE = 0.95
"""Level of every interval."""
SIGNIFICANCE = 0.05
"""Holm-corrected p below which a difference is marked."""
RESAMPLES = 9999
"""Bootstrap resamples, and sign flips where all of them are more; the smallest possible p is 1/10000."""
MIN_SHAPES = 5
"""Fewest shapes for a paired test; below this a bootstrap says nothing."""
EXACT_SHAPES = 13
"""Up to so many shapes all 2ⁿ sign flips are taken, so that p is exact."""
CHUNK = 1000
"""Resamples drawn at once, so that thousands of shapes fit in memory."""


@dataclass(frozen=True, slots=True)
class Interval:
    """Mean of ``n`` values and half the width of its confidence interval (None for fewer than two values)."""

    mean: float
    half: float | None
    n: int


@dataclass(frozen=True, slots=True)
class PairedTest:
    """A difference of means over ``shapes`` shapes, its confidence interval and its two-sided p value."""

    difference: float
    low: float
    high: float
    p: float
    shapes: int


def mean_interval(values: Sequence[float]) -> Interval | None:
    """Mean and Student-t half width at ``CONFIDENCE``; None for no values."""
    if not values:
        return None
    data = np.asarray(values, dtype=np.float64)
    if len(data) == 1:
        return Interval(float(data[0]), None, 1)
    spread = float(data.std(ddof=1)) / np.sqrt(len(data))
    quantile = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(data) - 1))
    return Interval(float(data.mean()), quantile * spread, len(data))


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
    if np.ptp(difference) == 0:
        low = high = observed
    else:
        low, high = _bca(difference, _resampled_means(difference, seed, resamples))
    return PairedTest(observed, low, high, _sign_flip_p(difference, seed, resamples), len(shared))


def _sign_flip_p(values: Float64, seed: int, resamples: int) -> float:
    """The two-sided p of a mean of zero for ``values`` (n,) that are symmetric about it: exact, or by random flips."""
    n = len(values)
    least = abs(values.sum()) * (1 - 1e-12)  # the observed flip itself must count, whatever the order of summing
    if n <= EXACT_SHAPES:
        signs = 1 - 2 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
        return float((np.abs(signs @ values) >= least).mean())
    rng = np.random.default_rng(seed)
    extreme = 0
    for start in range(0, resamples, CHUNK):
        signs = 1 - 2 * rng.integers(2, size=(min(CHUNK, resamples - start), n))
        extreme += int((np.abs(signs @ values) >= least).sum())
    return (extreme + 1) / (resamples + 1)


def _resampled_means(values: Float64, seed: int, resamples: int) -> Float64:
    """(resamples,) means of ``values`` (n,) drawn with replacement."""
    rng = np.random.default_rng(seed)
    chunks = []
    for start in range(0, resamples, CHUNK):
        rows = rng.integers(len(values), size=(min(CHUNK, resamples - start), len(values)))
        chunks.append(values[rows].mean(axis=1))
    return np.concatenate(chunks)


def _bca(values: Float64, drawn: Float64) -> tuple[float, float]:
    """The BCa interval of the mean of ``values`` from its bootstrap distribution ``drawn`` (Efron 1987)."""
    observed = values.mean()
    share = ((drawn < observed).sum() + (drawn <= observed).sum()) / (2 * len(drawn))
    bias = special.ndtri(np.clip(share, 1 / len(drawn), 1 - 1 / len(drawn)))
    jackknife = (values.sum() - values) / (len(values) - 1)
    centred = jackknife.mean() - jackknife
    acceleration = (centred**3).sum() / (6 * (centred**2).sum() ** 1.5)
    tails = special.ndtri(np.array([(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]))
    levels = special.ndtr(bias + (bias + tails) / (1 - acceleration * (bias + tails)))
    low, high = np.quantile(drawn, levels)
    return float(low), float(high)


def holm(p_values: Sequence[float | None]) -> tuple[float | None, ...]:
    """Holm's step-down correction (1979) for as many tests as there are values; None stays None and is not counted."""
    present = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    running = 0.0
    for rank, (p, index) in enumerate(present):
        running = max(running, min(1.0, p * (len(present) - rank)))
        adjusted[index] = running
    return tuple(adjusted)
