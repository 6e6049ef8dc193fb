"""Distances by the compiled tree against all triangles one by one."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.references import mesh as reference

pytest.importorskip("numba")

from pix3d_onet.geometry.mesh.distances import surface_distances
from pix3d_onet.geometry.mesh.kernels.nearest import WIDTH, hilbert_positions, nearest_distances, wide_tree
from pix3d_onet.types import Mesh


@pytest.mark.kernel("wide_tree", "nearest_distances")
@pytest.mark.parametrize("count", [1, 7, 8, 9, 70, 600])
def test_distances_are_those_to_the_nearest_triangle(count: int) -> None:
    rng = np.random.default_rng(count)
    vertices = rng.uniform(-0.5, 0.5, (count + 2, 3)).astype(np.float32)
    faces = rng.integers(0, len(vertices), (count, 3))  # also points and edges without area
    points = rng.uniform(-0.55, 0.55, (300, 3)).astype(np.float32)
    tree = wide_tree(vertices, faces)
    found = nearest_distances(*tree, points, np.empty(WIDTH, dtype=np.float32))
    truth = reference.distances(vertices.astype(np.float64), faces, points.astype(np.float64))
    assert np.abs(found - truth).max() < 3e-7
    mesh = Mesh(vertices, faces)
    assert np.abs(surface_distances(mesh, points) - truth).max() < 3e-7


def test_slivers_and_points_on_the_surface() -> None:
    vertices = np.array([[0, 0, 0], [0.5, 0, 0], [0.25, 1e-7, 0], [0.25, 0, 1e-5]])
    faces = np.array([[0, 1, 2], [0, 1, 3]])
    points = np.array([[0.25, 0, 0], [0.2, 0.3, 0], [-0.1, 0, 0], [0.25, 0, 0.5]], dtype=np.float32)
    truth = reference.distances(vertices, faces, points.astype(np.float64))
    assert np.abs(surface_distances(Mesh(vertices, faces), points) - truth).max() < 3e-7


@pytest.mark.kernel("hilbert_positions")
@pytest.mark.parametrize("size", [1 << 13, 1 << 6])  # eighths of the lattice, and the smallest cells of its corner
def test_neighbours_along_the_curve_are_neighbours_in_space(size: int) -> None:
    cells = np.stack(np.meshgrid(*[np.arange(8)] * 3), axis=-1).reshape(-1, 3)
    positions = hilbert_positions((cells * size).astype(np.uint16))
    assert len(set(positions.tolist())) == 512
    assert set(np.abs(np.diff(cells[np.argsort(positions)], axis=0)).sum(axis=1)) == {1}
