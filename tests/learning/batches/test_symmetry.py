"""Symmetries of analytic shapes about the up axis."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pix3d_onet.config import POINTS_HALF_SIDE
from pix3d_onet.learning.batches.symmetry import symmetric_turns
from pix3d_onet.learning.network.camera import TURNS

QUARTERS = [0, TURNS // 4, TURNS // 2, 3 * TURNS // 4]


def square_table(p: Tensor) -> Tensor:
    x, y, z = p.abs().unbind(dim=1)
    top = (x < 0.5) & (z < 0.5) & (p[:, 1] > 0.2) & (p[:, 1] < 0.3)
    legs = (x > 0.38) & (x < 0.5) & (z > 0.38) & (z < 0.5) & (y < 0.3)
    return top | legs


def oblong_table(p: Tensor) -> Tensor:
    return square_table(p * torch.tensor([1.0, 1.0, 1.6]))


def chair(p: Tensor) -> Tensor:
    back = (p[:, 0].abs() < 0.35) & (p[:, 1].abs() < 0.5) & (p[:, 2] > 0.25) & (p[:, 2] < 0.35)
    return back | ((p[:, [0, 2]].abs().amax(dim=1) < 0.35) & (p[:, 1].abs() < 0.06))


def stool(p: Tensor) -> Tensor:
    return (p[:, [0, 2]].norm(dim=1) < 0.4) & (p[:, 1].abs() < 0.1)


def nothing(p: Tensor) -> Tensor:
    return p[:, 0] > 1


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        (square_table, QUARTERS),
        (oblong_table, [0, TURNS // 2]),
        (chair, [0]),
        (stool, list(range(TURNS))),
        (nothing, list(range(TURNS))),
    ],
)
def test_turns_that_map_a_shape_onto_itself(shape: object, expected: list[int]) -> None:
    generator = torch.Generator().manual_seed(0)
    points = (2 * torch.rand(100_000, 3, generator=generator) - 1) * POINTS_HALF_SIDE
    found = symmetric_turns(points, shape(points).float())  # type: ignore[operator]
    assert found.nonzero()[:, 0].tolist() == expected


def test_few_points_keep_the_identity() -> None:
    points = torch.rand(8, 3) - 0.5
    assert symmetric_turns(points, stool(points).float())[0]
