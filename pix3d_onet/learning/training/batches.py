"""From the prepared data set to batches: what to draw is decided by (seed, step) alone.

Nothing here keeps state between steps: any step's batch can be made again, on any number of processes, which is
what makes resuming exact and lets a diverged run name the pictures of its last batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pix3d_onet import lattice, seeding
from pix3d_onet.config import PrepareConfig
from pix3d_onet.data.store.reader import Dataset, SplitArrays
from pix3d_onet.errors import InputError
from pix3d_onet.learning.pictures import focal_lengths, resize_images
from pix3d_onet.types import Float32

BITS = 8
"""Labels in a byte; blocks of points start at multiples of it."""


@dataclass(frozen=True, slots=True, eq=False)
class Draw:
    """What a step takes: ``pictures`` (B,) int64, and per picture the first point of its block, ``starts`` (B,)."""

    step: int
    pictures: NDArray[np.int64]
    starts: NDArray[np.int64]

    def part(self, rank: int, world: int) -> Draw:
        """The contiguous part of one process out of ``world``."""
        share = len(self.pictures) // world
        chosen = slice(rank * share, (rank + 1) * share)
        return Draw(self.step, self.pictures[chosen], self.starts[chosen])


class Plan:
    """Draws of every step: epochs of reshuffled pictures run on across batches; blocks start anywhere, on a byte.

    Points are i.i.d., so a block of consecutive ones is a sample; blocks wrap around the end, so that every point
    is equally likely.
    """

    def __init__(self, seed: int, pictures: int, points: int, batch: int) -> None:
        self.seed, self.pictures, self.batch = seed, pictures, batch
        self.bytes = points // BITS
        self._epochs: dict[int, NDArray[np.int64]] = {}

    def draw(self, step: int) -> Draw:
        """The draw of 1-based ``step``."""
        first = (step - 1) * self.batch
        positions = np.arange(first, first + self.batch)
        epochs = positions // self.pictures
        pictures = np.concatenate(
            [self._epoch(int(e))[positions[epochs == e] - e * self.pictures] for e in np.unique(epochs)]
        )
        rng = seeding.generator(self.seed, "points", str(step))
        return Draw(step, pictures, rng.integers(0, self.bytes, size=self.batch) * BITS)

    def _epoch(self, number: int) -> NDArray[np.int64]:
        if number not in self._epochs:
            if len(self._epochs) > 64:  # a small cache: a batch larger than the split spans several epochs
                self._epochs.clear()
            rng = seeding.generator(self.seed, "order", str(number))
            self._epochs[number] = rng.permutation(self.pictures).astype(np.int64)
        return self._epochs[number]


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """B pictures with T points each, on the training device.

    ``images`` (B, 3, H, W) float32 in [0, 1]; ``points`` (B, T, 3) float32, normalised frame; ``occupancy`` (B, T)
    float32 0 or 1; ``pose`` (B, 4, 4) float32 and ``focal`` (B,) float32 in image sides (NaN where unknown).
    """

    images: Tensor
    points: Tensor
    occupancy: Tensor
    pose: Tensor
    focal: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class RawBatch:
    """A batch as stored: ``images`` uint8, ``cells`` (B, T', 3) int16 bits of uint16, ``labels`` (B, T'/8) uint8."""

    images: Tensor
    cells: Tensor
    labels: Tensor
    pose: Tensor
    focal: Tensor

    def to(self, device: torch.device) -> RawBatch:
        """The same batch on ``device``; asynchronous from pinned memory."""
        fields = (self.images, self.cells, self.labels, self.pose, self.focal)
        return RawBatch(*(field.to(device, non_blocking=True) for field in fields))

    def pin(self) -> RawBatch:
        """The same batch in page-locked memory, from where the GPU fetches it on its own."""
        return RawBatch(*(f.pin_memory() for f in (self.images, self.cells, self.labels, self.pose, self.focal)))


class Decoding:
    """Stored integers and bits → floats, on a device, exactly as ``data.store.encoding`` does it (by a table)."""

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
        """Decode a raw batch with ``count`` points a shape."""
        images = raw.images.float().div_(255).contiguous(memory_format=torch.channels_last)
        points = self.points(raw.cells[:, :count])
        return Batch(images, points, self.labels(raw.labels, count), raw.pose, raw.focal)


class Split(Protocol):
    """The chosen pictures of one split, wherever they are kept.

    ``usable`` points of each shape can be drawn; ``shapes`` (N,) tells each picture's shape; ``device`` is where
    batches come from; ``dropped`` pictures fell out for want of a pose.
    """

    record_ids: tuple[str, ...]
    object_ids: tuple[str, ...]
    shapes: NDArray[np.int64]
    points_count: int
    usable: int
    dropped: int
    device: torch.device

    def __len__(self) -> int: ...

    def objects(self) -> dict[str, str]:
        """Record id → object id."""
        ...

    def gather(self, draw: Draw, count: int) -> RawBatch:
        """The stored form of a draw, with ``count`` points a shape rounded up to whole bytes."""
        ...

    def pictures(self, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor, Tensor]:
        """Images (n, 3, H, W) uint8, poses (n, 4, 4) and focal lengths (n,) of pictures."""
        ...

    def shape_points(self, shape: int) -> tuple[Tensor, Tensor]:
        """All points (P, 3) int16 bits and packed labels (P/8,) of a shape."""
        ...


class ResidentSplit:
    """The chosen pictures of a split in memory, on the CPU or the GPU; ``size`` is the side they are resized to."""

    def __init__(self, arrays: SplitArrays, size: int, device: torch.device, choice: Choice) -> None:
        keep, self.dropped = choice.of(arrays.pose, arrays.intrinsics, arrays.rendered)
        self.record_ids = tuple(name for name, kept in zip(arrays.record_ids, keep, strict=True) if kept)
        self.object_ids = tuple(arrays.object_ids[i] for i in arrays.shape_index[keep])
        self.points_count = arrays.points_q.shape[1]
        self.usable = self.points_count // BITS * BITS
        self.device = device
        self.images = resize_images(arrays.rgb[keep], size).to(device)  # (N, 3, H, W) uint8
        self.cells = torch.from_numpy(arrays.points_q.view(np.int16)).to(device)  # (S, P, 3)
        self.labels = torch.from_numpy(arrays.occupancy).to(device)  # (S, P/8)
        self.pose = torch.from_numpy(arrays.pose[keep]).to(device)
        self.focal = torch.from_numpy(focal_lengths(arrays.intrinsics[keep], arrays.rgb.shape[2])).to(device)
        self.shapes = arrays.shape_index[keep]  # (N,) int64, host
        self._shapes = torch.from_numpy(self.shapes).to(device)

    def __len__(self) -> int:
        return len(self.record_ids)

    def objects(self) -> dict[str, str]:
        """Record id → object id."""
        return dict(zip(self.record_ids, self.object_ids, strict=True))

    def pictures(self, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor, Tensor]:
        """See :class:`Split`."""
        index = torch.from_numpy(rows).to(self.device)
        return self.images[index], self.pose[index], self.focal[index]

    def shape_points(self, shape: int) -> tuple[Tensor, Tensor]:
        """See :class:`Split`."""
        return self.cells[shape], self.labels[shape]

    def gather(self, draw: Draw, count: int) -> RawBatch:
        """See :class:`Split`."""
        whole = min(-(-count // BITS) * BITS, self.usable)
        rows = sent(draw.pictures, self.device)
        if self.device.type == "cpu":
            cells, labels = self._blocks(self.shapes[draw.pictures], draw.starts, whole)
        else:
            shapes = self._shapes[rows]
            first = sent(draw.starts, self.device)
            index = (first[:, None] + torch.arange(whole, device=self.device)) % self.usable
            cells = self.cells[shapes[:, None], index]
            labels = self.labels[shapes[:, None], index[:, ::BITS] // BITS]
        return RawBatch(self.images[rows], cells, labels, self.pose[rows], self.focal[rows])

    def _blocks(self, shapes: NDArray[np.int64], starts: NDArray[np.int64], count: int) -> tuple[Tensor, Tensor]:
        """Contiguous copies, two where a block wraps: a hundred times faster than indexing rows."""
        cells = torch.empty((len(shapes), count, 3), dtype=torch.int16)
        labels = torch.empty((len(shapes), count // BITS), dtype=torch.uint8)
        for row, (shape, start) in enumerate(zip(shapes.tolist(), starts.tolist(), strict=True)):
            for target, source, length in pieces(start, count, self.usable):
                cells[row, target : target + length] = self.cells[shape, source : source + length]
                bit = slice(target // BITS, (target + length) // BITS)
                labels[row, bit] = self.labels[shape, source // BITS : (source + length) // BITS]
        return cells, labels


def sent(values: NDArray[Any], device: torch.device) -> Tensor:
    """``values`` on ``device``, copied through pinned memory, so that the copy does not wait for queued GPU work."""
    tensor = torch.from_numpy(values)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def pieces(start: int, count: int, total: int) -> list[tuple[int, int, int]]:
    """(target, source, length) of the one or two contiguous pieces of a block that wraps around ``total``."""
    head = min(count, total - start)
    return [(0, start, head)] + ([(head, 0, count - head)] if head < count else [])


@dataclass(frozen=True, slots=True)
class Choice:
    """Which pictures are used. ``need_pose``: only those with a camera.

    ``views``: ``all``; ``photos`` = no rendered ones; ``prefer-photos`` = no rendered ones where there is a photo.
    """

    need_pose: bool = False
    views: str = "all"

    def of(self, pose: Float32, intrinsics: Float32, rendered: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], int]:
        """(N,) bool, and how many fell out for want of a pose. InputError when none is left."""
        keep = np.ones(len(rendered), dtype=np.bool_)
        if self.views == "photos" or (self.views == "prefer-photos" and not rendered.all()):
            keep = ~rendered
        if not keep.any():
            raise InputError("the data set has no photos, only rendered views.", hint="Train with `views='all'`.")
        chosen = int(keep.sum())
        if self.need_pose:
            known = np.isfinite(pose).all(axis=(1, 2)) & np.isfinite(intrinsics).all(axis=(1, 2))
            keep = keep & known
        if not keep.any():
            raise InputError("no picture of this data set has a camera pose.", hint="Train with `pose='none'`.")
        return keep, chosen - int(keep.sum())


def load_split(dataset: Dataset, split: str, size: int, device: torch.device, choice: Choice) -> ResidentSplit:
    """The chosen pictures of a split in the memory of ``device``. InputError when there are none."""
    return ResidentSplit(dataset.arrays(split), size, device, choice)


def has_split(dataset: Dataset, split: str, *, need_pose: bool = False) -> bool:
    """Whether the split has a picture (``need_pose``: one with a camera)."""
    entries = (entry for entry in dataset.entries(split) if split in entry.image_splits)
    return any(not need_pose or dataset.cameras_known(entry, split).any() for entry in entries)


def describe_data(dataset: Dataset) -> dict[str, Any]:
    """What a run's record and its checkpoints say of the data set.

    ``name`` (of its folder), ``data_hash``, and ``crop_margin``: new photos are cropped as these were.
    """
    manifest = dataset.manifest
    margin = float(manifest.config.get("crop_margin", PrepareConfig().crop_margin))
    return {"name": dataset.root.resolve().name, "data_hash": manifest.data_hash, "crop_margin": margin}
