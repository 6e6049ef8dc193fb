"""Compare the types and shapes of a file's tensors with its network's, before memory is allocated for either.

A hostile file could describe a network of a million blocks. The safetensors library itself checks that the header is at
most 100 MB, and that the tensors fill the file exactly.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pix3d_onet.config import ModelConfig
from pix3d_onet.errors import InputError
from pix3d_onet.learning.network.model import build_model

TensorSpecs = Mapping[str, tuple[str, tuple[int, ...]]]
"""Name of a tensor → its type (safetensors' name) and its shape."""
TYPES = {torch.float32: "F32", torch.int64: "I64"}
"""Types of a network's tensors → safetensors' names of them."""


def specs_of(tensors: Mapping[str, Tensor]) -> TensorSpecs:
    """Type and shape of each tensor."""
    return {name: (TYPES.get(value.dtype, str(value.dtype)), tuple(value.shape)) for name, value in tensors.items()}


def specs_in(file: Any) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Type and shape of each tensor of an open safetensors file (``safe_open``), from its header alone."""
    slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 - file is not a dict
    return {name: (part.get_dtype(), tuple(part.get_shape())) for name, part in slices.items()}


def check_network(config: ModelConfig, specs: TensorSpecs) -> None:
    """InputError, naming the first difference, unless ``specs`` are those of the network that ``config`` describes.

    The network is built on PyTorch's meta device, where it uses no memory.
    """
    with torch.device("meta"):
        expected = specs_of(build_model(config).state_dict())
    for name, wanted in expected.items():
        if name not in specs:
            raise InputError(f"it lacks {name}.")
        if specs[name] != wanted:
            raise InputError(f"{name} is {_words(specs[name])}, not {_words(wanted)}.")
    if extra := next((name for name in specs if name not in expected), None):
        raise InputError(f"it holds {extra:.80}, which its network does not have.")


def _words(spec: tuple[str, tuple[int, ...]]) -> str:
    kind, shape = spec
    return f"{'×'.join(map(str, shape)) or 'one number'} {kind}"
