"""Metrics: one table with unit, direction, definition and source of each; functions on plain arrays.

Rules for every metric. (In the original ``eval.py`` an empty mesh has IoU 0, accuracy and completeness √3, normal
consistency −1, and no Chamfer-L1, so that it is missing from the mean Chamfer-L1.)

* If exactly one of prediction and truth is empty, the prediction gets the worst value: IoU, F-score and normal
  consistency 0, distances √3 (:data:`EMPTY_DISTANCE`, the unit cube's diagonal, as in the original).
* If both are empty, they agree: IoU, F-score and normal consistency 1, distances 0.
* An undefined (NaN) prediction counts as "outside". A metric is NaN only if it was not measured, and a mean is
  NaN as soon as one of its values is, so that no value is dropped silently.

Lengths are in the normalised frame: the longest side of the true shape's box is 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pix3d_onet.types import Bool, Float64

Floats = NDArray[np.floating[Any]]

EMPTY_DISTANCE = math.sqrt(3.0)
"""Distance to an empty surface: the unit cube's diagonal (Mescheder et al., evaluation code)."""
F_SCORE_DISTANCE = 0.01
"""1 % of the longest side (Tatarchenko et al., CVPR 2019, section 5)."""
CHAMFER_UNIT = 10.0
"""Mescheder et al. (CVPR 2019, section 4.1) give Chamfer-L1 in tenths of the longest side: ours × 10."""
LEAF = 32
"""Points per leaf of the k-d tree (measured to be fastest for 100,000 points)."""
CELLS_PER_UNIT = 32
"""Cells per unit of length in the grid that sorts points before the search."""
RESAMPLES = 10_000
"""Bootstrap resamples of a confidence interval."""
CONFIDENCE = 0.95
MIN_GROUPS = 5
"""Fewest independent groups for an interval; a bootstrap over fewer is meaningless."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One column. ``of`` computes the value from a :class:`Comparison`; ``worst``: value of an empty prediction."""

    name: str
    label: str
    unit: str
    higher_is_better: bool
    worst: float
    definition: str
    source: str
    of: Callable[[Comparison], float]

    @property
    def arrow(self) -> str:
        """↑ if higher is better, else ↓."""
        return "↑" if self.higher_is_better else "↓"


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """Measurements of one prediction against its truth, in the normalised frame; None = not measured.

    ``points_predicted`` and ``points_true`` (P,) bool: occupancy of the stored points by the field; ``mesh_inside``
    (P,) bool: the same points inside the extracted mesh. ``surface``: distances between the surfaces.
    """

    points_true: Bool
    points_predicted: Bool | None = None
    mesh_inside: Bool | None = None
    surface: SurfaceDistances | None = None


@dataclass(frozen=True, slots=True, eq=False)
class SurfaceDistances:
    """Nearest-neighbour distances between two sampled surfaces.

    ``to_true`` (N,) from every predicted sample to the nearest true one (accuracy), ``to_predicted`` (M,) the other
    way (completeness); ``cos_to_true``, ``cos_to_predicted`` the absolute cosines of the angle between their normals.
    Empty arrays where a surface is empty.
    """

    to_true: Float64
    to_predicted: Float64
    cos_to_true: Float64
    cos_to_predicted: Float64

    @property
    def both_empty(self) -> bool:
        """Neither surface has a sample."""
        return not len(self.to_true) and not len(self.to_predicted)

    @property
    def one_empty(self) -> bool:
        """Exactly one surface has none."""
        return (len(self.to_true) == 0) != (len(self.to_predicted) == 0)


def iou(first: Bool, second: Bool) -> float:
    """|A ∩ B| / |A ∪ B| of two bool arrays of one shape, labels or masks; 1 when both are empty."""
    if first.shape != second.shape:
        raise ValueError(f"labels of different shapes: {first.shape} and {second.shape}")
    union = int(np.count_nonzero(first | second))
    return int(np.count_nonzero(first & second)) / union if union else 1.0


Nearest = Callable[[Floats, Floats], tuple[Float64, NDArray[np.int64]]]
"""(N, 3) points, (M, 3) targets → distance (N,) to the nearest target and its row (N,)."""


def nearest(points: Floats, targets: Floats, *, workers: int = -1) -> tuple[Float64, NDArray[np.int64]]:
    """Exact nearest neighbours with scipy's k-d tree (float64) on ``workers`` threads (-1 = all).

    Both sets are first sorted by the cells of a coarse grid. Points near in space are then near in memory, and the
    queries take a third of the time.
    """
    from scipy.spatial import KDTree

    order, rows = _by_cell(targets), _by_cell(points)
    found, index = KDTree(targets[order], leafsize=LEAF).query(points[rows], workers=workers)
    distance, row = np.empty(len(points)), np.empty(len(points), np.int64)
    distance[rows], row[rows] = found, order[index]
    return distance, row


def _by_cell(points: Floats) -> NDArray[np.int64]:
    return np.lexsort(np.floor(np.asarray(points, np.float64) * CELLS_PER_UNIT).T)


def surface_distances(
    predicted: Floats, predicted_normals: Floats, true: Floats, true_normals: Floats, *, search: Nearest = nearest
) -> SurfaceDistances:
    """Distances between surface samples: (N, 3) predicted and (M, 3) true points with their unit normals.

    ``search`` finds nearest neighbours (on a GPU, not scipy's). If one set is empty, all distances are √3.
    """
    if not len(predicted) or not len(true):
        n, m = np.full(len(predicted), EMPTY_DISTANCE), np.full(len(true), EMPTY_DISTANCE)
        return SurfaceDistances(n, m, np.zeros_like(n), np.zeros_like(m))
    to_true, nearest_true = search(predicted, true)
    to_predicted, nearest_predicted = search(true, predicted)
    cos_true = np.abs(np.einsum("ij,ij->i", predicted_normals, true_normals[nearest_true]))
    cos_predicted = np.abs(np.einsum("ij,ij->i", true_normals, predicted_normals[nearest_predicted]))
    return SurfaceDistances(
        np.asarray(to_true, np.float64),
        np.asarray(to_predicted, np.float64),
        np.asarray(cos_true, np.float64),
        np.asarray(cos_predicted, np.float64),
    )


def accuracy(d: SurfaceDistances) -> float:
    """Mean distance from the predicted surface to the true one."""
    return _mean_distance(d, d.to_true)


def completeness(d: SurfaceDistances) -> float:
    """Mean distance from the true surface to the predicted one."""
    return _mean_distance(d, d.to_predicted)


def chamfer_l1(d: SurfaceDistances) -> float:
    """Mean of accuracy and completeness."""
    return (accuracy(d) + completeness(d)) / 2


def normal_consistency(d: SurfaceDistances) -> float:
    """Mean absolute cosine between normals of nearest neighbours, both ways averaged."""
    if d.both_empty:
        return 1.0
    if d.one_empty:
        return 0.0
    return float((d.cos_to_true.mean() + d.cos_to_predicted.mean()) / 2)


def f_score(d: SurfaceDistances, distance: float = F_SCORE_DISTANCE) -> float:
    """Harmonic mean of precision and recall: shares of samples nearer than ``distance`` to the other surface."""
    if d.both_empty:
        return 1.0
    if d.one_empty:
        return 0.0
    precision, recall = float((d.to_true < distance).mean()), float((d.to_predicted < distance).mean())
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _mean_distance(d: SurfaceDistances, distances: Float64) -> float:
    if d.both_empty:
        return 0.0
    return float(distances.mean()) if not d.one_empty else EMPTY_DISTANCE


def _points_iou(c: Comparison) -> float:
    return math.nan if c.points_predicted is None else iou(c.points_predicted, c.points_true)


def _mesh_iou(c: Comparison) -> float:
    return math.nan if c.mesh_inside is None else iou(c.mesh_inside, c.points_true)


def _on_surface(function: Callable[[SurfaceDistances], float]) -> Callable[[Comparison], float]:
    return lambda c: math.nan if c.surface is None else function(c.surface)


_ONET = "Mescheder et al., Occupancy Networks, CVPR 2019"
_WHAT_3D = "Tatarchenko et al., What Do Single-view 3D Reconstruction Networks Learn?, CVPR 2019"
_DISTANCE_UNIT = "longest side of the true box"

_TABLE = (
    Metric(
        "iou", "IoU", "1", True, 0.0,
        "Points inside both over points inside either, on the stored uniform points, field against label.",
        f"{_ONET}, section 4.1", _points_iou,
    ),
    Metric(
        "iou_mesh", "IoU mesh", "1", True, 0.0,
        "The same on the same points, inside of the extracted mesh against label.",
        f"{_ONET}, section 4.1 (volumetric IoU)", _mesh_iou,
    ),
    Metric(
        "chamfer_l1", "Chamfer-L1", _DISTANCE_UNIT, False, EMPTY_DISTANCE,
        "Mean of accuracy and completeness.", f"{_ONET}, section 4.1", _on_surface(chamfer_l1),
    ),
    Metric(
        "chamfer_l1_x10", "Chamfer-L1 ×10", f"1/10 of the {_DISTANCE_UNIT}", False, CHAMFER_UNIT * EMPTY_DISTANCE,
        "Chamfer-L1 in the unit in which the paper prints it.", f"{_ONET}, section 4.1",
        _on_surface(lambda d: CHAMFER_UNIT * chamfer_l1(d)),
    ),
    Metric(
        "accuracy", "Accuracy", _DISTANCE_UNIT, False, EMPTY_DISTANCE,
        "Mean distance from samples of the predicted surface to the nearest sample of the true one.",
        f"{_ONET}, section 4.1", _on_surface(accuracy),
    ),
    Metric(
        "completeness", "Completeness", _DISTANCE_UNIT, False, EMPTY_DISTANCE,
        "Mean distance from samples of the true surface to the nearest sample of the predicted one.",
        f"{_ONET}, section 4.1", _on_surface(completeness),
    ),
    Metric(
        "normal_consistency", "NC", "1", True, 0.0,
        "Mean absolute cosine of the angle between normals of nearest samples, both ways averaged.",
        f"{_ONET}, section 4.1", _on_surface(normal_consistency),
    ),
    Metric(
        "f_score", "F@1%", "1", True, 0.0,
        "Harmonic mean of precision and recall: samples nearer than 1 % of the longest side to the other surface.",
        f"{_WHAT_3D}, section 5", _on_surface(f_score),
    ),
)  # fmt: skip
METRICS: Mapping[str, Metric] = {metric.name: metric for metric in _TABLE}
"""The columns of ``onet evaluate`` by name, in order. A new metric is one entry of the table above."""

IOU_PIX3D = Metric(
    "iou_pix3d", "IoU 32³", "1", True, 0.0,
    "Volumes of 128³ voxels, max-pooled to 32³, box-aligned, cut at one threshold for all, searched on the split.",
    "Sun et al., Pix3D, CVPR 2018, section 5", lambda _: math.nan,
)  # fmt: skip
"""The one column of Pix3D's protocol, measured by ``evaluation.pix3d_protocol`` and not from a :class:`Comparison`."""


def measure(comparison: Comparison) -> dict[str, float]:
    """Every metric's value for one shape; NaN = not measured."""
    return {name: metric.of(comparison) for name, metric in METRICS.items()}


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and its 95 % confidence interval over ``count`` independent groups; NaN = not available."""

    mean: float
    low: float
    high: float
    count: int


def mean_interval(
    values: Sequence[float], groups: Sequence[str] | None = None, *, seed: int = 0, resamples: int = RESAMPLES
) -> Interval:
    """Mean of ``values`` (N,) with a percentile bootstrap interval over ``groups`` (Efron & Tibshirani 1993, ch. 13).

    Whole groups are drawn, because pictures of the same shape are not independent. The mean is over values. The
    percentiles are expanded by the factor by which Student's t for n groups is wider than a normal (Hesterberg, "What
    Teachers Should Know about the Bootstrap", 2015, section 4.3). NaN as soon as one value is NaN; below
    ``MIN_GROUPS`` groups the interval is NaN.
    """
    data = np.asarray(values, np.float64)
    if not len(data) or np.isnan(data).any():
        found = 0 if not len(data) else len(data) if groups is None else len(set(groups))
        return Interval(math.nan, math.nan, math.nan, found)
    names = np.arange(len(data)) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    count = int(names.max()) + 1
    mean = float(data.mean())
    if count < MIN_GROUPS:
        return Interval(mean, math.nan, math.nan, count)
    sums, sizes = np.bincount(names, data, count), np.bincount(names, minlength=count)
    random = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, count, len(data)])))
    draws = random.multinomial(count, np.full(count, 1 / count), size=resamples)  # how often each group is drawn
    means = (draws @ sums) / (draws @ sizes)
    tail = expanded_tail(count)
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(mean, float(low), float(high), count)


def expanded_tail(count: int) -> float:
    """Share of resamples beyond each end of the interval over ``count`` groups; less than (1 − ``CONFIDENCE``) / 2."""
    from scipy import special

    quantile = special.stdtrit(count - 1, (1 + CONFIDENCE) / 2)  # Student's t
    return float(special.ndtr(-math.sqrt(count / (count - 1)) * quantile))


def mean_rows(rows: Sequence[Mapping[str, float]], groups: Sequence[str] | None = None) -> dict[str, Interval]:
    """Mean and interval of every column of :data:`METRICS` that ``rows`` have."""
    names = [name for name in METRICS if rows and all(name in row for row in rows)]
    return {name: mean_interval([row[name] for row in rows], groups) for name in names}
