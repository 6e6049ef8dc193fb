"""Rows of an evaluation against one of them: differences over the shapes that both were scored on.

All rows of a table are scored on the same shapes, and most of what makes a score high or low is the shape. So the
intervals of two means may overlap while one row is better on nearly every shape; the difference says which.
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
    """How much more of ``metric`` the row ``name`` has than the row ``against``.

    ``test`` None: fewer than five shared shapes, or a value that was not measured. ``corrected``: its p value after
    Holm's correction over all rows of that metric.
    """

    name: str
    against: str
    metric: str
    test: PairedTest | None
    corrected: float | None

    @property
    def stands_out(self) -> bool:
        """Whether chance alone would seldom (p < 0.05, corrected) give so large a difference."""
        return self.corrected is not None and self.corrected < SIGNIFICANCE


def differences(
    rows: Mapping[str, Scores], objects: Mapping[str, str], against: str, metrics: Sequence[str]
) -> tuple[Difference, ...]:
    """Every row but ``against``, by every metric, against it; ``objects``: record id → shape.

    ConfigError when there is no such row.
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
    """The test over shapes whose difference is that of the means over the pictures that both were scored on."""
    shared = [record for record in scores if record in base]
    if any(math.isnan(row[record]) for row in (scores, base) for record in shared):
        return None
    shapes = dict.fromkeys(objects.get(record, record) for record in shared)
    first, second = dict.fromkeys(shapes, 0.0), dict.fromkeys(shapes, 0.0)
    for record in shared:  # a shape counts by its pictures: their sum, so scaled that the mean over shapes is theirs
        shape = objects.get(record, record)
        first[shape] += scores[record] * len(shapes) / len(shared)
        second[shape] += base[record] * len(shapes) / len(shared)
    return paired_test(first, second)
