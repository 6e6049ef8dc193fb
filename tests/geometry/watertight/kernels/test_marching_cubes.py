"""The surface against one cell at a time."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.references import marching_cubes as reference
from helpers.references.brick_grids import SIDE, Bricks, random_bricks
from scipy import ndimage

pytest.importorskip("numba")

from pix3d_onet.geometry.watertight.kernels import cube_tables, marching_cubes, neighbours

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
        self.cubes = marching_cubes.extract(
            self.grid.sparse(self.inside), self.elsewhere, self.table, self.grid.origins, self.fractions
        )


@pytest.mark.kernel("extract", "connected", "vertex_on")
@pytest.mark.parametrize("seed", SEEDS)
def test_the_surface_is_that_of_all_cells(seed: int) -> None:
    made = Surface(seed)
    table = cube_tables.tables()
    triangles = [[t for loop in loops for t in loop if t[0] >= 0] for loops in table.pieces]
    assert [len(t) for t in triangles] == table.counts.tolist()
    expected = np.array(
        reference.extract(
            made.inside, made.grid.dense3(made.fractions, np.float32(0)), triangles,
            cube_tables.EDGE_AXIS, cube_tables.EDGE_LOWER,
        )
    )  # fmt: skip
    found = made.cubes.vertices[marching_cubes.connected(made.cubes, made.table)]
    assert len(found) == len(expected) > 100
    order = [np.lexsort(t.reshape(-1, 9).round(6).T) for t in (found, expected)]
    assert np.allclose(found[order[0]], expected[order[1]], atol=1e-6)
