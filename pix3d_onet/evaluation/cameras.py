"""How far predicted cameras are from the true ones, and what that costs: IoU with given, predicted and mean camera."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from pix3d_onet.data.store.reader import Dataset
from pix3d_onet.evaluation.silhouette import has_camera
from pix3d_onet.inspection.verify import projection_iou
from pix3d_onet.learning.batches.symmetry import symmetric_turns
from pix3d_onet.learning.extraction.extract import logit
from pix3d_onet.learning.extraction.predictor import NetworkPredictor
from pix3d_onet.learning.network.camera import Camera, camera_of, facing_centre, numbers_of, turns
from pix3d_onet.learning.pictures import relative_intrinsics
from pix3d_onet.metrics import iou
from pix3d_onet.types import Float32, Sample, View

CLOSE = 30.0
"""Degrees below which a rotation counts as found, as usual for Pix3D (Tulsiani & Malik, CVPR 2015)."""
ERROR, MASK_IOU, IOU_GIVEN, IOU_PREDICTED, IOU_MEAN = COLUMNS = (
    "camera_degrees", "camera_mask_iou", "iou_given_camera", "iou_predicted_camera", "iou_mean_camera",
)  # fmt: skip
"""Columns of a picture with a known camera."""


@dataclass(frozen=True, slots=True, eq=False)
class CameraScores:
    """Scores the cameras of a network that predicts them. ``mean``: the mean camera of the training pictures."""

    network: NetworkPredictor
    mean: Camera

    def __call__(self, sample: Sample, view: View) -> dict[str, float]:
        """The columns of one picture; empty if its camera is not known."""
        from pix3d_onet.geometry.render.scene import Scene

        if not has_camera(view):
            return {}
        pose, intrinsics = self.network.camera(view)
        side = np.array([view.rgb.shape[1], view.rgb.shape[0], 1], dtype=np.float32)[:, None]
        views = {
            IOU_GIVEN: view,
            IOU_PREDICTED: seen_by(view, pose, intrinsics),
            IOU_MEAN: seen_by(view, self.mean.pose[0].numpy(), self.mean.intrinsics[0].numpy() * side),
        }
        found = {name: self.field_iou(sample, one) for name, one in views.items()}
        return found | {
            ERROR: rotation_error(pose, view, sample),
            MASK_IOU: projection_iou(Scene(sample.mesh), views[IOU_PREDICTED]),
        }

    def field_iou(self, sample: Sample, view: View) -> float:
        """IoU of the field on the stored points, with the camera that ``view`` has."""
        with self.network.field(view, known=True) as (field, where), torch.no_grad():
            inside = field(torch.from_numpy(sample.points).to(where)) > logit(self.network.threshold)
        return iou(inside.cpu().numpy(), sample.occupancy)


def seen_by(view: View, pose: Float32, intrinsics: Float32) -> View:
    """The picture with another camera."""
    return View(view.rgb, view.mask, pose, intrinsics, view.record_id, view.rendered, view.sha256)


def torch_camera(pose: Float32, intrinsics: Float32, side: int) -> Camera:
    """Stored poses (N, 4, 4) and intrinsics (N, 3, 3) of pictures of ``side`` pixels as cameras."""
    return Camera(torch.from_numpy(pose), torch.from_numpy(relative_intrinsics(intrinsics, side)))


def rotation_error(pose: Float32, view: View, sample: Sample) -> float:
    """Degrees of the rotation between a predicted pose (4, 4) and the true one, the least over the shape's symmetries.

    The angle of the geodesic on SO(3); the true camera is taken as seen from the crop's centre, as it is predicted.
    """
    true = facing_centre(torch_camera(view.pose[None], view.intrinsics[None], view.rgb.shape[1])).pose[0, :3, :3]
    same = symmetric_turns(torch.from_numpy(sample.points), torch.from_numpy(sample.occupancy.astype(np.float32)))
    between = torch.from_numpy(pose[:3, :3]).t() @ true @ turns(true)[same]
    cosine = (between.diagonal(dim1=1, dim2=2).sum(dim=1) - 1) / 2
    return float(torch.rad2deg(torch.arccos(cosine.clamp(-1, 1))).min())


def mean_camera(dataset: Dataset) -> Camera | None:
    """The mean camera of the training pictures, only of the photos if there are any: the mean of the ten numbers.

    None if no camera is known.
    """
    photos = dataset.has_photos("train")
    side = int(dataset.manifest.config["image_size"])
    poses, intrinsics = [], []
    for entry in dataset.entries("train"):
        file = dataset.shard(entry.shard)
        for row, *_ in dataset.picture_rows(entry, "train"):
            if not (photos and file["images/rendered"][row]):
                poses.append(file["images/pose"][row])
                intrinsics.append(file["images/intrinsics"][row])
    if not poses:
        return None
    numbers = numbers_of(torch_camera(np.stack(poses), np.stack(intrinsics), side))
    known = numbers[numbers.isfinite().all(dim=1)]
    return camera_of(known.mean(dim=0, keepdim=True)) if len(known) else None


def summary(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Number of pictures with a known camera, median error, share of errors below ``CLOSE``, means of the others."""
    known = [row for row in rows if ERROR in row]
    if not known:
        return {}
    errors = np.array([row[ERROR] for row in known])
    found = {
        "pictures": len(known),
        "median_degrees": float(np.median(errors)),
        "below_30": float((errors < CLOSE).mean()),
    }
    return found | {name: float(np.mean([row[name] for row in known])) for name in COLUMNS[1:]}
