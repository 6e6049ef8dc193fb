"""The table of an ablation as records, computed from stored runs; all output formats use these records."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median_low
from typing import Any

from pix3d_onet.ablation.selection import MIXED
from pix3d_onet.ablation.stored_runs import RunGroup, StoredRun
from pix3d_onet.ablation.unfinished import UnfinishedRun
from pix3d_onet.ablation.variants import BASE, SUITES, VARIANTS, Variant
from pix3d_onet.config import SPLITS, ModelConfig, TrainConfig
from pix3d_onet.errors import ConfigError
from pix3d_onet.report.comparison import (
    at_own_thresholds,
    has_own_scores,
    over_seeds,
    over_shapes,
    relative_improvement,
    tested_split,
    unscored,
)
from pix3d_onet.report.notes import table_notes
from pix3d_onet.report.statistics import (
    RESAMPLES,
    SIGNIFICANCE,
    PairedTest,
    half_width,
    holm,
)
from pix3d_onet.runs.record import RunRecord

SMOKE_STEPS = 1000
"""A table of runs with fewer steps is called a smoke test; the report trains for 3,000."""


@dataclass(frozen=True, slots=True)
class RunCell:
    """One run of a row."""

    run_id: str
    seed: int
    path: str
    val_iou: float
    best_step: int
    last_val_iou: float
    seconds: float
    device: str
    precision: str = ""
    constant: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One variant. Values that were not measured are None; means are over the row's ``seeds``.

    ``relative``: relative improvement of the mean validation IoU over the base, over the seeds and pictures that both
    have. ``difference``, with its interval and p values: the same for per-shape scores on ``Table.tested_on``;
    ``p_adjusted`` is over shapes, with the runs as they are, ``p_seeds`` over runs, with the shapes as they are, both
    Holm-corrected. ``significant``: both are below ``Table.significance``, since a difference may come from the shapes
    that were at hand or from the seeds. ``train_pictures``: those that it was trained on; ``val_pictures``,
    ``test_pictures``: those of the row's means, since networks with a pose input are not scored on pictures without a
    camera. ``thresholds``: of each run, that of its IoUs; ``val_thresholds``: that which is best on its validation
    pictures (None: not recorded), and ``val_iou_best_threshold`` the mean IoU there; both in the order of ``seeds``.
    """

    variant: str
    label: str
    params: int | None = None
    params_paper: str | None = None
    val_iou: float | None = None
    val_iou_ci: float | None = None
    val_iou_paper: float | None = None
    relative: float | None = None
    relative_paper: float | None = None
    seeds: tuple[int, ...] = ()
    steps: int | None = None
    best_step: int | None = None
    best_steps: tuple[int, ...] = ()
    thresholds: tuple[float, ...] = ()
    last_val_iou: float | None = None
    val_iou_best_threshold: float | None = None
    val_thresholds: tuple[float | None, ...] = ()
    test_iou: float | None = None
    test_iou_ci: float | None = None
    train_pictures: int | None = None
    val_pictures: int | None = None
    test_pictures: int | None = None
    difference: float | None = None
    difference_low: float | None = None
    difference_high: float | None = None
    p_value: float | None = None
    p_adjusted: float | None = None
    p_seeds: float | None = None
    significant: bool | None = None
    tested_shapes: int = 0
    gflops_image: float | None = None
    gflops_point: float | None = None
    shapes_per_second: float | None = None
    latency_seconds: float | None = None
    peak_memory_bytes: int | None = None
    seconds: float | None = None
    runs: tuple[RunCell, ...] = ()

    @property
    def mark(self) -> int:
        """1 if significantly better than the base, -1 if worse, else 0."""
        return 0 if not self.significant else 1 if (self.difference or 0) > 0 else -1


@dataclass(frozen=True, slots=True)
class Table:
    """The rows, with the settings that its caption and notes need.

    ``name``: of the suite, empty for a mixture; ``reference``: whether the published numbers are shown; ``counts``:
    split → its pictures, the most that a row has; ``threshold``: that of training, but for variants with their own
    (``Row.thresholds``); ``own_thresholds``: whether the IoUs are at each run's best threshold on validation instead;
    ``marks_differ``: variants that are significantly better or worse at one of the two and not at the other;
    ``unscored``: runs without scores on ``tested_on``, which the tests leave out; ``unfinished``: runs of its variants
    that are not finished and so not in the table.
    """

    name: str
    title: str
    reference: bool
    dataset: str
    data_hash: str
    setting: str
    counts: Mapping[str, int]
    base: str
    seeds: tuple[int, ...]
    steps: int
    batch_size: int
    image_size: int
    points_per_shape: int
    val_points: int
    threshold: float
    pretrained: bool
    weights: str
    encoder_weights: str
    devices: tuple[str, ...]
    tested_on: str | None
    tested_shapes: int
    resamples: int
    significance: float
    rows: tuple[Row, ...]
    unfinished: tuple[UnfinishedRun, ...] = ()
    own_thresholds: bool = False
    marks_differ: tuple[str, ...] = ()
    unscored: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The table as a dict for JSON."""
        return dataclasses.asdict(self)

    def row(self, variant: str) -> Row:
        """The row of a variant; StopIteration if there is none."""
        return next(r for r in self.rows if r.variant == variant)

    def called(self, variant: str) -> str:
        """What the texts around the table call a variant: its label in quotes, with its name if two rows
        have that label."""
        labels = {r.variant: r.label for r in self.rows}
        label = labels.get(variant, variant)
        return f"“{label}” ({variant})" if list(labels.values()).count(label) > 1 else f"“{label}”"

    @property
    def caption(self) -> str:
        """One sentence: meaning of the numbers, data set, recipe, seeds, device."""
        shapes = ", ".join(f"{self._count(k)} {k}" for k in ("train", "val", "test") if k in self.counts)
        points = f"at most the first {self.val_points:,} points" if self.val_points else "all points"
        seeds = f"seed {self.seeds[0]}" if len(self.seeds) == 1 else f"seeds {', '.join(map(str, self.seeds))}"
        named = {"": "encoders from random weights", "pretrained": "pretrained encoders"}
        weights = self.encoder_weights or named.get(self.weights, f"weights from {self.weights[:60]}")
        return (
            f"Validation IoU ({self.scored_at}; {points} per picture; best checkpoint) on {self.dataset} "
            f"({shapes} pictures): {self.steps} steps, batch {self.batch_size}, {self.image_size}² px, "
            f"{self.points_per_shape} points per shape, {seeds or 'no seeds'}, {weights}, {', '.join(self.devices)}."
        )

    def _count(self, split: str) -> str:
        """The number of pictures of a split, or the least and most of training if rows differ (rendered views)."""
        trained = {row.train_pictures for row in self.rows if row.train_pictures is not None}
        return f"{min(trained)} to {max(trained)}" if split == "train" and len(trained) > 1 else str(self.counts[split])

    @property
    def scored_at(self) -> str:
        """The threshold of its IoUs, in words."""
        if self.own_thresholds:
            return "each run's best threshold on validation"
        used: dict[float, list[str]] = {}
        for row in self.rows:
            for value in sorted(set(row.thresholds)):
                used.setdefault(value, []).append(self.called(row.variant))
        usual = self.threshold if self.threshold in used or not used else max(used, key=lambda value: len(used[value]))
        rest = [f"{value:g} of {', '.join(names)}" for value, names in sorted(used.items()) if value != usual]
        return "; ".join((f"threshold {usual:g}", *rest))

    @property
    def smoke_test(self) -> str:
        """What to make of runs that are too short to compare; empty for longer ones."""
        if self.steps >= SMOKE_STEPS:
            return ""
        return f"A smoke test of {self.steps} steps: which variant is better can change with more."

    @property
    def notes(self) -> tuple[str, ...]:
        """Further notes below the caption, one sentence each."""
        return table_notes(self)


TABLE1 = SUITES["table1"]


def build_table(
    group: RunGroup,
    variants: Sequence[Variant] | None = None,
    base: str | None = None,
    *,
    name: str = "",
    title: str = "",
    all_rows: bool = False,
    reference: bool | None = None,
    unfinished: Sequence[UnfinishedRun] = (),
    own_thresholds: bool = False,
) -> Table:
    """The table of the runs of one group.

    ``variants``: the rows in order (None: Table 1, then all other variants with a run); rows without a run are omitted
    unless ``all_rows``. ``base``: the variant to compare the others with (None: ``resnet18`` if it is a row, else the
    first row). ``reference``: show the published numbers (None: if the rows are all those of Table 1). ``name`` and
    ``title`` of the suite: empty for those of Table 1 or of a mixed table. ``own_thresholds``: the group is that of
    :func:`pix3d_onet.report.comparison.at_own_thresholds`. ConfigError if the base is not a row.
    """
    wanted = _variants(group, all_rows=all_rows) if variants is None else variants
    shown = [v for v in wanted if all_rows or group.of(v.name)]
    names = [v.name for v in shown]
    if set(names) == set(TABLE1.variants):
        name, title = name or TABLE1.name, title or TABLE1.title
    if reference is None:
        reference = name == TABLE1.name
    base = base or (BASE if BASE in names else next(iter(names), BASE))
    if base not in names:
        raise ConfigError(f"no variant {base!r} in this table to compare with.", hint=f"It has {', '.join(names)}.")
    tested_on = tested_split(group, base)
    rows = _rows(group, shown, base, tested_on)
    marks_differ: tuple[str, ...] = ()
    if not own_thresholds and all(has_own_scores(run) for name in names for run in group.of(name)):
        others = _rows(at_own_thresholds(group, names), shown, base, tested_on)
        pairs = zip(rows, others, strict=True)
        marks_differ = tuple(one.variant for one, other in pairs if one.mark != other.mark)
    if own_thresholds:  # IoUs of the training's threshold would not compare with the others
        rows = [
            dataclasses.replace(
                row,
                thresholds=tuple(value for value in row.val_thresholds if value is not None),
                last_val_iou=None,
                val_iou_best_threshold=None,
            )
            for row in rows
        ]
    train, runs = group.setting["train"], [r for name in names for r in group.of(name)]
    data = [r.record.data for r in runs]
    return Table(
        name=name,
        title=title or MIXED,
        reference=reference,
        dataset=group.setting["data_name"],
        data_hash=str(group.setting["data_hash"]),
        setting=group.key,
        counts={k: max(found) for k in SPLITS if (found := [int(d[k]) for d in data if k in d])},
        base=base,
        seeds=tuple(sorted({r.seed for r in group.runs if r.variant in names})),
        steps=train["steps"],
        batch_size=train["batch_size"],
        image_size=train["image_size"],
        points_per_shape=train["points_per_shape"],
        val_points=train["val_points"],
        threshold=train["threshold"],
        pretrained=group.setting["weights"] == "pretrained",
        weights=group.setting["weights"],
        encoder_weights=_encoder_weights([r.record for r in runs]),
        devices=tuple(dict.fromkeys(_device(r) for r in runs)),
        tested_on=tested_on,
        tested_shapes=max((r.tested_shapes for r in rows), default=0),
        resamples=RESAMPLES,
        significance=SIGNIFICANCE,
        rows=tuple(rows) if reference else tuple(map(_without_reference, rows)),
        unfinished=tuple(r for r in unfinished if variants is None or r.variant in {v.name for v in wanted}),
        own_thresholds=own_thresholds,
        marks_differ=marks_differ,
        unscored=tuple(f"{run.variant}/{run.seed}" for run in unscored(group, names, tested_on)),
    )


def _rows(group: RunGroup, shown: Sequence[Variant], base: str, tested_on: str | None) -> list[Row]:
    """The rows with their tests against the base, corrected for their number."""
    tests = [over_shapes(group, v.name, base, tested_on) for v in shown]
    shapes = holm([t.p if t else None for t in tests])
    seeds = holm([over_seeds(group, v.name, base, tested_on) if t else None for v, t in zip(shown, tests, strict=True)])
    return [_row(group, v, base, t, p, q) for v, t, p, q in zip(shown, tests, shapes, seeds, strict=True)]


def _variants(group: RunGroup, *, all_rows: bool) -> list[Variant]:
    """The variants of Table 1, then all others with a run, with the labels of their runs."""
    others = [n for n in group.variants if n not in TABLE1.variants]
    found = []
    for name in (*TABLE1.variants, *others):
        runs = group.of(name)
        if runs:
            known = VARIANTS.get(name) or Variant(name, name, ModelConfig.from_json(runs[0].record.model))
            found.append(dataclasses.replace(known, label=runs[0].label))
        elif all_rows:
            found.append(VARIANTS[name])
    return found


def _without_reference(row: Row) -> Row:
    return dataclasses.replace(row, params_paper=None, val_iou_paper=None, relative_paper=None)


def _encoder_weights(records: Sequence[RunRecord]) -> str:
    """The initial weights for the caption, if a row has its own or the encoder's are from a file; else empty."""
    if any({"weights", "pretrained"} & r.replaced.keys() for r in records):
        return "initial weights by row"
    if not records or not (loaded := records[0].encoder_weights):
        return ""
    return f"encoder weights from {loaded.get('file')} ({loaded.get('taken')} of {loaded.get('total')} tensors)"


def _device(run: StoredRun) -> str:
    device = run.record.device
    name = str(device.get("name") or device.get("type") or "unknown device")
    return f"{name} ({device['precision']})" if device.get("precision") else name


def _row(
    group: RunGroup,
    variant: Variant,
    base: str,
    test: PairedTest | None,
    p_adjusted: float | None,
    p_seeds: float | None,
) -> Row:
    name, runs = variant.name, group.of(variant.name)
    row = Row(
        variant=name,
        label=variant.label,
        params=variant.params,
        params_paper=variant.params_paper,
        val_iou_paper=variant.val_iou_paper,
        relative_paper=variant.relative_paper,
    )
    if not runs:
        return row
    records = [r.record for r in runs]
    best = [r.best_val_iou for r in records]
    tested = [r.test_iou for r in records if r.test_iou is not None]
    all_tested = len(tested) == len(records)
    row = dataclasses.replace(
        row,
        params=records[0].params,
        val_iou=fmean(best),
        val_iou_ci=half_width(best),
        relative=relative_improvement(group, name, base),
        seeds=tuple(r.seed for r in runs),
        steps=TrainConfig.from_json(dict(records[0].train)).steps,
        best_step=median_low(r.best_step for r in records),
        best_steps=tuple(r.best_step for r in records),
        last_val_iou=fmean(r.last_val_iou for r in records),
        val_iou_best_threshold=_mean([r.val_iou_at_threshold for r in records]),
        thresholds=tuple(r.threshold for r in runs),
        val_thresholds=tuple(r.val_threshold for r in records),
        test_iou=fmean(tested) if all_tested else None,
        test_iou_ci=half_width(tested) if all_tested else None,
        train_pictures=records[0].data.get("train"),
        val_pictures=min(len(r.val_scores) for r in records) or None,
        test_pictures=min(len(r.test_scores) for r in records) or None,
        gflops_image=_mean([r.cost.get("gflops_image") for r in records]),
        gflops_point=_mean([r.cost.get("gflops_point") for r in records]),
        latency_seconds=_mean([r.cost.get("latency_seconds") for r in records]),
        shapes_per_second=_mean([r.shapes_per_second or None for r in records]),
        peak_memory_bytes=max(r.peak_memory_bytes for r in records) or None,
        seconds=_mean([r.seconds or None for r in records]),
        runs=tuple(_cell(r) for r in runs),
    )
    if test is None:
        return row
    return dataclasses.replace(
        row,
        difference=test.difference,
        difference_low=test.low,
        difference_high=test.high,
        p_value=test.p,
        p_adjusted=p_adjusted,
        p_seeds=p_seeds,
        tested_shapes=test.shapes,
        significant=all(p is not None and p < SIGNIFICANCE for p in (p_adjusted, p_seeds)),
    )


def _cell(run: StoredRun) -> RunCell:
    record = run.record
    return RunCell(
        record.run_id,
        record.seed,
        run.place,
        record.best_val_iou,
        record.best_step,
        record.last_val_iou,
        record.seconds,
        _device(run),
        str(record.device.get("precision") or ""),
        record.constant,
    )


def _mean(values: Sequence[float | None]) -> float | None:
    """The mean; None if any value is missing."""
    present = [v for v in values if v is not None]
    return fmean(present) if present and len(present) == len(values) else None
