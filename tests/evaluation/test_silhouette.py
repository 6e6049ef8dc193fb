"""The silhouette's cone: analytic truths of a camera that looks at a box; cone and cut retrieval as baselines."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers import datasets

from pix3d_onet.data.store.reader import Dataset
from pix3d_onet.evaluation.baselines import Cone, Retrieval, RetrievalCut, TrainingShapes, load_training_shapes
from pix3d_onet.evaluation.silhouette import depth_in_cone, has_camera
from pix3d_onet.metrics import iou
from pix3d_onet.types import View

SIDE, FOCAL, AWAY = 64, 80.0, 2.0


def square(first: int, last: int) -> View:
    """A camera at z = −2 that looks along +z; the mask is the square of pixels ``first`` to ``last`` − 1."""
    mask = np.zeros((SIDE, SIDE), bool)
    mask[first:last, first:last] = True
    pose = np.eye(4, dtype=np.float32)
    pose[2, 3] = AWAY
    intrinsics = np.array([[-FOCAL, 0, SIDE / 2], [0, -FOCAL, SIDE / 2], [0, 0, 1]], np.float32)
    return View(np.full((SIDE, SIDE, 3), 255, np.uint8), mask, pose, intrinsics, "square")


def test_the_outline_is_the_border_between_pixels_at_every_depth() -> None:
    depth = depth_in_cone(square(16, 48))  # 16 pixels on each side of the principal point
    for z in (-0.5, 0.0, 0.5):
        edge = 16 / FOCAL * (z + AWAY)
        x = np.array([0.5, 0.9, 0.99, 1.01, 1.1]) * edge
        points = np.stack([x, 0 * x, np.full_like(x, z)], axis=1).astype(np.float32)
        assert (depth(points) > 0).tolist() == [True, True, True, False, False]
        np.testing.assert_allclose(depth(points), edge - x, atol=1e-5)
        np.testing.assert_array_equal(depth(points[:, [1, 0, 2]]) > 0, depth(points) > 0)


def test_an_asymmetric_mask_is_not_mirrored() -> None:
    view = square(16, 48)
    mask = view.mask.copy()
    mask[:, 32:] = False  # only the left half: +x, since the focal lengths are negative
    depth = depth_in_cone(replace(view, mask=mask))
    found = depth(np.array([[0.1, 0, 0], [-0.1, 0, 0]], np.float32)) > 0
    assert found.tolist() == [True, False]
    mask = view.mask.copy()
    mask[32:] = False  # only the upper half: +y
    found = depth_in_cone(replace(view, mask=mask))(np.array([[0, 0.1, 0], [0, -0.1, 0]], np.float32)) > 0
    assert found.tolist() == [True, False]


def test_behind_the_camera_beyond_the_picture_and_without_a_mask_is_outside() -> None:
    points = np.array([[0, 0, -2.1], [0, 0, -2.0], [3, 0, 0], [0, 0, 0]], np.float32)
    assert (depth_in_cone(square(16, 48))(points) > 0).tolist() == [False, False, False, True]
    assert not (depth_in_cone(square(0, 0))(points) > 0).any()
    assert (depth_in_cone(square(0, SIDE))(points) > 0).tolist() == [False, False, False, True]


def inside_box(mesh, points):
    return (np.abs(points) <= mesh.bounds[1]).all(axis=1)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return datasets.make_dataset(tmp_path_factory.mktemp("data"), shapes=12, points=4096, without_pose=[11])


@pytest.fixture(scope="module")
def library(data) -> TrainingShapes:
    with Dataset(data) as dataset:
        return load_training_shapes(dataset, inside_box)


def test_the_cone_is_cut_by_the_unit_cube_not_by_the_true_box(data, library) -> None:
    view = square(16, 48)
    with Dataset(data) as dataset:
        sample = dataset.sample(dataset.entries("test")[0], "test")
    found = Cone(library).predict(sample, view)
    inside = found.logits(sample.points) > found.level
    expected = (np.abs(sample.points[:, :2]).max(axis=1) < 16 / FOCAL * (sample.points[:, 2] + AWAY)) & (
        np.abs(sample.points).max(axis=1) < 0.5
    )
    assert iou(inside, expected) > 0.995  # round corners of the outline
    np.testing.assert_allclose(found.mesh.bounds[:, 2], [-0.5, 0.5], atol=0.01)


def test_cutting_removes_what_the_camera_rules_out_and_nothing_else(data, library) -> None:
    view = square(16, 32)
    with Dataset(data) as dataset:
        sample = dataset.sample(dataset.entries("train")[0], "train")
    view = replace(view, rgb=sample.images[0].rgb)
    whole, cut = (kind(library).predict(sample, view) for kind in (Retrieval, RetrievalCut))
    expected = (whole.logits(sample.points) > 0) & (depth_in_cone(view)(sample.points) > 0)
    np.testing.assert_array_equal(cut.logits(sample.points) > cut.level, expected)
    assert 0 < expected.sum() < (whole.logits(sample.points) > 0).sum()
    assert (cut.mesh.bounds[1] <= whole.mesh.bounds[1] + 0.01).all()


def test_pictures_without_a_camera_are_not_usable(data, library) -> None:
    with Dataset(data) as dataset:
        views = [dataset.sample(e, "test").images[0] for e in dataset.entries("test")]
    assert [has_camera(v) for v in views] == [True, False]
    for kind in (Cone, RetrievalCut):
        assert [kind(library).usable(v) for v in views] == [True, False]
