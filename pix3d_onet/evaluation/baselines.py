"""Baselines without a network, to compare learned scores with (Tatarchenko et al., CVPR 2019).

* ``mean-shape``: the same shape for every picture: the mean occupancy of the training shapes, cut at the threshold
  that fits them best. A lower bound: it does not use the picture.
* ``cone``: every point of the unit cube that the known camera projects into the mask. It uses no training shape, and
  of the truth only the camera.
* ``retrieval``: the training shape of the most similar training picture, by a fixed descriptor of outline and edges.
* ``retrieval-cut``: that shape, without what the known camera projects out of the mask: the intersection of both.
* ``oracle``: the training shape with the highest IoU to the true shape: an upper bound on the IoU of any retrieval
  (not on the other metrics). It uses the truth, so it is not a method.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from pix3d_onet.config import POINTS_HALF_SIDE, Baseline
from pix3d_onet.data.store.reader import Dataset
from pix3d_onet.evaluation.evaluate import split_entries
from pix3d_onet.evaluation.silhouette import Depth, depth_in_cone, depth_in_unit_cube, has_camera
from pix3d_onet.evaluation.voxels import Contains, voxelised
from pix3d_onet.events import Emit, Progress, ignore
from pix3d_onet.learning.extraction.extract import extract_field, logit
from pix3d_onet.learning.extraction.predictor import Prediction, Predictor
from pix3d_onet.learning.extraction.surface_sampling import FAR
from pix3d_onet.metrics import iou
from pix3d_onet.setting_types import check_choice
from pix3d_onet.types import Bool, Float32, Float64, Mesh, Sample, UInt8, View

GRID = 64
"""Cells per axis of the occupancy grids over the stored box; a cell is 0.017 units wide."""
CELL = 2 * POINTS_HALF_SIDE / GRID
"""Side of a cell."""
MEAN_THRESHOLDS = tuple(round(0.02 * k, 2) for k in range(1, 50))
"""Candidate thresholds of the mean occupancy; the best one on the training shapes is used."""
SHORTLIST = 8
"""Number of training shapes that the oracle compares on the stored points, after ranking all on the grid."""
PROBABILITY_FLOOR = 1e-6
"""Mean occupancies are clipped this far from 0 and 1, so that their logits are finite."""
OVERLAP_BLOCK = 64
"""Grids converted to float at a time: 67 MB."""

FEATURE_SIDE = 64
"""Side to which pictures are resized for the descriptor, pixels."""
FEATURE_CELL = 8
"""Cell side of the edge histograms, pixels."""
ORIENTATIONS = 9
"""Bins of unsigned edge orientation (Dalal & Triggs, CVPR 2005)."""
OUTLINE_WEIGHT = 0.5
"""Weight of the outline in the descriptor's squared norm; the edges have the rest."""


@dataclass(frozen=True, slots=True, eq=False)
class TrainingShapes:
    """The training shapes in the manifest's order: ``grids`` (S, GRID³) bool at cell centres, and ``meshes``.

    ``features`` (N, D) float32: unit descriptors of their pictures; ``feature_shape`` (N,) int64: row of its shape.
    """

    object_ids: tuple[str, ...]
    meshes: tuple[Mesh, ...]
    grids: Bool
    features: Float32
    feature_shape: np.ndarray[tuple[int], np.dtype[np.int64]]
    contains: Contains


def occupancy_grid(mesh: Mesh, contains: Contains) -> Bool:
    """(GRID³,) bool occupancy of the stored box's cell centres, last axis fastest."""
    return voxelised(mesh, contains, GRID, POINTS_HALF_SIDE).reshape(-1)


def load_training_shapes(dataset: Dataset, contains: Contains, *, emit: Emit = ignore) -> TrainingShapes:
    """Read the training split (about 0.3 MB per shape). InputError if it is empty."""
    entries = split_entries(dataset, "train")
    meshes, grids, features, owners = [], [], [], []
    for row, entry in enumerate(entries):
        sample = dataset.sample(entry, "train")
        meshes.append(sample.mesh)
        grids.append(occupancy_grid(sample.mesh, contains))
        for view in sample.images:
            features.append(picture_feature(view.rgb, view.mask))
            owners.append(row)
        emit(Progress("training shapes", row + 1, len(entries)))
    return TrainingShapes(
        tuple(e.object_id for e in entries),
        tuple(meshes),
        np.stack(grids),
        np.stack(features),
        np.array(owners, dtype=np.int64),
        contains,
    )


def picture_feature(rgb: UInt8, mask: Bool) -> Float32:
    """Descriptor of one stored picture, (D,) float32 of norm 1: outline and histograms of oriented edges.

    ``rgb`` (H, W, 3) uint8 on white and ``mask`` (H, W) bool, square, cropped to the object. Nothing is learned. The
    similarity of two pictures is the inner product of their descriptors.
    """
    grey = torch.from_numpy(rgb.astype(np.float32) / 255).mean(dim=2)[None, None]
    planes = torch.cat([grey, torch.from_numpy(mask.astype(np.float32))[None, None]], dim=1)
    small = functional.interpolate(planes, (FEATURE_SIDE, FEATURE_SIDE), mode="bilinear", antialias=True)[0].numpy()
    dy, dx = np.gradient(small[0])
    strength, angle = np.hypot(dx, dy), np.arctan2(dy, dx) % np.pi
    place = angle / np.pi * ORIENTATIONS
    low = np.floor(place).astype(np.int64) % ORIENTATIONS
    share = place - np.floor(place)
    votes = np.zeros((ORIENTATIONS, FEATURE_SIDE, FEATURE_SIDE))
    rows, columns = np.indices(low.shape)
    votes[low, rows, columns] += strength * (1 - share)
    votes[(low + 1) % ORIENTATIONS, rows, columns] += strength * share
    cells = FEATURE_SIDE // FEATURE_CELL
    edges = np.sqrt(votes.reshape(ORIENTATIONS, cells, FEATURE_CELL, cells, FEATURE_CELL).sum(axis=(2, 4)))
    outline = small[1].reshape(FEATURE_SIDE // 4, 4, FEATURE_SIDE // 4, 4).mean(axis=(1, 3))
    parts = [np.sqrt(1 - OUTLINE_WEIGHT) * _unit(edges), np.sqrt(OUTLINE_WEIGHT) * _unit(outline)]
    return np.concatenate([p.ravel() for p in parts]).astype(np.float32)


def _unit(values: Float64) -> Float64:
    return values / max(float(np.linalg.norm(values)), np.finfo(np.float64).tiny)


def mesh_prediction(mesh: Mesh, contains: Contains) -> Prediction:
    """Prediction from a mesh: its field is +``FAR`` inside and −``FAR`` outside."""

    def logits(points: Float32) -> Float32:
        return np.where(contains(mesh, points), FAR, -FAR).astype(np.float32)

    return Prediction(mesh, logits, 0.0, mesh_is_field=True)


def depth_prediction(depth: Depth) -> Prediction:
    """Prediction from a distance, positive inside: its level set is extracted like a network's field.

    The prediction's own field is +``FAR`` inside and −``FAR`` outside: a distance is no logit, and as a probability it
    would be about a half everywhere.
    """

    def logits(points: Float32) -> Float32:
        return np.where(depth(points) > 0, FAR, -FAR).astype(np.float32)

    def field(points: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(np.clip(depth(points.numpy()), -FAR, FAR).astype(np.float32))

    mesh = extract_field(field, resolution=2 * GRID, coarse=GRID, threshold=0.5).mesh
    return Prediction(mesh, logits, logit(0.5))


def overlap(first: Bool, second: Bool) -> Float32:
    """IoU of every pair of rows: (A, V) and (B, V) bool → (A, B) float32; 1 if both are empty."""
    result = np.empty((len(first), len(second)), np.float32)
    a = first.astype(np.float32)
    for start in range(0, len(second), OVERLAP_BLOCK):
        b = second[start : start + OVERLAP_BLOCK].astype(np.float32)
        both = a @ b.T
        either = a.sum(axis=1)[:, None] + b.sum(axis=1)[None] - both
        result[:, start : start + OVERLAP_BLOCK] = np.where(either > 0, both / np.maximum(either, 1), 1)
    return result


class MeanShape:
    """The mean training shape; ``threshold``: mean occupancy at its surface."""

    name = "mean-shape"

    def __init__(self, shapes: TrainingShapes) -> None:
        mean = shapes.grids.mean(axis=0, dtype=np.float32)
        scores = overlap(np.stack([mean > t for t in MEAN_THRESHOLDS]), shapes.grids).mean(axis=1)
        self.threshold = MEAN_THRESHOLDS[int(np.argmax(scores))]
        self.volume = torch.from_numpy(mean.reshape(1, 1, GRID, GRID, GRID))
        mesh = extract_field(self.field, resolution=2 * GRID, coarse=GRID, threshold=self.threshold).mesh
        self.prediction = Prediction(mesh, self._logits, logit(self.threshold))

    def field(self, points: torch.Tensor) -> torch.Tensor:
        """Logits (T,) of the mean occupancy at (T, 3) points, trilinear; outside the box the value at its border."""
        at = (points.flip(-1) / POINTS_HALF_SIDE).view(1, 1, 1, -1, 3)  # grid_sample takes the last axis first
        value = functional.grid_sample(self.volume, at, mode="bilinear", padding_mode="border", align_corners=False)
        return torch.logit(value.view(-1), eps=PROBABILITY_FLOOR)

    def _logits(self, points: Float32) -> Float32:
        return np.asarray(self.field(torch.from_numpy(points)).numpy())

    @property
    def settings(self) -> Mapping[str, Any]:
        """The threshold and the grid's resolution."""
        return {"threshold": self.threshold, "grid": GRID}

    def usable(self, view: View) -> bool:
        """True: a camera is not needed."""
        return True

    def predict(self, sample: Sample, view: View) -> Prediction:
        """The mean shape for every picture."""
        return self.prediction


@dataclass(frozen=True, slots=True, eq=False)
class Cone:
    """The silhouette's cone of the picture's own camera, cut by the unit cube of the normalised frame.

    The cube is that of all shapes, not the bounding box of the true one, so only the camera comes from the truth.
    """

    shapes: TrainingShapes
    name: str = "cone"
    settings: Mapping[str, Any] = field(default_factory=lambda: {"resolution": 2 * GRID})

    def usable(self, view: View) -> bool:
        """Whether the picture has a camera."""
        return has_camera(view)

    def predict(self, sample: Sample, view: View) -> Prediction:
        """The cone of ``view``; does not use ``sample``."""
        cone = depth_in_cone(view)
        return depth_prediction(lambda points: np.minimum(cone(points), depth_in_unit_cube(points)))


@dataclass(frozen=True, slots=True, eq=False)
class Retrieval:
    """The shape of the training picture with the most similar descriptor (the first on ties)."""

    shapes: TrainingShapes
    name: str = "retrieval"
    settings: Mapping[str, Any] = field(default_factory=dict)

    def usable(self, view: View) -> bool:
        """True: a camera is not needed."""
        return True

    def choose(self, view: View) -> int:
        """Row of the training shape with the most similar picture."""
        similarity = self.shapes.features @ picture_feature(view.rgb, view.mask)
        return int(self.shapes.feature_shape[int(np.argmax(similarity))])

    def predict(self, sample: Sample, view: View) -> Prediction:
        """The retrieved training shape; uses only the picture, not ``sample``."""
        return mesh_prediction(self.shapes.meshes[self.choose(view)], self.shapes.contains)


@dataclass(frozen=True, slots=True, eq=False)
class RetrievalCut(Cone):
    """The retrieved shape, cut by the silhouette's cone of the picture's own camera."""

    name: str = "retrieval-cut"

    def predict(self, sample: Sample, view: View) -> Prediction:
        """The intersection of the retrieved shape and the cone of ``view``; does not use ``sample``."""
        from pix3d_onet.geometry.mesh.raycast import RayScene

        cone = depth_in_cone(view)
        mesh = self.shapes.meshes[Retrieval(self.shapes).choose(view)]
        scene, (low, high) = RayScene(mesh), mesh.bounds

        def depth(points: Float32) -> Float64:
            bound: Float64 = np.minimum(cone(points), np.minimum(points - low, high - points).min(axis=1))
            near = np.flatnonzero(bound > -CELL)  # farther outside, only the sign matters
            side = np.where(self.shapes.contains(mesh, points[near]), 1, -1)
            bound[near] = np.minimum(bound[near], side * scene.distance(points[near]))
            return bound

        return depth_prediction(depth)


@dataclass(frozen=True, slots=True, eq=False)
class Oracle(Retrieval):
    """The training shape with the highest IoU on the true shape's stored points, among the best ones on the grid."""

    name: str = "oracle"
    _known: dict[str, Prediction] = field(default_factory=dict)

    def predict(self, sample: Sample, view: View) -> Prediction:
        """The best training shape; uses the true shape, not the picture."""
        if sample.object_id not in self._known:
            shapes = self.shapes
            truth = occupancy_grid(sample.mesh, shapes.contains)
            rank = np.argsort(-overlap(truth[None], shapes.grids)[0], kind="stable")[:SHORTLIST]
            exact = [iou(shapes.contains(shapes.meshes[i], sample.points), sample.occupancy) for i in rank]
            best = shapes.meshes[int(rank[int(np.argmax(exact))])]
            self._known[sample.object_id] = mesh_prediction(best, shapes.contains)
        return self._known[sample.object_id]


BASELINES: dict[Baseline, Callable[[TrainingShapes], Predictor]] = {
    "mean-shape": MeanShape,
    "cone": Cone,
    "retrieval": Retrieval,
    "retrieval-cut": RetrievalCut,
    "oracle": Oracle,
}
"""Name → constructor from the training shapes. A new baseline is one entry."""


def baseline(name: Baseline, shapes: TrainingShapes) -> Predictor:
    """The baseline with this name; ConfigError with the list of names if it is unknown."""
    check_choice("baselines", name, BASELINES)
    return BASELINES[name](shapes)
