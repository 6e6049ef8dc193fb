"""The pictures of a split that are used, and the split held in memory."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pix3d_onet.data.store.reader import Dataset
from pix3d_onet.errors import InputError
from pix3d_onet.learning.batches.batch import RawBatch
from pix3d_onet.learning.batches.drawing import BITS, Draw, wrapped_slices
from pix3d_onet.learning.pictures import network_pictures, relative_intrinsics
from pix3d_onet.types import Float32


@dataclass(frozen=True, slots=True)
class PictureFilter:
    """Which pictures of a split to use. ``need_pose``: only those with a camera.

    ``views``: ``all``; ``photos``: no rendered views; a number: that many rendered views per shape, the first ones;
    ``prefer-photos``: no rendered views if the split has a photo.
    """

    need_pose: bool = False
    views: str = "all"

    def keep(
        self, pose: Float32, intrinsics: Float32, rendered: NDArray[np.bool_], shapes: NDArray[np.int64]
    ) -> tuple[NDArray[np.bool_], int]:
        """(N,) bool, and the number of pictures left out only because they have no camera; ``shapes`` (N,): of each.

        InputError if no picture is left, or if no shape has that many rendered views.
        """
        keep = np.ones(len(rendered), dtype=np.bool_)
        if self.views == "photos" or (self.views == "prefer-photos" and not rendered.all()):
            keep = ~rendered
        elif self.views.isdecimal():
            ranks, wanted = _ranks(shapes[rendered]), int(self.views)
            most = int(ranks.max(initial=-1)) + 1
            if most < wanted:
                text = f"the data set has {most} rendered views per shape, fewer than `views={wanted}`."
                raise InputError(text, hint=f"Prepare it with `render_views={wanted}`.")
            keep[rendered] = ranks < wanted
        if not keep.any():
            raise InputError("the data set has no photos, only rendered views.", hint="Train with `views='all'`.")
        chosen = int(keep.sum())
        if self.need_pose:
            keep = keep & np.isfinite(pose).all(axis=(1, 2)) & np.isfinite(intrinsics).all(axis=(1, 2))
        if not keep.any():
            hint = "Train with `pose='none'` and `conditioning='global'`."
            raise InputError("no picture of this data set has a camera pose.", hint=hint)
        return keep, chosen - int(keep.sum())


def _ranks(groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """Position (N,) of each row among the rows of its group."""
    order = np.argsort(groups, kind="stable")
    places = np.empty_like(order)
    places[order] = np.arange(len(order))
    return places - np.searchsorted(groups[order], groups)


class Split(ABC):
    """The used pictures of one split, in memory or on disk.

    ``object_ids`` and ``shapes`` (N,): id and row of each picture's shape; ``rendered`` (N,): whether it is a view that
    was rendered, not a photo; ``points_count``: stored points per shape,
    ``usable`` of them (whole bytes) can be drawn, and ``near_usable`` of the points near the surface (0: they were not
    opened); ``dropped``: number of pictures left out because they have no camera; ``device``: where batches are made.
    """

    record_ids: tuple[str, ...]
    object_ids: tuple[str, ...]
    shapes: NDArray[np.int64]
    rendered: NDArray[np.bool_]
    points_count: int
    usable: int
    near_usable: int
    dropped: int
    device: torch.device

    def __len__(self) -> int:
        return len(self.record_ids)

    def objects(self) -> dict[str, str]:
        """Record id → object id."""
        return dict(zip(self.record_ids, self.object_ids, strict=True))

    def gather(self, draw: Draw, count: int, near: int = 0) -> RawBatch:
        """The batch of a draw as stored: per shape ``near`` points near the surface (whole bytes), then ``count``
        uniform points, rounded up to whole bytes."""
        shapes = self.shapes[draw.pictures]
        cells, labels = self.blocks(shapes, draw.starts, min(-(-count // BITS) * BITS, self.usable))
        if near and draw.near_starts is not None:
            first = self.blocks(shapes, draw.near_starts, near, near=True)
            cells, labels = (torch.cat(pair, dim=1) for pair in zip(first, (cells, labels), strict=True))
        images, pose, intrinsics = self.pictures(draw.pictures)
        return RawBatch(images, cells, labels, pose, intrinsics)

    @abstractmethod
    def blocks(
        self, shapes: NDArray[np.int64], starts: NDArray[np.int64], count: int, *, near: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Blocks of ``count`` consecutive points of shapes, with wrap-around: (n, count, 3) int16 bits of uint16 and
        packed labels (n, count/8) uint8. ``starts`` and ``count`` are whole bytes; ``near``: points near the surface.
        """

    @abstractmethod
    def pictures(self, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor, Tensor]:
        """Images (n, 3 or 4, H, W) uint8, poses (n, 4, 4) and intrinsics (n, 3, 3) of pictures, see ``Batch``."""

    @abstractmethod
    def shape_points(self, shape: int) -> tuple[Tensor, Tensor]:
        """All points (P, 3) int16 bits of uint16 and packed labels (P/8,) uint8 of a shape."""


class ResidentSplit(Split):
    """A split in the memory of ``device``; ``size``: side to which the pictures are resized.

    ``near``: with points near the surface; ``masks``: with the pictures' masks.
    """

    def __init__(
        self,
        dataset: Dataset,
        split: str,
        size: int,
        wanted: PictureFilter,
        device: torch.device | None = None,
        *,
        near: bool = False,
        masks: bool = False,
    ) -> None:
        arrays = dataset.arrays(split, near=near)
        self.device = device = device or torch.device("cpu")
        keep, self.dropped = wanted.keep(arrays.pose, arrays.intrinsics, arrays.rendered, arrays.shape_index)
        self.record_ids = tuple(name for name, kept in zip(arrays.record_ids, keep, strict=True) if kept)
        self.object_ids = tuple(arrays.object_ids[i] for i in arrays.shape_index[keep])
        self.points_count = arrays.points_q.shape[1]
        self.usable = self.points_count // BITS * BITS
        mask = arrays.mask[keep] if masks else None
        self.images = network_pictures(arrays.rgb[keep], mask, size).to(device)  # (N, 3 or 4, H, W) uint8
        self.cells = torch.from_numpy(arrays.points_q.view(np.int16)).to(device)  # (S, P, 3)
        self.labels = torch.from_numpy(arrays.occupancy).to(device)  # (S, P/8)
        self.near_usable = 0
        if arrays.near_points_q is not None and arrays.near_occupancy is not None:
            self.near_cells = torch.from_numpy(arrays.near_points_q.view(np.int16)).to(device)  # (S, M, 3)
            self.near_labels = torch.from_numpy(arrays.near_occupancy).to(device)  # (S, M/8)
            self.near_usable = self.near_cells.shape[1]
        self.pose = torch.from_numpy(arrays.pose[keep]).to(device)
        intrinsics = relative_intrinsics(arrays.intrinsics[keep], arrays.rgb.shape[2])
        self.intrinsics = torch.from_numpy(intrinsics).to(device)
        self.shapes = arrays.shape_index[keep]  # (N,) int64, on the host
        self.rendered = arrays.rendered[keep]

    def pictures(self, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor, Tensor]:
        """See :class:`Split`."""
        index = to_device(rows, self.device)
        return self.images[index], self.pose[index], self.intrinsics[index]

    def shape_points(self, shape: int) -> tuple[Tensor, Tensor]:
        """See :class:`Split`."""
        return self.cells[shape], self.labels[shape]

    def blocks(
        self, shapes: NDArray[np.int64], starts: NDArray[np.int64], count: int, *, near: bool = False
    ) -> tuple[Tensor, Tensor]:
        """See :class:`Split`."""
        stored, packed = (self.near_cells, self.near_labels) if near else (self.cells, self.labels)
        usable = self.near_usable if near else self.usable
        if self.device.type == "cpu":
            return _copied(stored, packed, shapes, starts, count, usable)
        rows, first = to_device(shapes, self.device), to_device(starts, self.device)
        index = (first[:, None] + torch.arange(count, device=self.device)) % usable
        return stored[rows[:, None], index], packed[rows[:, None], index[:, ::BITS] // BITS]


def _copied(
    stored: Tensor, packed: Tensor, shapes: NDArray[np.int64], starts: NDArray[np.int64], count: int, usable: int
) -> tuple[Tensor, Tensor]:
    """Copy blocks as one or two slices each: a hundred times faster than indexing points one by one."""
    cells = torch.empty((len(shapes), count, 3), dtype=torch.int16)
    labels = torch.empty((len(shapes), count // BITS), dtype=torch.uint8)
    for row, (shape, start) in enumerate(zip(shapes.tolist(), starts.tolist(), strict=True)):
        for target, source, length in wrapped_slices(start, count, usable):
            cells[row, target : target + length] = stored[shape, source : source + length]
            bit = slice(target // BITS, (target + length) // BITS)
            labels[row, bit] = packed[shape, source // BITS : (source + length) // BITS]
    return cells, labels


def to_device(values: NDArray[Any], device: torch.device) -> Tensor:
    """``values`` on ``device``, copied through pinned memory, so that the copy does not wait for queued GPU work."""
    tensor = torch.from_numpy(values)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)
