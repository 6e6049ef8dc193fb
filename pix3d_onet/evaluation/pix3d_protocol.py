"""Pix3D's official evaluation (Sun et al., CVPR 2018, section 5; ``eval/eval.py`` of its release).

Both shapes become volumes. A volume is max-pooled four to one, cropped to the bounding box of its voxels of at least
0.1, and resampled (trilinear, longest side of the box = 32 samples, centred); then both are cut at a threshold and
their IoU is computed. The one threshold for all pictures is searched from 0.01 to 0.50 *on the scored pictures*. So the
result is optimistic and ignores position and size. Never put it in one column with continuous IoU.

Differences from the release's script: the true volume comes from the stored watertight mesh, not from ``voxel.mat``;
the predicted one is the field sampled on the same lattice (with two different lattices, even the truth itself would
score only 0.6); the script's search stops at 0.49.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import map_coordinates

from pix3d_onet.config import POINTS_HALF_SIDE, EvaluationConfig
from pix3d_onet.data.store.reader import Dataset
from pix3d_onet.errors import SettingError
from pix3d_onet.evaluation.evaluate import Evaluation, PredictionPass, ShapeRow
from pix3d_onet.evaluation.voxels import Contains, voxel_centres, voxelised
from pix3d_onet.events import Emit, ignore
from pix3d_onet.learning.extraction.predictor import Prediction, Predictor
from pix3d_onet.metrics import IOU_PIX3D, mean_interval
from pix3d_onet.types import Float32, Mesh

SIDE = 32
"""Voxels per axis of the compared volumes."""
BOX_THRESHOLD = 0.1
"""Voxels of at least this value define the bounding box."""
THRESHOLDS = tuple(round(0.01 * k, 2) for k in range(1, 51))
"""Candidate thresholds."""
VOXELS = EvaluationConfig.voxels
"""Voxels per axis of the unit cube before pooling (the release's value)."""
POOL = 4
"""Voxels per axis that are pooled into one."""
RIM = 1 / 16
"""Margin of the volumes around the unit cube, for predictions larger than the truth."""
COLUMN = IOU_PIX3D.name
"""Name of the metric's column."""


def pooled(volume: Float32, block: int = POOL) -> Float32:
    """(N, N, N) → (N/block, N/block, N/block): the maximum of each block; ValueError unless N is a multiple."""
    n = volume.shape[0]
    if n % block:
        raise ValueError(f"{n} voxels are not a multiple of {block}")
    k = n // block
    blocks: Float32 = volume.reshape(k, block, k, block, k, block).max(axis=(1, 3, 5))
    return blocks


def box_aligned(volume: Float32, side: int = SIDE, threshold: float = BOX_THRESHOLD) -> Float32:
    """Resample the box of the voxels ≥ ``threshold`` to (side, side, side): longest side fills it, centred, 0 outside.

    All zeros if no voxel reaches the threshold.
    """
    found = np.argwhere(volume >= threshold)
    if not len(found):
        return np.zeros((side, side, side), np.float32)
    low, high = found.min(axis=0), found.max(axis=0)
    crop = volume[tuple(slice(a, b + 1) for a, b in zip(low, high, strict=True))].astype(np.float64)
    reach = float((high - low).max())
    axes = [np.linspace(h / 2 - reach / 2, h / 2 + reach / 2, side) for h in (high - low)]
    at = np.stack(np.meshgrid(*axes, indexing="ij"))
    value = map_coordinates(crop, at, order=1, mode="nearest")
    limits = (high - low).reshape(3, 1, 1, 1)
    outside = ((at < 0) | (at > limits)).any(axis=0)
    return np.where(outside, 0, value).astype(np.float32)


def ious(
    predicted: Float32, true: Float32, thresholds: tuple[float, ...] = THRESHOLDS
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """IoU at each threshold, (K,) float64; 0 if both are empty (the official rule)."""
    result = np.zeros(len(thresholds))
    for k, t in enumerate(thresholds):
        a, b = predicted > t, true > t
        union = np.count_nonzero(a | b)
        result[k] = np.count_nonzero(a & b) / union if union else 0.0
    return result


@dataclass(frozen=True, slots=True)
class Lattice:
    """Where both volumes are sampled. ``voxels``: per axis of the unit cube, a multiple of 32 (officially 128)."""

    voxels: int = VOXELS

    def __post_init__(self) -> None:
        if self.voxels < SIDE or self.voxels % SIDE:
            raise SettingError("voxels", f"a multiple of {SIDE}", self.voxels)

    @property
    def side(self) -> int:
        """Voxels per axis, margin included."""
        return round(self.voxels * (1 + 2 * RIM))

    @property
    def half_side(self) -> float:
        """Half the side of the sampled cube."""
        return 0.5 + RIM

    def compared(self, volume: Float32) -> Float32:
        """(side, side, side) → the box-aligned (32, 32, 32) volume that is compared."""
        return box_aligned(pooled(volume, self.voxels // SIDE))


def true_volume(mesh: Mesh, contains: Contains, lattice: Lattice) -> Float32:
    """The true shape as a box-aligned (32, 32, 32) volume."""
    return lattice.compared(voxelised(mesh, contains, lattice.side, lattice.half_side).astype(np.float32))


def predicted_volume(prediction: Prediction, lattice: Lattice) -> Float32:
    """The predicted probabilities as a box-aligned (32, 32, 32) volume; 0 where undefined or beyond the stored box."""
    centres = voxel_centres(lattice.side, lattice.half_side)
    known = np.flatnonzero(np.abs(centres).max(axis=1) <= POINTS_HALF_SIDE)
    logits = prediction.logits(centres[known]).astype(np.float64)
    volume = np.zeros(len(centres), np.float32)
    volume[known] = np.nan_to_num(1 / (1 + np.exp(-np.clip(logits, -500, 500))))
    return lattice.compared(volume.reshape((lattice.side,) * 3))


def evaluate_pix3d(
    predictor: Predictor,
    dataset: Dataset,
    split: str,
    contains: Contains,
    *,
    lattice: Lattice = Lattice(),
    limit: int = 0,
    emit: Emit = ignore,
) -> Evaluation:
    """Score ``predictor`` by the official protocol: the one column ``iou_pix3d`` at the best common threshold."""
    predictions = PredictionPass(predictor, dataset, split, limit, emit)
    found, table = [], []
    truth: tuple[str, Float32] | None = None  # pictures of a shape follow each other
    for sample, view, prediction in predictions:
        if truth is None or truth[0] != sample.object_id:
            truth = sample.object_id, true_volume(sample.mesh, contains, lattice)
        volume = predicted_volume(prediction, lattice)
        table.append(ious(volume, truth[1]))
        found.append((view.record_id, sample.object_id, sample.category, float(volume.max())))
    scores = np.stack(table)
    best = int(np.argmax(scores.mean(axis=0)))
    threshold = THRESHOLDS[best]
    rows = [
        ShapeRow(record, shape, category, {COLUMN: float(value)}, empty=most <= threshold)
        for (record, shape, category, most), value in zip(found, scores[:, best], strict=True)
    ]
    means = {COLUMN: mean_interval([r.values[COLUMN] for r in rows], [r.object_id for r in rows])}
    settings = {"protocol": "pix3d", "threshold": threshold, "voxels": lattice.voxels, "limit": limit}
    return predictions.result(rows, means, settings)
