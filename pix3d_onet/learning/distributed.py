"""Training with several processes: every rank computes its part of each batch; rank 0 writes files and emits events.

``torchrun`` starts them and sets RANK, WORLD_SIZE and LOCAL_RANK; without these variables there is one process.
"""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce

from pix3d_onet.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Group:
    """Rank of this process among ``world`` processes; ``local_rank``: index of its GPU on this machine."""

    rank: int = 0
    world: int = 1
    local_rank: int = 0

    @property
    def leads(self) -> bool:
        """Whether this process writes files and emits events."""
        return self.rank == 0


def environment_group() -> Group:
    """The group described by torchrun's environment variables; ConfigError if some are missing."""
    if "WORLD_SIZE" not in os.environ or int(os.environ["WORLD_SIZE"]) <= 1:
        return Group()
    try:
        return Group(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]), int(os.environ.get("LOCAL_RANK", "0")))
    except (KeyError, ValueError):
        raise ConfigError("WORLD_SIZE is set but RANK is not.", hint="Start several processes with torchrun.") from None


@contextmanager
def joined(group: Group, device: torch.device) -> Iterator[None]:
    """Be a member of the process group (nccl on GPUs, gloo on CPUs) in this block."""
    if group.world == 1:
        yield
        return
    own = not dist.is_initialized()
    if own:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield
    finally:
        if own:
            dist.destroy_process_group()


def active() -> bool:
    """Whether there are several processes."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def add_up(tensor: Tensor) -> Tensor:
    """Sum ``tensor`` over all processes, in place, and return it."""
    if active():
        dist.all_reduce(tensor)
    return tensor


def wait() -> None:
    """Wait until all processes have called this."""
    if active():
        dist.barrier()


def any_of(flag: bool, device: torch.device) -> bool:
    """Whether ``flag`` is true in any process."""
    return bool(add_up(torch.tensor([int(flag)], device=device)).item()) if active() else flag


def share_json(document: Any, device: torch.device) -> Any:
    """Rank 0's JSON document, in every process; sent as text, so that nothing is unpickled."""
    if not active():
        return document
    data = json.dumps(document).encode() if dist.get_rank() == 0 else b""
    size = torch.tensor([len(data)], device=device)
    dist.broadcast(size, 0)
    buffer = torch.zeros(int(size.item()), dtype=torch.uint8, device=device)
    if data:
        buffer.copy_(torch.frombuffer(bytearray(data), dtype=torch.uint8))
    dist.broadcast(buffer, 0)
    return json.loads(bytes(buffer.cpu().numpy()).decode())


def summed(value: Tensor) -> Tensor:
    """The differentiable sum of ``value`` over all processes; ``value`` itself with one process."""
    result: Tensor = all_reduce(value) if active() else value  # type: ignore[no-untyped-call]
    return result


def standardise(
    x: Tensor, dims: tuple[int, ...], running_mean: Tensor, running_var: Tensor, *, momentum: float, eps: float
) -> Tensor:
    """``(x - mean) / sqrt(var + eps)`` with the statistics of all processes over ``dims``; x's shape and type.

    Computed in float32 at least. The running statistics (F,) are updated as in PyTorch's BatchNorm (unbiased variance),
    equally in all processes, because each of them scores validation pictures with its own copy.
    """
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    count = summed_count(x.numel() // running_mean.numel())
    mean = summed(wide.sum(dim=dims, keepdim=True)) / count
    centred = wide - mean
    var = summed((centred * centred).sum(dim=dims, keepdim=True)) / count
    with torch.no_grad():
        unbiased = var * (count / max(count - 1, 1))
        running_mean.lerp_(mean.flatten().to(running_mean.dtype), momentum)
        running_var.lerp_(unbiased.flatten().to(running_var.dtype), momentum)
    return (centred * torch.rsqrt(var + eps)).to(x.dtype)


class SyncBatchNorm2d(nn.BatchNorm2d):
    """Batch norm over the batches of all processes, on any backend (PyTorch's own needs CUDA)."""

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, H, W) → the same."""
        if not self.training or not active():
            return super().forward(input)
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.momentum is not None
        wide = input.to(torch.promote_types(input.dtype, torch.float32))
        normed = standardise(wide, (0, 2, 3), self.running_mean, self.running_var, momentum=self.momentum, eps=self.eps)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        return (normed * self.weight[:, None, None] + self.bias[:, None, None]).to(input.dtype)


def summed_count(count: int) -> int:
    """Number of values in all processes. Their parts of a batch are equal (``Draw.share``), so no message is needed."""
    return count * dist.get_world_size() if active() else count


def synchronise_batch_norm(module: nn.Module) -> nn.Module:
    """Turn every plain BatchNorm2d into one over all processes; parameters and names are unchanged.

    timm's fused norm and activation layers (EfficientNets, for example) still use statistics of one process.
    """
    for child in module.modules():
        if type(child) is nn.BatchNorm2d:
            child.__class__ = SyncBatchNorm2d
    return module


def wrap(model: nn.Module, group: Group, device: torch.device) -> nn.Module:
    """``model`` for training in ``group``: gradients averaged, batch norm over the whole batch."""
    if group.world == 1:
        return model
    synchronise_batch_norm(model)
    devices = [device.index] if device.type == "cuda" else None
    wrapper = nn.parallel.DistributedDataParallel
    # buffers are already equal in all processes; newer versions of PyTorch renamed this option
    known = inspect.signature(wrapper.__init__).parameters
    switch = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
    options: dict[str, Any] = {switch: False}
    return wrapper(model, device_ids=devices, gradient_as_bucket_view=True, **options)
