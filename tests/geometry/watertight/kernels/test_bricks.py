"""Marking, splatting and neighbour look-up against every node and every triangle."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.references import bricks as reference
from helpers.references.brick_grids import FAR, SIDE, Bricks, random_bricks

pytest.importorskip("numba")

from pix3d_onet.geometry.watertight.brick_grid import number_bricks
from pix3d_onet.geometry.watertight.kernels import bricks, neighbours, probes, thin_parts

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


@pytest.mark.kernel("mark_bricks")
@pytest.mark.parametrize("seed", SEEDS)
def test_bricks_within_reach(seed: int) -> None:
    triangles = random_triangles(np.random.default_rng(seed))[:-1]
    marked = bricks.mark_bricks(triangles, REACH, DIMS)
    assert np.array_equal(marked, reference.mark_bricks(triangles, REACH, DIMS))
    assert 0 < marked.sum() < marked.size


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


@pytest.mark.kernel("edge_lines")
@pytest.mark.parametrize("seed", SEEDS)
def test_edge_lines_are_signed_distances(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for t in random_triangles(rng, 20)[:-1]:
        sign = np.sign(np.cross(t[1] - t[0], t[2] - t[0])[2])
        lines = np.empty((3, 3))
        bricks.edge_lines(t, 0, 1, sign, lines)
        flat = t[:, :2]
        for line, corner, after, opposite in zip(lines, flat, np.roll(flat, -1, 0), np.roll(flat, -2, 0), strict=True):
            assert np.allclose(line @ [*corner, 1], 0, atol=1e-9)
            assert np.allclose(line @ [*after, 1], 0, atol=1e-9)
            assert line @ [*opposite, 1] < 0  # inside is negative
            assert np.linalg.norm(line[:2]) == pytest.approx(1)


@pytest.mark.kernel("crossing_faces")
@pytest.mark.parametrize("seed", SEEDS)
def test_vertices_know_the_triangle_that_crosses_their_edge(seed: int) -> None:
    rng = np.random.default_rng(seed)
    triangles = random_triangles(rng, 12)
    grid = Bricks(number_bricks(bricks.mark_bricks(triangles, REACH, DIMS)))
    _, _, first, last = bricks.splat(triangles, BAND, grid.slots, grid.count)
    # A vertex on every crossed edge and on some others, on one of its crossings or a little beside it.
    fractions = np.where(rng.random(first.shape) < 0.5, first, last)
    fractions = np.where(first <= 1, fractions + rng.choice([0, 0.004, 0.2], first.shape), 0.5).astype(np.float32)
    number = np.full(first.shape, -1, dtype=np.int32)
    chosen = (first <= 1) | (rng.random(first.shape) < 0.01)
    number[chosen] = np.arange(chosen.sum())
    found = bricks.crossing_faces(triangles, grid.slots, number, fractions, int(chosen.sum()), 0.006)
    expected = reference.crossing_faces(triangles, grid.origins, number, fractions, 0.006)
    assert np.array_equal(found, expected)
    assert 0.1 < (found >= 0).mean() < 0.9


@pytest.mark.kernel("lower_distances")
@pytest.mark.parametrize("seed", SEEDS)
def test_scattered_points_get_their_distance(seed: int) -> None:
    rng = np.random.default_rng(seed)
    reach = 0.3
    triangles = random_triangles(rng, 12)
    grid = Bricks(number_bricks(bricks.mark_bricks(triangles, REACH, DIMS)))
    weights = rng.dirichlet(np.ones(3), 400)
    points = np.einsum("ij,ijk->ik", weights, triangles[rng.integers(12, size=400)])
    points += rng.normal(scale=0.2, size=points.shape)
    points[:5] = np.array([np.nan, -1, 1e9, 3, 0])[:, None]
    start = rng.choice([0.01, 1.0], 400)
    squared = start.copy()
    probes.lower_distances(points, squared, triangles, reach, grid.slots, grid.count)
    exact = reference.distances(triangles, points[5:]).min(axis=1) ** 2
    assert np.array_equal(squared[:5], start[:5])
    assert np.allclose(squared[5:], np.where(exact <= reach**2, np.minimum(exact, start[5:]), squared[5:]), atol=1e-9)
    assert (squared[5:] >= np.minimum(exact, start[5:]) - 1e-9).all()
    assert (squared[5:] < start[5:]).sum() > 100


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
