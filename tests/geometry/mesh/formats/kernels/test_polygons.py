"""The compiled polygon fans and their verdicts against a polygon-by-polygon reference."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.references import formats as reference

pytest.importorskip("numba")

from pix3d_onet.geometry.mesh.formats.kernels.polygons import OVERLAP, SLIVER, fans, last_verdict, verdict_of


@pytest.mark.kernel("fans", "verdict_of", "last_verdict")
@pytest.mark.parametrize("seed", range(20))
def test_fans_and_their_verdicts(seed: int) -> None:
    rng = np.random.default_rng(seed)
    vertices = rng.normal(size=(30, 3)) * (1, 1, 0.05)
    polygons = [rng.choice(30, int(rng.integers(3, 7)), replace=False).tolist() for _ in range(40)]
    polygons[7] = [0, 1, 99, 2]
    sizes = np.array([len(p) for p in polygons])
    faces, verdicts = np.empty((int((sizes - 2).sum()), 3), dtype=np.int64), np.empty(40, dtype=np.int8)
    fans(vertices, np.concatenate(polygons), sizes, faces, verdicts)
    expected_faces, expected_verdicts = reference.fans(vertices, polygons, OVERLAP)
    assert faces.tolist() == expected_faces
    assert verdicts.tolist() == expected_verdicts
    assert len(set(expected_verdicts)) > 1
    normal = reference.newell(vertices[polygons[0]])
    own = faces[: sizes[0] - 2]
    assert verdict_of(vertices, own, tuple(normal)) == reference.verdict(vertices, own, normal, OVERLAP)
    for flat in (1, 1e-2, 1e-5):
        bow = rng.normal(size=(4, 3)) * (1, flat, 0)
        own, normal = np.array([[0, 1, 2], [0, 2, 3]]), reference.newell(bow)
        expected = reference.last_verdict(bow, own, normal, OVERLAP, SLIVER)
        assert last_verdict(bow, own, tuple(normal)) == expected
