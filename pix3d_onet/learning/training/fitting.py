"""What fits: where the data set lives, and how many pictures a step can take."""

from __future__ import annotations

import torch

from pix3d_onet.config import Residence, TrainConfig, check_choice
from pix3d_onet.data.store.reader import Dataset
from pix3d_onet.errors import ConfigError
from pix3d_onet.learning.device import autocast, available_memory
from pix3d_onet.learning.network.model import OccupancyNetwork
from pix3d_onet.learning.training.batches import Choice, ResidentSplit, Split, load_split
from pix3d_onet.learning.training.streaming import StreamedSplit
from pix3d_onet.learning.training.trainer import occupancy_loss

DEVICE_SHARE = 0.25
"""Share of the GPU's free memory that the data set may take."""
RAM_SHARE = 0.4
"""Share of the free memory that a split may take (reading it needs about twice its size for a moment)."""
BATCH_SHARE = 0.8
"""Share of the free memory that training may take."""
TRANSIENT = 1.3
"""What a step needs beyond the activations it keeps, as a factor: gradients under way, work space."""
LARGEST_BATCH = 64
"""``auto`` never takes more than the original's batch: more would be another recipe."""
PROBES = (2, 4)
"""Batch sizes whose difference tells the memory of one picture."""
STATES = 4
"""Copies of every weight: itself, its gradient, Adam's two moments."""


def split_bytes(dataset: Dataset, split: str, size: int) -> int:
    """Bytes of a split in memory, from the manifest alone, with pictures at ``size`` and as stored."""
    config = dataset.manifest.config
    points, side = int(config.get("points", 100_000)), int(config.get("image_size", size))
    entries = dataset.entries(split)
    pictures = sum(entry.image_splits.count(split) for entry in entries)
    return len(entries) * (points * 6 + points // 8) + pictures * 3 * (size**2 + side**2)


def open_split(
    dataset: Dataset,
    split: str,
    config: TrainConfig,
    device: torch.device,
    choice: Choice,
    *,
    residence: Residence = "auto",
) -> Split:
    """A split where it fits: on the GPU, in memory, or on disk; ``residence`` decides instead."""
    check_choice("residence", residence, Residence)
    size = split_bytes(dataset, split, config.image_size)
    cpu = torch.device("cpu")
    if residence == "auto":
        if device.type == "cuda" and size < DEVICE_SHARE * available_memory(device):
            residence = "device"
        else:
            residence = "ram" if size < RAM_SHARE * available_memory(cpu) else "disk"
    if residence == "disk":
        return StreamedSplit(dataset, split, config.image_size, choice)
    resident: ResidentSplit = load_split(
        dataset, split, config.image_size, device if residence == "device" else cpu, choice
    )
    return resident


def fitting_batch(
    model: OccupancyNetwork, config: TrainConfig, device: torch.device, precision: str, world: int = 1
) -> int:
    """The largest power of two up to 64 (over all processes) whose step should fit into memory.

    Cut to a multiple of ``world``, since every process takes an equal part. Measured with two tiny
    batches. ConfigError when not even those fit.
    """
    try:
        small, large = (kept_bytes(model, config, device, precision, batch) for batch in PROBES)
    except RuntimeError as error:
        raise ConfigError(f"not even a batch of {PROBES[-1]} fits into memory ({type(error).__name__}).") from None
    each = max(1.0, (large - small) / (PROBES[1] - PROBES[0])) * TRANSIENT
    weights = sum(p.numel() for p in model.parameters()) * 4 * STATES + max(0, small - PROBES[0] * each)
    room = available_memory(device) * BATCH_SHARE - weights
    batch = LARGEST_BATCH
    while batch > 1 and batch / world * each > room:
        batch //= 2
    return max(batch // world, 1) * world


def kept_bytes(model: OccupancyNetwork, config: TrainConfig, device: torch.device, precision: str, batch: int) -> float:
    """Bytes that a forward pass keeps for the backward pass."""
    seen: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    buffers = {name: value.clone() for name, value in model.named_buffers()}
    side = config.image_size
    images = torch.ones(batch, 3, side, side, device=device)
    points = torch.zeros(batch, config.points_per_shape, 3, device=device)
    pose, focal = torch.eye(4, device=device).expand(batch, 4, 4), torch.ones(batch, device=device)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        with autocast(device, precision):
            logits = model(images, points, pose, focal)
        occupancy_loss(logits, torch.zeros_like(logits, dtype=torch.float32))
    for name, value in model.named_buffers():  # running statistics have seen the probe
        value.copy_(buffers[name])
    return float(sum(seen.values()))
