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

CELLS = 4
"""Cells per side in which the deepest feature level is pooled: a mean over the whole picture does not say where
something is."""
SQUEEZED = 32
"""Channels to which that level is projected before."""
CANDIDATES = 8
"""Cameras that a head proposes, each relative to an anchor; anchors are 45° of azimuth apart."""
SCORE_WEIGHT = 0.3
"""Weight of the candidates' scores in the loss, beside their distances."""
SHARPNESS = 6.0
"""Inverse temperature of the wanted scores: that of an anchor 45° from the true camera is 33 times smaller than that of
one at it."""
NUMBERS = 10
"""Numbers of a camera: two axes of the object (6), the centre's place (2), scale and distance."""
ELEVATION = math.radians(20)
"""Elevation of the anchors; the first one looks at the object's front from the side of -z."""
SCALE = 0.74
"""Scale of the anchors, in the picture's sides per unit at the object's centre: crops leave a margin."""
NEAREST_CENTRE = 0.6
"""Least distance of the object's centre from a predicted camera; the points of the loss are within 0.5 of it."""
DISTANCE = 1.5
"""Distance of the anchors beyond the least one (median of Pix3D's chairs: 1.6)."""
LARGEST_LOGARITHM = 8.0
"""Logarithms of scale and distance are clamped to ± this, so that their exponentials are finite."""
TURNS = 24
"""Rotations about the up axis that can be symmetries of a shape: multiples of 15°."""


class Camera(NamedTuple):
    """B cameras: ``pose`` (B, 4, 4), normalised → camera frame; ``intrinsics`` (B, 3, 3) in units of the picture's
    side."""

    pose: Tensor
    intrinsics: Tensor


class Candidates(NamedTuple):
    """K cameras for each of B pictures: ``numbers`` (B, K, 10), see :func:`camera_of`, and ``scores`` (B, K), logits of
    which one's anchor is nearest to the true camera; the anchor of candidate k is at azimuth 360° · k / K."""

    numbers: Tensor
    scores: Tensor

    def likeliest(self) -> Camera:
        """The camera with the highest score of each picture."""
        best = self.scores.argmax(dim=1)
        return camera_of(self.numbers.gather(1, best[:, None, None].expand(-1, 1, NUMBERS))[:, 0])


class CameraHead(nn.Module):
    """A picture's code (B, C) and deepest feature level (B, C', h, w) → candidates for its camera.

    A camera is: where the object's y and x axes point (the 6D rotation of Zhou et al., CVPR 2019), where its centre is
    seen, log scale there, and log distance; the focal length is scale times distance. The up axis comes first, as it is
    nearly the same in all photos. Anchors are cameras around an object that fills the crop. One regressed
    camera would lie between the azimuths that are possible; candidates with scores can choose (MultiBin: Mousavian et
    al., CVPR 2017).

    ``given`` (C,) is added to the code where the camera is known: then the features at a pixel are exact, and the
    decoder should trust them more than at one that was found with a predicted camera.
    """

    anchors: Tensor

    def __init__(self, code_dim: int, channels: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, SQUEEZED, 1)
        self.hidden = nn.Linear(code_dim + SQUEEZED * CELLS**2, code_dim)
        self.out = nn.Linear(code_dim, CANDIDATES * (NUMBERS + 1))
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        self.given = nn.Parameter(torch.zeros(code_dim))
        self.register_buffer("anchors", anchors(torch.zeros(())), persistent=False)

    def forward(self, code: Tensor, deepest: Tensor) -> Candidates:
        """code (B, C), deepest level (B, C', h, w) → candidates for B cameras."""
        with without_autocast(code):
            code, deepest = code.to(self.anchors.dtype), deepest.to(self.anchors.dtype)
            cells = functional.relu(functional.adaptive_avg_pool2d(self.squeeze(deepest), CELLS)).flatten(1)
            found = self.out(functional.relu(self.hidden(torch.cat([code, cells], dim=1))))
            numbers, scores = found.split([CANDIDATES * NUMBERS, CANDIDATES], dim=1)
            return Candidates(numbers.view(-1, CANDIDATES, NUMBERS) + self.anchors, scores)


def anchors(like: Tensor) -> Tensor:
    """(CANDIDATES, 10) numbers of the cameras to which the head's outputs are added, the first one in front of the
    object, on the device of ``like``."""
    azimuth = torch.arange(CANDIDATES, device=like.device, dtype=like.dtype) * (2 * math.pi / CANDIDATES)
    cosine, sine, zero, one = azimuth.cos(), azimuth.sin(), torch.zeros_like(azimuth), torch.ones_like(azimuth)
    down, back = math.cos(ELEVATION), math.sin(ELEVATION)
    up, side = [zero, -down * one, -back * one], [-cosine, back * sine, -down * sine]
    return torch.stack([*up, *side, one / 2, one / 2, math.log(SCALE) * one, math.log(DISTANCE) * one], dim=1)


def constant_camera(pictures: Tensor) -> Camera:
    """The first anchor for each of B ``pictures`` (B, C, H, W): in front of an object that fills the crop."""
    with without_autocast(pictures):
        return camera_of(anchors(pictures)[:1].expand(len(pictures), -1))


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
    shift, distance = pose[:, :3, 3], pose[:, 2, 3]
    place = (intrinsics * shift[:, None]).sum(dim=2)
    ahead = intrinsics[:, :, 2]  # the picture of the z axis, whose third number is the cosine off the old axis
    focal = torch.linalg.det(intrinsics).abs().sqrt() / ahead[:, 2] ** 1.5
    beyond = (distance - NEAREST_CENTRE).clamp(min=math.exp(-LARGEST_LOGARITHM))
    logarithms = torch.stack([(focal / distance).log(), beyond.log()], dim=1)
    return torch.cat([pose[:, :3, 1], pose[:, :3, 0], place[:, :2] / place[:, 2:], logarithms], dim=1)


def joined(own: Candidates, mirrored: Candidates) -> Candidates:
    """The candidates of pictures joined with those of their mirror images: means of numbers and log-probabilities."""
    count = own.scores.shape[1]
    camera, other = (camera_of(numbers.flatten(0, 1)) for numbers in (own.numbers, mirrored.numbers))
    other = Camera(mirrored_pose(other.pose), mirrored_intrinsics(other.intrinsics))
    first, second = (numbers_of(part).view_as(own.numbers) for part in (camera, other))
    order = -torch.arange(count, device=first.device) % count  # a mirrored azimuth is the negative one
    numbers = (first + second[:, order]) / 2
    scores = [functional.log_softmax(scores, dim=1) for scores in (own.scores, mirrored.scores[:, order])]
    return Candidates(numbers, (scores[0] + scores[1]) / 2)


def facing_centre(camera: Camera) -> Camera:
    """The same cameras with their axes turned: z through the crop's centre, x to the right there, y downwards.

    Points are seen at the same places: the intrinsics (B, 3, 3) are turned back, so they are no longer triangular.
    """
    pose, intrinsics = camera
    rows = intrinsics[:, :2] - intrinsics[:, 2:] / 2  # u and v grow along these, at right angles to the centre's ray
    right = functional.normalize(rows[:, 0], dim=1)
    ahead = functional.normalize(torch.linalg.cross(rows[:, 0], rows[:, 1]), dim=1)
    turn = torch.stack([right, torch.linalg.cross(ahead, right), ahead], dim=1)
    with without_autocast(pose):
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
    known = is_known(pose, intrinsics)
    pairs = zip(facing_centre(Camera(pose, intrinsics)), predicted, strict=True)
    return Camera(*(torch.where(known[:, None, None], given, own) for given, own in pairs))


def is_known(pose: Tensor, intrinsics: Tensor) -> Tensor:
    """(B,) bool: the cameras without NaN."""
    return torch.isfinite(pose).all(dim=2).all(dim=1) & torch.isfinite(intrinsics).all(dim=2).all(dim=1)


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


def camera_loss(predicted: Candidates, true: Camera, symmetric: Tensor) -> Tensor:
    """Mean over B pictures of Σ wₖ dₖ, and ``SCORE_WEIGHT`` times the cross-entropy of the scores with w.

    dₖ is the distance of candidate k (:func:`camera_distance`), and w = softmaxₖ(SHARPNESS · max over the shape's
    symmetries S of trace(Rₖᵀ R* S)), with Rₖ the rotation of its anchor: the nearest candidate learns the camera, and
    so do others as near, of a symmetric shape or between two anchors, since the scores may choose any of them.
    ``symmetric`` (B, TURNS) as in :func:`camera_distance`.
    """
    with without_autocast(predicted.numbers):
        anchor = camera_of(anchors(predicted.numbers)).pose[:, :3, :3]
        rotation = facing_centre(true).pose[:, None, :3, :3] @ turns(anchor)
        likeness = torch.einsum("btij,kij->btk", rotation, anchor)
        likeness = torch.where(symmetric[:, :, None], likeness, -torch.inf).amax(dim=1)
        wanted = functional.softmax(SHARPNESS * likeness, dim=1)
        of_each = Camera(*(part.repeat_interleave(CANDIDATES, dim=0) for part in true))
        found = camera_of(predicted.numbers.flatten(0, 1))
        distance = camera_distance(found, of_each, symmetric.repeat_interleave(CANDIDATES, dim=0))
        scores = functional.cross_entropy(predicted.scores, wanted)
        return (wanted * distance.view_as(wanted)).sum(dim=1).mean() + SCORE_WEIGHT * scores


def camera_distance(predicted: Camera, true: Camera, symmetric: Tensor) -> Tensor:
    """Distance (B,) of six points p (the unit cube's faces' centres) under predicted and true cameras:

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
        return distance.amin(dim=1)
