"""Learning curves over seeds, for all figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pix3d_onet.ablation.stored_runs import StoredRun
from pix3d_onet.types import Float64, Int64

MOST_POINTS = 2000
"""Most points drawn per curve, more than pixels on a page; a page with 200,000 would have 30 MB."""


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """``steps`` (N,); mean, lowest and highest value over runs of one history column at these steps, (N,) each."""

    steps: Int64
    mean: Float64
    low: Float64
    high: Float64


def mean_curve(runs: Sequence[StoredRun], column: str = "val_iou") -> Curve:
    """The curve of a column of ``HistoryRow`` at the steps that all runs have; empty without runs.

    At most ``MOST_POINTS`` steps are kept: evenly spaced ones and that of the best mean IoU, the same for every column.
    """
    histories = [{row.step: float(getattr(row, column)) for row in r.record.history} for r in runs]
    steps = sorted(set(histories[0]).intersection(*histories[1:])) if histories else []
    if not steps:
        return Curve(np.zeros(0, dtype=np.int64), np.zeros(0), np.zeros(0), np.zeros(0))
    if len(steps) > MOST_POINTS:
        steps = _thinned(runs, steps)
    values = np.array([[h[s] for s in steps] for h in histories], dtype=np.float64)  # (runs, N)
    return Curve(np.array(steps, dtype=np.int64), values.mean(axis=0), values.min(axis=0), values.max(axis=0))


def _thinned(runs: Sequence[StoredRun], steps: list[int]) -> list[int]:
    iou = np.zeros(len(steps))
    for run in runs:
        known = {row.step: row.val_iou for row in run.record.history}
        iou += [known[step] for step in steps]
    kept = np.linspace(0, len(steps) - 1, MOST_POINTS - 1).round().astype(int)
    return [steps[i] for i in sorted({*kept.tolist(), int(iou.argmax())})]
