"""The optimiser's groups: which parameters learn at which rate, with which decay."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from pix3d_onet.config import ModelConfig, TrainConfig
from pix3d_onet.errors import SettingError
from pix3d_onet.learning.network.model import build_model
from pix3d_onet.learning.training.optim import freeze_encoder, make_optimizer, set_learning_rate

TINY = ModelConfig(
    "test_resnet", c_dim=8, hidden_dim=16, blocks=1, conditioning="pixel", pose="predicted", camera_encoder="own"
)


@pytest.mark.parametrize("weight_decay", [0.0, 0.05])
def test_the_backbone_moves_by_its_factor(weight_decay: float) -> None:
    torch.manual_seed(0)
    model = build_model(TINY)
    optimizer = make_optimizer(model, TrainConfig(backbone_lr=0.25, weight_decay=weight_decay))
    set_learning_rate(optimizer, 0.01)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    slower = {id(p) for name, p in model.named_parameters() if ".backbone." in name}
    assert 0 < len(slower) < len(before)
    for name, parameter in model.named_parameters():
        rate = 0.01 * (0.25 if id(parameter) in slower else 1)
        kept = 1 - rate * weight_decay * (parameter.ndim >= 2)  # Adam's first step is the rate, with a gradient of 1
        torch.testing.assert_close(parameter.detach(), before[name] * kept - rate, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(("settings", "groups"), [({}, 1), ({"weight_decay": 0.1}, 2)])
def test_without_a_factor_there_are_the_usual_groups(settings: dict[str, Any], groups: int) -> None:
    model = build_model(TINY)
    optimizer = make_optimizer(model, TrainConfig(**settings))
    assert len(optimizer.param_groups) == groups
    freeze_encoder(model)
    frozen = make_optimizer(model, TrainConfig(**settings, backbone_lr=0.5))
    ids = {id(p) for group in frozen.param_groups for p in group["params"]}
    assert ids == {id(p) for p in model.parameters() if p.requires_grad}
    assert len(frozen.param_groups) == groups


@pytest.mark.parametrize("value", [0.0, -1.0, 101.0, float("nan")])
def test_a_factor_that_is_none_is_refused(value: float) -> None:
    with pytest.raises(SettingError, match="backbone_lr"):
        TrainConfig(backbone_lr=value)
