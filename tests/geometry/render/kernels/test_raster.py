"""The z-buffer and its averages against one triangle, one pixel at a time."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.references import render as reference

pytest.importorskip("numba")

from pix3d_onet.geometry.render.kernels import raster

HEIGHT, WIDTH = 18, 24
SEEDS = range(3)


@pytest.mark.kernel("rasterise")
@pytest.mark.parametrize("seed", SEEDS)
def test_rasterise(seed: int) -> None:
    screen, faces = reference.random_triangles(np.random.default_rng(seed), HEIGHT, WIDTH)
    inverse_depth, ids = np.zeros((HEIGHT, WIDTH), np.float32), np.full((HEIGHT, WIDTH), -1, np.int32)
    raster.rasterise(screen, faces, inverse_depth, ids)
    expected_depth, expected_ids = reference.rasterise(screen, faces, HEIGHT, WIDTH)
    assert np.array_equal(ids, expected_ids)
    assert np.allclose(inverse_depth, expected_depth, atol=1e-6)
    assert 0.2 < (ids >= 0).mean() < 1


@pytest.mark.kernel("resolve")
@pytest.mark.parametrize("seed", SEEDS)
def test_resolve(seed: int) -> None:
    rng = np.random.default_rng(seed)
    inverse_depth, ids = reference.rasterise(*reference.random_triangles(rng, HEIGHT, WIDTH), HEIGHT, WIDTH)
    linear = rng.random((HEIGHT, WIDTH, 3), dtype=np.float32)
    rgb, mask, depth = (
        np.zeros((HEIGHT // 2, WIDTH // 2, *s), t) for s, t in (((3,), np.uint8), ((), bool), ((), "f4"))
    )
    raster.resolve(linear, ids, inverse_depth, 2, rgb, mask, depth)
    expected_rgb, expected_mask, expected_depth = reference.resolve(linear, ids, inverse_depth, 2, raster.GAMMA)
    assert np.abs(rgb - expected_rgb).max() <= 1
    assert np.array_equal(mask, expected_mask)
    assert np.allclose(depth, expected_depth, rtol=1e-6)
