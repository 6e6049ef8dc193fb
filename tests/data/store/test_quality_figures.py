"""The table of quality figures: what is best, how far off a value is, and when a rule breaks."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pix3d_onet.data.store.quality_figures import FIGURES, RULES, broken_rules


def test_a_ratio_is_as_far_at_a_half_as_at_double() -> None:
    ratio = FIGURES["volume_ratio"]
    assert ratio.badness(0.5) == pytest.approx(ratio.badness(2.0)) == pytest.approx(math.log(2))
    assert ratio.badness(1.0) == 0
    assert ratio.badness(0.0) == ratio.badness(-1.0) == math.inf
    assert ratio.badness(0.9988) < ratio.badness(1.0013)


def test_a_bias_is_as_bad_inwards_as_outwards_and_a_description_never() -> None:
    assert FIGURES["bias_voxels"].badness(-0.4) == FIGURES["bias_voxels"].badness(0.4) == 0.4
    assert FIGURES["label_agreement"].badness(0.99) == pytest.approx(0.01)
    assert FIGURES["faces"].badness(1e9) == 0


NUMERIC = [rule for rule in RULES if not isinstance(rule.limit, str)]


@given(st.sampled_from(NUMERIC), st.floats(0, 10))
def test_a_rule_breaks_beyond_its_limit_and_not_at_it(rule, beyond) -> None:
    value = rule.limit + (beyond if rule.side == "over" else -beyond)
    assert rule.broken({rule.figure: value}) == (value != rule.limit)
    assert not rule.broken({rule.figure: None})
    assert not rule.broken({})


def test_a_limit_can_be_another_figure() -> None:
    (rule,) = [r for r in RULES if r.name == "grid-coarse"]
    assert rule.broken({"grid_resolution": 200, "grid_wanted": 256})
    assert not rule.broken({"grid_resolution": 256, "grid_wanted": 256})
    assert not rule.broken({"grid_resolution": 200})


def test_every_rule_judges_a_figure_of_the_table_with_an_ideal_on_the_right_side() -> None:
    assert len({r.name for r in RULES}) == len(RULES)
    assert all(rule.limit in FIGURES for rule in RULES if rule not in NUMERIC)
    for rule in NUMERIC:
        figure = FIGURES[rule.figure]
        assert figure.ideal is None or figure.ideal * (1 if rule.side == "over" else -1) <= rule.limit * (
            1 if rule.side == "over" else -1
        )
    assert [r.name for r in broken_rules({"label_agreement": 0.9, "volume_ratio": 2.0})] == [
        "label-disagreement",
        "volume-changed",
    ]


def test_what_can_be_better_says_which_way() -> None:
    for figure in FIGURES.values():
        assert (figure.ideal is None) == (figure.better == "")
        assert figure.meaning.endswith(".")
