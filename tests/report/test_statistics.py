"""Intervals and tests against scipy and against known answers."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pix3d_onet.report.statistics import CONFIDENCE, half_width, holm, paired_test, per_shape, welch_p


def named(values: np.ndarray) -> dict[str, float]:
    return {f"shape{i:03d}": float(v) for i, v in enumerate(values)}


def test_seed_interval_is_students_t() -> None:
    values = [0.41, 0.40, 0.43, 0.415]
    low, high = stats.t.interval(CONFIDENCE, 3, loc=np.mean(values), scale=stats.sem(values))
    assert half_width(values) == pytest.approx((high - low) / 2, abs=1e-12)
    assert half_width([0.4]) is None
    assert half_width([]) is None


@pytest.mark.parametrize("shift", [0.0, 0.01, 0.05])
def test_the_interval_is_that_of_efrons_formulas(shift: float) -> None:
    """BCa written out (Efron and Tibshirani 1993, equations 14.9 to 14.15), on resamples of its own, expanded by the
    quantile of Student's t and the bias of the bootstrap's variance (Hesterberg 2015)."""
    rng = np.random.default_rng(3)
    base = rng.uniform(0.2, 0.6, 40)
    other = base + shift + rng.gamma(2.0, 0.02, 40) - 0.04  # skewed, so that BCa differs from percentiles
    test = paired_test(named(other), named(base))
    assert test is not None
    values = other - base
    drawn = values[rng.integers(40, size=(50_000, 40))].mean(axis=1)
    bias = stats.norm.ppf((drawn < values.mean()).mean())
    centred = values - values.mean()
    acceleration = (centred**3).sum() / (6 * (centred**2).sum() ** 1.5)
    quantile = stats.t.ppf(0.975, 39) * np.sqrt(40 / 39)
    shifted = bias + np.array([-quantile, quantile])
    expected = np.quantile(drawn, stats.norm.cdf(bias + shifted / (1 - acceleration * shifted)))
    assert (test.low, test.high) == pytest.approx(expected, abs=0.001)
    assert test.difference == pytest.approx(values.mean())
    assert test.p == pytest.approx(stats.ttest_rel(other, base).pvalue, abs=0.03)


def test_p_is_uniform_when_there_is_no_difference() -> None:
    rng = np.random.default_rng(0)
    p = []
    for _ in range(200):
        base = rng.uniform(0.2, 0.6, 30)
        test = paired_test(named(base + rng.normal(0, 0.03, 30)), named(base), resamples=499)
        assert test is not None
        p.append(test.p)
    assert stats.kstest(p, "uniform").pvalue > 0.01
    assert 0.01 <= np.mean(np.array(p) < 0.05) <= 0.11


@pytest.mark.parametrize("shapes", [9, 40])
def test_interval_covers_the_truth_about_95_times_in_100(shapes: int) -> None:
    """With 9 shapes BCa itself does so 88 times in 100."""
    rng = np.random.default_rng(1)
    inside = 0
    for _ in range(400):
        base = rng.uniform(0.2, 0.6, shapes)
        test = paired_test(named(base + rng.normal(0.02, 0.03, shapes)), named(base), resamples=499)
        assert test is not None
        inside += test.low <= 0.02 <= test.high
    assert 370 <= inside <= 394


def test_only_shared_shapes_are_compared_and_few_say_nothing() -> None:
    base, other = named(np.linspace(0.2, 0.6, 20)), named(np.linspace(0.2, 0.6, 20) + 0.1)
    del base["shape003"]
    other["elsewhere"] = 0.0
    test = paired_test(other, base)
    assert test is not None
    assert test.shapes == 19
    assert test.difference == pytest.approx(0.1)
    assert paired_test(named(np.ones(4)), named(np.zeros(4))) is None


def test_equal_scores_are_not_different_and_a_constant_gap_is() -> None:
    base = named(np.linspace(0.2, 0.6, 10))
    same = paired_test(base, base)
    assert same is not None
    assert (same.p, same.low, same.high) == (1.0, 0.0, 0.0)
    gap = paired_test(dict.fromkeys(base, 0.75), dict.fromkeys(base, 0.5))
    assert gap is not None
    assert gap.p == 2 / 2**10  # all signs equal, one way or the other


@pytest.mark.parametrize("gap", [0.1, -0.3, 1e-3, 1e-300])
def test_a_gap_that_is_constant_up_to_rounding_has_an_interval_of_one_point(gap: float) -> None:
    base = np.linspace(0.2, 0.6, 40)
    found = paired_test(named(base + gap), named(base))
    assert found is not None
    assert found.low == pytest.approx(found.difference) == found.high
    assert 0 < found.p <= 1


def test_p_of_few_shapes_is_that_of_all_sign_flips() -> None:
    rng = np.random.default_rng(7)
    difference = rng.normal(0.02, 0.03, 9)
    test = paired_test(named(difference), named(np.zeros(9)))
    assert test is not None
    flipped = np.array(list(itertools.product((-1, 1), repeat=9))) @ difference
    assert test.p == np.mean(np.abs(flipped) >= abs(difference.sum()) * (1 - 1e-12))


@pytest.mark.parametrize("shapes", [5, 7, 10])
def test_few_shapes_are_not_told_apart_by_chance(shapes: int) -> None:
    rng = np.random.default_rng(4)
    found = []
    for _ in range(300):
        base = rng.uniform(0.2, 0.6, shapes)
        test = paired_test(named(base + rng.normal(0, 0.03, shapes)), named(base), resamples=199)
        assert test is not None
        found.append(test.p < 0.05)
    assert np.mean(found) <= 0.08


def test_same_seed_same_numbers() -> None:
    rng = np.random.default_rng(2)
    a, b = named(rng.random(30)), named(rng.random(30))
    assert paired_test(a, b) == paired_test(dict(reversed(a.items())), b)


def test_pictures_of_a_shape_count_as_one() -> None:
    scores = {"a1": 0.2, "a2": 0.4, "b1": 0.5, "stray": 0.9}
    assert per_shape(scores, {"a1": "a", "a2": "a", "b1": "b"}) == pytest.approx({"a": 0.3, "b": 0.5, "stray": 0.9})


def test_p_over_seeds_needs_two_runs_of_each_and_a_spread() -> None:
    assert welch_p([0.1], [0.2, 0.3]) is None
    assert welch_p([0.2, 0.3], [0.1]) is None
    for other in (0.2, 0.3, 0.3 + 1e-16):
        assert welch_p([0.2, 0.2], [other, other, 0.3 if other > 0.25 else 0.2]) is None


@pytest.mark.parametrize("base", [[0.30, 0.34], [0.31, 0.30, 0.33, 0.36], [0.3, 0.3, 0.3]])
def test_p_over_seeds_is_welch_s(base: list[float], recwarn: pytest.WarningsRecorder) -> None:
    values = [0.41, 0.43, 0.38]
    p = welch_p(values, base)
    assert not recwarn.list  # SciPy's own warns of groups without a spread
    with warnings.catch_warnings(action="ignore"):
        assert p == pytest.approx(stats.ttest_ind(values, base, equal_var=False).pvalue)


def test_holm_against_a_worked_example() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))
    assert holm([None, 0.04, None]) == (None, 0.04, None)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_only_raises_p_and_keeps_their_order(p: list[float]) -> None:
    adjusted = [a for a in holm(p) if a is not None]
    assert all(q <= a <= 1 or a == 1 for q, a in zip(p, adjusted, strict=True))
    order = np.argsort(p, kind="stable")
    assert all(np.diff(np.array(adjusted)[order]) >= 0)
