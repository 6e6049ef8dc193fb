"""Align a predicted mesh with the true one before it is scored: for methods with a frame of their own.

``box``: translation and uniform scale that give both bounding boxes the same centre and longest side. ``icp``: box,
then rigid ICP (Besl & McKay, PAMI 1992). ``search``: box and ICP from the most promising rotations of a grid. The grid
is that of ZeroShape's public evaluation (Huang et al., CVPR 2024, ``utils/eval_3D.py``): 24 azimuths, 24 elevations and
12 rolls, and the rotation of the smallest Chamfer distance counts. Differences from that code: the half of the grid
that repeats the other is left out; a box is that of the mesh, its longest side that of three axes, and its centre its
middle (there: of samples, of x and y, and the mean sample); rotations are ranked by Chamfer distances looked up in two
distance volumes; the best ones are then compared with more samples, after ICP, which that search does not have.

An alignment uses the truth: so it is the same for all rows of a table, networks and baselines too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from pix3d_onet.config import POINTS_HALF_SIDE, Alignment
from pix3d_onet.geometry.mesh.sampling import sample_surface
from pix3d_onet.learning.extraction.predictor import Prediction, Predictor
from pix3d_onet.learning.extraction.surface_sampling import FAR
from pix3d_onet.metrics import Floats, nearest
from pix3d_onet.types import Bool, Float32, Float64, Int64, Mesh, Sample, View

AZIMUTHS, ELEVATIONS, ROLLS = 24, 24, 12
"""ZeroShape's grid of rotations: steps of 15°, 15° and 30°."""
RANK_SAMPLES, RANKED = 512, 24
"""Samples per surface with which all rotations are ranked, and how many of them are refined."""
ICP_THRESHOLD = 1e-9
"""ICP ends when its mean squared error falls by less."""
VOLUME_SIDE = 72
"""Voxels per axis of a distance volume."""
VOLUME_HALF_SIDE = 0.9
"""Half the side of a distance volume, in longest sides of the mesh's box; farther points are clamped to it."""
BLOCK = 256
"""Rotations that are ranked at a time: 10 MB."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How exactly a rotation is judged: samples per surface, most iterations of ICP, and how often it alternates with
    the box, since a turned mesh has another box. ``kept``: number of rotations that go on."""

    samples: int
    iterations: int
    rounds: int
    kept: int


EFFORTS = (Effort(800, 30, 1, 6), Effort(4000, 50, 2, 1))
"""How the best rotations of the grid are refined (50 iterations is ZeroShape's number)."""


@dataclass(frozen=True, slots=True, eq=False)
class Aligned:
    """``predictor`` with every prediction aligned with the truth. ``seed``: of the surface samples."""

    predictor: Predictor
    how: Alignment
    seed: int = 0

    @property
    def name(self) -> str:
        """The predictor's name."""
        return self.predictor.name

    @property
    def settings(self) -> Mapping[str, Any]:
        """The predictor's settings, and ``align``."""
        return dict(self.predictor.settings) | {"align": self.how}

    def usable(self, view: View) -> bool:
        """Whether the predictor can use the picture."""
        return self.predictor.usable(view)

    def predict(self, sample: Sample, view: View) -> Prediction:
        """The aligned prediction; an empty one, and an empty truth, have nothing to align."""
        found = self.predictor.predict(sample, view)
        if self.how == "none" or not len(found.mesh.faces) or not len(sample.mesh.faces):
            return found
        return moved(found, similarity(found.mesh, sample.mesh, self.how, self.seed))


def moved(prediction: Prediction, matrix: Float64) -> Prediction:
    """The prediction under a similarity (4, 4). A network's field is outside beyond the cube that it was trained in."""
    back = np.linalg.inv(matrix)

    def logits(points: Float32) -> Float32:
        source = apply(back, points).astype(np.float32)
        if prediction.mesh_is_field:
            return prediction.logits(source)
        known = np.abs(source).max(axis=1) <= POINTS_HALF_SIDE
        result = np.full(len(points), -FAR, np.float32)
        result[known] = prediction.logits(source[known])
        return result

    mesh = Mesh(apply(matrix, prediction.mesh.vertices), prediction.mesh.faces)
    return Prediction(mesh, logits, prediction.level, prediction.mesh_is_field)


def apply(matrix: NDArray[Any], points: Floats) -> Float64:
    """(N, 3) points under a (4, 4) similarity."""
    turned: Float64 = points.astype(np.float64) @ matrix[:3, :3].T + matrix[:3, 3]
    return turned


def similarity(predicted: Mesh, true: Mesh, how: Alignment, seed: int = 0) -> Float64:
    """(4, 4) similarity that aligns ``predicted`` with ``true`` (see the module); never a reflection.

    Of all steps on the way, that of the smallest Chamfer distance between samples is returned (except for ``box``).
    """
    unturned = box_alignment(predicted, true, np.eye(3))
    if how == "box":
        return unturned
    most = EFFORTS[-1].samples
    samples = sample_surface(predicted, most, seed, "predicted")[0]
    targets = sample_surface(true, most, seed, "true")[0]
    turns: list[Float64] = [np.eye(3)]
    if how == "search":
        grid = rotations()
        rank = np.argsort(grid_distances(samples[:RANK_SAMPLES], targets[:RANK_SAMPLES], grid), kind="stable")
        turns += list(grid[rank[:RANKED]])
    best = [unturned]
    for effort in EFFORTS if how == "search" else EFFORTS[-1:]:
        some, goals = samples[: effort.samples], targets[: effort.samples]
        steps = [step for turn in turns for step in refined(predicted, true, some, goals, turn, effort)]
        errors = [chamfer(apply(step, some), goals) for step in steps]
        best = [steps[k] for k in np.argsort(errors, kind="stable")[: effort.kept]]
        turns = [rotation_of(step) for step in best]
    return best[0]


def box_alignment(predicted: Mesh, true: Mesh, rotation: Float64) -> Float64:
    """(4, 4): turn, then give the box the centre and the longest side of the true one."""
    turned = predicted.vertices @ rotation.T
    low, high = turned.min(axis=0), turned.max(axis=0)
    scale = np.ptp(true.bounds, axis=0).max() / (high - low).max()
    result = np.eye(4)
    result[:3, :3] = scale * rotation
    result[:3, 3] = true.bounds.mean(axis=0) - scale * (low + high) / 2
    return result


def refined(
    predicted: Mesh, true: Mesh, samples: Float64, targets: Float64, rotation: Float64, effort: Effort
) -> list[Float64]:
    """The box alignment of a turned mesh, its refinement by rigid ICP, and so on: all steps.

    The scale stays that of the box: ICP with a free scale shrinks a mesh onto the parts of the truth that it meets.
    """
    from trimesh import registration

    icp: Any = registration.icp
    rigid = {"scale": False, "reflection": False}
    steps: list[Float64] = []
    for _ in range(effort.rounds):
        start = box_alignment(predicted, true, rotation)
        end = icp(samples, targets, start, ICP_THRESHOLD, effort.iterations, **rigid)[0]
        steps += [start, end]
        rotation = rotation_of(end)
    return steps


def rotation_of(matrix: Float64) -> Float64:
    """(3, 3) rotation of a (4, 4) similarity."""
    scaled = matrix[:3, :3]
    turn: Float64 = scaled / np.cbrt(np.linalg.det(scaled))
    return turn


def chamfer(first: Float64, second: Float64) -> float:
    """Mean distance from each of two point sets to the other, summed."""
    return float(nearest(first, second, workers=1)[0].mean() + nearest(second, first, workers=1)[0].mean())


def rotations() -> Float64:
    """(3744, 3, 3): roll after elevation after azimuth (about z, x, y).

    Elevations are −90° to 90°: those beyond repeat the same rotations.
    """
    azimuths = np.arange(AZIMUTHS) * 2 * math.pi / AZIMUTHS
    elevations = np.arange(-ELEVATIONS // 4, ELEVATIONS // 4 + 1) * 2 * math.pi / ELEVATIONS
    rolls = np.arange(ROLLS) * 2 * math.pi / ROLLS
    return np.stack([_about(2, r) @ _about(0, e) @ _about(1, a) for a, e, r in product(azimuths, elevations, rolls)])


def _about(axis: int, angle: float) -> Float64:
    """(3, 3) rotation about an axis."""
    i, j = (axis + 1) % 3, (axis + 2) % 3
    result = np.eye(3)
    result[i, i] = result[j, j] = math.cos(angle)
    result[j, i] = math.sin(angle)
    result[i, j] = -result[j, i]
    return result


def grid_distances(samples: Float64, targets: Float64, turns: Float64) -> Float64:
    """(T,) approximate Chamfer distances of ``samples`` (N, 3), turned and box-aligned, to ``targets`` (M, 3).

    Both are first normalised by their own box, so that distances are comparable.
    """
    source, target = _unit(samples), _unit(targets)
    to_source, to_target = DistanceVolume(source), DistanceVolume(target)
    found = np.empty(len(turns))
    for start in range(0, len(turns), BLOCK):
        block = turns[start : start + BLOCK]
        turned = source @ block.transpose(0, 2, 1)  # (B, N, 3)
        low, high = turned.min(axis=1, keepdims=True), turned.max(axis=1, keepdims=True)
        size = (high - low).max(axis=2, keepdims=True)
        middle = (low + high) / 2
        back = (target * size + middle) @ block
        forward = to_target.look_up((turned - middle) / size).mean(axis=1)
        backward = (to_source.look_up(back) / size[..., 0]).mean(axis=1)
        found[start : start + BLOCK] = forward + backward
    return found


def _unit(points: Float64) -> Float64:
    low, high = points.min(axis=0), points.max(axis=0)
    result: Float64 = (points - (low + high) / 2) / (high - low).max()
    return result


class DistanceVolume:
    """Distances to (N, 3) points of unit size around the origin, at the centres of voxels."""

    def __init__(self, points: Float64) -> None:
        free: Bool = np.ones((VOLUME_SIDE,) * 3, np.bool_)
        free.reshape(-1)[self._voxel(points)] = False
        self.values = (distance_transform_edt(free) * 2 * VOLUME_HALF_SIDE / VOLUME_SIDE).astype(np.float32).reshape(-1)

    def look_up(self, points: Float64) -> Float32:
        """(…, 3) → (…) distances at the voxels of the points."""
        found: Float32 = self.values[self._voxel(points)]
        return found

    @staticmethod
    def _voxel(points: Float64) -> Int64:
        cell = (points + VOLUME_HALF_SIDE) * (VOLUME_SIDE / (2 * VOLUME_HALF_SIDE))
        i, j, k = np.moveaxis(np.clip(cell, 0, VOLUME_SIDE - 1).astype(np.int64), -1, 0)
        index: Int64 = (i * VOLUME_SIDE + j) * VOLUME_SIDE + k
        return index
