"""Optimiser, learning-rate schedule, moving average of the weights."""

from __future__ import annotations

import math
from typing import Any

import torch
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor, nn

from pix3d_onet.config import TrainConfig
from pix3d_onet.learning.network.model import OccupancyNetwork


def freeze_encoder(model: OccupancyNetwork) -> None:
    """Stop gradients into the backbones; projections, pose encoder and decoder are still trained."""
    for backbone in backbones(model):
        backbone.requires_grad_(False)


def backbones(model: OccupancyNetwork) -> list[nn.Module]:
    """Every timm backbone of the image encoders."""
    return [module for name, module in model.named_modules() if name.rsplit(".", maxsplit=1)[-1] == "backbone"]


def make_optimizer(model: OccupancyNetwork, config: TrainConfig) -> torch.optim.Optimizer:
    """Adam as in the original; with weight decay, AdamW that decays matrices but not biases and scales.

    The backbones' parameters are in groups of their own if their learning rate differs.
    """
    slower = {p for b in backbones(model) for p in b.parameters()} if config.backbone_lr != 1 else set()
    trained = [p for p in model.parameters() if p.requires_grad]
    groups: list[dict[str, Any]] = []
    for factor, own in (
        (1.0, [p for p in trained if p not in slower]),
        (config.backbone_lr, [p for p in trained if p in slower]),
    ):
        if config.weight_decay == 0:
            groups.append({"params": own, "factor": factor})
        else:
            matrices, rest = [p for p in own if p.ndim >= 2], [p for p in own if p.ndim < 2]
            groups.append({"params": matrices, "weight_decay": config.weight_decay, "factor": factor})
            groups.append({"params": rest, "weight_decay": 0.0, "factor": factor})
    kind = torch.optim.Adam if config.weight_decay == 0 else torch.optim.AdamW
    return kind([group for group in groups if group["params"]], lr=config.lr, fused=True)


def restored_state(stored: dict[str, Tensor], parameter: nn.Parameter) -> dict[str, Tensor]:
    """Adam's state of ``parameter`` from a checkpoint, in its memory layout, so that sums have the same order.

    Empty for a parameter that has had no gradient. ValueError if the tensors are not those of the parameter.
    """
    shapes = {"step": torch.Size(()), "exp_avg": parameter.shape, "exp_avg_sq": parameter.shape}
    if stored and {key: value.shape for key, value in stored.items()} != shapes:
        raise ValueError("the optimiser's tensors are not those of the network")
    return {
        key: value.to(parameter.device) if key == "step" else torch.empty_like(parameter).detach().copy_(value)
        for key, value in stored.items()
    }


def learning_rate(config: TrainConfig, step: int) -> float:
    """The learning rate of ``step`` (from 1): linear warm-up, then constant, or half a cosine that ends at 0."""
    if step <= config.warmup:
        return config.lr * step / config.warmup
    if config.schedule == "constant":
        return config.lr
    done = (step - 1 - config.warmup) / max(1, config.steps - config.warmup)
    return config.lr * 0.5 * (1 + math.cos(math.pi * done))


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of every parameter group, times its factor."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["factor"]


def moving_average(model: OccupancyNetwork, decay: float) -> Any:
    """timm's exponential moving average of weights and running statistics, in ``module``; integers are copied.

    The decay after ``step`` (from 1) is min(decay, (1 + step) / (10 + step)) as in TensorFlow's
    ExponentialMovingAverage, so that the random initial weights fade quickly. In timm this is the warm-up
    1 - (1 + s / gamma)^-power with s = step + 1, gamma 9 and power 1. PyTorch's ``AveragedModel`` is not used: it
    restarts at its first update and keeps its own counter in the state.
    """
    average = ModelEmaV3(model, decay, use_warmup=True, warmup_gamma=9.0, warmup_power=1.0, update_after_step=-2)
    average.module.requires_grad_(False)
    return average
