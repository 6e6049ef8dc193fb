"""The compiled renderer against one sample, one triangle at a time."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.references import render as reference
from scipy.spatial.transform import Rotation

pytest.importorskip("numba")

from pix3d_onet.geometry.render import _kernels as kernels

HEIGHT, WIDTH = 18, 24
SEEDS = range(3)


def random_triangles(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(V, 3) screen positions, some beyond the picture, with 1/Z; (F, 3) faces."""
    screen = rng.uniform((-6, -6, 0.3), (WIDTH + 6, HEIGHT + 6, 1), (9, 3))
    return screen, np.array([rng.choice(9, 3, replace=False) for _ in range(6)], dtype=np.int32)


def drawn(screen: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    inverse_depth, ids = np.zeros((HEIGHT, WIDTH), np.float32), np.full((HEIGHT, WIDTH), -1, np.int32)
    kernels.rasterise(screen, faces, inverse_depth, ids)
    return inverse_depth, ids


@pytest.mark.kernel("rasterise")
@pytest.mark.parametrize("seed", SEEDS)
def test_rasterise(seed: int) -> None:
    screen, faces = random_triangles(np.random.default_rng(seed))
    inverse_depth, ids = drawn(screen, faces)
    expected_depth, expected_ids = reference.rasterise(screen, faces, HEIGHT, WIDTH)
    assert np.array_equal(ids, expected_ids)
    assert np.allclose(inverse_depth, expected_depth, atol=1e-6)
    assert 0.2 < (ids >= 0).mean() < 1


@pytest.mark.kernel("corner_normals")
@pytest.mark.parametrize("seed", SEEDS)
def test_corner_normals(seed: int) -> None:
    rng = np.random.default_rng(seed)
    faces = np.array([rng.choice(7, 3, replace=False) for _ in range(12)], dtype=np.int32)
    normals = rng.normal(size=(12, 3))
    normals[0] = 0
    starts = np.concatenate([[0], np.cumsum(np.bincount(faces.ravel(), minlength=7))]).astype(np.int32)
    incident = (np.argsort(faces.ravel(), kind="stable") // 3).astype(np.int32)
    found = kernels.corner_normals(faces, normals, starts, incident, 0.5)
    assert np.allclose(found, reference.corner_normals(faces, normals, 0.5), atol=1e-6)


@pytest.mark.kernel("shade", "resolve")
@pytest.mark.parametrize("seed", SEEDS)
def test_shade_and_resolve(seed: int) -> None:
    rng = np.random.default_rng(seed)
    screen, faces = random_triangles(rng)
    inverse_depth, ids = drawn(screen, faces)
    source = rng.integers(0, 4, len(faces), dtype=np.int32)
    normals = rng.normal(size=(4, 3, 3)).astype(np.float32)
    colours = rng.random((4, 3)).astype(np.float32)
    rays = np.linalg.inv([[30, 0, WIDTH / 2], [0, 30, HEIGHT / 2], [0, 0, 1]])
    rotation = Rotation.random(random_state=seed).as_matrix()
    lights = np.hstack([Rotation.random(2, random_state=seed).as_matrix()[:, 0], [[0.7, 0.2], [0.4, 0.5]]])
    out = np.zeros((HEIGHT, WIDTH, 3), np.float32)
    kernels.shade(ids, inverse_depth, screen, faces, source, normals, colours, rays, rotation, lights, out)
    expected = reference.shade(ids, inverse_depth, screen, faces, source, normals, colours, rays, rotation, lights)
    assert np.allclose(out, expected, atol=1e-4)

    rgb, mask, depth = (
        np.zeros((HEIGHT // 2, WIDTH // 2, *s), t) for s, t in (((3,), np.uint8), ((), bool), ((), "f4"))
    )
    kernels.resolve(out, ids, inverse_depth, 2, rgb, mask, depth)
    expected_rgb, expected_mask, expected_depth = reference.resolve(out, ids, inverse_depth, 2, kernels.GAMMA)
    assert np.abs(rgb - expected_rgb).max() <= 1
    assert np.array_equal(mask, expected_mask)
    assert np.allclose(depth, expected_depth, rtol=1e-6)
