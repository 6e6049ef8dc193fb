"""Signs of determinants against rational arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.references import inside as reference

pytest.importorskip("numba")

from pix3d_onet.geometry.mesh.inside.kernels import predicates


@pytest.mark.kernel("side_of_line", "side_of_plane")
@pytest.mark.parametrize("grid", [0.0, 0.25, 1e-3])
@pytest.mark.parametrize("seed", range(4))
def test_signs_are_those_of_exact_arithmetic(seed: int, grid: float) -> None:
    """Points put onto lines and planes, where rounding decides; and on a grid, where many determinants are 0."""
    rng = np.random.default_rng(seed)
    for _ in range(100):
        a, b, c = rng.normal(size=(3, 3)) * 10.0 ** rng.integers(-5, 6)
        u, v = rng.uniform(size=2)
        p, q = a + u * (b - a) + v * (c - a), a + u * (b - a)
        if grid:
            a, b, c, p, q = (np.round(x / grid) * grid for x in (a, b, c, p, q))
        found = predicates.side_of_plane(a, b, c, p)
        assert found == reference.sign_of_determinant(np.array([a, b, c]), p)
        found = predicates.side_of_line(a[0], a[1], b[0], b[1], q[0], q[1])
        assert found == reference.sign_of_determinant(np.array([a[:2], b[:2]]), q[:2])
