"""Differences between the rows of an evaluation, over the shapes that both were scored on."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pix3d_onet.errors import ConfigError
from pix3d_onet.evaluation.paired import differences

RECORDS = [f"r{i}" for i in range(24)]
OBJECTS = {record: f"s{i // 2}" for i, record in enumerate(RECORDS)}
"""Twelve shapes, two pictures each."""


def rows(shift: float, noise: float = 0.001) -> dict:
    random = np.random.default_rng(0)
    hard = random.uniform(0, 1, 24)  # most of a score is the shape's
    base = dict(zip(RECORDS, hard.tolist(), strict=True))
    other = dict(zip(RECORDS, (hard + shift + random.normal(0, noise, 24)).tolist(), strict=True))
    return {"base": {"iou": base}, "other": {"iou": other}}


def test_a_small_shift_on_every_shape_stands_out_though_the_scores_spread() -> None:
    (found,) = differences(rows(0.01), OBJECTS, "base", ["iou"])
    assert found.name == "other"
    assert found.test.shapes == 12
    assert found.test.difference == pytest.approx(0.01, abs=0.001)
    assert found.significant
    (none,) = differences(rows(0.0, 0.05), OBJECTS, "base", ["iou"])
    assert not none.significant


def test_the_difference_is_that_of_the_means_over_pictures() -> None:
    """One shape with forty pictures, eleven with one: the mean of the table is over pictures, and so is this."""
    objects = {f"r{i}": "large" if i < 40 else f"s{i}" for i in range(51)}
    random = np.random.default_rng(0)
    table = {name: {"iou": dict(zip(objects, random.random(51).tolist(), strict=True))} for name in ("a", "b")}
    for record in list(objects)[:40]:
        table["b"]["iou"][record] += 0.5  # better on the large shape, worse on the others
    for record in list(objects)[40:]:
        table["b"]["iou"][record] -= 0.3
    (found,) = differences(table, objects, "a", ["iou"])
    means = [np.mean(list(table[name]["iou"].values())) for name in ("a", "b")]
    assert found.test.difference == pytest.approx(means[1] - means[0])
    assert found.test.difference > 0
    assert not found.significant  # eleven of twelve shapes say otherwise


def test_every_other_row_is_compared_and_corrected_for() -> None:
    table = rows(0.01) | {f"noise{i}": rows(0.0, 0.05)["other"] for i in range(3)}
    found = differences(table, OBJECTS, "base", ["iou"])
    assert [d.name for d in found] == ["other", "noise0", "noise1", "noise2"]
    assert found[0].corrected == pytest.approx(4 * found[0].test.p)


def test_what_is_missing_is_not_compared() -> None:
    table = rows(0.01)
    table["other"]["iou"]["r0"] = math.nan
    assert differences(table, OBJECTS, "base", ["iou"])[0].test is None
    few = {name: {"iou": {r: scores["iou"][r] for r in RECORDS[:8]}} for name, scores in rows(0.01).items()}
    assert differences(few, OBJECTS, "base", ["iou"])[0].test is None
    with pytest.raises(ConfigError, match="base, other"):
        differences(table, OBJECTS, "nobody", ["iou"])
