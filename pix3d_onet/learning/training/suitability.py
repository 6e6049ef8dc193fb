"""Check that an encoder can be trained on pictures of a size, by a trial before the run's folder is made."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from pix3d_onet.config import TrainConfig
from pix3d_onet.errors import UnsuitableError
from pix3d_onet.learning.network.model import OccupancyNetwork, blank_pictures
from pix3d_onet.learning.training.optim import backbones, freeze_encoder
from pix3d_onet.learning.training.trainer import is_out_of_memory

PICTURES = 2
"""Pictures of the trial; with one, batch norms on 1×1 features would fail although training does not."""


def check_suitable(network: OccupancyNetwork, config: TrainConfig, world: int = 1) -> None:
    """Encode two white pictures, forward and backward, as in training. Do not use ``network`` afterwards.

    UnsuitableError if the encoder cannot take pictures of ``image_size``, or if a batch norm would have one value per
    channel, which PyTorch refuses to normalise. Running out of memory is not an error here.
    """
    values = _values_per_picture(network, config)
    for name, count in values.items():
        joint = world if type(network.get_submodule(name)) is nn.BatchNorm2d else 1  # see distributed.wrap
        passes = {"batch_size": config.batch_size}
        if name.startswith("camera_encoder.") and config.camera_pictures:
            passes["camera_pictures"] = config.camera_pictures
        for setting, pictures in passes.items():
            if count * (pictures // world) * joint == 1:
                raise UnsuitableError(
                    f"`{setting}={pictures}` with `image_size={config.image_size}` leaves a batch norm of "
                    f"{network.config.encoder} one value per channel ({name}), which cannot be normalised.",
                    hint=f"Take `{setting}=2` or more, larger pictures, or `freeze_encoder=True`.",
                )
    if config.batch_size * config.points_per_shape == 1 and network.config.norm == "batch":
        raise UnsuitableError(
            "`batch_size=1` with `points_per_shape=1` leaves the decoder's batch norms one value per channel.",
            hint="Take more points.",
        )


def _values_per_picture(network: OccupancyNetwork, config: TrainConfig) -> dict[str, int]:
    """Name of each batch norm in training mode → its lowest number of values per channel and picture."""
    seen: dict[str, int] = {}

    def watch(name: str) -> Any:
        def note(module: nn.Module, given: tuple[Tensor, ...]) -> None:
            count = given[0].numel() // (PICTURES * given[0].shape[1])
            seen[name] = min(seen.get(name, count), count)

        return note

    network.train()
    if config.freeze_encoder:
        freeze_encoder(network)
        for backbone in backbones(network):
            backbone.eval()
    hooks = [
        module.register_forward_pre_hook(watch(name))
        for name, module in network.named_modules()
        if isinstance(module, _BatchNorm) and module.training
    ]
    device = next(network.parameters()).device
    side = config.image_size
    images, pose, intrinsics = blank_pictures(network.config, PICTURES, side, device)
    try:
        code = network.encode(images.contiguous(memory_format=torch.channels_last), pose, intrinsics)
        sum(part.sum() for part in (code.vector, *code.maps)).backward()  # type: ignore[union-attr]
    except Exception as error:  # noqa: BLE001 - timm's networks raise all kinds of errors
        if isinstance(error, RuntimeError) and is_out_of_memory(error):
            return {}
        line = next(iter(str(error).strip().splitlines()), type(error).__name__)[:200]
        raise UnsuitableError(
            f"`image_size={side}` does not suit {network.config.encoder} ({line}).", hint=_own_size(network, side)
        ) from None
    finally:
        for hook in hooks:
            hook.remove()
    return seen


def _own_size(network: OccupancyNetwork, side: int) -> str:
    """A hint with the picture size of timm's encoder; empty if it is ``side``."""
    for backbone in backbones(network):
        own = (getattr(backbone, "pretrained_cfg", None) or {}).get("input_size")
        if own and own[-1] != side:
            return f"It was made for `image_size={own[-1]}`."
    return ""
