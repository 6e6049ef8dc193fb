"""The largest batch whose training step fits into memory."""

from __future__ import annotations

import torch

from pix3d_onet.config import TrainConfig
from pix3d_onet.errors import ConfigError
from pix3d_onet.learning.device import autocast, available_memory
from pix3d_onet.learning.network.model import OccupancyNetwork, blank_pictures
from pix3d_onet.learning.training.trainer import occupancy_loss

BATCH_SHARE = 0.8
"""Fraction of free memory that training may use."""
TRANSIENT = 1.3
"""Factor for temporary memory besides the kept activations: in-flight gradients, workspaces."""
LARGEST_BATCH = 64
"""Largest batch of ``auto``: the original's; a larger one would be another recipe."""
PROBES = (2, 4)
"""Batch sizes measured; the difference gives the memory per picture."""
STATES = 4
"""Numbers per weight: the weight, its gradient, Adam's two moments."""


def largest_batch(
    model: OccupancyNetwork, config: TrainConfig, device: torch.device, precision: str, world: int = 1
) -> int:
    """The largest power of two up to 64, over all processes, whose step should fit into memory.

    It is reduced to a multiple of ``world``, because every process takes an equal part. Memory is measured with two
    small batches and extrapolated. ConfigError if not even those fit.
    """
    try:
        small, large = (kept_bytes(model, config, device, precision, batch, world) for batch in PROBES)
    except RuntimeError as error:
        raise ConfigError(
            f"not even a batch of {PROBES[-1]}{beside(config)} fits into memory ({type(error).__name__})."
        ) from None
    each = max(1.0, (large - small) / (PROBES[1] - PROBES[0])) * TRANSIENT
    weights = sum(p.numel() for p in model.parameters()) * 4 * STATES + max(0, small * TRANSIENT - PROBES[0] * each)
    room = available_memory(device) * BATCH_SHARE - weights
    if config.camera_pictures and room < each:
        raise ConfigError(
            f"not even a batch of 1{beside(config)} fits into memory.", hint="Take fewer `camera_pictures`."
        )
    batch = LARGEST_BATCH
    while batch > 1 and batch / world * each > room:
        batch //= 2
    return max(batch // world, 1) * world


def beside(config: TrainConfig) -> str:
    """What the memory holds besides the batch, for a message."""
    return f" beside `camera_pictures={config.camera_pictures}`" if config.camera_pictures else ""


def kept_bytes(
    model: OccupancyNetwork, config: TrainConfig, device: torch.device, precision: str, batch: int, world: int = 1
) -> float:
    """Bytes that the forward pass of ``batch`` pictures, and of this process's further ones that train only the
    camera, keeps for the backward pass."""
    seen: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    buffers = {name: value.clone() for name, value in model.named_buffers()}
    further = config.camera_pictures // world
    images, pose, intrinsics = blank_pictures(model.config, batch + further, config.image_size, device)
    points = torch.zeros(batch, config.points_per_shape, 3, device=device)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        with autocast(device, precision):
            found = model(images[:batch], points, pose[:batch], intrinsics[:batch], images[batch:] if further else None)
        logits = found if isinstance(found, torch.Tensor) else found[0]
        occupancy_loss(logits, torch.zeros_like(logits, dtype=torch.float32))
    for name, value in model.named_buffers():  # undo the update of the running statistics
        value.copy_(buffers[name])
    return float(sum(seen.values()))
