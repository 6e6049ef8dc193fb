"""Errors of predicted cameras: symmetric shapes, the mean camera, and the picture's columns."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.datasets import make_dataset

from pix3d_onet.data.store.reader import Dataset
from pix3d_onet.evaluation.cameras import (
    ERROR,
    IOU_GIVEN,
    IOU_MEAN,
    IOU_PREDICTED,
    MASK_IOU,
    CameraScores,
    mean_camera,
    rotation_error,
    summary,
    torch_camera,
)
from pix3d_onet.geometry.render.scene import Scene
from pix3d_onet.inspection.verify import projection_iou
from pix3d_onet.learning.network.camera import facing_centre, numbers_of, turns
from pix3d_onet.types import Float32, Sample, View


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    """Boxes (even) and ellipsoids (odd), with the labels of a thin plank: only half turns map it onto itself."""
    data = make_dataset(tmp_path_factory.mktemp("data") / "data", shapes=2, points=20_000)
    with Dataset(data) as dataset:
        found = [dataset.sample(entry) for entry in dataset.entries(None)]
    return [replace(s, occupancy=(np.abs(s.points) < (0.1, 0.4, 0.5)).all(axis=1)) for s in found]


def true_camera(view: View) -> tuple[Float32, Float32]:
    """As it is seen from the crop's centre, with intrinsics in pixels."""
    side = view.rgb.shape[1]
    pose, intrinsics = facing_centre(torch_camera(view.pose[None], view.intrinsics[None], side))
    scaled = intrinsics[0] * torch.tensor([[side], [side], [1]])
    return pose[0].numpy(), scaled.numpy()


@dataclass
class Stub:
    """A network whose field is a slab in front of the camera, and that predicts ``found`` for every picture."""

    found: tuple[Float32, Float32]
    threshold: float = 0.5

    def camera(self, view: View) -> tuple[Float32, Float32]:
        return self.found

    @contextmanager
    def field(self, view: View, *, known: bool) -> Iterator[tuple[Any, torch.device]]:
        assert known
        pose = torch.from_numpy(view.pose)
        yield lambda points: 0.3 - (points @ pose[2, :3]).abs(), torch.device("cpu")


def test_the_error_is_the_angle_up_to_the_shape_s_symmetry(samples: list[Sample]) -> None:
    for sample in samples:
        view = sample.images[0]
        pose, _ = true_camera(view)
        assert rotation_error(pose, view, sample) < 0.1
        for step, expected in ((1, 15), (6, 90), (12, 0), (14, 30)):
            turned = pose.copy()
            turned[:3, :3] = pose[:3, :3] @ turns(torch.zeros(1))[step].numpy()
            assert rotation_error(turned, view, sample) == pytest.approx(expected, abs=0.1)


def test_the_columns_of_a_picture_with_the_true_camera_and_with_another(samples: list[Sample]) -> None:
    sample = samples[0]
    view = sample.images[0]
    mean = torch_camera(view.pose[None], view.intrinsics[None], view.rgb.shape[1])
    right = CameraScores(Stub(true_camera(view)), mean)(sample, view)  # type: ignore[arg-type]
    assert right[ERROR] < 0.1
    assert right[MASK_IOU] == pytest.approx(projection_iou(Scene(sample.mesh), view), abs=0.02)
    assert right[IOU_GIVEN] == right[IOU_PREDICTED] == right[IOU_MEAN] > 0
    pose, intrinsics = true_camera(view)
    pose[:3, :3] = pose[:3, :3] @ turns(torch.zeros(1))[6].numpy()
    wrong = CameraScores(Stub((pose, intrinsics)), mean)(sample, view)  # type: ignore[arg-type]
    assert wrong[ERROR] == pytest.approx(90, abs=0.1)
    assert wrong[IOU_PREDICTED] != wrong[IOU_GIVEN] == right[IOU_GIVEN]
    assert wrong[MASK_IOU] < right[MASK_IOU]


def test_a_picture_without_a_camera_has_no_columns(samples: list[Sample]) -> None:
    view = samples[0].images[0]
    scores = CameraScores(Stub(true_camera(view)), torch_camera(view.pose[None], view.intrinsics[None], 64))  # type: ignore[arg-type]
    assert scores(samples[0], view.without_camera()) == {}


def test_the_mean_camera_is_between_those_of_training(tmp_path: Path) -> None:
    data = make_dataset(tmp_path / "data", shapes=8, points=64, without_pose=[0])
    with Dataset(data) as dataset:
        views = [v for e in dataset.entries("train") for v in dataset.sample(e, "train").images if v.has_pose]
        found = mean_camera(dataset)
    assert found is not None
    mean = numbers_of(found)
    each = numbers_of(torch_camera(np.stack([v.pose for v in views]), np.stack([v.intrinsics for v in views]), 64))
    assert (mean >= each.amin(dim=0) - 1e-3)[:, [1, 2, 4, 5, 6, 7, 8, 9]].all()
    torch.testing.assert_close(mean[0, 6:], each.mean(dim=0)[6:], atol=1e-4, rtol=1e-4)


def test_without_known_cameras_there_is_no_mean(tmp_path: Path) -> None:
    with Dataset(make_dataset(tmp_path / "data", shapes=6, points=64, without_pose=range(6))) as dataset:
        assert mean_camera(dataset) is None


def test_a_summary_counts_only_known_cameras() -> None:
    others = dict.fromkeys((MASK_IOU, IOU_GIVEN, IOU_PREDICTED, IOU_MEAN), 0.5)
    found = summary([{ERROR: 10.0} | others, {"iou": 0.1}, {ERROR: 20.0} | others, {ERROR: 90.0} | others])
    assert found == {"pictures": 3, "median_degrees": 20, "below_30": pytest.approx(2 / 3)} | others
    assert summary([{"iou": 0.1}]) == {}
