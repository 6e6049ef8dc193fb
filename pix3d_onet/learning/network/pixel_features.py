"""Features of a picture at the pixel where a point projects: DISN (Xu et al., NeurIPS 2019), PIFu (Saito et al., ICCV
2019), and at the mirrored point as well: Ladybird (Xu et al., ECCV 2020).

Several levels of the backbone are each projected to a few channels, or merged top-down (FPN: Lin et al., CVPR 2017), as
in DISN sampled bilinearly, and joined with the mask's value and the point's place in the picture and before the camera.
A linear layer makes them a term of the point's embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from timm.layers.norm import LayerNorm2d
from torch import Tensor, nn
from torch.nn import functional

from pix3d_onet.learning.network.camera import Camera, Candidates
from pix3d_onet.learning.network.decoder import without_autocast

CHANNELS = 64
"""Channels to which each feature level is projected."""
SAMPLED = 2
"""Number of merged levels that are sampled, the finest ones; they contain the coarser ones."""
PLACE = 7
"""Numbers of a point's place: the mask there, u, v, x, y, z along the camera's axes from the object's centre, whether
it is in the picture."""
NEAREST = 1e-3
"""Least depth by which is divided; points nearer to the camera or behind it are outside of the picture."""
FARTHEST = 2.0
"""u and v, of which the picture's borders are -1 and 1, are clamped to ± this."""


@dataclass(frozen=True, slots=True, eq=False)
class Code:
    """What an encoder knows of B pictures. ``vector`` (B, C): the same for all points.

    ``maps``: (B, F, h, w) float32 each, sampled at every point; ``pose`` (B, 4, 4) and ``intrinsics`` (B, 3, 3) as in
    ``Batch``. Empty and None with ``conditioning="global"``.
    ``candidates``: for the cameras, if the network predicts them; ``camera``: the likeliest of them.
    ``mirrored``: the code of the mirror images, if logits are averaged over both.
    """

    vector: Tensor
    maps: tuple[Tensor, ...] = ()
    pose: Tensor | None = None
    intrinsics: Tensor | None = None
    candidates: Candidates | None = None
    camera: Camera | None = None
    mirrored: Code | None = None

    def __len__(self) -> int:
        return len(self.vector)

    def picture(self, index: int) -> Code:
        """The code of one picture, B = 1."""
        one = slice(index, index + 1)
        pose, intrinsics = (None if part is None else part[one] for part in (self.pose, self.intrinsics))
        camera = None if self.camera is None else Camera(*(part[one] for part in self.camera))
        mirrored = None if self.mirrored is None else self.mirrored.picture(index)
        maps = tuple(level[one] for level in self.maps)
        return Code(self.vector[one], maps, pose, intrinsics, camera=camera, mirrored=mirrored)


class SeparateLevels(nn.Module):
    """Feature levels (B, C, h, w) of ``channels``, each projected on its own → as many maps (B, CHANNELS, h, w).

    Maps are normalised over their channels: large features of a pretrained backbone would drown the coordinates.
    """

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.count = len(channels)
        self.lateral = nn.ModuleList(
            nn.Sequential(nn.Conv2d(count, CHANNELS, 1), LayerNorm2d(CHANNELS)) for count in channels
        )

    def forward(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """Levels → maps, in the same order."""
        return [lateral(level) for lateral, level in zip(self.lateral, levels, strict=True)]


class MergedLevels(nn.Module):
    """Feature levels (B, C, h, w) of ``channels``, the finest first, merged top-down → the ``SAMPLED`` finest maps.

    Lin et al., CVPR 2017: each level is projected and the enlarged sum of the coarser ones is added, here bilinearly.
    The maps are smoothed by a 3×3 convolution beside an identity, and normalised as in :class:`SeparateLevels`.
    """

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.count = min(SAMPLED, len(channels))
        self.lateral = nn.ModuleList(nn.Conv2d(count, CHANNELS, 1) for count in channels)
        self.smooth = nn.ModuleList(nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1) for _ in range(self.count))
        self.norm = nn.ModuleList(LayerNorm2d(CHANNELS) for _ in range(self.count))

    def forward(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """Levels → maps (B, CHANNELS, h, w), the finest first."""
        *finer, merged = [lateral(level) for lateral, level in zip(self.lateral, levels, strict=True)]
        sums = [merged]
        for level in reversed(finer):
            merged = level + functional.interpolate(merged, size=level.shape[-2:], mode="bilinear")
            sums.insert(0, merged)
        finest = zip(self.norm, self.smooth, sums[: self.count], strict=True)
        return [norm(level + smooth(functional.relu(level))) for norm, smooth, level in finest]


class PixelFeatures(nn.Module):
    """Feature levels of ``channels`` → maps; maps, camera and points → (B, T, ``features``).

    ``merge``: merge the levels top-down; ``mirror``: also sample at the point mirrored in the plane x = 0 of the
    normalised frame.
    """

    reflection: Tensor

    def __init__(self, channels: Sequence[int], features: int, *, merge: bool = False, mirror: bool = False) -> None:
        super().__init__()
        self.mirror = mirror
        self.register_buffer("reflection", torch.tensor([-1.0, 1.0, 1.0]), persistent=False)
        self.levels = (MergedLevels if merge else SeparateLevels)(channels)
        parts = 1 + mirror  # no biases: the decoder's fc_p has one
        self.blend = nn.Linear(parts * self.levels.count * CHANNELS, features, bias=False)
        self.locate = nn.Linear(parts * PLACE, features, bias=False)

    def code(self, vector: Tensor, levels: Sequence[Tensor], mask: Tensor, pose: Tensor, intrinsics: Tensor) -> Code:
        """vector (B, C), feature levels (B, C', h, w), mask (B, 1, H, W), pose (B, 4, 4), intrinsics (B, 3, 3)."""
        maps = (level.to(mask.dtype) for level in self.levels(levels))
        return Code(vector, (*maps, mask), pose, intrinsics)

    def forward(self, points: Tensor, code: Code) -> Tensor:
        """points (B, T, 3) in the normalised frame → (B, T, features); only the product with features is narrow."""
        with without_autocast(points):
            parts = [self.sampled(points, code)]
            if self.mirror:
                parts.append(self.sampled(points * self.reflection, code))
            sampled, places = (torch.cat(part, dim=-1) for part in zip(*parts, strict=True))
            located = self.locate(places)
        result: Tensor = located + self.blend(sampled)
        return result

    def sampled(self, points: Tensor, code: Code) -> tuple[Tensor, Tensor]:
        """points (B, T, 3) → features (B, T, maps · CHANNELS) and (B, T, PLACE)."""
        assert code.pose is not None
        assert code.intrinsics is not None
        turned = points @ code.pose[:, :3, :3].transpose(1, 2)  # (B, T, 3), from the object's centre
        image = (turned + code.pose[:, None, :3, 3]) @ code.intrinsics.transpose(1, 2)  # (B, T, 3): (u, v, 1) · Z
        depth = image[..., 2:]
        place = (2 * image[..., :2] / depth.clamp(min=NEAREST) - 1).clamp(-FARTHEST, FARTHEST)
        place = torch.where(depth > NEAREST, place, FARTHEST)
        inside = place.abs().amax(dim=-1, keepdim=True) <= 1
        *features, mask = (
            functional.grid_sample(level, place[:, :, None], align_corners=False)[..., 0].transpose(1, 2)
            for level in code.maps
        )
        numbers = [mask, place, turned, inside.to(place.dtype)]
        return torch.cat(features, dim=-1), torch.cat(numbers, dim=-1)
