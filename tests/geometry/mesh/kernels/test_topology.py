"""The compiled edge counts, components and measures against their face-by-face references."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.references import mesh as reference

pytest.importorskip("numba")

from pix3d_onet.geometry.mesh.kernels.topology import (
    areas,
    component_measures,
    count_edges,
    face_components,
    signed_volume,
)

SEEDS = range(4)


def random_faces(rng: np.random.Generator, vertices: int, count: int) -> np.ndarray:
    return np.array([rng.choice(vertices, 3, replace=False) for _ in range(count)])


@pytest.mark.kernel("areas", "signed_volume")
@pytest.mark.parametrize("seed", SEEDS)
def test_areas_and_volume(seed: int) -> None:
    rng = np.random.default_rng(seed)
    vertices, faces = rng.normal(size=(20, 3)), random_faces(rng, 20, 50)
    assert np.allclose(areas(vertices, faces), reference.areas(vertices, faces))
    centre = rng.normal(size=3)
    found = signed_volume(vertices, faces, centre)
    assert found == pytest.approx(reference.signed_volume(vertices - centre, faces))


@pytest.mark.kernel("component_measures")
@pytest.mark.parametrize("seed", SEEDS)
def test_areas_and_volumes_of_parts(seed: int) -> None:
    rng = np.random.default_rng(seed)
    vertices, faces, centre = rng.normal(size=(20, 3)), random_faces(rng, 20, 50), rng.normal(size=3)
    labels = rng.integers(0, 4, 50).astype(np.int32)
    area, volume = component_measures(vertices, faces, labels, 4, centre)
    for part in range(4):
        mine = faces[labels == part]
        assert area[part] == pytest.approx(reference.areas(vertices, mine).sum())
        assert volume[part] == pytest.approx(reference.signed_volume(vertices - centre, mine))


@pytest.mark.kernel("face_components", "count_edges")
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("vertices", [6, 40])
def test_components_and_edges(seed: int, vertices: int) -> None:
    faces = random_faces(np.random.default_rng(seed), vertices, 25)
    count, labels = face_components(faces, vertices)
    expected_count, expected_labels = reference.face_components(faces, vertices)
    assert count == expected_count
    assert np.array_equal(labels, expected_labels)
    assert count_edges(faces, vertices).tolist() == reference.count_edges(faces)


def test_a_vertex_of_very_many_edges() -> None:
    rim = np.arange(1, 101)
    fan = np.stack([np.zeros(100, int), rim, np.roll(rim, -1)], axis=1)[np.random.default_rng(0).permutation(100)]
    assert count_edges(fan, 101).tolist() == reference.count_edges(fan)
