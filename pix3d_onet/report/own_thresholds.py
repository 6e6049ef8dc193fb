"""Runs with their scores at the threshold that is best on their own validation pictures.

Networks differ in how sure they are, and one threshold for all favours those that it suits. The checkpoints remain
those that were best at the threshold of training.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection

from pix3d_onet.ablation.stored_runs import RunGroup, StoredRun
from pix3d_onet.errors import InputError

NAMED = 3
"""Most runs that the error names."""


def at_own_thresholds(group: RunGroup, variants: Collection[str] | None = None) -> RunGroup:
    """The group's runs of ``variants`` (None: all), whose scores are those at each run's ``val_threshold``.

    InputError if a run's record has no such scores.
    """
    runs = [run for run in group.runs if variants is None or run.variant in variants]
    lacking = [run.place.strip(".") or run.folder.name for run in runs if not has_own_scores(run)]
    if lacking:
        named = ", ".join(lacking[:NAMED]) + (f" and {len(lacking) - NAMED} more" if len(lacking) > NAMED else "")
        raise InputError(
            f"{len(lacking)} of {len(runs)} runs have no IoUs at their own threshold: {named}.",
            hint="Older runs have none: `benchmarks/rescore.py` adds them, or compare at the threshold of training.",
        )
    return dataclasses.replace(group, runs=tuple(map(_own, runs)))


def has_own_scores(run: StoredRun) -> bool:
    """Whether the record has the scores at the run's own threshold, of each split that was scored."""
    record = run.record
    known = record.val_threshold is not None and record.val_iou_at_threshold is not None
    return known and all(
        own.keys() == scores.keys()
        for own, scores in (
            (record.val_scores_at_threshold, record.val_scores),
            (record.test_scores_at_threshold, record.test_scores),
        )
    )


def _own(run: StoredRun) -> StoredRun:
    record = run.record
    assert record.val_iou_at_threshold is not None
    scored = dataclasses.replace(
        record,
        best_val_iou=record.val_iou_at_threshold,
        val_scores=record.val_scores_at_threshold,
        test_scores=record.test_scores_at_threshold,
        constant=record.constant if record.val_threshold == run.threshold else record.constant_at_threshold,
    )
    return dataclasses.replace(run, record=scored)
