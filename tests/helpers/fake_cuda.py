"""Tensors on ``cuda`` without a card: shapes and devices are followed, nothing is computed (FakeTensorMode)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

CUDA = torch.device("cuda", 0)


class Crossings(TorchDispatchMode):
    """Writes down every operation that leaves its device: a copy to another, a mix of two, a number for Python."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        tensors = [t for t in tree_leaves((args, kwargs, result)) if isinstance(t, torch.Tensor)]
        kinds = sorted({t.device.type for t in tensors})
        if len(kinds) > 1 or "_local_scalar_dense" in str(func):
            self.found.append(f"{func} {'+'.join(kinds)}")
        return result


@contextmanager
def fake_cuda() -> Iterator[Crossings]:
    """In the block tensors made on ``CUDA`` are fake ones, and the crossings that operations on them make are noted."""
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad(), Crossings() as crossings:
        yield crossings


def on_cuda(module: nn.Module) -> nn.Module:
    """``module``, made on the meta device, with fake parameters and buffers; to be called in the block."""

    def empty(value: torch.Tensor) -> torch.Tensor:
        return torch.empty(value.shape, dtype=value.dtype, device=CUDA)

    for part in module.modules():
        for name, value in part.named_parameters(recurse=False):
            setattr(part, name, nn.Parameter(empty(value), requires_grad=value.requires_grad))
        for name, value in part.named_buffers(recurse=False):
            setattr(part, name, empty(value))
    return module
