"""Read a prepared data set: shapes, splits and pictures. For the schema see ``data.store.layout``."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from pix3d_onet import lattice
from pix3d_onet.config import SPLITS
from pix3d_onet.data.store import encoding
from pix3d_onet.data.store.manifest import ShapeEntry, read_manifest
from pix3d_onet.data.store.shard_file import open_checked, read_picture
from pix3d_onet.errors import InputError
from pix3d_onet.setting_types import check_choice
from pix3d_onet.types import Float32, Mesh, Sample, UInt8, UInt16, View

DAMAGE = (KeyError, OSError, ValueError, IndexError, zlib.error)
"""Errors that reading a damaged shard may raise."""


@dataclass(frozen=True, slots=True, eq=False)
class SplitArrays:
    """A split in memory, in stored form, for training.

    S shapes, N pictures: ``points_q`` (S, P, 3) uint16, ``occupancy`` (S, P/8) uint8, ``rgb`` (N, H, W, 3) uint8,
    ``mask`` (N, H, W) bool, ``pose`` (N, 4, 4) float32, ``intrinsics`` (N, 3, 3) float32, ``shape_index`` (N,) int64
    into the S shapes, ``rendered`` (N,) bool. ``near_points_q`` (S, M, 3) and ``near_occupancy`` (S, M/8) only if they
    were asked for.
    """

    object_ids: tuple[str, ...]
    categories: tuple[str, ...]
    points_q: UInt16
    occupancy: UInt8
    rgb: UInt8
    mask: np.ndarray[Any, np.dtype[np.bool_]]
    pose: Float32
    intrinsics: Float32
    shape_index: np.ndarray[Any, np.dtype[np.int64]]
    record_ids: tuple[str, ...]
    rendered: np.ndarray[Any, np.dtype[np.bool_]]
    near_points_q: UInt16 | None = None
    near_occupancy: UInt8 | None = None


class Dataset:
    """A prepared data set, opened for reading; shards are opened on demand and stay open.

    ``Dataset(root)`` reads only the manifest. Use it as a context manager, or call ``close``. Raises InputError if
    something is missing or damaged. It can be sent to worker processes; each opens the shards again.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        self.manifest = read_manifest(self.root)
        self._files: dict[str, h5py.File] = {}
        self._process = os.getpid()

    def __getstate__(self) -> dict[str, Any]:
        """The state without open files, which other processes cannot use."""
        return {**self.__dict__, "_files": {}}

    def __enter__(self) -> Dataset:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all shards."""
        for file in self._files.values():
            file.close()
        self._files.clear()

    def shard(self, name: str) -> h5py.File:
        """The open HDF5 file of a shard; its structure has been checked."""
        if self._process != os.getpid():  # after a fork; HDF5 files can be used only in the process that opened them
            self._files, self._process = {}, os.getpid()
        if name not in self._files:
            self._files[name] = open_checked(self.root, name, self.manifest)
        return self._files[name]

    def entries(self, split: str | None = None) -> tuple[ShapeEntry, ...]:
        """Manifest entries with at least one picture in ``split``, or, without pictures, in ``split`` themselves.

        ConfigError for a split of another name, as in all methods.
        """
        _check_split(split)
        return self.manifest.in_split(split)

    def sample(self, entry: ShapeEntry, split: str | None = None) -> Sample:
        """Read one shape, with its pictures in ``split`` (None = all)."""
        file = self.shard(entry.shard)
        row = entry.row
        try:
            count = int(file.attrs["points_count"])
            vo, fo = file["mesh/vertex_offset"], file["mesh/face_offset"]
            mesh = Mesh(file["mesh/vertices"][vo[row] : vo[row + 1]], file["mesh/faces"][fo[row] : fo[row + 1]])
            return Sample(
                object_id=entry.object_id,
                category=entry.category,
                points=lattice.decode_points(file["points"][row]),
                occupancy=encoding.unpack_bits(file["occupancy"][row], count),
                surface_points=lattice.decode_points(file["surface/points"][row]),
                surface_normals=encoding.decode_normals(file["surface/normals"][row]),
                mesh=mesh,
                images=tuple(self._views(file, entry, split)),
                loc=file["loc"][row],
                scale=float(file["scale"][row]),
                **_near(file, row),
            )
        except DAMAGE as error:
            raise self._damaged(entry, str(error)) from None

    def _damaged(self, entry: ShapeEntry, how: str) -> InputError:
        return InputError(f"shard {self.root / entry.shard} is damaged ({how}).", hint="Run `onet verify`.")

    def picture_rows(self, entry: ShapeEntry, split: str | None) -> list[tuple[int, str, str]]:
        """Row, record id and digest of the shape's pictures, from the manifest, since HDF5 strings are not trusted."""
        _check_split(split)
        if not entry.images:
            return []
        file = self.shard(entry.shard)
        rows = np.flatnonzero(file["images/shape"][:] == entry.row)
        if len(rows) != entry.images:
            raise self._damaged(entry, "it does not match the manifest")
        found = zip(rows, entry.record_ids, entry.image_sha256, entry.image_splits, strict=True)
        return [(int(row), record_id, sha256) for row, record_id, sha256, home in found if split in (None, home)]

    def cameras_known(self, entry: ShapeEntry, split: str | None = None) -> NDArray[np.bool_]:
        """(n,) bool: which of the shape's pictures in ``split`` have pose and intrinsics. Reads no pixels."""
        file = self.shard(entry.shard)
        rows = [row for row, *_ in self.picture_rows(entry, split)]
        finite = [
            bool(np.isfinite(file["images/pose"][row]).all() and np.isfinite(file["images/intrinsics"][row]).all())
            for row in rows
        ]
        return np.array(finite, dtype=np.bool_)

    def has_photos(self, split: str) -> bool:
        """Whether any picture of ``split`` is a photo, not a rendered view. Reads no pixels."""
        for entry in self.entries(split):
            file = self.shard(entry.shard)
            if any(not file["images/rendered"][row] for row, *_ in self.picture_rows(entry, split)):
                return True
        return False

    def _views(self, file: h5py.File, entry: ShapeEntry, split: str | None) -> Iterator[View]:
        for row, record_id, sha256 in self.picture_rows(entry, split):
            yield View(
                rgb=read_picture(file["images/rgb"], row),
                mask=read_picture(file["images/mask"], row).astype(np.bool_),
                pose=file["images/pose"][row],
                intrinsics=file["images/intrinsics"][row],
                record_id=record_id,
                rendered=bool(file["images/rendered"][row]),
                sha256=sha256,
            )

    @property
    def near_points(self) -> int:
        """Points near the surface per shape; 0 if the data set was prepared without them."""
        return int(self.manifest.config.get("near_points", 0))

    def arrays(self, split: str, *, near: bool = False) -> SplitArrays:
        """Read a split into memory in stored form; ``near``: also points near the surface.

        InputError if it has no shapes, no pictures, or no such points.
        """
        if near and not self.near_points:
            raise InputError(f"{self.root} has no points near the surface.", hint="Prepare it with `near_points=N`.")
        entries = self.entries(split)
        if not entries:
            raise InputError(f"the {split} split of {self.root} is empty.", hint="Prepare more shapes.")
        count, side = sum(e.image_splits.count(split) for e in entries), int(self.manifest.config["image_size"])
        if not count:
            raise InputError(
                f"the {split} split of {self.root} has no pictures.", hint="Prepare with `render_views=N`."
            )
        points, occupancy, pose, intrinsics, index, rendered, near_points, near_occupancy = ([] for _ in range(8))
        ids: list[str] = []
        rgb = np.empty((count, side, side, 3), dtype=np.uint8)  # not a list, which would need the memory twice
        mask = np.empty((count, side, side), dtype=np.bool_)
        for position, entry in enumerate(entries):
            file = self.shard(entry.shard)
            try:
                points.append(file["points"][entry.row])
                occupancy.append(file["occupancy"][entry.row])
                if near:
                    near_points.append(file["near/points"][entry.row])
                    near_occupancy.append(file["near/occupancy"][entry.row])
                for view in self._views(file, entry, split):
                    rgb[len(ids)], mask[len(ids)] = view.rgb, view.mask
                    pose.append(view.pose)
                    intrinsics.append(view.intrinsics)
                    index.append(position)
                    ids.append(view.record_id)
                    rendered.append(view.rendered)
            except DAMAGE as error:
                raise self._damaged(entry, str(error)) from None
        return SplitArrays(
            object_ids=tuple(e.object_id for e in entries),
            categories=tuple(e.category for e in entries),
            points_q=np.stack(points),
            occupancy=np.stack(occupancy),
            rgb=rgb,
            mask=mask,
            pose=np.stack(pose),
            intrinsics=np.stack(intrinsics),
            shape_index=np.array(index, dtype=np.int64),
            record_ids=tuple(ids),
            rendered=np.array(rendered, dtype=np.bool_),
            near_points_q=np.stack(near_points) if near else None,
            near_occupancy=np.stack(near_occupancy) if near else None,
        )


def _check_split(split: str | None) -> None:
    if split is not None:
        check_choice("split", split, SPLITS)


def _near(file: h5py.File, row: int) -> dict[str, Any]:
    """The fields of a :class:`Sample` that only version 2 of the format has, as far as the shard has them."""
    found: dict[str, Any] = {}
    if "sdf" in file:
        found["sdf"] = encoding.decode_distances(file["sdf"][row])
    if "near/points" in file:
        found["near_points"] = lattice.decode_points(file["near/points"][row])
        found["near_occupancy"] = encoding.unpack_bits(file["near/occupancy"][row], len(found["near_points"]))
    if "near/sdf" in file:
        found["near_sdf"] = encoding.decode_distances(file["near/sdf"][row])
    return found


class SampleSequence(Sequence[Sample]):
    """The shapes of a split as a sequence of :class:`Sample`; each access reads from disk."""

    def __init__(self, dataset: Dataset, split: str | None) -> None:
        self.dataset = dataset
        self.split = split
        self._entries = dataset.entries(split)

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return self.dataset.sample(self._entries[index], self.split)


def load_dataset(path: str | Path, split: str | None = "train") -> SampleSequence:
    """Open a prepared data set: a sequence of :class:`Sample` of one split (``None`` = all shapes).

    InputError if it is missing or damaged, or for an unknown split.
    """
    if split is not None and split not in SPLITS:
        raise InputError(f"`split` must be train, val or test, not {split!r:.80}.")
    return SampleSequence(Dataset(path), split)
