"""The occupancy network: pictures → code, code and points → logits (Mescheder et al., CVPR 2019)."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn

from pix3d_onet.config import ModelConfig
from pix3d_onet.learning.network.backbone_weights import FileWeights, LoadedWeights
from pix3d_onet.learning.network.decoder import ConditionalDecoder
from pix3d_onet.learning.network.decoder_inference import FoldedDecoder
from pix3d_onet.learning.network.encoders import POSE_DIM, PoseEncoder, make_image_encoder
from pix3d_onet.learning.network.weights_file import weights_path


class OccupancyNetwork(nn.Module):
    """An image encoder, an optional pose encoder, and the conditional decoder.

    Images (B, 3, H, W) float32 RGB in [0, 1] with a white background; poses (B, 4, 4) normalised → camera frame;
    points (B, T, 3) in the normalised frame. A logit above ``log(t / (1 - t))`` means inside at threshold t.
    """

    def __init__(self, config: ModelConfig, *, pretrained: bool = False, weights: Path | None = None) -> None:
        super().__init__()
        self.config = config
        self.image_size: int | None = None
        """Side of the training pictures; set by ``load_model`` if it is known."""
        file = None if weights is None else FileWeights(weights_path(weights))
        self.encoder = make_image_encoder(config, pretrained=pretrained, weights=file)
        self.encoder_weights: LoadedWeights | None = file.loaded if file is not None else None
        """Report of loading the encoder's weights from a file; None without a file."""
        self.pose_encoder = PoseEncoder(config.pose) if config.pose != "none" else None
        code_dim = config.c_dim + (POSE_DIM if self.pose_encoder is not None else 0)
        self.decoder = ConditionalDecoder(code_dim, config.hidden_dim, config.blocks)

    @property
    def needs_pose(self) -> bool:
        """Whether ``encode`` needs a pose."""
        return self.pose_encoder is not None

    def encode(self, images: Tensor, pose: Tensor | None = None, focal: Tensor | None = None) -> Tensor:
        """images (B, 3, H, W), pose (B, 4, 4), focal (B,) → code (B, C). ValueError if a needed pose is missing.

        ``focal``: focal length divided by the picture's width.
        """
        code: Tensor = self.encoder(images)
        if self.pose_encoder is None:
            return code
        if pose is None:
            raise ValueError("this network needs the camera's pose")
        return torch.cat([code, self.pose_encoder(pose, focal)], dim=1)

    def decode(self, points: Tensor, code: Tensor) -> Tensor:
        """points (B, T, 3) in the normalised frame, code (B, C) → logits (B, T)."""
        logits: Tensor = self.decoder(points, code)
        return logits

    def forward(
        self, images: Tensor, points: Tensor, pose: Tensor | None = None, focal: Tensor | None = None
    ) -> Tensor:
        """images (B, 3, H, W), points (B, T, 3), pose (B, 4, 4), focal (B,) → logits (B, T)."""
        return self.decode(points, self.encode(images, pose, focal))

    def fold(self, code: Tensor, dtype: torch.dtype = torch.float32) -> FoldedDecoder:
        """The decoder for one picture's code (C,) or (1, C), in eval mode, with batch norms folded into the weights."""
        if code.numel() != code.shape[-1]:
            raise ValueError(f"fold takes the code of one picture, not {tuple(code.shape)}")
        return FoldedDecoder(self.decoder, code, dtype)


def build_model(config: ModelConfig, *, pretrained: bool = False, weights: Path | None = None) -> OccupancyNetwork:
    """The network that ``config`` describes, with a randomly initialised decoder.

    ``pretrained``: load timm's pretrained encoder weights; ``weights``: load encoder weights from this file instead.
    ConfigError for an unknown encoder, InputError if the weights cannot be loaded.
    """
    return OccupancyNetwork(config, pretrained=pretrained, weights=weights)


def count_parameters(model: nn.Module) -> int:
    """Number of parameters, trainable and frozen."""
    return sum(parameter.numel() for parameter in model.parameters())


@lru_cache(maxsize=64)
def _cost(config: ModelConfig, image_size: int) -> tuple[int, float, float]:
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"):
        model = (
            build_model(config).eval().requires_grad_(False)
        )  # the counter needs gradients of parameters that require them
        images = torch.empty(1, 3, image_size, image_size)
        pose, focal = torch.empty(1, 4, 4), torch.empty(1)
        points = torch.empty(1, 1024, 3)
    with torch.no_grad(), FlopCounterMode(display=False) as image_counter:
        code = model.encode(images, pose, focal)
    with torch.no_grad(), FlopCounterMode(display=False) as point_counter:
        model.decode(points, code)
    return count_parameters(model), image_counter.get_total_flops(), point_counter.get_total_flops() / 1024


def cost(config: ModelConfig, image_size: int = 224) -> dict[str, float]:
    """Number of parameters, and operations of a forward pass by PyTorch's counter, without computing it.

    ``params``; ``gflops_image``: to encode one picture (a multiply-add counts as 2); ``gflops_point``: to decode one
    point.
    """
    params, image, point = _cost(config, image_size)
    return {"params": params, "gflops_image": image / 1e9, "gflops_point": point / 1e9}
