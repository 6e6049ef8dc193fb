"""What is taken for a rotation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from pix3d_onet.rotations import ROTATION_TOLERANCE, rotation_problem


@pytest.mark.parametrize("digits", [4, 6, 16])
def test_printed_rotations_are_taken(digits: int) -> None:
    for matrix in Rotation.random(200, random_state=0).as_matrix():
        assert rotation_problem(np.round(matrix, digits)) == ""


def test_what_is_no_rotation_is_said_to_be_what_it_is() -> None:
    assert rotation_problem(np.diag([1.0, 1.0, -1.0])) == "it is a reflection"
    assert rotation_problem(np.eye(3) * (1 + ROTATION_TOLERANCE)).startswith("R·Rᵀ is off by 0.002")
    for matrix in (np.zeros((3, 3)), np.full((3, 3), np.nan), np.full((3, 3), 1e200)):
        assert rotation_problem(matrix).startswith("R·Rᵀ is off by")
