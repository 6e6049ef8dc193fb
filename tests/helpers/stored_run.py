"""A stored run with a tiny untrained network, made in a second, for tests that need a run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from helpers.decoders import original_state

from pix3d_onet.config import ModelConfig, TrainConfig
from pix3d_onet.learning.checkpoint import save_best
from pix3d_onet.learning.network.model import OccupancyNetwork, build_model

TINY = {"encoder": "test_resnet", "c_dim": 32, "hidden_dim": 32, "blocks": 2}


def store_run(folder: Path, *, pose: str = "none", data_hash: str = "", empty: bool = False) -> Path:
    """Write ``folder/best``: a blob around the middle of the box that depends a little on the picture."""
    torch.manual_seed(0)
    config = ModelConfig(pose=pose, **TINY)
    model = build_model(config)
    with torch.no_grad():
        for name, parameter in model.decoder.named_parameters():
            if "fc_1" in name or "conv_gamma.weight" in name:
                parameter.normal_(std=0.3)
        points = torch.rand(2048, 3) * 1.1 - 0.55
        code = model.eval().encode(torch.ones(1, 3, 64, 64), *cameras(pose))
        values = model.decode(points[None], code)[0]
        model.decoder.fc_out.bias += (-1e4 if empty else 0) - values.median()
    header = {
        "name": "tiny",
        "run_id": "0" * 12,
        "model": config.to_json(),
        "train": TrainConfig(image_size=64, pretrained=False).to_json(),
        "data": {"name": "tests", "data_hash": data_hash},
    }
    save_best(folder, model.state_dict(), header)
    return folder


def cameras(pose: str) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """The camera arguments of ``encode``."""
    if pose == "none":
        return None, None
    return torch.eye(4)[None], torch.eye(3)[None]


def write_original(path: Path, **changes: torch.Tensor | None) -> OccupancyNetwork:
    """A checkpoint as the original code writes it, its tensors replaced by ``changes`` (None: left out)."""
    torch.manual_seed(0)
    model = build_model(ModelConfig("resnet18", c_dim=8, hidden_dim=16, blocks=5)).eval()
    with torch.no_grad():
        for norm in model.decoder.norms():
            norm.conv_gamma.weight.normal_(std=0.3)
            norm.running_mean.normal_()
    state = {**original_state(model), **changes}
    state = {key: value for key, value in state.items() if value is not None}
    document = {"model": state, "epoch_it": 3, "it": 500, "loss_val_best": np.float64(0.5)}
    torch.save(document, path)
    return model
