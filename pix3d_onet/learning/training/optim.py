"""Optimiser, learning-rate schedule, moving average of the weights."""

from __future__ import annotations

import copy
import math

import torch
from torch import nn

from pix3d_onet.config import TrainConfig
from pix3d_onet.learning.network.model import OccupancyNetwork


def freeze_encoder(model: OccupancyNetwork) -> None:
    """Stop gradients into the backbones; projections, pose and decoder go on learning."""
    for backbone in backbones(model):
        backbone.requires_grad_(False)


def backbones(model: OccupancyNetwork) -> list[nn.Module]:
    """Every timm backbone of the image encoder."""
    return [module for name, module in model.encoder.named_modules() if name.rsplit(".", maxsplit=1)[-1] == "backbone"]


def make_optimizer(model: nn.Module, config: TrainConfig, device: torch.device) -> torch.optim.Optimizer:
    """Adam as the original (fused where PyTorch has it); AdamW when weight decay is above 0, on matrices only."""
    trained = [p for p in model.parameters() if p.requires_grad]
    if config.weight_decay == 0:
        return torch.optim.Adam(trained, lr=config.lr, fused=True)
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.lr, fused=True)


def learning_rate(config: TrainConfig, step: int) -> float:
    """The rate of 1-based ``step``: linear warm-up, then constant or a half cosine to 0 after the last step."""
    if step <= config.warmup:
        return config.lr * step / config.warmup
    if config.schedule == "constant":
        return config.lr
    done = (step - 1 - config.warmup) / max(1, config.steps - config.warmup)
    return config.lr * 0.5 * (1 + math.cos(math.pi * done))


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the rate of every group."""
    for group in optimizer.param_groups:
        group["lr"] = rate


class MovingAverage:
    """Exponential moving average of weights and running statistics; integers are copied."""

    def __init__(self, model: OccupancyNetwork, decay: float) -> None:
        self.decay = decay
        self.model = copy.deepcopy(model).requires_grad_(False).eval()

    @torch.no_grad()
    def update(self, model: OccupancyNetwork, step: int) -> None:
        """Fold in the weights after ``step``; the decay warms up so that early averages are not mostly noise."""
        decay = min(self.decay, (1 + step) / (10 + step))  # as in TensorFlow's ExponentialMovingAverage
        own, new = list(self.model.state_dict().values()), list(model.state_dict().values())
        floats = [(a, b) for a, b in zip(own, new, strict=True) if a.is_floating_point()]
        torch._foreach_lerp_([a for a, _ in floats], [b for _, b in floats], 1 - decay)
        for a, b in zip(own, new, strict=True):
            if not a.is_floating_point():
                a.copy_(b)
