"""Normals and light against one corner, one sample at a time."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.references import render as reference
from scipy.spatial.transform import Rotation

pytest.importorskip("numba")

from pix3d_onet.geometry.render.kernels import shading

HEIGHT, WIDTH = 18, 24
SEEDS = range(3)


@pytest.mark.kernel("corner_normals")
@pytest.mark.parametrize("seed", SEEDS)
def test_corner_normals(seed: int) -> None:
    rng = np.random.default_rng(seed)
    faces = np.array([rng.choice(7, 3, replace=False) for _ in range(12)], dtype=np.int32)
    normals = rng.normal(size=(12, 3))
    normals[0] = 0
    starts = np.concatenate([[0], np.cumsum(np.bincount(faces.ravel(), minlength=7))]).astype(np.int32)
    incident = (np.argsort(faces.ravel(), kind="stable") // 3).astype(np.int32)
    found = shading.corner_normals(faces, normals, starts, incident, 0.5)
    assert np.allclose(found, reference.corner_normals(faces, normals, 0.5), atol=1e-6)


@pytest.mark.kernel("shade")
@pytest.mark.parametrize("seed", SEEDS)
def test_shade(seed: int) -> None:
    rng = np.random.default_rng(seed)
    screen, faces = reference.random_triangles(rng, HEIGHT, WIDTH)
    inverse_depth, ids = reference.rasterise(screen, faces, HEIGHT, WIDTH)
    source = rng.integers(0, 4, len(faces), dtype=np.int32)
    normals = rng.normal(size=(4, 3, 3)).astype(np.float32)
    colours = rng.random((4, 3)).astype(np.float32)
    rays = np.linalg.inv([[30, 0, WIDTH / 2], [0, 30, HEIGHT / 2], [0, 0, 1]])
    rotation = Rotation.random(random_state=seed).as_matrix()
    lights = np.hstack([Rotation.random(2, random_state=seed).as_matrix()[:, 0], [[0.7, 0.2], [0.4, 0.5]]])
    out = np.zeros((HEIGHT, WIDTH, 3), np.float32)
    shading.shade(ids, inverse_depth, screen, faces, source, normals, colours, rays, rotation, lights, out)
    expected = reference.shade(ids, inverse_depth, screen, faces, source, normals, colours, rays, rotation, lights)
    assert np.allclose(out, expected, atol=1e-4)
