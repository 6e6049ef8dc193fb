"""One backward pass in float64 in one process of a group, which ``test_distributed`` compares with a whole batch.

Started as ``RANK=0 WORLD_SIZE=2 … python two_processes.py OUT``; leaves ``OUT/PATH-RANK.safetensors`` for each path.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from pix3d_onet.config import ModelConfig
from pix3d_onet.learning import distributed
from pix3d_onet.learning.network.camera import TURNS, Camera, camera_loss
from pix3d_onet.learning.network.model import blank_pictures, build_model

BATCH, POINTS, SIDE = 8, 32, 64
MODEL = ModelConfig("test_resnet", c_dim=8, hidden_dim=16, blocks=2, conditioning="pixel", mirror=True)
PATHS = ("fused", "plain", "camera")
"""The decoder on a CPU; as it is on a GPU or compiled (points that want a gradient take it, too); and a network that
predicts the cameras of half of the pictures, with further pictures for its camera encoder."""


def gradients(path: str, group: distributed.Group) -> dict[str, Tensor]:
    """Gradients, running statistics and loss of this process's share of the same batch."""
    torch.manual_seed(0)
    predicts = path == "camera"
    config = replace(MODEL, pose="predicted", camera_encoder="own") if predicts else MODEL
    model = build_model(config).double().train()
    for parameter in model.decoder.parameters():  # the zeros it starts from would hide most of its gradients
        torch.nn.init.normal_(parameter, std=0.3)
    images, pose, intrinsics = (value.double() for value in blank_pictures(config, BATCH, SIDE))
    images, pose = torch.rand_like(images), pose.clone()
    pose[:, 2, 3] = 2
    points = torch.rand(BATCH, POINTS, 3, dtype=torch.float64) - 0.5
    occupied = (torch.rand(BATCH, POINTS) < 0.3).double()
    share = BATCH // group.world
    mine = slice(group.rank * share, (group.rank + 1) * share)
    network = distributed.wrap(model, group, torch.device("cpu"))
    further, given, true = torch.rand_like(images), pose.clone(), pose.clone()
    if predicts:
        given[::2] = torch.nan
        true[:, 2, 3] = torch.linspace(1.5, 3, BATCH)  # of the further pictures
    inputs = (points[mine].requires_grad_(path == "plain"), given[mine], intrinsics[mine])
    if predicts:
        logits, candidates = network(images[mine], *inputs, further[mine])
        cameras = Camera(torch.cat([pose[mine], true[mine]]), intrinsics[mine].repeat(2, 1, 1))
        symmetric = torch.zeros(len(cameras.pose), TURNS, dtype=torch.bool)
        symmetric[:, 0] = True
        loss = exact_loss(logits, occupied[mine]) + POINTS * camera_loss(candidates, cameras, symmetric)
    else:
        loss = exact_loss(network(images[mine], *inputs), occupied[mine])
    loss.backward()
    found = {f"grad.{name}": p.grad for name, p in model.named_parameters() if p.grad is not None}
    found |= {f"buffer.{name}": b.double() for name, b in model.named_buffers()}
    found["loss"] = distributed.add_up(loss.detach().clone()) / group.world
    return {name: value.detach().contiguous() for name, value in found.items()}


def exact_loss(logits: Tensor, occupied: Tensor) -> Tensor:
    """``loop.occupancy_loss`` without its rounding to float32."""
    loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, occupied, reduction="none")
    return loss.sum(-1).mean()


def main(out: Path) -> None:
    """This process's part."""
    group = distributed.environment_group()
    with distributed.joined(group, torch.device("cpu")):
        for path in PATHS:
            save_file(gradients(path, group), out / f"{path}-{group.rank}.safetensors")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
