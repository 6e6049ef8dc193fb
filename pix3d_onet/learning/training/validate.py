"""IoU over the stored points of every picture. Counts are integers, so chunks and processes do not change them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from pix3d_onet.learning.batches.batch import Decoding
from pix3d_onet.learning.batches.split import Split
from pix3d_onet.learning.extraction.extract import logit
from pix3d_onet.learning.network.model import OccupancyNetwork
from pix3d_onet.learning.network.pixel_features import Code

THRESHOLDS = tuple(round(0.05 * k, 2) for k in range(1, 20))
"""Candidates for the threshold that is best on validation."""
ENCODE_BLOCK = 16
"""Pictures encoded together."""

Advance = Callable[[int, int], None]
"""Called with the number of pictures done and their total."""


def no_progress(done: int, total: int) -> None:
    """Default callback: does nothing."""


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """Counts of one split: N pictures, K thresholds.

    ``intersection`` and ``union`` (N, K) int64 points; ``loss`` (N,) float64 mean cross-entropy per point; ``points``:
    number of points per picture.
    """

    record_ids: tuple[str, ...]
    thresholds: tuple[float, ...]
    intersection: NDArray[np.int64]
    union: NDArray[np.int64]
    loss: NDArray[np.float64]
    points: int

    def constant(self, threshold: float) -> str:
        """The key of ``runs.record.CONSTANT`` that is true of the network; empty if none is."""
        column = self.thresholds.index(threshold)
        if (self.union[:, column] == self.points).all():
            return "inside"
        return "" if self.intersection[:, column].any() else "outside"

    def iou(self, threshold: float) -> NDArray[np.float64]:
        """(N,) IoU of every picture at a threshold that was evaluated; 1 where both sets are empty."""
        column = self.thresholds.index(threshold)
        union = self.union[:, column]
        return np.where(union == 0, 1.0, self.intersection[:, column] / np.maximum(union, 1))

    def mean_iou(self, threshold: float) -> float:
        """Mean IoU over pictures."""
        return float(self.iou(threshold).mean())

    def best_threshold(self) -> tuple[float, float]:
        """The threshold with the best mean IoU, the lowest one on ties, and that IoU."""
        means = [self.mean_iou(t) for t in self.thresholds]
        best = int(np.argmax(means))
        return self.thresholds[best], means[best]

    def by_record(self, threshold: float) -> dict[str, float]:
        """Record id → IoU."""
        return dict(zip(self.record_ids, self.iou(threshold).tolist(), strict=True))


def evaluate_split(
    model: OccupancyNetwork,
    split: Split,
    *,
    thresholds: tuple[float, ...],
    points: int = 0,
    rank: int = 0,
    world: int = 1,
    advance: Advance = no_progress,
) -> Scores:
    """Score every picture on the first ``points`` (0 = all) stored points of its shape, in float32 and eval mode.

    Process ``rank`` of ``world`` scores every ``world``-th picture; the others' counts are 0, so that the sum over
    processes is complete. ``advance`` is called after each picture. The model's mode is restored.
    """
    modes = [(module, module.training) for module in model.modules()]  # a frozen backbone stays in eval mode
    model.eval()
    device = next(model.parameters()).device
    decoding = Decoding(device)
    count = min(points or split.points_count, split.points_count)
    edges = torch.tensor([logit(t) for t in thresholds], dtype=torch.float32, device=device)
    inter = np.zeros((len(split), len(thresholds)), dtype=np.int64)
    union = np.zeros_like(inter)
    loss = np.zeros(len(split), dtype=np.float64)
    try:
        with torch.no_grad():
            mine = list(range(rank, len(split), world))
            for start in range(0, len(mine), ENCODE_BLOCK):
                rows = mine[start : start + ENCODE_BLOCK]
                code = _encode(model, split, rows)
                for index, row in enumerate(rows):
                    cells, labels = (t.to(device) for t in split.shape_points(int(split.shapes[row])))
                    occupied = decoding.labels(labels, split.points_count)[:count] > 0
                    logits = model.fold(code.picture(index))(decoding.points(cells[:count]))
                    inter[row], union[row] = (c.cpu().numpy() for c in count_overlap(logits, occupied, edges))
                    loss[row] = float(functional.binary_cross_entropy_with_logits(logits, occupied.float()))
                    advance(start + index + 1, len(mine))
    finally:
        for module, training in modes:
            module.training = training
    return Scores(split.record_ids, thresholds, inter, union, loss, count)


def _encode(model: OccupancyNetwork, split: Split, rows: list[int]) -> Code:
    device = next(model.parameters()).device
    images, pose, intrinsics = (t.to(device) for t in split.pictures(np.array(rows, dtype=np.int64)))
    return model.encode(images.float().div_(255), pose, intrinsics)


def count_overlap(logits: Tensor, occupied: Tensor, edges: Tensor) -> tuple[Tensor, Tensor]:
    """logits (T,), occupied (T,) bool, edges (K,) → |A ∩ B| and |A ∪ B| (K,) int64; NaN = outside.

    No value is copied to the host and no size depends on data, so a GPU is not waited for.
    """
    inside = logits > edges[:, None]  # (K, T)
    return (inside & occupied).sum(dim=1), (inside | occupied).sum(dim=1)
