"""Pix3D's official evaluation (Sun et al., CVPR 2018, section 5; ``eval/eval.py`` of its release).

Both shapes become volumes; a volume is max-pooled to 32³, cropped to the box of its voxels of at least 0.1,
and resampled (trilinear, longest side of the box = 32 samples, centred); then both are cut at a threshold and their IoU
taken. One threshold for all pictures is searched from 0.01 to 0.50 *on the pictures that are scored*: an optimistic
number, and blind to position and size. It stands in a column of its own, never beside continuous IoU.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import map_coordinates

from pix3d_onet.config import POINTS_HALF_SIDE
from pix3d_onet.data.shards import Dataset
from pix3d_onet.errors import ConfigError, InputError
from pix3d_onet.events import Emit, Note, Progress, ignore
from pix3d_onet.learning.evaluate import Evaluation, Prediction, Predictor, ShapeRow, pictures, split_entries
from pix3d_onet.learning.voxels import Contains, voxel_centres, voxelised
from pix3d_onet.metrics import mean_interval
from pix3d_onet.types import Float32, Mesh

SIDE = 32
"""Voxels an axis that are compared."""
BOX_THRESHOLD = 0.1
"""Voxels from this value on count for the box."""
THRESHOLDS = tuple(round(0.01 * k, 2) for k in range(1, 51))
"""Thresholds searched."""
TRUTH_VOXELS = 128
"""Voxels an axis of the true volume before pooling (the release's own)."""
PREDICTED_VOXELS = 64
"""The same of the predicted volume: 2³ samples of the field in each of the 32³ voxels."""
COLUMN = "iou_pix3d"
"""Name of the column."""


def pooled(volume: Float32, side: int = SIDE) -> Float32:
    """(N, N, N) → (side, side, side): the maximum of each block; ValueError unless N is a multiple of ``side``."""
    n = volume.shape[0]
    if n % side:
        raise ValueError(f"{n} voxels are not a multiple of {side}")
    k = n // side
    blocks: Float32 = volume.reshape(side, k, side, k, side, k).max(axis=(1, 3, 5))
    return blocks


def box_aligned(volume: Float32, side: int = SIDE, threshold: float = BOX_THRESHOLD) -> Float32:
    """Resample the box of the voxels ≥ ``threshold`` to (side, side, side): longest side fills it, centred, 0 outside.

    All zeros where no voxel reaches the threshold.
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
    """IoU at each threshold, (K,) float64; 0 where both are empty (the official rule)."""
    result = np.zeros(len(thresholds))
    for k, t in enumerate(thresholds):
        a, b = predicted > t, true > t
        union = np.count_nonzero(a | b)
        result[k] = np.count_nonzero(a & b) / union if union else 0.0
    return result


@dataclass(frozen=True, slots=True)
class ProtocolSettings:
    """How the volumes are sampled: multiples of 32 voxels an axis."""

    predicted_voxels: int = PREDICTED_VOXELS
    truth_voxels: int = TRUTH_VOXELS

    def __post_init__(self) -> None:
        for name, n in (("voxels", self.predicted_voxels), ("truth-voxels", self.truth_voxels)):
            if n < SIDE or n % SIDE:
                raise ConfigError(f"--{name} must be a multiple of {SIDE}, not {n}.")


def true_volume(mesh: Mesh, contains: Contains, voxels: int = TRUTH_VOXELS) -> Float32:
    """The true shape as a box-aligned (32, 32, 32) volume."""
    return box_aligned(pooled(voxelised(mesh, contains, voxels, 0.5).astype(np.float32)))


def predicted_volume(prediction: Prediction, voxels: int = PREDICTED_VOXELS) -> Float32:
    """The predicted probabilities as a box-aligned (32, 32, 32) volume; undefined ones are 0."""
    logits = prediction.logits(voxel_centres(voxels, POINTS_HALF_SIDE)).astype(np.float64)
    probability = np.nan_to_num(1 / (1 + np.exp(-np.clip(logits, -500, 500))))
    return box_aligned(pooled(probability.astype(np.float32).reshape(voxels, voxels, voxels)))


def evaluate_pix3d(
    predictor: Predictor,
    dataset: Dataset,
    split: str,
    contains: Contains,
    *,
    settings: ProtocolSettings = ProtocolSettings(),
    limit: int = 0,
    emit: Emit = ignore,
) -> Evaluation:
    """Score ``predictor`` by the official protocol: the one column ``iou_pix3d`` at the best common threshold."""
    entries = split_entries(dataset, split, limit)
    photos = dataset.has_photos(split)
    found, table, skipped = [], [], 0
    for done, entry in enumerate(entries):
        sample = dataset.sample(entry, split)
        truth = true_volume(sample.mesh, contains, settings.truth_voxels)
        for view in pictures(sample, photos):
            if not predictor.usable(view):
                skipped += 1
                continue
            prediction = predictor.predict(sample, view)
            table.append(ious(predicted_volume(prediction, settings.predicted_voxels), truth))
            found.append((view.record_id, sample, len(prediction.mesh.faces)))
        emit(Progress(f"pix3d protocol {predictor.name}", done + 1, len(entries)))
    if not found:
        raise InputError(f"no picture of the {split} split can be used by {predictor.name}: it needs camera poses.")
    if skipped:
        emit(Note(f"{predictor.name}: {skipped} pictures without a camera pose were left out.", "warning"))
    scores = np.stack(table)
    best = int(np.argmax(scores.mean(axis=0)))
    rows = tuple(
        ShapeRow(record, sample.object_id, sample.category, {COLUMN: float(value)}, faces)
        for (record, sample, faces), value in zip(found, scores[:, best], strict=True)
    )
    interval = mean_interval([r.values[COLUMN] for r in rows], [r.object_id for r in rows])
    return Evaluation(
        predictor.name,
        split,
        dataset.root.resolve().name,
        dataset.manifest.data_hash,
        rows,
        {COLUMN: interval},
        skipped=skipped,
        settings={
            "protocol": "pix3d",
            "threshold": THRESHOLDS[best],
            "predicted_voxels": settings.predicted_voxels,
            "truth_voxels": settings.truth_voxels,
            "limit": limit,
        },
    )
