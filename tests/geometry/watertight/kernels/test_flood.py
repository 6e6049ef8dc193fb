"""The outside against connected components of the dense grid."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.references import flood as reference
from helpers.references.brick_grids import FAR, SIDE, random_bricks, random_hits

pytest.importorskip("numba")

from pix3d_onet.geometry.watertight.kernels import flood, neighbours

SEEDS = range(6)


@pytest.mark.kernel("pack", "unpack")
def test_bit_masks() -> None:
    flags = np.random.default_rng(0).random((5, SIDE**3)) < 0.5
    words = flood.pack(flags)
    assert np.array_equal(words, reference.pack(flags))
    assert np.array_equal(flood.unpack(words), reference.unpack(words))
    assert np.array_equal(flood.unpack(words), flags)


@pytest.mark.kernel("flood")
@pytest.mark.parametrize("seed", SEEDS)
def test_flood_reaches_what_is_connected_to_the_border(seed: int) -> None:
    rng = np.random.default_rng(seed)
    grid = random_bricks(rng)
    free = rng.random((grid.count, SIDE**3)) < 0.45  # above the threshold of percolation, below that of reaching all
    closed = (grid.slots < 0) & (rng.random(grid.slots.shape) < 0.3)
    reached = np.zeros((grid.count, SIDE), dtype=np.uint64)
    brick_out = np.where(closed, 2, 0).astype(np.uint8)
    flood.flood(flood.pack(free), grid.slots, reached, brick_out)
    found = grid.dense(flood.unpack(reached) != 0, brick_out.ravel() == 1)
    assert np.array_equal(found, reference.flood(free, grid, closed))
    assert 0 < (flood.unpack(reached) != 0).sum() < free.sum()


@pytest.mark.kernel("creep")
@pytest.mark.parametrize("seed", SEEDS)
def test_creep_takes_one_step_along_open_edges(seed: int) -> None:
    rng = np.random.default_rng(seed)
    grid = random_bricks(rng)
    out = rng.choice(np.array([0, 0, 0, 1, 2], dtype=np.uint8), (grid.count, SIDE**3))
    brick_out = (rng.random(grid.slots.size) < 0.5).astype(np.uint8)
    first, _ = random_hits(rng, grid.count, 0.7)
    expected = reference.creep(grid.dense(out, brick_out), grid.dense3(first, FAR), grid.owned, 2)
    flood.creep(out, brick_out, neighbours.neighbour_table(grid.slots, grid.count), first)
    assert np.array_equal(grid.dense(out, brick_out), expected)


@pytest.mark.kernel("creep_on")
@pytest.mark.parametrize("seed", SEEDS)
def test_creeping_on_starts_where_the_last_step_ended(seed: int) -> None:
    rng = np.random.default_rng(seed)
    grid = random_bricks(rng)
    out = rng.choice(np.array([0, 0, 0, 2], dtype=np.uint8), (grid.count, SIDE**3))
    first, _ = random_hits(rng, grid.count, 0.7)
    expected = reference.creep(grid.dense(out, 0), grid.dense3(first, FAR), grid.owned, 3)
    flood.creep_on(out, neighbours.neighbour_table(grid.slots, grid.count), first, 3)
    assert np.array_equal(grid.dense(out, 0), expected)
    assert (out == 3).any()
