"""The predicted camera: its numbers, the crop's own frame, its loss and the symmetries that cost nothing."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from pix3d_onet.learning.network.camera import (
    ELEVATION,
    NUMBERS,
    SCALE,
    TURNS,
    Camera,
    CameraHead,
    camera_loss,
    camera_of,
    facing_centre,
    known_or,
    numbers_of,
    seen,
    turns,
)

PIX3D_AXES = torch.tensor([-1.0, -1.0, 1.0, 1.0])
"""Pix3D's cameras have their axes left, up and forward, and negative focal lengths."""


def cameras(count: int, spread: float = 0.3) -> Camera:
    """Cameras around the one that the head starts from."""
    numbers = torch.randn(count, NUMBERS, generator=torch.Generator().manual_seed(0)) * spread
    return camera_of(CameraHead(4).start + numbers)


def off_axis(count: int) -> Camera:
    """Pix3D's convention, with a principal point away from the crop's centre."""
    pose, intrinsics = cameras(count)
    moved = intrinsics.clone()
    moved[:, :2, :2] *= -1
    moved[:, 0, 2], moved[:, 1, 2] = 0.7, 0.2
    return Camera(PIX3D_AXES[:, None] * pose, moved)


def symmetric(count: int, *steps: int) -> Tensor:
    table = torch.zeros(count, TURNS, dtype=torch.bool)
    table[:, [0, *steps]] = True
    return table


def turned(camera: Camera, step: int) -> Camera:
    """The camera of the object turned by ``step`` · 15° about its up axis."""
    pose = camera.pose.clone()
    pose[:, :3, :3] = pose[:, :3, :3] @ turns(pose)[step]
    return Camera(pose, camera.intrinsics)


def test_training_starts_from_a_camera_in_front_of_an_object_that_fills_the_crop() -> None:
    camera = CameraHead(8)(torch.randn(2, 8))
    points = torch.tensor([[0.0, 0, 0], [0.5, 0, 0], [0, 0.5, 0], [0, 0, -0.5]])
    place, frame = (part.detach() for part in seen(camera, points))
    right, up = 0.5 - SCALE / 2, 0.5 - SCALE / 2 * math.cos(ELEVATION)
    torch.testing.assert_close(place[1, 0], torch.tensor([0.5, 0.5]))
    torch.testing.assert_close(place[1, 1], torch.tensor([right, 0.5]))  # the object's left, seen from its front
    assert abs(float(place[1, 2, 1]) - up) < 0.05
    assert frame[1, 3, 2] < -0.4  # the front is nearer than the centre


def test_numbers_describe_a_camera_and_come_back() -> None:
    camera = cameras(20)
    turn = camera.pose[:, :3, :3]
    torch.testing.assert_close(turn @ turn.transpose(1, 2), torch.eye(3).expand(20, 3, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.linalg.det(turn), torch.ones(20))
    for again, part in zip(camera_of(numbers_of(camera)), camera, strict=True):
        torch.testing.assert_close(again, part, atol=1e-4, rtol=1e-4)


def test_extreme_numbers_are_a_camera_in_front_of_the_object() -> None:
    for size in (1e3, -1e3):
        camera = camera_of(torch.full((1, NUMBERS), size) + torch.arange(NUMBERS))
        assert all(part.isfinite().all() for part in camera)
        assert camera.pose[0, 2, 3] > 0.5


def test_facing_the_crop_s_centre_moves_no_point_in_the_picture() -> None:
    given = off_axis(10)
    faced = facing_centre(given)
    points = torch.rand(50, 3, generator=torch.Generator().manual_seed(1)) - 0.5
    torch.testing.assert_close(seen(faced, points)[0], seen(given, points)[0], atol=1e-4, rtol=1e-4)
    centre = torch.linalg.solve(faced.intrinsics, torch.tensor([0.5, 0.5, 1.0]).expand(10, 3))
    torch.testing.assert_close(centre[:, :2] / centre[:, 2:], torch.zeros(10, 2), atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.linalg.det(faced.pose[:, :3, :3]), torch.ones(10))


def test_the_axes_of_the_data_set_s_cameras_do_not_matter() -> None:
    camera = cameras(5)
    signs = torch.diag(PIX3D_AXES)
    pix3d = Camera(signs @ camera.pose, camera.intrinsics @ signs[:3, :3])
    torch.testing.assert_close(facing_centre(pix3d).pose, camera.pose)
    assert camera_loss(camera, pix3d, symmetric(5)) < 1e-6


def test_a_camera_off_the_axis_is_described_nearly_exactly() -> None:
    """14° off, as few photos are: a few hundredths of the side, since a crop is little of what the camera sees."""
    given = off_axis(10)
    assert camera_loss(camera_of(numbers_of(given)), given, symmetric(10)) < 0.05


def test_loss_of_a_known_error() -> None:
    """The centre moved by 0.1 of the picture: 0.1 for each point of a far camera, and no other error."""
    numbers = numbers_of(cameras(1, 0))
    numbers[:, 9] = 6.0
    moved = numbers + torch.eye(NUMBERS)[6] / 10
    assert float(camera_loss(camera_of(moved), camera_of(numbers), symmetric(1))) == pytest.approx(0.1, rel=1e-2)


def test_a_quarter_turn_of_a_square_table_costs_nothing_and_one_of_a_chair_does() -> None:
    table, chair = symmetric(3, 6, 12, 18), symmetric(3)
    true = cameras(3)
    for step in (6, 12, 18):
        assert camera_loss(turned(true, step), true, table) < 1e-5
        assert camera_loss(turned(true, step), true, chair) > 0.2
    assert camera_loss(turned(true, 3), true, table) > 0.1
    assert camera_loss(turned(true, 3), true, symmetric(3, *range(TURNS))) < 1e-5


def test_gradients_of_the_loss() -> None:
    true = Camera(*(part.double() for part in off_axis(2)))
    start = CameraHead(4).start.double().expand(2, NUMBERS)
    numbers = (start + 0.1 * torch.randn(2, NUMBERS, dtype=torch.double)).requires_grad_()
    assert torch.autograd.gradcheck(lambda n: camera_loss(camera_of(n), true, symmetric(2, 6)), numbers)


def test_the_loss_is_finite_where_the_prediction_is_exact_and_where_points_are_behind_the_camera() -> None:
    numbers = numbers_of(cameras(2)).requires_grad_()
    near = Camera(cameras(2).pose.clone(), cameras(2).intrinsics)
    near.pose[:, 2, 3] = 0.2
    for true in (camera_of(numbers.detach()), near):
        loss = camera_loss(camera_of(numbers), true, symmetric(2))
        (slope,) = torch.autograd.grad(loss, numbers)
        assert loss.isfinite()
        assert slope.isfinite().all()


def test_unknown_cameras_are_predicted_and_take_no_gradient_from_what_is_sampled() -> None:
    predicted, given = cameras(2), off_axis(2)
    given.pose[1] = torch.nan
    predicted = Camera(predicted.pose.requires_grad_(), predicted.intrinsics)
    used = known_or(predicted, *given)
    torch.testing.assert_close(used.pose[0], facing_centre(given).pose[0])
    assert torch.equal(used.pose[1], predicted.pose[1])
    assert torch.equal(used.intrinsics[1], predicted.intrinsics[1])
    assert torch.equal(known_or(predicted, None, None).pose, predicted.pose)
    assert not used.pose.requires_grad
    given.intrinsics[0] = torch.nan
    assert torch.equal(known_or(predicted, *given).pose, predicted.pose)


def test_a_head_learns_one_camera() -> None:
    torch.manual_seed(0)
    head, code, true = CameraHead(16), torch.randn(4, 16), off_axis(4)
    optimizer = torch.optim.Adam(head.parameters(), lr=1e-2)
    losses = []
    for _ in range(150):
        optimizer.zero_grad()
        losses.append(camera_loss(head(code), true, symmetric(4)))
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < 0.2 * losses[0]


def test_bfloat16_does_not_round_the_camera() -> None:
    head, code = CameraHead(8), torch.randn(2, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        camera = head(code)
    torch.testing.assert_close(camera.pose, head(code).pose)
