"""A stored run with a tiny untrained network, made in a second, for tests that need a run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from helpers.decoders import original_state

from pix3d_onet.config import ModelConfig, TrainConfig
from pix3d_onet.learning.checkpoint import save_best
from pix3d_onet.learning.network.model import OccupancyNetwork, blank_pictures, build_model

TINY = {"encoder": "test_resnet", "c_dim": 32, "hidden_dim": 32, "blocks": 2}
CAMERAS = {"matrix": {"pose": "matrix"}, "6d": {"pose": "6d"}, "pixel": {"conditioning": "pixel"}}
"""Settings of the networks that need a camera; of ``matrix`` alone without its focal length."""


def store_run(folder: Path, *, data_hash: str = "", empty: bool = False, **settings: str) -> Path:
    """Write ``folder/best``: a blob around the middle of the box that depends a little on the picture.

    ``settings``: of the network besides ``TINY``.
    """
    torch.manual_seed(0)
    config = ModelConfig(**TINY, **settings)
    model = build_model(config)
    with torch.no_grad():
        for name, parameter in model.decoder.named_parameters():
            if "fc_1" in name or "conv_gamma.weight" in name:
                parameter.normal_(std=0.3)
        points = torch.rand(2048, 3) * 1.1 - 0.55
        code = model.eval().encode(*blank_pictures(config, 1, 64))
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
