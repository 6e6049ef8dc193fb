"""Paired differences between the rows of an evaluation and a reference row, over the shapes that both have.

Most of the variance of a score comes from the shapes, and all rows have the same shapes. So the intervals of two means
may overlap although one row is better on nearly every shape; paired differences show this.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pix3d_onet.errors import SettingError
from pix3d_onet.report.statistics import SIGNIFICANCE, PairedTest, holm, paired_test

Scores = Mapping[str, Mapping[str, float]]
"""Metric → record id → value, NaN where it was not measured."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Difference in ``metric``: row ``name`` minus row ``against``.

    ``test`` is None if there are fewer than five shared shapes or a value was not measured. ``corrected``: its p value
    after Holm's correction over all rows of that metric.
    """

    name: str
    against: str
    metric: str
    test: PairedTest | None
    corrected: float | None

    @property
    def significant(self) -> bool:
        """Whether the difference is significant (corrected p < 0.05)."""
        return self.corrected is not None and self.corrected < SIGNIFICANCE


def differences(
    rows: Mapping[str, Scores], objects: Mapping[str, str], against: str, metrics: Sequence[str]
) -> tuple[Difference, ...]:
    """Differences of all other rows from ``against``, for every metric; ``objects``: record id → shape.

    ConfigError if there is no row ``against``.
    """
    if against not in rows:
        raise SettingError("against", f"one of the rows ({', '.join(rows)})", against)
    others = [name for name in rows if name != against]
    found = []
    for metric in metrics:
        base = rows[against][metric]
        tests = [_test(rows[name][metric], base, objects) for name in others]
        corrected = holm([None if test is None else test.p for test in tests])
        found += [
            Difference(name, against, metric, test, p) for name, test, p in zip(others, tests, corrected, strict=True)
        ]
    return tuple(found)


def _test(scores: Mapping[str, float], base: Mapping[str, float], objects: Mapping[str, str]) -> PairedTest | None:
    """The test over shapes. Its difference equals that of the means over the pictures that both rows have."""
    shared = [record for record in scores if record in base]
    if any(math.isnan(row[record]) for row in (scores, base) for record in shared):
        return None
    shapes = dict.fromkeys(objects.get(record, record) for record in shared)
    first, second = dict.fromkeys(shapes, 0.0), dict.fromkeys(shapes, 0.0)
    for record in shared:  # sum per shape, scaled so that the mean over shapes is the mean over pictures
        shape = objects.get(record, record)
        first[shape] += scores[record] * len(shapes) / len(shared)
        second[shape] += base[record] * len(shapes) / len(shared)
    return paired_test(first, second)
