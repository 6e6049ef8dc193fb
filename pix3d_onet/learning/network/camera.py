"""The camera of a crop, predicted from the picture's code, and its distance from the true one.

A crop says little about where the camera's axis was, so a camera is described as one that looks at the crop's centre.
Its axes are x right, y down, z away from the camera, whatever those of the data set's cameras are.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from pix3d_onet.learning.network.decoder import without_autocast

NUMBERS = 10
"""Numbers of a camera: two axes of the object (6), the centre's place (2), scale and distance."""
ELEVATION = math.radians(20)
"""Elevation of the camera that the head starts from, which looks at the object's front from the side of -z."""
SCALE = 0.74
"""Scale that the head starts from, in the picture's sides per unit at the object's centre: crops leave a margin."""
NEAREST_CENTRE = 0.6
"""Least distance of the object's centre from a predicted camera; the points of the loss are within 0.5 of it."""
DISTANCE = 1.5
"""Distance beyond the least one that the head starts from (median of Pix3D's chairs: 1.6)."""
LARGEST_LOGARITHM = 8.0
"""Logarithms of scale and distance are clamped to ± this, so that their exponentials are finite."""
TURNS = 24
"""Rotations about the up axis that can be symmetries of a shape: multiples of 15°."""


class Camera(NamedTuple):
    """B cameras: ``pose`` (B, 4, 4), normalised → camera frame; ``intrinsics`` (B, 3, 3) in units of the picture's
    side."""

    pose: Tensor
    intrinsics: Tensor


class CameraHead(nn.Module):
    """A picture's code (B, C) → its camera: where the object's y and x axes point (the 6D rotation of Zhou et al., CVPR
    2019), where its centre is seen, log scale there, and log distance; the focal length is scale times distance.

    The numbers are relative to a camera in front of an object that fills the crop, with which training starts. The up
    axis comes first, as it is nearly the same in all photos: between opposite azimuths the rotation stays defined.
    """

    start: Tensor

    def __init__(self, code_dim: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(code_dim, code_dim)
        self.out = nn.Linear(code_dim, NUMBERS)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        up = [0.0, -math.cos(ELEVATION), -math.sin(ELEVATION)]
        start = torch.tensor([*up, -1.0, 0.0, 0.0, 0.5, 0.5, math.log(SCALE), math.log(DISTANCE)])
        self.register_buffer("start", start, persistent=False)

    def forward(self, code: Tensor) -> Camera:
        """code (B, C) → B cameras, whose intrinsics have their principal point in the middle."""
        with without_autocast(code):
            return camera_of(self.start + self.out(functional.relu(self.hidden(code.to(self.start.dtype)))))


def camera_of(numbers: Tensor) -> Camera:
    """numbers (B, 10), see :class:`CameraHead` → cameras; axes need neither be of length 1 nor orthogonal."""
    up = functional.normalize(numbers[:, :3], dim=1)
    side = numbers[:, 3:6]
    side = functional.normalize(side - (side * up).sum(dim=1, keepdim=True) * up, dim=1)
    turn = torch.stack([side, up, torch.linalg.cross(side, up)], dim=2)
    scale, distance = numbers[:, 8:].clamp(-LARGEST_LOGARITHM, LARGEST_LOGARITHM).exp().unbind(dim=1)
    distance = NEAREST_CENTRE + distance
    zero, one = torch.zeros_like(scale), torch.ones_like(scale)
    shift = torch.stack([*((numbers[:, 6:8] - 0.5).t() / scale), distance], dim=1)
    pose = torch.cat([torch.cat([turn, shift[:, :, None]], dim=2), torch.stack([zero, zero, zero, one], 1)[:, None]], 1)
    focal, half = scale * distance, one / 2
    rows = [focal, zero, half, zero, focal, half, zero, zero, one]
    return Camera(pose, torch.stack(rows, dim=1).view(-1, 3, 3))


def numbers_of(camera: Camera) -> Tensor:
    """The inverse of :func:`camera_of`, (B, 10), for any cameras: as they are seen from their crop's centre."""
    pose, intrinsics = facing_centre(camera)
    shift, distance = pose[:, :3, 3:], pose[:, 2, 3]
    place = (intrinsics @ shift)[:, :, 0]
    ahead = intrinsics[:, :, 2]  # the picture of the z axis, whose third number is the cosine off the old axis
    focal = torch.linalg.det(intrinsics).abs().sqrt() / ahead[:, 2] ** 1.5
    beyond = (distance - NEAREST_CENTRE).clamp(min=math.exp(-LARGEST_LOGARITHM))
    logarithms = torch.stack([(focal / distance).log(), beyond.log()], dim=1)
    return torch.cat([pose[:, :3, 1], pose[:, :3, 0], place[:, :2] / place[:, 2:], logarithms], dim=1)


def facing_centre(camera: Camera) -> Camera:
    """The same cameras with their axes turned: z through the crop's centre, x to the right there, y downwards.

    Points are seen at the same places: the intrinsics (B, 3, 3) are turned back, so they are no longer triangular.
    """
    pose, intrinsics = camera
    rows = intrinsics[:, :2] - intrinsics[:, 2:] / 2  # u and v grow along these, at right angles to the centre's ray
    right = functional.normalize(rows[:, 0], dim=1)
    ahead = functional.normalize(torch.linalg.cross(rows[:, 0], rows[:, 1]), dim=1)
    turn = torch.stack([right, torch.linalg.cross(ahead, right), ahead], dim=1)
    turned = torch.cat([turn @ pose[:, :3], pose[:, 3:]], dim=1)
    return Camera(turned, intrinsics @ turn.transpose(1, 2))


def mirrored_pose(pose: Tensor) -> Tensor:
    """The poses (B, 4, 4) of the pictures mirrored left-right, for shapes mirrored in x.

    X_cam' = M X_cam and p' = M p with M = diag(-1, 1, 1): the pose becomes (M R M, M t), a rotation again.
    """
    mirror = torch.ones(4, device=pose.device, dtype=pose.dtype)
    mirror[0] = -1.0
    return mirror[:, None] * pose * mirror


def mirrored_intrinsics(intrinsics: Tensor) -> Tensor:
    """The intrinsics (B, 3, 3), in units of the picture's side, of the same cameras: u' = 1 - u for every M X_cam.

    The usual, triangular ones keep their focal lengths, and their centre moves to 1 - u0.
    """
    mirror = torch.ones(3, device=intrinsics.device, dtype=intrinsics.dtype)
    mirror[0] = -1.0
    return torch.cat([intrinsics[:, 2:] - intrinsics[:, :1], intrinsics[:, 1:]], dim=1) * mirror


def known_or(predicted: Camera, pose: Tensor | None, intrinsics: Tensor | None) -> Camera:
    """The given cameras, facing their crop's centre; the predicted ones, without gradients, where NaN or None."""
    predicted = Camera(predicted.pose.detach(), predicted.intrinsics.detach())
    if pose is None or intrinsics is None:
        return predicted
    known = torch.isfinite(pose).all(dim=2).all(dim=1) & torch.isfinite(intrinsics).all(dim=2).all(dim=1)
    pairs = zip(facing_centre(Camera(pose, intrinsics)), predicted, strict=True)
    return Camera(*(torch.where(known[:, None, None], given, own) for given, own in pairs))


def seen(camera: Camera, points: Tensor) -> tuple[Tensor, Tensor]:
    """points (…, N, 3) → their places in the pictures (B, …, N, 2), and their places from the object's centre along the
    axes of the cameras (B, …, N, 3)."""
    pose, intrinsics = (part.reshape(-1, *[1] * (points.ndim - 2), *part.shape[1:]) for part in camera)
    turned = points @ pose[..., :3, :3].transpose(-1, -2)
    image = (turned + pose[..., None, :3, 3]) @ intrinsics.transpose(-1, -2)
    return image[..., :2] / image[..., 2:].clamp(min=NEAREST_CENTRE / 10), turned


def turns(like: Tensor) -> Tensor:
    """(TURNS, 3, 3) rotations about the up axis (y), the identity first, on the device of ``like``."""
    angle = torch.arange(TURNS, device=like.device, dtype=like.dtype) * (2 * math.pi / TURNS)
    cosine, sine, zero, one = angle.cos(), angle.sin(), torch.zeros_like(angle), torch.ones_like(angle)
    rows = [cosine, zero, sine, zero, one, zero, -sine, zero, cosine]
    return torch.stack(rows, dim=1).view(-1, 3, 3)


def camera_loss(predicted: Camera, true: Camera, symmetric: Tensor) -> Tensor:
    """Mean distance of six points p (the unit cube's faces' centres) under predicted and true cameras, over B cameras:

    min over the shape's symmetries S of mean over p of  |π(p) - π*(S p)| + |R p - R* S p|

    with π in the picture's sides and lengths in units of the normalised frame. ``symmetric`` (B, TURNS) bool: the
    rotations about the up axis that map a shape onto itself. The nearest point as in ADD-S (Xiang et al., RSS 2018)
    would forgive half turns of a chair, whose seat and legs nearly match; the minimum over symmetries is exact.
    """
    with without_autocast(predicted.pose):
        axes = torch.eye(3, device=symmetric.device, dtype=predicted.pose.dtype) / 2
        points = torch.cat([axes, -axes])
        own = seen(predicted, points)
        truth = seen(facing_centre(true), points @ turns(points).transpose(1, 2))
        parts = [(a[:, None] - b).norm(dim=-1).mean(dim=-1) for a, b in zip(own, truth, strict=True)]
        distance = torch.where(symmetric, parts[0] + parts[1], torch.inf)
        return distance.amin(dim=1).mean()
