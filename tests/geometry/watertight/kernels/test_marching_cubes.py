"""The surface against one cell at a time; labels against winding numbers."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.references import marching_cubes as reference
from helpers.references.brick_grids import SIDE, Bricks, random_bricks
from scipy import ndimage

pytest.importorskip("numba")

from pix3d_onet.geometry.watertight.kernels import marching_cubes, neighbours

SEEDS = range(3)


class Surface:
    """Random signs and edge fractions on a random grid, and what is extracted from them."""

    def __init__(self, seed: int) -> None:
        self.rng = rng = np.random.default_rng(seed)
        self.grid: Bricks = random_bricks(rng)
        # All surface must lie in bricks with a slot: inside only where no slotless node is near.
        deep = ndimage.minimum_filter(self.grid.owned, 3)
        smooth = ndimage.gaussian_filter(rng.normal(size=deep.shape), rng.choice([0.5, 1.5]))
        self.inside = (deep & (smooth > 0)).astype(np.uint8)
        self.fractions = rng.uniform(0.1, 0.9, (self.grid.count, 3, SIDE**3)).astype(np.float32)
        self.elsewhere = np.zeros(self.grid.slots.size, dtype=np.uint8)
        self.table = neighbours.neighbour_table(self.grid.slots, self.grid.count)
        self.vertices, self.faces, self.cases, self.first, self.number = marching_cubes.extract(
            self.grid.sparse(self.inside), self.elsewhere, self.table, self.grid.origins, self.fractions
        )


@pytest.mark.kernel("extract")
@pytest.mark.parametrize("seed", SEEDS)
def test_the_surface_is_that_of_all_cells(seed: int) -> None:
    made = Surface(seed)
    counts, table = marching_cubes.table()
    expected = np.array(
        reference.extract(
            made.inside, made.grid.dense3(made.fractions, np.float32(0)), counts, table,
            marching_cubes.EDGE_AXIS, marching_cubes.EDGE_LOWER,
        )
    )  # fmt: skip
    found = made.vertices[made.faces]
    assert len(found) == len(expected) > 100
    order = [np.lexsort(t.reshape(-1, 9).round(6).T) for t in (found, expected)]
    assert np.allclose(found[order[0]], expected[order[1]], atol=1e-6)


@pytest.mark.kernel("clear")
@pytest.mark.parametrize("seed", SEEDS)
def test_clearing_takes_the_inside_ends_of_dropped_edges(seed: int) -> None:
    made = Surface(seed)
    dropped = made.rng.random(len(made.vertices)) < 0.1
    inside = made.grid.sparse(made.inside)
    marching_cubes.clear(inside, made.table, made.number, dropped)
    expected = reference.clear(made.inside, made.grid.dense3(made.number, -1), dropped)
    assert np.array_equal(inside, made.grid.sparse(expected))
    assert inside.sum() < made.inside.sum()


@pytest.mark.kernel("label")
@pytest.mark.parametrize("seed", SEEDS)
def test_labels_are_those_of_the_winding_number(seed: int) -> None:
    made = Surface(seed)
    counts, _ = marching_cubes.table()
    around = made.vertices[made.rng.integers(len(made.vertices), size=300)]
    points = around + made.rng.normal(scale=0.7, size=(300, 3))
    found, unsure = marching_cubes.label(
        points, made.grid.slots, made.elsewhere, made.cases, made.first, counts, made.vertices, made.faces
    )
    assert not unsure.any()
    assert np.array_equal(found, reference.label(points, made.vertices[made.faces]))
    assert 50 < found.sum() < 250
