"""The occupancy network: pictures → code, code and points → logits (Mescheder et al., CVPR 2019)."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn

from pix3d_onet.config import ModelConfig, encoder_name
from pix3d_onet.learning.network.backbone_weights import FileWeights, LoadedWeights
from pix3d_onet.learning.network.camera import (
    CameraHead,
    Candidates,
    constant_camera,
    is_known,
    joined,
    known_or,
    mirrored_intrinsics,
    mirrored_pose,
)
from pix3d_onet.learning.network.decoder import ConditionalDecoder
from pix3d_onet.learning.network.decoder_inference import Decoder, FlipAveraged, FoldedDecoder, PlainDecoder, reflected
from pix3d_onet.learning.network.encoders import POSE_DIM, ImageEncoder, PoseEncoder, make_image_encoder
from pix3d_onet.learning.network.pixel_features import Code, PixelFeatures
from pix3d_onet.learning.network.weights_file import weights_path

BACKDROP = 0.5
"""Added to the background for a camera's own encoder, so that it differs from an object of any colour, also a white
one: where an object ends in the picture says most about where it is."""


class OccupancyNetwork(nn.Module):
    """An image encoder, an optional pose encoder, optional pixel features, and the conditional decoder.

    Images (B, 3, H, W) float32 RGB in [0, 1] with a white background, with the object's mask as fourth channel if
    ``config.needs_mask``; poses (B, 4, 4) normalised → camera frame; intrinsics (B, 3, 3) in units of the picture's
    side; points (B, T, 3) in the normalised frame. A logit above ``log(t / (1 - t))`` means inside at threshold t.
    """

    def __init__(self, config: ModelConfig, *, pretrained: bool = False, weights: Path | None = None) -> None:
        super().__init__()
        self.config = config
        self.image_size: int | None = None
        """Side of the training pictures; set by ``load_model`` if it is known."""
        self.threshold: float | None = None
        """The training's occupancy probability of the surface; ditto."""
        file = None if weights is None else FileWeights(weights_path(weights))
        self.encoder = make_image_encoder(config, pretrained=pretrained, weights=file)
        self.encoder_weights: LoadedWeights | None = file.loaded if file is not None else None
        """Report of loading the encoder's weights from a file; None without a file."""
        self.pose_encoder = PoseEncoder(config.pose) if config.pose in ("matrix", "6d") else None
        code_dim = config.c_dim + (POSE_DIM if self.pose_encoder is not None else 0)
        self.decoder = ConditionalDecoder(code_dim, config.hidden_dim, config.blocks, config.norm)
        self.camera_head: CameraHead | None = None
        self.camera_encoder: ImageEncoder | None = None
        self.pixels: PixelFeatures | None = None
        if config.conditioning == "pixel":
            assert isinstance(self.encoder, ImageEncoder)
            self.pixels = PixelFeatures(
                self.encoder.level_channels(), config.hidden_dim, merge=config.pyramid == "fpn", mirror=config.mirror
            )
            if config.predicts_camera:
                self.camera_head = CameraHead(config.c_dim, self.encoder.level_channels()[-1])
            if config.camera_encoder == "own":
                self.camera_encoder = ImageEncoder(
                    encoder_name(config.encoder), config.c_dim, pretrained=pretrained, weights=file
                )

    def encode(self, images: Tensor, pose: Tensor | None = None, intrinsics: Tensor | None = None) -> Code:
        """images (B, 3 or 4, H, W), pose (B, 4, 4), intrinsics (B, 3, 3) → what ``decode`` and ``fold`` need.

        With ``pose="predicted"`` cameras that are NaN or None are predicted. ValueError if a needed one is missing, for
        images without the mask that the network needs, and for integers.
        With ``tta="flip"``, in eval mode, the code contains that of the mirror images.
        """
        if self.config.needs_mask and images.shape[1] != 4:
            raise ValueError("this network needs the object's mask as the fourth channel of its images")
        if not images.is_floating_point():
            raise ValueError(f"images must be in [0, 1], not {images.dtype}")
        if self.config.needs_pose and pose is None:
            raise ValueError("this network needs the camera's pose")
        if self.config.needs_intrinsics and intrinsics is None:
            raise ValueError("this network needs the camera's intrinsics")
        code = self._encode(images, pose, intrinsics)
        if self.config.tta == "none" or self.training:
            return code
        mirrored = self._encode(images.flip(-1), *_mirrored(pose, intrinsics))
        if code.candidates is not None and mirrored.candidates is not None:  # both decoders see one scene
            camera = joined(code.candidates, mirrored.candidates).likeliest()
            pose, intrinsics = known_or(camera, pose, intrinsics)
            code = replace(code, camera=camera, pose=pose, intrinsics=intrinsics)
            pose, intrinsics = _mirrored(pose, intrinsics)
            mirrored = replace(mirrored, pose=pose, intrinsics=intrinsics)
        return replace(code, mirrored=mirrored)

    def _encode(self, images: Tensor, pose: Tensor | None, intrinsics: Tensor | None) -> Code:
        levels: list[Tensor] = []
        if self.pixels is not None:
            vector, levels = self.encoder.with_levels(images[:, :3])  # type: ignore[operator]
        else:
            vector = self.encoder(images)
        if self.pose_encoder is not None:
            vector = torch.cat([vector, self.pose_encoder(pose, intrinsics)], dim=1)
        if self.pixels is None:
            return Code(vector)
        if self.config.pose == "constant":
            pose, intrinsics = constant_camera(images)
        candidates, camera = None, None
        if self.camera_head is not None:
            own = self.camera_encoder is not None
            candidates = self.candidates(images) if own else self.camera_head(vector, levels[-1])
            camera = candidates.likeliest()
            if pose is not None and intrinsics is not None:
                vector = vector + is_known(pose, intrinsics)[:, None] * self.camera_head.given
            pose, intrinsics = known_or(camera, pose, intrinsics)
        assert pose is not None
        assert intrinsics is not None
        code = self.pixels.code(vector, levels, images[:, 3:], pose, intrinsics)
        return replace(code, candidates=candidates, camera=camera)

    def candidates(self, images: Tensor) -> Candidates:
        """images (B, 4, H, W) → candidates for their cameras; only with ``camera_encoder="own"``."""
        assert self.camera_head is not None
        assert self.camera_encoder is not None
        vector, levels = self.camera_encoder.with_levels(images[:, :3] + BACKDROP * (1 - images[:, 3:]))
        found: Candidates = self.camera_head(vector, levels[-1])
        return found

    def decode(self, points: Tensor, code: Code) -> Tensor:
        """points (B, T, 3) in the normalised frame, code of B pictures → logits (B, T)."""
        if code.mirrored is not None:
            pair = self.decode(points, replace(code, mirrored=None)), self.decode(reflected(points), code.mirrored)
            return (pair[0] + pair[1]) / 2
        local = None if self.pixels is None else self.pixels(points, code)
        logits: Tensor = self.decoder(points, code.vector, local)
        return logits

    def forward(
        self,
        images: Tensor,
        points: Tensor,
        pose: Tensor | None = None,
        intrinsics: Tensor | None = None,
        further: Tensor | None = None,
    ) -> Tensor | tuple[Tensor, Candidates]:
        """images (B, 3 or 4, H, W), points (B, T, 3), pose (B, 4, 4), intrinsics (B, 3, 3) → logits (B, T).

        With ``pose="predicted"`` also the candidates for the cameras (B + F), for their loss: those of ``images``, and
        of the ``further`` ones (F, 4, H, W), which only a camera's own encoder can take.
        """
        code = self.encode(images, pose, intrinsics)
        logits = self.decode(points, code)
        if code.candidates is None:
            return logits
        if further is None:
            return logits, code.candidates
        pairs = zip(code.candidates, self.candidates(further), strict=True)
        return logits, Candidates(*(torch.cat(pair) for pair in pairs))

    def fold(self, code: Code, dtype: torch.dtype = torch.float32) -> Decoder:
        """The decoder for one picture's code, in eval mode; batch norms are folded into the weights."""
        if len(code) != 1:
            raise ValueError(f"fold takes the code of one picture, not {len(code)}")
        if code.mirrored is not None:
            return FlipAveraged(self.fold(replace(code, mirrored=None), dtype), self.fold(code.mirrored, dtype))
        pixels = self.pixels
        local = None if pixels is None else lambda points: pixels(points[None], code)[0]
        made = FoldedDecoder if self.config.norm == "batch" else PlainDecoder
        return made(self.decoder, code.vector, dtype, local)


def _mirrored(pose: Tensor | None, intrinsics: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    """The cameras of the mirror images, as far as they are known."""
    return (
        None if pose is None else mirrored_pose(pose),
        None if intrinsics is None else mirrored_intrinsics(intrinsics),
    )


def build_model(config: ModelConfig, *, pretrained: bool = False, weights: Path | None = None) -> OccupancyNetwork:
    """The network that ``config`` describes, with a randomly initialised decoder.

    ``pretrained``: load timm's pretrained encoder weights; ``weights``: load encoder weights from this file instead.
    ConfigError for an unknown encoder, InputError if the weights cannot be loaded.
    """
    return OccupancyNetwork(config, pretrained=pretrained, weights=weights)


def count_parameters(model: nn.Module) -> int:
    """Number of parameters, trainable and frozen."""
    return sum(parameter.numel() for parameter in model.parameters())


def blank_pictures(
    config: ModelConfig, count: int, side: int, device: torch.device | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """White pictures with the channels that the network needs, poses and intrinsics, for measurements and trials."""
    images = torch.ones(count, 3 + config.needs_mask, side, side, device=device)
    pose = torch.eye(4, device=device).expand(count, 4, 4)
    return images, pose, torch.eye(3, device=device).expand(count, 3, 3)


@lru_cache(maxsize=64)
def _cost(config: ModelConfig, image_size: int) -> tuple[int, float, float]:
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"):
        model = (
            build_model(config).eval().requires_grad_(False)
        )  # the counter needs gradients of parameters that require them
        images, pose, intrinsics = blank_pictures(config, 1, image_size)
        points = torch.empty(1, 1024, 3)
    with torch.no_grad(), FlopCounterMode(display=False) as image_counter:
        code = model.encode(images, pose, intrinsics)
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
