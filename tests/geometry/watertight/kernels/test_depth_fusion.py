"""Depth maps against one ray per pixel; the TSDF against every voxel in every view."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.references import depth_fusion as reference
from helpers.references.brick_grids import SIDE, random_bricks
from scipy.spatial.transform import Rotation

pytest.importorskip("numba")

from pix3d_onet.geometry.watertight.kernels import depth_fusion, neighbours

SEEDS = range(3)
SIZE, FOCAL, FAR_DEPTH = 20, 20.0, 10.0


def random_depth(rng: np.random.Generator, views: int, size: int) -> np.ndarray:
    """A ball's depth as seen from distance 1, with noise."""
    y, x = (np.mgrid[:size, :size] + 0.5) / size - 0.5
    ball = np.where(x**2 + y**2 < 0.1, 0.75 + x**2 + y**2, FAR_DEPTH)
    return (ball + rng.normal(scale=0.01, size=(views, size, size))).astype(np.float32)


@pytest.mark.kernel("depth_maps")
@pytest.mark.parametrize("seed", SEEDS)
def test_depth_is_that_of_the_first_triangle_on_each_ray(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points, faces = rng.uniform(-0.4, 0.4, (8, 3)), rng.integers(0, 8, (6, 3))
    faces = faces[[len(set(f)) == 3 for f in faces.tolist()]]
    rotations = Rotation.random(2, random_state=seed).as_matrix()
    found = depth_fusion.depth_maps(points, faces, rotations, FOCAL, SIZE, FAR_DEPTH, 0.01)
    expected = reference.depth_maps(points, faces, rotations, FOCAL, SIZE, FAR_DEPTH, 0.01)
    assert np.allclose(found, expected, atol=1e-5)
    assert 0.05 < (found < FAR_DEPTH - 0.1).mean() < 1


@pytest.mark.kernel("depth_bounds")
def test_depth_bounds() -> None:
    depth = np.random.default_rng(0).random((2, 40, 40)).astype(np.float32)
    assert np.array_equal(depth_fusion.depth_bounds(depth), reference.depth_bounds(depth, depth_fusion.TILE))


@pytest.mark.kernel("certain_signs", "fuse_bricks")
@pytest.mark.parametrize("seed", SEEDS)
def test_fused_values_and_the_signs_that_spare_them(seed: int) -> None:
    rng = np.random.default_rng(seed)
    resolution, truncation, size = 64, 0.08, 128
    depth = random_depth(rng, 8, size)
    rotations = Rotation.random(8, random_state=seed).as_matrix()
    dims = np.full(3, resolution // SIDE)
    voxels = np.argwhere(np.ones(dims * SIDE, dtype=bool))
    dense = reference.tsdf(voxels, resolution, depth, rotations, size, truncation).reshape(dims * SIDE)

    signs = depth_fusion.certain_signs(
        dims, resolution, depth_fusion.depth_bounds(depth), rotations, float(size), size, truncation
    )
    blocks = np.where(dense > 0, 1, -1).reshape(8, SIDE, 8, SIDE, 8, SIDE)
    assert (signs > 0).any()
    assert (blocks.min(axis=(1, 3, 5))[signs > 0] == 1).all()
    assert (blocks.max(axis=(1, 3, 5))[signs < 0] == -1).all()

    origin = (np.argwhere(signs == 0)[::5] * SIDE).astype(np.int32)
    found = depth_fusion.fuse_bricks(origin, resolution, depth, rotations, float(size), truncation)
    expected = [dense[i : i + SIDE, j : j + SIDE, k : k + SIDE].ravel() for i, j, k in origin]
    assert np.allclose(found, expected, atol=1e-5)


@pytest.mark.kernel("uncertain_borders", "value_fractions")
@pytest.mark.parametrize("seed", SEEDS)
def test_borders_and_zero_crossings(seed: int) -> None:
    rng = np.random.default_rng(seed)
    grid = random_bricks(rng, 0.3)
    values = rng.uniform(-0.02, 1, (grid.count, SIDE**3)).astype(np.float32)
    values[0] = 1
    signs = np.ones(grid.slots.shape, dtype=np.int8)
    signs[2:, 2:, 2:] = -1
    elsewhere = signs.ravel().astype(np.float32)
    wanted = depth_fusion.uncertain_borders(signs, grid.slots, values)
    assert np.array_equal(wanted, reference.uncertain_borders(grid.dense(values, elsewhere) <= 0, grid.slots))
    assert wanted.any()
    table = neighbours.neighbour_table(grid.slots, grid.count)
    fractions = depth_fusion.value_fractions(values, elsewhere, table)
    expected = reference.value_fractions(grid.dense(values, elsewhere))
    assert np.allclose(fractions, grid.sparse(expected), atol=1e-5)
