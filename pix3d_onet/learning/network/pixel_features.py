"""Features of a picture at the pixel where a point projects: DISN (Xu et al., NeurIPS 2019), PIFu (Saito et al., ICCV
2019), and at the mirrored point as well: Ladybird (Xu et al., ECCV 2020).

Several levels of the backbone are each projected to a few channels, as in DISN sampled bilinearly, and joined with the
mask's value and the point's place in the picture. A linear layer makes them a term of the point's embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from timm.layers.norm import LayerNorm2d
from torch import Tensor, nn
from torch.nn import functional

from pix3d_onet.learning.network.camera import Camera
from pix3d_onet.learning.network.decoder import without_autocast

CHANNELS = 64
"""Channels to which each feature level is projected."""
PLACE = 5
"""Numbers of a point's place: the mask there, u, v, depth from the object's centre, whether it is in the picture."""
NEAREST = 1e-3
"""Least depth by which is divided; points nearer to the camera or behind it are outside of the picture."""
FARTHEST = 2.0
"""u and v, of which the picture's borders are -1 and 1, are clamped to ± this."""


@dataclass(frozen=True, slots=True, eq=False)
class Code:
    """What an encoder knows of B pictures. ``vector`` (B, C): the same for all points.

    ``maps``: (B, F, h, w) float32 each, sampled at every point; ``projection`` (B, 3, 4): normalised frame → picture,
    ``(u, v, 1) · Z`` with u and v from 0 to 1 as in ``Batch``. Empty and None with ``conditioning="global"``.
    ``camera``: the predicted one, if the network predicts it.
    """

    vector: Tensor
    maps: tuple[Tensor, ...] = ()
    projection: Tensor | None = None
    camera: Camera | None = None

    def __len__(self) -> int:
        return len(self.vector)

    def picture(self, index: int) -> Code:
        """The code of one picture, B = 1."""
        one = slice(index, index + 1)
        projection = None if self.projection is None else self.projection[one]
        camera = None if self.camera is None else Camera(*(part[one] for part in self.camera))
        return Code(self.vector[one], tuple(level[one] for level in self.maps), projection, camera)


class PixelFeatures(nn.Module):
    """Feature levels of ``channels`` → maps; maps, projection and points → (B, T, ``features``).

    Each map is normalised over its channels: large features of a pretrained backbone would drown the coordinates.
    ``mirror``: also sample at the point mirrored in the plane x = 0 of the normalised frame.
    """

    reflection: Tensor

    def __init__(self, channels: Sequence[int], features: int, *, mirror: bool = False) -> None:
        super().__init__()
        self.mirror = mirror
        self.register_buffer("reflection", torch.tensor([-1.0, 1.0, 1.0]), persistent=False)
        self.lateral = nn.ModuleList(
            nn.Sequential(nn.Conv2d(count, CHANNELS, 1), LayerNorm2d(CHANNELS)) for count in channels
        )
        parts = 1 + mirror
        self.blend = nn.Linear(parts * len(channels) * CHANNELS, features, bias=False)  # the decoder's fc_p has a bias
        self.locate = nn.Linear(parts * PLACE, features, bias=False)

    def code(
        self,
        vector: Tensor,
        levels: Sequence[Tensor],
        mask: Tensor,
        pose: Tensor,
        intrinsics: Tensor,
        camera: Camera | None = None,
    ) -> Code:
        """vector (B, C), feature levels (B, C', h, w), mask (B, 1, H, W), pose (B, 4, 4), intrinsics (B, 3, 3)."""
        maps = [lateral(level).to(mask.dtype) for lateral, level in zip(self.lateral, levels, strict=True)]
        with without_autocast(pose):
            projection = intrinsics @ pose[:, :3]
        return Code(vector, (*maps, mask), projection, camera)

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
        """points (B, T, 3) → features (B, T, levels · CHANNELS) and (B, T, PLACE)."""
        assert code.projection is not None
        turn, shift = code.projection[:, :, :3], code.projection[:, None, :, 3]
        image = torch.baddbmm(shift, points, turn.transpose(1, 2))  # (B, T, 3): (u, v, 1) · Z
        depth = image[..., 2:]
        place = (2 * image[..., :2] / depth.clamp(min=NEAREST) - 1).clamp(-FARTHEST, FARTHEST)
        place = torch.where(depth > NEAREST, place, FARTHEST)
        inside = place.abs().amax(dim=-1, keepdim=True) <= 1
        *features, mask = (
            functional.grid_sample(level, place[:, :, None], align_corners=False)[..., 0].transpose(1, 2)
            for level in code.maps
        )
        numbers = [mask, place, depth - shift[..., 2:], inside.to(place.dtype)]
        return torch.cat(features, dim=-1), torch.cat(numbers, dim=-1)
