"""A data set as a ``torch.utils.data.Dataset``, for networks and training loops of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset

from pix3d_onet import lattice, seeding
from pix3d_onet.config import SPLITS
from pix3d_onet.data.store import encoding
from pix3d_onet.data.store.manifest import ShapeEntry
from pix3d_onet.data.store.reader import DAMAGE, Dataset
from pix3d_onet.data.store.shard_file import mapped, read_picture
from pix3d_onet.errors import ConfigError, InputError
from pix3d_onet.learning.batches.drawing import BITS, wrapped_slices
from pix3d_onet.learning.pictures import network_pictures
from pix3d_onet.setting_types import check_choice


class Shapes(TorchDataset[dict[str, Tensor]]):
    """A prepared data set as a ``torch.utils.data.Dataset`` of dicts of tensors, for training loops of one's own.

    One item per picture of ``split`` (``None`` = all): ``image`` (3, H, W) float32 in [0, 1], the object on white;
    ``mask`` (1, H, W) float32, 1 on the object; ``pose`` (4, 4), normalised → camera frame, and ``intrinsics`` (3, 3),
    in pixels of ``image`` (both NaN if not known); ``points`` (``points``, 3) float32 and ``occupancy`` (``points``,)
    float32, 0 or 1; ``index``. With ``near``: ``near_points`` and ``near_occupancy``; with ``sdf``: ``sdf`` and
    ``near_sdf``, signed distances.

    ``image_size``: side of the pictures (None = as stored; 0 = no pictures, one item per shape). Points are a block
    at a place that depends only on ``seed``, epoch (``set_epoch``) and index, not on the workers. ``DataLoader`` may
    fork or spawn workers. InputError if the data set is missing, damaged, or lacks what is asked for; ConfigError for
    more points than are stored.

    ``record_ids`` and ``object_ids``: of each item, by its ``index`` (without pictures a record id is empty). Each
    process of a ``DataLoader``, forked or spawned, opens the shards itself.
    """

    def __init__(
        self,
        path: str | Path,
        split: str | None = "train",
        *,
        points: int = 2048,
        near: int = 0,
        image_size: int | None = None,
        sdf: bool = False,
        seed: int = 0,
    ) -> None:
        if split is not None:
            check_choice("split", split, SPLITS)
        self.data = Dataset(path)
        config = self.data.manifest.config
        for name, wanted, stored in (("points", points, int(config["points"])), ("near", near, self.data.near_points)):
            if not 0 <= wanted <= stored:
                raise ConfigError(f"`{name}` must be from 0 to {stored}, the points stored per shape, not {wanted}.")
        if sdf and not config.get("sdf"):
            raise InputError(f"{path} has no signed distances.", hint="Prepare it with `sdf=True`.")
        self.points, self.near, self.sdf, self.seed = points, near, sdf, seed
        self.side = int(config["image_size"])
        self.image_size = self.side if image_size is None else image_size
        entries = self.data.entries(split)
        self.rows: list[tuple[ShapeEntry, int | None]] = [(entry, None) for entry in entries]
        self.record_ids: tuple[str, ...] = ("",) * len(entries)
        if self.image_size:
            found = [(entry, row, name) for entry in entries for row, name, _ in self.data.picture_rows(entry, split)]
            if found or not entries:
                self.rows, self.record_ids = [(entry, row) for entry, row, _ in found], tuple(n for *_, n in found)
            else:
                hint = "Prepare with `render_views=N`, or take `image_size=0`."
                raise InputError(f"no shape of {path} has a picture.", hint=hint)
        if not self.rows:
            raise InputError(f"the {split} split of {path} is empty.", hint="Prepare more shapes.")
        self.object_ids = tuple(entry.object_id for entry, _ in self.rows)
        self._maps: dict[tuple[str, str], Any] = {}
        self._epoch = torch.zeros((), dtype=torch.int64)
        self._epoch.share_memory_()  # type: ignore[no-untyped-call]  # also seen by workers that stay alive

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_maps": {}}

    def set_epoch(self, epoch: int) -> None:
        """Choose the points of an epoch; without this call every epoch has those of epoch 0."""
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        entry, row = self.rows[index]
        random = seeding.generator(self.seed, "torch-dataset", str(int(self._epoch)), str(index % len(self)))
        item = {"index": torch.tensor(index % len(self))}
        try:
            if row is not None:
                item |= self._picture(self.data.shard(entry.shard), row)
            item |= self._block(entry, ("points", "occupancy", "sdf"), self.points, random)
            if self.near:
                near = self._block(entry, ("near/points", "near/occupancy", "near/sdf"), self.near, random)
                item |= {f"near_{name}": values for name, values in near.items()}
        except DAMAGE as error:
            raise InputError(f"shard {entry.shard} is damaged ({error}).", hint="Run `onet verify`.") from None
        return item

    def _picture(self, file: h5py.File, row: int) -> dict[str, Tensor]:
        rgb, mask = (read_picture(file[f"images/{name}"], row)[None] for name in ("rgb", "mask"))
        picture = network_pictures(rgb, mask.astype(np.bool_), self.image_size)[0].float() / 255
        intrinsics = torch.from_numpy(file["images/intrinsics"][row])
        intrinsics[:2] *= self.image_size / self.side
        return {
            "image": picture[:3],
            "mask": picture[3:],
            "pose": torch.from_numpy(file["images/pose"][row]),
            "intrinsics": intrinsics,
        }

    def _block(
        self, entry: ShapeEntry, names: tuple[str, str, str], count: int, random: np.random.Generator
    ) -> dict[str, Tensor]:
        """``count`` consecutive points from a random start, which are a random sample, with wrap-around."""
        cells, labels = (self._mapped(entry, name) for name in names[:2])
        total = len(cells)
        parts = wrapped_slices(int(random.integers(total // BITS)) * BITS, -(-count // BITS) * BITS, total)

        def joined(stored: Any, unit: int = 1) -> NDArray[Any]:
            found = [np.asarray(stored[start // unit : (start + length) // unit]) for _, start, length in parts]
            return found[0] if len(found) == 1 else np.concatenate(found)

        block = {
            "points": torch.from_numpy(lattice.decode_points(joined(cells)[:count])),
            "occupancy": torch.from_numpy(encoding.unpack_bits(joined(labels, BITS), count).astype(np.float32)),
        }
        if self.sdf:
            distances = encoding.decode_distances(joined(self._mapped(entry, names[2]))[:count])
            block["sdf"] = torch.from_numpy(distances)
        return block

    def _mapped(self, entry: ShapeEntry, name: str) -> Any:
        """The shape's row of an array."""
        key = entry.shard, name
        if key not in self._maps:
            self._maps[key] = mapped(self.data.shard(entry.shard)[name], self.data.root / entry.shard)
        return self._maps[key][entry.row]
