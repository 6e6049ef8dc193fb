"""Open a split where it fits: in GPU memory, in main memory, or on disk."""

from __future__ import annotations

import torch

from pix3d_onet.config import Residence, TrainConfig
from pix3d_onet.data.store.reader import Dataset
from pix3d_onet.learning.batches.split import PictureFilter, ResidentSplit, Split
from pix3d_onet.learning.batches.streaming import StreamedSplit
from pix3d_onet.learning.device import available_memory
from pix3d_onet.setting_types import check_choice

DEVICE_SHARE = 0.25
"""Fraction of the GPU's free memory that the data set may use."""
RAM_SHARE = 0.4
"""Fraction of free main memory that a split may use; reading it needs about twice its size for a moment."""


def split_bytes(dataset: Dataset, split: str, size: int, *, near: bool = False, masks: bool = False) -> int:
    """Memory of a split in bytes, from the manifest alone; pictures count both as stored and at side ``size``."""
    config = dataset.manifest.config
    points, side = int(config.get("points", 100_000)), int(config.get("image_size", size))
    entries = dataset.entries(split)
    pictures = sum(entry.image_splits.count(split) for entry in entries)
    points += dataset.near_points if near else 0
    return len(entries) * (points * 6 + points // 8) + pictures * (3 + masks) * (size**2 + side**2)


def open_split(
    dataset: Dataset,
    split: str,
    config: TrainConfig,
    device: torch.device,
    wanted: PictureFilter,
    *,
    residence: Residence = "auto",
    near: bool = False,
    masks: bool = False,
) -> Split:
    """Open a split for training on ``device``; ``residence`` ``auto`` chooses the fastest place where it fits.

    ``near``: with points near the surface, which the data set must have. ``masks``: its pictures have the object's mask
    as a fourth channel.
    """
    check_choice("residence", residence, Residence)
    size = split_bytes(dataset, split, config.image_size, near=near, masks=masks)
    cpu = torch.device("cpu")
    if residence == "auto":
        if device.type == "cuda" and size < DEVICE_SHARE * available_memory(device):
            residence = "device"
        else:
            residence = "ram" if size < RAM_SHARE * available_memory(cpu) else "disk"
    if residence == "disk":
        return StreamedSplit(dataset, split, config.image_size, wanted, near=near, masks=masks)
    where = device if residence == "device" else cpu
    return ResidentSplit(dataset, split, config.image_size, wanted, where, near=near, masks=masks)


def has_pictures(dataset: Dataset, split: str, *, need_pose: bool = False) -> bool:
    """Whether the split has a picture; with ``need_pose``, one with a camera."""
    entries = (entry for entry in dataset.entries(split) if split in entry.image_splits)
    return any(not need_pose or dataset.cameras_known(entry, split).any() for entry in entries)
