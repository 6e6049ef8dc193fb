"""Image and pose encoders: pictures (B, 3, H, W) → code (B, C).

An image encoder is a timm backbone without its head, global pooling, and one linear layer: the encoder of Mescheder et
al., CVPR 2019, section 4, with any backbone instead of ResNet-18. With three scales, the picture is encoded at full,
half and quarter size and the codes are added. The code of the pose is concatenated.
"""

from __future__ import annotations

import re
from typing import Any

import timm
import torch
from timm.data.constants import IMAGENET_DEFAULT_MEAN as IMAGENET_MEAN
from timm.data.constants import IMAGENET_DEFAULT_STD as IMAGENET_STD
from torch import Tensor, nn
from torch.nn import functional

from pix3d_onet.config import ModelConfig, encoder_name
from pix3d_onet.errors import ConfigError, did_you_mean
from pix3d_onet.learning.network.backbone_weights import FileWeights
from pix3d_onet.learning.network.pretrained import fetch_pretrained

POSE_DIM = 32
"""Dimension of the pose's code."""
MATRIX_DIM = 16
"""Input dimension for a flattened 4×4 pose."""
SIX_D_DIM = 10
"""Input dimension for two columns of the rotation (6), translation (3) and focal length (1)."""
SMALLEST_SIDE = 32
"""Least side of a picture in the pyramid, pixels; smaller ones are enlarged, because backbones have strides of 32."""
PIXEL_LEVELS = 4
"""Number of feature levels of ``conditioning="pixel"``, the deepest ones: strides 4 to 32 in most networks."""
FPN_LEVELS = 3
"""Number of feature levels that ``pyramid="fpn"`` uses, the deepest ones."""


def make_backbone(name: str, **options: Any) -> nn.Module:
    """A randomly initialised timm backbone; ConfigError if timm does not know the name or cannot build it."""
    if not timm.is_model(name):
        raise ConfigError(f"`encoder`: timm has no model {name!r}.", hint=suggestion(name))
    any_size: dict[str, Any] = {"dynamic_img_size": True}  # only transformers have this option, and need it
    for extra in (any_size, {}):
        try:
            backbone: nn.Module = timm.create_model(name, pretrained=False, **extra, **options)
        except TypeError as error:
            if extra:
                continue
            raise ConfigError(f"`encoder`: timm cannot build {name!r} this way ({error}).") from None
        except (RuntimeError, ValueError, AttributeError, AssertionError) as error:
            raise ConfigError(f"`encoder`: timm cannot build {name!r} this way ({error}).") from None
        break
    return backbone


def suggestion(name: str) -> str:
    """A hint with timm's name for an unknown one: other case, an address on a model hub, or a misspelling."""
    arch, dot, tag = name.rpartition("/")[2].rpartition(":")[2].partition(".")
    plain = {re.sub(r"[^a-z0-9]", "", known): known for known in timm.list_models()}
    meant = plain.get(re.sub(r"[^a-z0-9]", "", arch.lower()))
    if meant is not None:
        tagged = f"{meant}{dot}{tag.lower()}"
        return f"Did you mean `encoder={tagged if timm.is_model_pretrained(tagged) else meant}`?"
    return did_you_mean(arch, timm.list_models()) or "Any name of timm.list_models() will do."


def initialise(backbone: nn.Module, name: str, *, pretrained: bool, weights: FileWeights | None) -> None:
    """Load the weights of a file, or the pretrained ones, or none, into ``backbone``."""
    if weights is not None:
        weights.load_into(backbone, name)
    elif pretrained:
        fetch_pretrained(backbone, name)


class ImageEncoder(nn.Module):
    """A timm backbone and a projection: images (B, 3, H, W) float in [0, 1] on white → (B, c_dim).

    Images are normalised with the backbone's mean and deviation (those of ImageNet for all encoders of Table 1).
    """

    mean: Tensor
    std: Tensor

    def __init__(self, name: str, c_dim: int, *, pretrained: bool = False, weights: FileWeights | None = None) -> None:
        super().__init__()
        self.backbone = make_backbone(name, num_classes=0)
        initialise(self.backbone, name, pretrained=pretrained, weights=weights)
        self.project = nn.Linear(feature_count(self.backbone), c_dim)
        register_normalisation(self, self.backbone)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) → (B, c_dim)."""
        features = self.backbone((images - self.mean) / self.std)  # (B, F)
        code: Tensor = self.project(features)
        return code

    def with_levels(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """(B, 3, H, W) → the same code (B, c_dim), and the backbone's levels, see ``level_channels``, (B, C, h, w)."""
        deepest, levels = self.backbone.forward_intermediates((images - self.mean) / self.std, indices=PIXEL_LEVELS)  # type: ignore[operator]
        code: Tensor = self.project(self.backbone.forward_head(deepest))  # type: ignore[operator]
        return code, levels

    def level_channels(self) -> list[int]:
        """Channels of the deepest ``PIXEL_LEVELS`` feature levels; ConfigError if timm cannot give this backbone's."""
        if not hasattr(self.backbone, "forward_intermediates"):
            raise ConfigError("`conditioning='pixel'`: timm does not give the feature levels of this `encoder`.")
        return [level["num_chs"] for level in self.backbone.feature_info[-PIXEL_LEVELS:]]  # type: ignore[index]


def feature_count(backbone: nn.Module) -> int:
    """Number of output features of a backbone without head; wrong in ``num_features`` if a hidden layer is kept."""
    return int(getattr(backbone, "head_hidden_size", None) or backbone.num_features)  # type: ignore[arg-type]


def register_normalisation(module: nn.Module, backbone: nn.Module) -> None:
    """Register the backbone's ``mean`` and ``std`` (1, 3, 1, 1) as buffers of ``module``."""
    cfg = getattr(backbone, "pretrained_cfg", None) or {}
    for key, default in (("mean", IMAGENET_MEAN), ("std", IMAGENET_STD)):
        value = torch.tensor(cfg.get(key) or default, dtype=torch.float32).view(1, 3, 1, 1)
        module.register_buffer(key, value, persistent=False)


class PyramidEncoder(nn.Module):
    """Encode the image at full, half and quarter size and add the codes: (B, 3, H, W) → (B, c_dim).

    ``shared``: one encoder for all scales; otherwise each scale has its own backbone and projection.
    """

    def __init__(
        self,
        name: str,
        c_dim: int,
        scales: int,
        *,
        shared: bool = False,
        pretrained: bool = False,
        weights: FileWeights | None = None,
    ) -> None:
        super().__init__()
        self.scales = scales
        count = 1 if shared else scales
        self.encoders = nn.ModuleList(
            ImageEncoder(name, c_dim, pretrained=pretrained, weights=weights) for _ in range(count)
        )

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) → (B, c_dim)."""
        code: Tensor = self.encoders[0](images)
        for scale in range(1, self.scales):
            images = functional.avg_pool2d(images, 2)  # exact area average, so white stays white
            code = code + self.encoders[min(scale, len(self.encoders) - 1)](enlarge(images))
        return code


def enlarge(images: Tensor) -> Tensor:
    """(B, 3, H, W), enlarged if the shorter side has fewer than ``SMALLEST_SIDE`` pixels."""
    height, width = images.shape[-2:]
    if min(height, width) >= SMALLEST_SIDE:
        return images
    factor = SMALLEST_SIDE / min(height, width)
    size = (round(height * factor), round(width * factor))
    return functional.interpolate(images, size=size, mode="bilinear", align_corners=False)


class FpnEncoder(nn.Module):
    """A feature pyramid (Lin et al., CVPR 2017) on the deepest levels of one backbone; the pooled levels are added."""

    mean: Tensor
    std: Tensor

    def __init__(self, name: str, c_dim: int, *, pretrained: bool = False, weights: FileWeights | None = None) -> None:
        super().__init__()
        full = make_backbone(name, num_classes=0)
        initialise(full, name, pretrained=pretrained, weights=weights)
        self.backbone = make_backbone(name, features_only=True)
        levels = self.backbone.feature_info.channels()[-FPN_LEVELS:]  # type: ignore[union-attr,operator]
        copy_features(full, self.backbone)
        self.lateral = nn.ModuleList(nn.Conv2d(channels, c_dim, 1) for channels in levels)
        self.project = nn.ModuleList(nn.Linear(c_dim, c_dim) for _ in levels)
        register_normalisation(self, full)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) → (B, c_dim)."""
        features = self.backbone((images - self.mean) / self.std)[-FPN_LEVELS:]
        code: Tensor | None = None
        above: Tensor | None = None
        for feature, lateral, project in zip(
            reversed(features), reversed(list(self.lateral)), reversed(list(self.project)), strict=True
        ):
            level = lateral(feature)  # (B, c_dim, h, w)
            if above is not None:
                level = level + functional.interpolate(above, size=level.shape[-2:], mode="nearest")
            above = level
            part = project(level.mean(dim=(2, 3)))
            code = part if code is None else code + part
        assert code is not None
        return code


def copy_features(source: nn.Module, target: nn.Module) -> None:
    """Copy a backbone's weights to its ``features_only`` form, in whose names timm writes ``_`` for some dots."""
    flat = {key.replace(".", "_"): value for key, value in source.state_dict().items()}
    own = target.state_dict()
    for key, value in own.items():
        found = flat.get(key.replace(".", "_"))
        if found is None or found.shape != value.shape:
            raise ConfigError(f"`pyramid='fpn'` does not know the feature levels of this encoder ({key}).")
        value.copy_(found)


class PoseEncoder(nn.Module):
    """Camera → (B, 32). ``matrix``: the flattened 4×4 ``pose`` (normalised → camera frame).

    ``6d``: the first two columns of the rotation (the continuous representation of Zhou et al., CVPR 2019), the
    translation, and the focal length divided by the picture's width, the first number of ``intrinsics``.

    A length l is replaced by log(1 + l), and the translation keeps its direction: the distances of Pix3D's chairs
    (median 1.5, up to 1,347 sides of the object) would make training diverge.
    """

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.linear = nn.Linear(MATRIX_DIM if kind == "matrix" else SIX_D_DIM, POSE_DIM)

    def forward(self, pose: Tensor, intrinsics: Tensor | None) -> Tensor:
        """pose (B, 4, 4), intrinsics (B, 3, 3) → (B, 32). ValueError if ``6d`` gets no intrinsics."""
        if self.kind == "matrix":
            numbers = torch.cat([pose[:, :3, :3], _log_length(pose[:, :3, 3])[:, :, None]], dim=2)  # (B, 3, 4)
            numbers = torch.cat([numbers, pose[:, 3:]], dim=1).flatten(1)  # (B, 16)
        else:
            if intrinsics is None:
                raise ValueError("a 6d pose needs the intrinsics as well")
            focal = intrinsics[:, 0, 0].abs()
            columns = pose[:, :3, :2].transpose(1, 2).flatten(1)  # (B, 6)
            numbers = torch.cat([columns, _log_length(pose[:, :3, 3]), focal.log1p()[:, None]], dim=1)  # (B, 10)
        code: Tensor = self.linear(numbers)
        return code


def _log_length(translation: Tensor) -> Tensor:
    """(B, 3) → (B, 3): same direction, length l → log(1 + l)."""
    length = translation.norm(dim=1, keepdim=True)  # (B, 1)
    tiny = torch.finfo(length.dtype).tiny
    scaled: Tensor = translation * (length.log1p() / length.clamp(min=tiny))
    return scaled


def make_image_encoder(config: ModelConfig, *, pretrained: bool, weights: FileWeights | None) -> nn.Module:
    """The image encoder that ``config`` describes."""
    name = encoder_name(config.encoder)
    if config.scales == 1:
        return ImageEncoder(name, config.c_dim, pretrained=pretrained, weights=weights)
    if config.pyramid == "fpn":
        return FpnEncoder(name, config.c_dim, pretrained=pretrained, weights=weights)
    shared = config.pyramid == "shared"
    return PyramidEncoder(name, config.c_dim, config.scales, shared=shared, pretrained=pretrained, weights=weights)
