"""The tensors that a file says it holds, compared with the network it says it is, before either is allocated.

Names and numbers in a file are words: they could ask for a network of a million blocks. safetensors itself makes sure
that its header has at most 100 MB, and that its tensors lie in the file one after the other, as long as it says.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pix3d_onet.config import ModelConfig
from pix3d_onet.errors import InputError
from pix3d_onet.learning.network.model import build_model

Claims = Mapping[str, tuple[str, tuple[int, ...]]]
"""Name of a tensor → its type by safetensors' name, and its shape."""
TYPES = {torch.float32: "F32", torch.int64: "I64"}
"""Types of a network's tensors → safetensors' names."""


def claims_of(tensors: Mapping[str, Tensor]) -> Claims:
    """Type and shape of each tensor."""
    return {name: (TYPES.get(value.dtype, str(value.dtype)), tuple(value.shape)) for name, value in tensors.items()}


def claims_in(file: Any) -> dict[str, tuple[str, tuple[int, ...]]]:
    """The tensors of an open safetensors file (``safe_open``) by its header alone."""
    slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 - it is no dict
    return {name: (part.get_dtype(), tuple(part.get_shape())) for name, part in slices.items()}


def check_network(config: ModelConfig, claims: Claims) -> None:
    """InputError, naming the first difference, unless ``claims`` are the tensors of the network ``config`` describes.

    Shapes alone are worked out for that: on PyTorch's meta device a network takes no memory.
    """
    with torch.device("meta"):
        expected = claims_of(build_model(config).state_dict())
    for name, wanted in expected.items():
        if name not in claims:
            raise InputError(f"it lacks {name}.")
        if claims[name] != wanted:
            raise InputError(f"{name} is {_words(claims[name])}, not {_words(wanted)}.")
    if extra := next((name for name in claims if name not in expected), None):
        raise InputError(f"it holds {extra:.80}, which its network does not have.")


def _words(claim: tuple[str, tuple[int, ...]]) -> str:
    kind, shape = claim
    return f"{'×'.join(map(str, shape)) or 'one number'} {kind}"
