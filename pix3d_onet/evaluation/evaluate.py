"""Score any predictor of shapes against the stored truth: one row per picture, means with intervals.

A predictor is a network or a baseline. Functions that need geometry libraries (inside test, surface samples) are
parameters, so that without Open3D this module still computes the other metrics.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pix3d_onet.config import EvaluationConfig
from pix3d_onet.data.store.manifest import ShapeEntry
from pix3d_onet.data.store.reader import Dataset
from pix3d_onet.errors import InputError
from pix3d_onet.escape import csv_text
from pix3d_onet.evaluation.request import CSV_START
from pix3d_onet.evaluation.voxels import Contains
from pix3d_onet.events import Emit, Note, Progress, ignore
from pix3d_onet.learning.extraction.predictor import Prediction, Predictor
from pix3d_onet.metrics import (
    F_SCORE_DISTANCE,
    METRICS,
    Comparison,
    Interval,
    Nearest,
    mean_rows,
    measure,
    nearest,
    surface_distances,
)
from pix3d_onet.types import Bool, Float64, Mesh, Sample, View

SURFACE_SAMPLES = EvaluationConfig.samples
"""Samples per surface (Mescheder et al., CVPR 2019)."""
TYPICAL_AREA = 1.65
"""Surface area of a chair in the normalised frame (median of 163 real ones; range 0.6 to 5)."""
PAIRS = 1 << 28
"""Distances in memory at a time in the brute-force search: 1 GB in float32."""

Extra = Callable[[Sample, View], Mapping[str, float]]
"""Further columns of a picture."""
SampleSurface = Callable[[Mesh, int, int], tuple[Float64, Float64]]
"""``geometry.mesh.sampling.sample_surface``: mesh, count, seed → points and unit normals, (count, 3) each."""


@dataclass(frozen=True, slots=True)
class ShapeRow:
    """One picture's scores: metric name → value (NaN = not measured)."""

    record_id: str
    object_id: str
    category: str
    values: Mapping[str, float]
    empty: bool
    """Whether the prediction has no surface."""
    faces: int | None = None
    """Number of faces of the predicted mesh; None if no mesh was compared."""
    full: bool = False
    """Whether every stored point is predicted inside."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All rows of one predictor, and the mean of each metric with its 95 % interval over shapes."""

    name: str
    split: str
    data: str
    data_hash: str
    rows: tuple[ShapeRow, ...]
    means: Mapping[str, Interval]
    skipped: int = 0
    """Pictures that the predictor cannot use (no camera)."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    cameras: Mapping[str, float] = field(default_factory=dict)
    """Summary of the cameras that a network predicted (``evaluation.cameras``); empty for others."""

    @property
    def empty(self) -> int:
        """Number of empty predictions."""
        return sum(row.empty for row in self.rows)

    @property
    def full(self) -> int:
        """Number of predictions that have every point inside."""
        return sum(row.full for row in self.rows)

    def by_record(self, metric: str) -> dict[str, float]:
        """Record id → value of ``metric``."""
        return {row.record_id: row.values[metric] for row in self.rows}

    def to_json(self) -> dict[str, Any]:
        """A dict for JSON; null = not measured."""
        means = {
            k: {f: _number(getattr(v, f)) for f in ("mean", "low", "high", "count")} for k, v in self.means.items()
        }
        shapes: list[dict[str, Any]] = [
            {"record_id": r.record_id, "object_id": r.object_id, "category": r.category}
            | {"empty": r.empty, "faces": r.faces}
            | {k: _number(v) for k, v in r.values.items()}
            for r in self.rows
        ]
        return {
            "name": self.name,
            "split": self.split,
            "dataset": self.data,
            "data_hash": self.data_hash,
            "pictures": len(self.rows),
            "skipped": self.skipped,
            "empty": self.empty,
            "full": self.full,
            "settings": dict(self.settings),
            "means": means,
            **({"cameras": dict(self.cameras)} if self.cameras else {}),
            "shapes": shapes,
        }


def _number(value: float) -> float | None:
    return None if isinstance(value, float) and math.isnan(value) else value


def split_entries(dataset: Dataset, split: str, limit: int = 0) -> tuple[ShapeEntry, ...]:
    """Shapes with pictures in ``split``; only the first ``limit`` (0 = all). InputError if there are none."""
    entries = tuple(e for e in dataset.entries(split) if split in e.image_splits)
    if not entries:
        raise InputError(f"the {split} split of {dataset.root} has no pictures.", hint="Choose another `split`.")
    return entries[:limit] if limit else entries


def pictures(sample: Sample, photos: bool) -> tuple[View, ...]:
    """The pictures to score: with ``photos`` (the split has some) only those, else the rendered views."""
    return tuple(view for view in sample.images if not (photos and view.rendered))


class PredictionPass:
    """Iterates over the pictures of ``split`` that ``predictor`` can use; yields shape, picture and prediction.

    ``skipped``: number of pictures skipped because they have no camera. InputError if the split has no picture that
    can be used.
    """

    def __init__(self, predictor: Predictor, dataset: Dataset, split: str, limit: int, emit: Emit) -> None:
        self.predictor, self.dataset, self.split, self.emit = predictor, dataset, split, emit
        self.entries = split_entries(dataset, split, limit)
        self.skipped = 0

    def __iter__(self) -> Iterator[tuple[Sample, View, Prediction]]:
        """Yield in the manifest's order."""
        photos = self.dataset.has_photos(self.split)
        name, used = self.predictor.name, 0
        for done, entry in enumerate(self.entries, 1):
            sample = self.dataset.sample(entry, self.split)
            for view in pictures(sample, photos):
                if self.predictor.usable(view):
                    used += 1
                    yield sample, view, self.predictor.predict(sample, view)
                else:
                    self.skipped += 1
            self.emit(Progress(f"evaluate {name}", done, len(self.entries)))
        if not used and self.skipped:
            raise InputError(f"no picture of the {self.split} split can be used by {name}: it needs cameras.")
        if not used:
            raise InputError(f"the selected shapes of the {self.split} split have no photos.", hint="Raise `limit`.")
        if self.skipped:
            self.emit(Note(f"{name}: skipped {self.skipped} pictures without a camera, which it needs.", "warning"))

    def result(
        self, rows: Sequence[ShapeRow], means: Mapping[str, Interval], settings: Mapping[str, Any]
    ) -> Evaluation:
        """The evaluation, after all pictures have been iterated over."""
        return Evaluation(
            self.predictor.name,
            self.split,
            self.dataset.root.resolve().name,
            self.dataset.manifest.data_hash,
            tuple(rows),
            means,
            skipped=self.skipped,
            settings=dict(self.predictor.settings) | dict(settings),
        )


def evaluate(
    predictor: Predictor,
    dataset: Dataset,
    split: str = "test",
    *,
    contains: Contains | None = None,
    sample_surface: SampleSurface | None = None,
    samples: int = SURFACE_SAMPLES,
    limit: int = 0,
    seed: int = 0,
    search: Nearest = nearest,
    extra: Extra | None = None,
    emit: Emit = ignore,
) -> Evaluation:
    """Score ``predictor`` on every picture of ``split``; as in training, only on its photos if it has any.

    On each predicted surface as many points are drawn as are stored for the true one, at most ``samples``. They depend
    only on ``seed``, not on the order of the pictures. ``search`` finds nearest neighbours. Metrics that need
    ``contains`` or ``sample_surface`` are NaN without them. ``extra``: further columns of each row.
    """
    EvaluationConfig(samples=samples, limit=limit, seed=seed)  # checks the values
    predictions = PredictionPass(predictor, dataset, split, limit, emit)
    rows: list[ShapeRow] = []
    for sample, view, prediction in predictions:
        comparison = compare(prediction, sample, contains, sample_surface, samples=samples, seed=seed, search=search)
        faces = len(prediction.mesh.faces)
        full = comparison.points_predicted is not None and bool(comparison.points_predicted.all())
        named = (view.record_id, sample.object_id, sample.category)
        values = measure(comparison) | dict(extra(sample, view) if extra is not None else {})
        rows.append(ShapeRow(*named, values, faces == 0, faces, full))
    means = mean_rows([row.values for row in rows], [row.object_id for row in rows])
    return predictions.result(rows, means, {"samples": samples, "seed": seed, "limit": limit})


def compare(
    prediction: Prediction,
    sample: Sample,
    contains: Contains | None = None,
    sample_surface: SampleSurface | None = None,
    *,
    samples: int = SURFACE_SAMPLES,
    seed: int = 0,
    search: Nearest = nearest,
) -> Comparison:
    """All measurements that the metrics need, for one prediction and its truth."""
    mesh = prediction.mesh
    inside = prediction.logits(sample.points) > prediction.level  # NaN compares false: outside
    distances = None
    stored = len(sample.surface_points)
    if sample_surface is not None and (stored or not len(sample.mesh.faces)):  # prepared with 0 surface points
        count = min(samples, stored)  # stored in random order: the first ones are a sample
        # Equal numbers on both sides: with fewer true than predicted samples, only accuracy would get worse.
        points, normals = sample_surface(mesh, count or samples, seed) if len(mesh.faces) else (np.empty((0, 3)),) * 2
        distances = surface_distances(
            points, normals, sample.surface_points[:count], sample.surface_normals[:count], search=search
        )
    if prediction.mesh_is_field:
        mesh_inside: Bool | None = inside
    else:
        mesh_inside = None if contains is None else contains(mesh, sample.points)
    return Comparison(sample.occupancy, inside, mesh_inside, distances)


def rows_csv(evaluations: Sequence[Evaluation]) -> str:
    """CSV with one line per picture and predictor: name, alignment, ids, empty (1 = no surface predicted), faces,
    all metrics.

    A blank cell means "not measured".
    """
    extra = [n for e in evaluations for r in e.rows for n in r.values if n not in METRICS]
    columns = [*(n for n in METRICS if any(n in r.values for e in evaluations for r in e.rows)), *dict.fromkeys(extra)]
    rows: list[list[object]] = [[*CSV_START, *columns]]
    for e in evaluations:
        for r in e.rows:
            values = [float(r.values.get(c, math.nan)) for c in columns]
            cells = (None if math.isnan(v) else v for v in values)
            start = [e.name, e.settings.get("align", "none"), e.split, r.record_id, r.object_id, r.category]
            rows.append([*start, int(r.empty), r.faces, *cells])
    return csv_text(rows)


def nearest_on(device: torch.device) -> Nearest:
    """Nearest-neighbour search for ``device``: scipy's tree on a CPU, float32 brute force on a GPU (1e10 pairs/s)."""
    return nearest if device.type == "cpu" else partial(nearest_by_pairs, device=device)


def nearest_by_pairs(
    points: NDArray[np.floating[Any]], targets: NDArray[np.floating[Any]], *, device: torch.device | str
) -> tuple[Float64, NDArray[np.int64]]:
    """(N, 3) points, (M, 3) targets → distance to the nearest target (N,) and its row (N,), from all N·M pairs."""
    a = torch.as_tensor(np.asarray(points, np.float32), device=device)
    b = torch.as_tensor(np.asarray(targets, np.float32), device=device)
    distance, row = nearest_of_all(a, b)
    return distance.double().cpu().numpy(), row.cpu().numpy()


def nearest_of_all(points: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(N, 3) and (M, 3) on one device → (N,) distances and rows there, ``PAIRS`` distances at a time."""
    parts = torch.split(points, max(1, PAIRS // len(targets)))
    found = [torch.cdist(part, targets, compute_mode="donot_use_mm_for_euclid_dist").min(dim=1) for part in parts]
    return torch.cat([f.values for f in found]), torch.cat([f.indices for f in found])


def ideal_f_score(samples: int, area: float = TYPICAL_AREA) -> float:
    """Expected F-score of a surface of ``area`` against itself, if it is sampled twice.

    The probability that none of ``samples`` random points is within r of a point is exp(−samples · π r² / area).
    """
    return 1 - math.exp(-samples * math.pi * F_SCORE_DISTANCE**2 / area)
