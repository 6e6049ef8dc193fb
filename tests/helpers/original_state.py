"""State dicts with the tensor names of the original implementation."""

from __future__ import annotations

import re

import torch
from torch import Tensor

from pix3d_onet.learning.network.model import OccupancyNetwork


def original_state(model: OccupancyNetwork) -> dict[str, Tensor]:
    """The inverse of ``import_original.translate``: a ResNet-18 network as the original's state dict."""
    result: dict[str, Tensor] = {}
    for key, value in model.state_dict().items():
        name = key.replace("encoder.backbone.", "encoder.features.").replace("encoder.project.", "encoder.fc.")
        name = re.sub(r"^decoder\.blocks\.(\d+)\.", r"decoder.block\1.", name)
        if name.startswith("decoder.") and name.endswith((".running_mean", ".running_var")):
            head, _, tail = name.rpartition(".")
            result[f"{head}.bn.num_batches_tracked"] = torch.zeros((), dtype=torch.int64)
            name = f"{head}.bn.{tail}"
        linear = name.startswith("decoder.") and value.ndim == 2
        result[name] = value.unsqueeze(-1) if linear else value
    return result
