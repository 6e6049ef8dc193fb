"""The predicted camera: its numbers, the crop's own frame, its loss and the symmetries that cost nothing."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from pix3d_onet.learning.network.camera import (
    CANDIDATES,
    ELEVATION,
    NUMBERS,
    SCALE,
    TURNS,
    Camera,
    CameraHead,
    Candidates,
    anchors,
    camera_distance,
    camera_loss,
    camera_of,
    facing_centre,
    joined,
    known_or,
    mirrored_intrinsics,
    mirrored_pose,
    numbers_of,
    seen,
    turns,
)

PIX3D_AXES = torch.tensor([-1.0, -1.0, 1.0, 1.0])
"""Pix3D's cameras have their axes left, up and forward, and negative focal lengths."""


def cameras(count: int, spread: float = 0.3) -> Camera:
    """Cameras around the one that the head starts from."""
    numbers = torch.randn(count, NUMBERS, generator=torch.Generator().manual_seed(0)) * spread
    return camera_of(anchors(numbers)[0] + numbers)


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
    found = CameraHead(8, 6)(torch.randn(2, 8), torch.randn(2, 6, 3, 5))
    camera = found.likeliest()
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
    assert camera_distance(camera, pix3d, symmetric(5)).max() < 1e-6


def test_a_camera_off_the_axis_is_described_nearly_exactly() -> None:
    """14° off, as few photos are: a few hundredths of the side, since a crop is little of what the camera sees."""
    given = off_axis(10)
    assert camera_distance(camera_of(numbers_of(given)), given, symmetric(10)).mean() < 0.05


def test_loss_of_a_known_error() -> None:
    """The centre moved by 0.1 of the picture: 0.1 for each point of a far camera, and no other error."""
    numbers = numbers_of(cameras(1, 0))
    numbers[:, 9] = 6.0
    moved = numbers + torch.eye(NUMBERS)[6] / 10
    assert float(camera_distance(camera_of(moved), camera_of(numbers), symmetric(1))) == pytest.approx(0.1, rel=1e-2)


def test_a_quarter_turn_of_a_square_table_costs_nothing_and_one_of_a_chair_does() -> None:
    table, chair = symmetric(3, 6, 12, 18), symmetric(3)
    true = cameras(3)
    for step in (6, 12, 18):
        assert camera_distance(turned(true, step), true, table).max() < 1e-5
        assert camera_distance(turned(true, step), true, chair).min() > 0.2
    assert camera_distance(turned(true, 3), true, table).min() > 0.1
    assert camera_distance(turned(true, 3), true, symmetric(3, *range(TURNS))).max() < 1e-5


def test_gradients_of_the_loss() -> None:
    true = Camera(*(part.double() for part in off_axis(2)))
    start = anchors(torch.zeros((), dtype=torch.double))[0]
    numbers = (start + 0.1 * torch.randn(2, NUMBERS, dtype=torch.double)).requires_grad_()
    assert torch.autograd.gradcheck(lambda n: camera_distance(camera_of(n), true, symmetric(2, 6)), numbers)


def test_the_loss_is_finite_where_the_prediction_is_exact_and_where_points_are_behind_the_camera() -> None:
    numbers = numbers_of(cameras(2)).requires_grad_()
    near = Camera(cameras(2).pose.clone(), cameras(2).intrinsics)
    near.pose[:, 2, 3] = 0.2
    for true in (camera_of(numbers.detach()), near):
        loss = camera_distance(camera_of(numbers), true, symmetric(2)).sum()
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


def test_candidates_start_around_the_object_and_the_likeliest_is_taken() -> None:
    found = camera_of(anchors(torch.zeros(())))
    turn = found.pose[:, :3, :3]
    place = -(turn.transpose(1, 2) @ found.pose[:, :3, 3:])[:, :, 0]
    azimuth = torch.rad2deg(torch.atan2(place[:, 0], -place[:, 2])) % 360
    steps = torch.arange(CANDIDATES) * 360.0 / CANDIDATES
    torch.testing.assert_close(
        torch.minimum((azimuth - steps).abs(), (azimuth + steps - 360).abs()), torch.zeros(8), atol=1e-3, rtol=0
    )
    assert place[:, 1].min() > 0.5  # from above
    numbers = anchors(torch.zeros(())).expand(2, -1, -1)
    scores = torch.zeros(2, CANDIDATES)
    scores[0, 3] = scores[1, 5] = 1
    torch.testing.assert_close(Candidates(numbers, scores).likeliest().pose, found.pose[[3, 5]])


def test_a_head_learns_cameras_and_which_candidate_is_theirs() -> None:
    torch.manual_seed(0)
    head, code, deepest = CameraHead(16, 4), torch.randn(8, 16), torch.randn(8, 4, 2, 2)
    azimuths = camera_of(anchors(torch.zeros(())))
    near = off_axis(8)
    pose = near.pose.clone()
    pose[:, :3, :3] = pose[:, :3, :3] @ azimuths.pose[:1, :3, :3].mT @ azimuths.pose[:, :3, :3]
    true = Camera(pose, near.intrinsics)  # one around each candidate
    optimizer = torch.optim.Adam(head.parameters(), lr=1e-2)
    distances = []
    for _ in range(150):
        optimizer.zero_grad()
        found = head(code, deepest)
        distances.append(camera_distance(found.likeliest(), true, symmetric(8)).mean().item())
        camera_loss(found, true, symmetric(8)).backward()
        optimizer.step()
    assert distances[-1] < 0.2 * distances[0]
    assert len(set(found.scores.argmax(dim=1).tolist())) >= CANDIDATES - 2


def test_the_loss_wants_the_candidate_next_to_the_true_camera_or_to_its_symmetric_ones() -> None:
    first = anchors(torch.zeros(()))
    true = camera_of(first[2:3])
    chair, table = symmetric(1), symmetric(1, 6, 12, 18)

    def loss(candidate: int, same: Tensor, off: float = 0.0) -> float:
        numbers = first.clone()
        numbers[candidate, 6] += off
        scores = 4 * torch.eye(CANDIDATES)[candidate][None]
        return float(camera_loss(Candidates(numbers[None], scores), true, same))

    assert loss(2, chair) < 0.2
    assert all(loss(k, chair) > 1 for k in range(CANDIDATES) if k != 2)
    assert max(loss(k, table) for k in (0, 2, 4, 6)) < min(loss(k, table) for k in (1, 3, 5, 7))
    assert loss(2, chair, 0.1) > loss(2, chair) + 0.05  # the nearest one learns the camera,
    assert loss(3, chair, 0.1) < loss(3, chair) + 0.005  # others hardly,
    for k in (0, 2, 4, 6):  # and all those that a symmetry makes as near
        assert loss(k, table, 0.1) > loss(k, table) + 0.01


def test_mirror_images_join_to_the_mirrored_cameras() -> None:
    generator = torch.Generator().manual_seed(2)
    own, other = (
        Candidates(
            anchors(torch.zeros(())) + torch.randn(3, CANDIDATES, NUMBERS, generator=generator) / 10,
            torch.randn(3, CANDIDATES, generator=generator),
        )
        for _ in range(2)
    )
    order = [-k % CANDIDATES for k in range(CANDIDATES)]
    found = camera_of(own.numbers.flatten(0, 1))
    image = Camera(mirrored_pose(found.pose), mirrored_intrinsics(found.intrinsics))
    exact = Candidates(numbers_of(image).view_as(own.numbers)[:, order], own.scores[:, order])
    torch.testing.assert_close(joined(own, exact).likeliest(), own.likeliest(), atol=1e-5, rtol=1e-5)
    here, there = joined(own, other).likeliest(), joined(other, own).likeliest()
    torch.testing.assert_close(mirrored_pose(there.pose), here.pose, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(mirrored_intrinsics(there.intrinsics), here.intrinsics, atol=1e-5, rtol=1e-5)


def test_autocast_does_not_round_given_cameras() -> None:
    predicted, given = cameras(4), off_axis(4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        used, numbers = known_or(predicted, *given), numbers_of(given)
    torch.testing.assert_close(used, known_or(predicted, *given))
    torch.testing.assert_close(numbers, numbers_of(given))


def test_bfloat16_does_not_round_the_camera() -> None:
    head, code, deepest = CameraHead(8, 4), torch.randn(2, 8), torch.randn(2, 4, 2, 2)
    torch.nn.init.normal_(head.out.weight)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = head(code, deepest)
    torch.testing.assert_close(found, head(code, deepest))
