"""A split larger than memory: pictures and blocks of points are read from the shards while the network trains."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pix3d_onet.data.store.reader import Dataset
from pix3d_onet.data.store.shard_file import mapped, open_checked, read_picture
from pix3d_onet.errors import InputError
from pix3d_onet.learning.batches.drawing import BITS, wrapped_slices
from pix3d_onet.learning.batches.split import PictureFilter, Split
from pix3d_onet.learning.pictures import network_pictures, relative_intrinsics
from pix3d_onet.types import UInt8

OPEN_SHARDS = 128
"""Shards kept open at the same time; systems allow about a thousand open files per process."""


@dataclass(frozen=True, slots=True, eq=False)
class _Shard:
    file: h5py.File
    uniform: tuple[Any, Any]
    """Points (S, P, 3) uint16 and labels (S, P/8) uint8: memory maps, or the HDF5 data sets if they are not
    contiguous."""
    near: tuple[Any, Any] | None
    """The same near the surface; None if they are not wanted."""


class StreamedSplit(Split):
    """A split on disk; pictures and points are read when they are drawn; ``near``: also points near the surface.

    Opening reads only the cameras. ``masks``: give them. InputError for damaged shards, or if no picture is left.
    """

    def __init__(
        self,
        dataset: Dataset,
        split: str,
        size: int,
        wanted: PictureFilter,
        *,
        near: bool = False,
        masks: bool = False,
    ) -> None:
        self.root, self.size, self.masks = dataset.root, size, masks
        self.near_usable = dataset.near_points if near else 0
        self._manifest = dataset.manifest
        self.device = torch.device("cpu")
        self._open: OrderedDict[str, _Shard] = OrderedDict()
        self._lock = threading.RLock()
        rows: list[tuple[str, int]] = []
        shapes: list[int] = []
        ids: list[str] = []
        cameras: list[tuple[Any, Any, bool]] = []
        self.places: list[tuple[str, int]] = []  # (shard, row) of every shape
        entries = dataset.entries(split)
        for entry in entries:
            file = self._shard(entry.shard).file
            try:
                pictures = np.flatnonzero(file["images/shape"][:] == entry.row)
                for row, name, own in zip(pictures.tolist(), entry.record_ids, entry.image_splits, strict=True):
                    if own == split:
                        rows.append((entry.shard, row))
                        shapes.append(len(self.places))
                        ids.append(name)
                        camera = (file["images/pose"][row], file["images/intrinsics"][row])
                        cameras.append((*camera, bool(file["images/rendered"][row])))
                        side, points = file["images/rgb"].shape[2], int(file.attrs["points_count"])
            except (KeyError, OSError, ValueError) as error:
                raise InputError(f"shard {entry.shard} is damaged ({error}).", hint="Run `onet verify`.") from None
            self.places.append((entry.shard, entry.row))
        if not rows:
            raise InputError(
                f"the {split} split of {self.root} has no pictures.", hint="Prepare with `render_views=N`."
            )
        pose, intrinsics = np.stack([c[0] for c in cameras]), np.stack([c[1] for c in cameras])
        rendered = np.array([c[2] for c in cameras])
        keep, self.dropped = wanted.keep(pose, intrinsics, rendered, np.array(shapes))
        chosen = np.flatnonzero(keep).tolist()
        self.rows = [rows[i] for i in chosen]
        self.shapes: NDArray[np.int64] = np.array([shapes[i] for i in chosen], dtype=np.int64)
        self.rendered: NDArray[np.bool_] = rendered[keep]
        self.record_ids = tuple(ids[i] for i in chosen)
        self.object_ids = tuple(entries[shapes[i]].object_id for i in chosen)
        self.pose = torch.from_numpy(pose[keep])
        self.intrinsics = torch.from_numpy(relative_intrinsics(intrinsics[keep], side))
        self.points_count = points
        self.usable = points // BITS * BITS

    def pictures(self, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor, Tensor]:
        """See :class:`Split`."""
        with self._lock:
            rgb = self._stored("images/rgb", rows)
            mask = self._stored("images/mask", rows) > 0 if self.masks else None
        index = torch.from_numpy(rows)
        return network_pictures(rgb, mask, self.size), self.pose[index], self.intrinsics[index]

    def _stored(self, array: str, rows: NDArray[np.int64]) -> UInt8:
        """Pictures or masks as stored."""
        places = [self.rows[i] for i in rows.tolist()]
        return np.stack([read_picture(self._shard(name).file[array], row) for name, row in places])

    def shape_points(self, shape: int) -> tuple[Tensor, Tensor]:
        """See :class:`Split`."""
        name, row = self.places[shape]
        with self._lock:
            points, occupancy = self._shard(name).uniform
            cells, labels = np.array(points[row]), np.array(occupancy[row])
        return torch.from_numpy(cells.view(np.int16)), torch.from_numpy(labels)

    def blocks(
        self, shapes: NDArray[np.int64], starts: NDArray[np.int64], count: int, *, near: bool = False
    ) -> tuple[Tensor, Tensor]:
        """See :class:`Split`."""
        cells = np.empty((len(shapes), count, 3), dtype=np.uint16)
        labels = np.empty((len(shapes), count // BITS), dtype=np.uint8)
        with self._lock:
            for i, (shape, start) in enumerate(zip(shapes.tolist(), starts.tolist(), strict=True)):
                name, row = self.places[shape]
                shard = self._shard(name)
                points, occupancy = shard.near if near and shard.near is not None else shard.uniform
                for target, source, length in wrapped_slices(start, count, self.near_usable if near else self.usable):
                    cells[i, target : target + length] = points[row, source : source + length]
                    bits = slice(target // BITS, (target + length) // BITS)
                    labels[i, bits] = occupancy[row, source // BITS : (source + length) // BITS]
        return torch.from_numpy(cells.view(np.int16)), torch.from_numpy(labels)

    def _shard(self, name: str) -> _Shard:
        if name in self._open:
            self._open.move_to_end(name)
            return self._open[name]
        path = self.root / name
        file = open_checked(self.root, name, self._manifest)
        try:
            uniform = mapped(file["points"], path), mapped(file["occupancy"], path)
            names = ("near/points", "near/occupancy") if self.near_usable else ()
            near = [mapped(file[key], path) for key in names]
            shard = _Shard(file, uniform, (near[0], near[1]) if near else None)
        except (OSError, KeyError, ValueError) as error:
            raise InputError(f"shard {path} cannot be read ({error}).", hint="Run `onet verify`.") from None
        self._open[name] = shard
        while len(self._open) > OPEN_SHARDS:
            self._open.popitem(last=False)[1].file.close()
        return shard
