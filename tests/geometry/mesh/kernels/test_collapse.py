"""The compiled edge collapse against a slow reference."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.references import mesh as reference

# ruff: noqa: E402 - the geometry libraries are an extra
trimesh = pytest.importorskip("trimesh")
pytest.importorskip("numba")

from pix3d_onet.geometry.mesh.kernels import collapse

UPPER = np.triu_indices(4)
"""Entries of a symmetric 4×4 in the order in which the kernels store a quadric."""


@pytest.mark.kernel("quadrics", "collapse_pass", "compact")
@pytest.mark.parametrize("seed", range(4))
def test_a_sweep_of_collapses(seed: int) -> None:
    rng = np.random.default_rng(seed)
    body = trimesh.creation.icosphere(subdivisions=2)
    vertices, faces = body.vertices + rng.normal(scale=0.02, size=body.vertices.shape), np.array(body.faces)
    quadrics = collapse.quadrics(vertices, faces)
    exact = reference.quadrics(vertices, faces)
    weight = np.array(
        [reference.areas(vertices, faces)[(faces == v).any(axis=1)].sum() / 3 for v in range(len(vertices))]
    )
    assert np.allclose(quadrics[:, :10], exact[:, *UPPER])
    assert np.allclose(quadrics[:, 10], weight)

    limit = 0.03**2
    new_vertices, new_faces, expected = reference.collapse_pass(
        vertices, faces, exact, weight, limit, collapse.MIN_COSINE
    )
    assert collapse.collapse_pass(vertices, faces, quadrics, limit) == expected > 5
    assert np.array_equal(faces, new_faces)
    assert np.allclose(vertices, new_vertices)

    used, kept = collapse.compact(vertices, faces, quadrics)
    small_vertices, small_faces = reference.compact(new_vertices, new_faces)
    assert np.allclose(vertices[:used], small_vertices)
    assert np.array_equal(faces[:kept], small_faces)
