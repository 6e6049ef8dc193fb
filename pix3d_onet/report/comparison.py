"""Runs of a variant against those of the base: on the seeds, pictures and shapes that both have.

Networks differ in how sure they are, and one threshold for all favours those that it suits. So runs can be compared at
the one that is best on their own validation pictures; the checkpoints remain those that were best at that of training.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence, Set
from statistics import fmean

from pix3d_onet.ablation.stored_runs import RunGroup, StoredRun
from pix3d_onet.errors import InputError
from pix3d_onet.report.statistics import PairedTest, paired_test, per_shape, welch_p
from pix3d_onet.runs.record import RunRecord

NAMED = 3
"""Most runs that the error names."""


def _shared_seeds(group: RunGroup, name: str, base: str) -> list[tuple[StoredRun, StoredRun]]:
    bases = {r.seed: r for r in group.of(base)}
    return [(r, bases[r.seed]) for r in group.of(name) if r.seed in bases]


def relative_improvement(group: RunGroup, name: str, base: str) -> float | None:
    """The relative improvement of the mean validation IoU; None for the base, or without a shared seed."""
    pairs = [_on_shared_pictures(r.record, b.record) for r, b in _shared_seeds(group, name, base)]
    below = fmean(b for _, b in pairs) if pairs else 0.0
    if name == base or below <= 0:
        return None
    return fmean(r for r, _ in pairs) / below - 1


def _on_shared_pictures(run: RunRecord, base: RunRecord) -> tuple[float, float]:
    """The validation IoU of both runs; if they were scored on different pictures, over the shared ones."""
    shared = run.val_scores.keys() & base.val_scores.keys()
    if not shared or len(shared) == len(run.val_scores) == len(base.val_scores):
        return run.best_val_iou, base.best_val_iou
    return fmean(run.val_scores[k] for k in shared), fmean(base.val_scores[k] for k in shared)


def tested_split(group: RunGroup, base: str) -> str | None:
    """``test`` if the base was scored on it, else ``val``, else None."""
    for split in ("test", "val"):
        if any(scores(r, split) for r in group.of(base)):
            return split
    return None


def scores(run: StoredRun, split: str) -> Mapping[str, float]:
    """Record id → IoU on ``test``, else on the validation pictures."""
    return run.record.test_scores if split == "test" else run.record.val_scores


def shape_scores(runs: Sequence[StoredRun], split: str, pictures: Set[str] | None = None) -> dict[str, float]:
    """Shape → IoU, averaged over runs, for the shapes that all runs have; ``pictures``: only over these records."""
    scored = [
        per_shape({k: v for k, v in scores(r, split).items() if pictures is None or k in pictures}, r.record.objects)
        for r in runs
    ]
    if not scored:
        return {}
    shared = set(scored[0]).intersection(*scored[1:])
    return {shape: fmean(s[shape] for s in scored) for shape in sorted(shared)}


def over_shapes(group: RunGroup, name: str, base: str, split: str | None) -> PairedTest | None:
    """The paired test over the shapes of ``split``, scores averaged over seeds; None where there is nothing to test."""
    mine, theirs = _scored_pairs(group, name, base, split)
    if split is None or not mine:
        return None
    shared = _shared_pictures((*mine, *theirs), split)
    return paired_test(shape_scores(mine, split, shared), shape_scores(theirs, split, shared))


def over_seeds(group: RunGroup, name: str, base: str, split: str | None) -> float | None:
    """p of the same difference over the same runs, on the pictures that all of them have; None for too few."""
    mine, theirs = _scored_pairs(group, name, base, split)
    if split is None or not mine:
        return None
    shared = _shared_pictures((*mine, *theirs), split)
    if not shared:
        return None
    means, base_means = ([fmean(shape_scores([r], split, shared).values()) for r in part] for part in (mine, theirs))
    return welch_p(means, base_means)


def unscored(group: RunGroup, names: Sequence[str], split: str | None) -> list[StoredRun]:
    """Runs that the tests leave out, since they have no scores on ``split``, although others have."""
    return [] if split is None else [run for name in names for run in group.of(name) if not scores(run, split)]


def _scored_pairs(group: RunGroup, name: str, base: str, split: str | None) -> tuple[list[StoredRun], list[StoredRun]]:
    """The runs of both with scores on ``split``, of the seeds of which both have one; empty for the base itself."""
    pairs = [] if split is None or name == base else _shared_seeds(group, name, base)
    kept = [pair for pair in pairs if all(scores(run, split or "") for run in pair)]
    return [run for run, _ in kept], [run for _, run in kept]


def _shared_pictures(runs: Sequence[StoredRun], split: str) -> set[str]:
    return set.intersection(*(set(scores(run, split)) for run in runs))


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
