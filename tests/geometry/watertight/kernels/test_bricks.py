"""Marking, splatting and neighbour look-up against every node and every triangle."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from helpers.references import bricks as reference
from helpers.references.brick_grids import FAR, SIDE, Bricks, random_bricks

pytest.importorskip("numba")

from pix3d_onet.geometry.watertight.brick_grid import number_bricks
from pix3d_onet.geometry.watertight.kernels import bricks, neighbours, thin_parts

DIMS = np.array([4, 3, 5])
BAND, REACH = 1.05, 2.75
SEEDS = range(3)


def random_triangles(rng: np.random.Generator, count: int = 5) -> np.ndarray:
    """Triangles two bricks off the border, of which the last has no area."""
    triangles = 11 + rng.random((count, 3, 3)) * (DIMS * SIDE - 22)
    triangles[-1, 2] = triangles[-1, 1]
    return triangles


@pytest.mark.kernel("closest_point", "squared_distance")
@pytest.mark.parametrize("seed", SEEDS)
def test_the_nearest_point_of_a_triangle(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for t in rng.normal(size=(50, 3, 3)):
        p, q = 2 * rng.normal(size=3), np.empty(3)
        thin_parts.closest_point(p, t, q)
        assert np.allclose(q, reference.closest_point(p, t), atol=1e-9)
        u, v = t[1] - t[0], t[2] - t[0]
        found = bricks.squared_distance(*p, *t[0], *u, *v, u @ u, u @ v, v @ v)
        assert found == pytest.approx(reference.squared_distance(p, t), abs=1e-9)


@pytest.mark.kernel("mark_bricks", "layer_lists")
@pytest.mark.parametrize("seed", SEEDS)
def test_bricks_and_layers_within_reach(seed: int) -> None:
    triangles = random_triangles(np.random.default_rng(seed))[:-1]
    marked = bricks.mark_bricks(triangles, REACH, DIMS)
    assert np.array_equal(marked, reference.mark_bricks(triangles, REACH, DIMS))
    assert 0 < marked.sum() < marked.size
    offsets, items = bricks.layer_lists(triangles, REACH, DIMS[0])
    layers = [items[a:b].tolist() for a, b in pairwise(offsets)]
    assert layers == reference.layer_lists(triangles, REACH, DIMS[0])


@pytest.mark.kernel("splat")
@pytest.mark.parametrize("seed", SEEDS)
def test_distances_and_crossings_of_all_nodes(seed: int) -> None:
    triangles = random_triangles(np.random.default_rng(seed))
    grid = Bricks(number_bricks(bricks.mark_bricks(triangles, REACH, DIMS)))
    distance, nearest, first, last = bricks.splat(triangles, BAND, grid.slots, grid.count)
    dense_first, dense_last = reference.edge_crossings(triangles, grid)
    assert np.allclose(grid.dense3(first, FAR), dense_first, atol=1e-6)
    assert np.allclose(grid.dense3(last, -FAR), dense_last, atol=1e-6)
    assert (first <= 1).any()

    dense = grid.dense(distance, FAR)
    nodes = np.argwhere(dense < FAR)
    exact = reference.distances(triangles, nodes)
    assert np.allclose(dense[dense < FAR], exact.min(axis=1), atol=1e-5)
    named = grid.dense(nearest, -1)[dense < FAR]
    assert np.allclose(exact[np.arange(len(nodes)), named], exact.min(axis=1), atol=1e-5)
    others = np.argwhere(dense == FAR)[seed::97]
    assert reference.distances(triangles, others).min() > BAND


@pytest.mark.kernel("neighbour_table", "look")
@pytest.mark.parametrize("seed", SEEDS)
def test_nodes_of_neighbouring_bricks(seed: int) -> None:
    rng = np.random.default_rng(seed)
    grid = random_bricks(rng)
    table = neighbours.neighbour_table(grid.slots, grid.count)
    assert np.array_equal(table, reference.neighbour_table(grid.slots))
    values, elsewhere = rng.random((grid.count, SIDE**3)), rng.random(grid.slots.size)
    dense = grid.dense(values, elsewhere)
    for _ in range(500):
        slot, local = int(rng.integers(grid.count)), rng.integers(-SIDE, 2 * SIDE, size=3)
        found = neighbours.look(values, elsewhere, table, slot, *local)
        assert found == dense[tuple(grid.origins[slot] + local)]
