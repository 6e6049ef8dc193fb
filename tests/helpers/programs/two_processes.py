"""One backward pass in float64 in one process of a group, which ``test_distributed`` compares with a whole batch.

Started as ``RANK=0 WORLD_SIZE=2 … python two_processes.py OUT``; leaves ``OUT/PATH-RANK.safetensors`` for both paths
of the decoder.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from pix3d_onet.config import ModelConfig
from pix3d_onet.learning import distributed
from pix3d_onet.learning.network.model import blank_pictures, build_model

BATCH, POINTS, SIDE = 8, 32, 64
MODEL = ModelConfig("test_resnet", c_dim=8, hidden_dim=16, blocks=2, conditioning="pixel", mirror=True)
PATHS = ("fused", "plain")
"""The decoder on a CPU, and as it is on a GPU or compiled (points that want a gradient take it, too)."""


def gradients(path: str, group: distributed.Group) -> dict[str, Tensor]:
    """Gradients, running statistics and loss of this process's share of the same batch."""
    torch.manual_seed(0)
    model = build_model(MODEL).double().train()
    for parameter in model.decoder.parameters():  # the zeros it starts from would hide most of its gradients
        torch.nn.init.normal_(parameter, std=0.3)
    images, pose, intrinsics = (value.double() for value in blank_pictures(MODEL, BATCH, SIDE))
    images, pose = torch.rand_like(images), pose.clone()
    pose[:, 2, 3] = 2
    points = torch.rand(BATCH, POINTS, 3, dtype=torch.float64) - 0.5
    occupied = (torch.rand(BATCH, POINTS) < 0.3).double()
    share = BATCH // group.world
    mine = slice(group.rank * share, (group.rank + 1) * share)
    network = distributed.wrap(model, group, torch.device("cpu"))
    logits = network(images[mine], points[mine].requires_grad_(path == "plain"), pose[mine], intrinsics[mine])
    loss = exact_loss(logits, occupied[mine])
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
