"""A batch as stored (integers and bits) and as the network takes it (floats), and the conversion on the device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from pix3d_onet import lattice
from pix3d_onet.learning.batches.drawing import BITS


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """B pictures with T points each, on the training device.

    ``images`` (B, 3, H, W) float32 in [0, 1], or (B, 4, H, W) with the object's mask; ``points`` (B, T, 3) float32,
    normalised frame; ``occupancy`` (B, T) float32 0 or 1; ``pose`` (B, 4, 4) float32, normalised → camera frame;
    ``intrinsics`` (B, 3, 3) float32, in units of the picture's side. Pose and intrinsics are NaN where unknown.
    ``further``: pictures that train only a predicted camera, T = 0.
    """

    images: Tensor
    points: Tensor
    occupancy: Tensor
    pose: Tensor
    intrinsics: Tensor
    further: Batch | None = None


def without_mask(batch: Batch) -> Batch:
    """The same batch with RGB pictures (B, 3, H, W)."""
    if batch.images.shape[1] == 3:
        return batch
    return replace(batch, images=batch.images[:, :3].contiguous(memory_format=torch.channels_last))


@dataclass(frozen=True, slots=True, eq=False)
class RawBatch:
    """A batch as stored: ``images`` uint8, ``cells`` (B, T', 3) int16 bits of uint16, ``labels`` (B, T'/8) uint8."""

    images: Tensor
    cells: Tensor
    labels: Tensor
    pose: Tensor
    intrinsics: Tensor
    further: RawBatch | None = None

    def to(self, device: torch.device) -> RawBatch:
        """The same batch on ``device``; the copy is asynchronous from pinned memory."""
        return self._each(lambda field: field.to(device, non_blocking=True))

    def pin(self) -> RawBatch:
        """The same batch in pinned memory, from which a GPU can copy asynchronously."""
        return self._each(Tensor.pin_memory)

    def _each(self, change: Callable[[Tensor], Tensor]) -> RawBatch:
        names = ("images", "cells", "labels", "pose", "intrinsics")
        further = None if self.further is None else self.further._each(change)
        return RawBatch(**{name: change(getattr(self, name)) for name in names}, further=further)


class Decoding:
    """Stored integers and bits → floats, on a device, with the same results as ``data.store.encoding``."""

    def __init__(self, device: torch.device) -> None:
        cells = np.arange(lattice.LATTICE, dtype=np.uint32).astype(np.uint16)
        self.table = torch.from_numpy(lattice.decode_points(cells)).to(device)  # (65536,) float32
        self.shifts = torch.arange(BITS - 1, -1, -1, dtype=torch.uint8, device=device)

    def points(self, cells: Tensor) -> Tensor:
        """(…, 3) int16 bits of uint16 cells → (…, 3) float32 in the normalised frame."""
        return self.table[cells.to(torch.int32) & 0xFFFF]

    def labels(self, packed: Tensor, count: int) -> Tensor:
        """(…, ≥ count/8) uint8 → (…, count) float32, 0 or 1."""
        bits = (packed[..., None] >> self.shifts) & 1
        return bits.flatten(-2)[..., :count].float()

    def batch(self, raw: RawBatch, count: int) -> Batch:
        """Decode a raw batch, with the first ``count`` points of each block."""
        images = raw.images.float().div_(255).contiguous(memory_format=torch.channels_last)
        points = self.points(raw.cells[:, :count])
        further = None if raw.further is None else self.batch(raw.further, 0)
        return Batch(images, points, self.labels(raw.labels, count), raw.pose, raw.intrinsics, further)
