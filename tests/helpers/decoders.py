"""Decoders with random parameters, and the original implementation's formula and tensor names."""

from __future__ import annotations

import re

import torch
from torch import Tensor
from torch.nn import functional

from pix3d_onet.config import Norm
from pix3d_onet.learning.network.decoder import BATCH_NORM_EPS, BATCH_NORM_MOMENTUM, ConditionalDecoder
from pix3d_onet.learning.network.model import OccupancyNetwork


def decoder(
    c_dim: int = 8, hidden: int = 16, blocks: int = 2, seed: int = 0, norm: Norm = "batch"
) -> ConditionalDecoder:
    """A decoder in float64 in which nothing is zero or one by initialisation."""
    torch.manual_seed(seed)
    made = ConditionalDecoder(c_dim, hidden, blocks, norm).double()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(std=0.4)
        for layer in made.norms():
            layer.conv_gamma.bias += 1
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.5, 2)
    return made


def reference(made: ConditionalDecoder, points: Tensor, code: Tensor) -> Tensor:
    """The original's formula, (features) × (points), by its own words; (B, T, 3), (B, C) → (B, T)."""
    state = dict(made.named_parameters()) | dict(made.named_buffers())

    def conv(name: str, x: Tensor) -> Tensor:
        return functional.conv1d(x, state[f"{name}.weight"][:, :, None], state[f"{name}.bias"])

    def norm(name: str, x: Tensor) -> Tensor:
        gamma, beta = conv(f"{name}.conv_gamma", code[:, :, None]), conv(f"{name}.conv_beta", code[:, :, None])
        mean, var = state[f"{name}.running_mean"].clone(), state[f"{name}.running_var"].clone()
        normed = functional.batch_norm(x, mean, var, None, None, made.training, BATCH_NORM_MOMENTUM, BATCH_NORM_EPS)
        return functional.relu(gamma * normed + beta)

    x = conv("fc_p", points.transpose(1, 2))
    for i in range(len(made.blocks)):
        inner = conv(f"blocks.{i}.fc_0", norm(f"blocks.{i}.bn_0", x))
        x = x + conv(f"blocks.{i}.fc_1", norm(f"blocks.{i}.bn_1", inner))
    return conv("fc_out", norm("bn", x)).squeeze(1)


def inputs(shapes: int, count: int, c_dim: int = 8, seed: int = 1) -> tuple[Tensor, Tensor]:
    torch.manual_seed(seed)
    return torch.rand(shapes, count, 3, dtype=torch.float64) - 0.5, torch.randn(shapes, c_dim, dtype=torch.float64)


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
