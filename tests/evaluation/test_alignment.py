"""Alignment: known similarities are undone, nothing is mirrored, every row gets the same."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import datasets
from scipy.spatial.transform import Rotation

from pix3d_onet.evaluation import alignment
from pix3d_onet.evaluation.alignment import apply, moved, rotations, similarity
from pix3d_onet.learning.extraction.predictor import Prediction
from pix3d_onet.types import Mesh


def box(centre: tuple[float, ...], size: tuple[float, ...]) -> Mesh:
    return Mesh(datasets.CORNERS * size + centre, datasets.BOX_FACES)


def chair() -> Mesh:
    """Seat, back and one armrest: no rotation and no reflection maps it onto itself."""
    parts = [
        box((0, 0, 0), (0.5, 0.1, 0.6)),
        box((0, 0.25, 0.25), (0.5, 0.5, 0.1)),
        box((0.2, 0.1, 0), (0.1, 0.2, 0.4)),
    ]
    vertices = np.concatenate([p.vertices for p in parts])
    starts = np.cumsum([0, *(len(p.vertices) for p in parts[:-1])])
    return Mesh(vertices, np.concatenate([p.faces + s for p, s in zip(parts, starts, strict=True)]))


def placed(mesh: Mesh, rotation: np.ndarray) -> Mesh:
    return Mesh(3.7 * mesh.vertices @ rotation.T + [5, -2, 1], mesh.faces)


def error(mesh: Mesh, true: Mesh, how: str) -> float:
    """Largest distance of a vertex from where it belongs, in longest sides."""
    found = similarity(mesh, true, how)
    assert np.linalg.det(found[:3, :3]) > 0
    return float(np.linalg.norm(apply(found, mesh.vertices) - true.vertices, axis=1).max())


def test_box_undoes_translation_and_scale_alone() -> None:
    assert error(placed(chair(), np.eye(3)), chair(), "box") < 1e-9
    turned = Rotation.from_euler("y", 10, degrees=True).as_matrix()
    assert error(placed(chair(), turned), chair(), "box") > 0.03


def test_icp_undoes_a_small_rotation() -> None:
    turned = Rotation.from_euler("xyz", [4, -6, 3], degrees=True).as_matrix()
    assert error(placed(chair(), turned), chair(), "icp") < 0.01


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_search_undoes_any_rotation(seed) -> None:
    turned = Rotation.random(random_state=seed).as_matrix()
    assert error(placed(chair(), turned), chair(), "search") < 0.01


def test_search_undoes_a_quarter_turn_exactly() -> None:
    turned = Rotation.from_euler("xz", [90, 90], degrees=True).as_matrix()
    assert error(placed(chair(), turned), chair(), "search") < 1e-6


def test_the_grid_is_half_of_the_full_one_and_has_the_same_rotations() -> None:
    found = rotations()
    assert found.shape == (3744, 3, 3)
    np.testing.assert_allclose(found @ found.transpose(0, 2, 1), np.broadcast_to(np.eye(3), found.shape), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(found), 1)
    ours = {tuple(np.round(r.ravel(), 6) + 0.0) for r in found}
    random = np.random.default_rng(0)
    for _ in range(300):  # any of ZeroShape's 24 × 24 × 12
        azimuth, elevation, roll = random.integers(24) * 15, random.integers(24) * 15, random.integers(12) * 30
        full = Rotation.from_euler("yxz", [azimuth, elevation, roll], degrees=True).as_matrix()
        assert tuple(np.round(full.ravel(), 6) + 0.0) in ours


def test_a_moved_prediction_takes_its_field_along() -> None:
    mesh = box((0, 0, 0), (1, 0.5, 0.5))

    def logits(points):
        return np.where((np.abs(points) <= [0.5, 0.25, 0.25]).all(axis=1), 3, -3).astype(np.float32)

    matrix = np.eye(4)
    matrix[:3, :3] = 0.5 * Rotation.from_euler("z", 90, degrees=True).as_matrix()
    matrix[:3, 3] = [0.1, 0, 0]
    points = np.array([[0.1, 0.24, 0], [0.1, 0.26, 0], [0.22, 0, 0], [0.23, 0, 0]], np.float32)
    for as_mesh in (False, True):
        found = moved(Prediction(mesh, logits, 0.0, as_mesh), matrix)
        assert (found.logits(points) > 0).tolist() == [True, False, True, False]
    np.testing.assert_allclose(found.mesh.bounds, [[-0.025, -0.25, -0.125], [0.225, 0.25, 0.125]], atol=1e-12)


def test_a_network_is_outside_beyond_its_cube() -> None:
    everywhere = Prediction(box((0, 0, 0), (1, 1, 1)), lambda p: np.ones(len(p), np.float32), 0.0)
    half = np.diag([0.5, 0.5, 0.5, 1.0])
    points = np.array([[0.27, 0, 0], [0.28, 0, 0]], np.float32)
    assert (moved(everywhere, half).logits(points) > 0).tolist() == [True, False]


def test_the_same_twice() -> None:
    mesh = placed(chair(), Rotation.random(random_state=5).as_matrix())
    first, second = (alignment.similarity(mesh, chair(), "search") for _ in range(2))
    np.testing.assert_array_equal(first, second)
