"""Runs of a variant against those of the base: on the seeds, pictures and shapes that both have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from statistics import fmean

from pix3d_onet.ablation.stored_runs import RunGroup, StoredRun
from pix3d_onet.report.statistics import PairedTest, paired_test, per_shape, welch_p
from pix3d_onet.runs.record import RunRecord


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
        if any(_scores(r, split) for r in group.of(base)):
            return split
    return None


def _scores(run: StoredRun, split: str) -> Mapping[str, float]:
    return run.record.test_scores if split == "test" else run.record.val_scores


def shape_scores(runs: Sequence[StoredRun], split: str, pictures: Set[str] | None = None) -> dict[str, float]:
    """Shape → IoU, averaged over runs, for the shapes that all runs have; ``pictures``: only over these records."""
    scored = [
        per_shape({k: v for k, v in _scores(r, split).items() if pictures is None or k in pictures}, r.record.objects)
        for r in runs
    ]
    if not scored:
        return {}
    shared = set(scored[0]).intersection(*scored[1:])
    return {shape: fmean(s[shape] for s in scored) for shape in sorted(shared)}


def over_shapes(group: RunGroup, name: str, base: str, split: str | None) -> PairedTest | None:
    """The paired test over the shapes of ``split``, scores averaged over shared seeds; None where there are none."""
    pairs = _shared_seeds(group, name, base)
    if split is None or name == base or not pairs:
        return None
    mine, theirs = [r for r, _ in pairs], [b for _, b in pairs]
    shared = set.intersection(*(set(_scores(run, split)) for run in (*mine, *theirs)))
    return paired_test(shape_scores(mine, split, shared), shape_scores(theirs, split, shared))


def over_seeds(group: RunGroup, name: str, base: str, split: str | None) -> float | None:
    """p of the difference from the base over runs with scores, on the pictures that all of them have; None if there are
    too few."""
    if split is None:
        return None
    runs, bases = ([run for run in group.of(each) if _scores(run, split)] for each in (name, base))
    shared = set.intersection(*(set(_scores(run, split)) for run in (*runs, *bases))) if runs and bases else set()
    if not shared:
        return None
    mine, theirs = ([fmean(shape_scores([run], split, shared).values()) for run in part] for part in (runs, bases))
    return welch_p(mine, theirs)
