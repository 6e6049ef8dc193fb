"""Thin sheets, thin rods and edge crossings against the rules written out on dense grids."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.references import thin_parts as reference
from helpers.references.brick_grids import FAR, SIDE, Bricks, random_bricks, random_hits

pytest.importorskip("numba")

from pix3d_onet.geometry.watertight.kernels import neighbours, thin_parts

SEEDS = range(3)


def levels(rng: np.random.Generator, grid: Bricks, inside: float) -> tuple[np.ndarray, np.ndarray]:
    """Levels of the outside (n, 512) with a share of 0s, and of slotless bricks (B,), all outside."""
    out = rng.integers(1, 4, (grid.count, SIDE**3), dtype=np.uint8)
    out[rng.random(out.shape) < inside] = 0
    return out, np.ones(grid.slots.size, dtype=np.uint8)


@pytest.mark.kernel("thin_nodes")
@pytest.mark.parametrize("seed", SEEDS)
def test_thin_nodes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    grid = random_bricks(rng)
    out, elsewhere = levels(rng, grid, 0.5)
    flags, counts = thin_parts.thin_nodes(out, elsewhere, neighbours.neighbour_table(grid.slots, grid.count))
    thin, surface = reference.thin_nodes(grid.dense(out, elsewhere))
    assert np.array_equal(flags, grid.sparse(thin))
    assert np.array_equal(counts, grid.sparse(surface).sum(axis=1))


@pytest.mark.kernel("thin_sheets")
@pytest.mark.parametrize("seed", SEEDS)
def test_thin_sheets(seed: int) -> None:
    rng = np.random.default_rng(seed)
    grid = random_bricks(rng)
    out, elsewhere = levels(rng, grid, 0.03)
    distance = rng.random(out.shape).astype(np.float32)
    first, last = random_hits(rng, grid.count, 0.3)
    table = neighbours.neighbour_table(grid.slots, grid.count)
    push = thin_parts.thin_sheets(out, elsewhere, table, distance, first, last)
    expected = reference.thin_sheets(
        grid.dense(out, elsewhere), grid.dense(distance, FAR), grid.dense3(first, FAR), grid.dense3(last, -FAR),
        float(thin_parts.MOST_PUSH), float(thin_parts.MARGIN),
    )  # fmt: skip
    assert np.allclose(push, grid.sparse(expected), atol=1e-5)
    assert 0.01 < (push > 0).mean() < 0.9


@pytest.mark.kernel("thin_rods")
@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("seed", SEEDS)
def test_thin_rods(seed: int, again: bool) -> None:
    rng = np.random.default_rng(seed)
    grid = random_bricks(rng)
    inside = (rng.random((grid.count, SIDE**3)) < 0.06).astype(np.uint8)
    elsewhere = np.zeros(grid.slots.size, dtype=np.uint8)
    distance = rng.uniform(0, 12, inside.shape).astype(np.float32)
    before = (rng.random(inside.shape) < 0.005).astype(np.uint8)
    # One triangle per node, near it, as its nearest one is after a splat.
    nodes = (grid.origins[:, None] + np.argwhere(np.ones((SIDE,) * 3))).reshape(-1, 1, 3)
    triangles = nodes + rng.normal(scale=0.4, size=(len(nodes), 3, 3))
    nearest = np.arange(len(nodes), dtype=np.int32).reshape(inside.shape)
    table = neighbours.neighbour_table(grid.slots, grid.count)
    rods = thin_parts.thin_rods(inside, elsewhere, table, grid.origins, distance, nearest, triangles, before, again)
    expected = reference.thin_rods(
        grid.dense(inside, 0), grid.dense(distance, FAR), grid.dense(nearest, -1), triangles,
        float(thin_parts.ROD_RADIUS), thin_parts.COVERED if again else thin_parts.REPRESENTED,
        grid.dense(before, 0) if again else None,
    )  # fmt: skip
    assert np.array_equal(rods, grid.sparse(expected))
    assert rods.any()


@pytest.mark.kernel("drop_rims")
@pytest.mark.parametrize("seed", SEEDS)
def test_rims_of_solids_are_no_rods(seed: int) -> None:
    rng = np.random.default_rng(seed)
    grid = random_bricks(rng)
    out, elsewhere = levels(rng, grid, 0.3)
    thin = rng.integers(0, 2, out.shape).astype(np.uint8)
    first, last = random_hits(rng, grid.count, 0.8)
    nodes = (grid.origins[:, None] + np.argwhere(np.ones((SIDE,) * 3))).reshape(-1, 1, 3)
    triangles = nodes + rng.normal(scale=0.4, size=(len(nodes), 3, 3))
    nearest = np.arange(len(nodes), dtype=np.int32).reshape(out.shape)
    before = rng.random(out.shape) < 0.3
    rods = before.copy()
    table = neighbours.neighbour_table(grid.slots, grid.count)
    thin_parts.drop_rims(rods, out, elsewhere, table, grid.origins, nearest, triangles, thin, first, last)
    expected = reference.drop_rims(
        grid.dense(before, False), grid.dense(out, 1), grid.dense(nearest, -1), triangles, grid.dense(thin, 9),
        grid.dense3(first, FAR), grid.dense3(last, -FAR), thin_parts.FACE_REACH, thin_parts.IN_PLANE,
    )  # fmt: skip
    assert np.array_equal(rods, grid.sparse(expected))
    assert 0.1 < rods.sum() / before.sum() < 0.95


@pytest.mark.kernel("edge_fractions")
@pytest.mark.parametrize("seed", SEEDS)
def test_edge_fractions(seed: int) -> None:
    rng = np.random.default_rng(seed)
    grid = random_bricks(rng)
    inside = (rng.random((grid.count, SIDE**3)) < 0.5).astype(np.uint8)
    elsewhere = (rng.random(grid.slots.size) < 0.5).astype(np.uint8)
    out = np.where(rng.random(inside.shape) < 0.5, 1 - inside, 2).astype(np.uint8)
    distance = rng.random(inside.shape).astype(np.float32)
    push = np.where(rng.random(inside.shape) < 0.5, rng.random(inside.shape), 0).astype(np.float32)
    first, last = random_hits(rng, grid.count, 0.6)
    table = neighbours.neighbour_table(grid.slots, grid.count)
    found = thin_parts.edge_fractions(inside, elsewhere, out, table, distance, push, first, last)
    expected = reference.edge_fractions(
        grid.dense(inside, elsewhere), grid.dense(out, 0), grid.dense(distance, FAR), grid.dense(push, 0),
        grid.dense3(first, FAR), grid.dense3(last, -FAR), float(thin_parts.MARGIN),
    )  # fmt: skip
    assert np.allclose(found, grid.sparse(expected), atol=1e-5)
