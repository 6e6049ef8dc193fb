"""Polygons of every kind against closed forms: the area is right, no triangle is turned over, the outline is kept."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

pytest.importorskip("numba")
pytest.importorskip("manifold3d")

from pix3d_onet.geometry.mesh.formats.polygons import triangulate
from pix3d_onet.types import Float64, Int64

L_SHAPE = ([(0, 0), (3, 0), (3, 1), (1, 1), (1, 2), (0, 2)], range(6), 4.0)
COMB = (
    [(0, 0), (7, 0), (7, 3), (6, 3), (6, 1), (5, 1), (5, 3), (4, 3), (4, 1), (3, 1), (3, 3), (0, 3)],
    range(12),
    17.0,
)
WINDOW = (
    [(0, 0), (4, 0), (4, 3), (0, 3), (1, 1), (1, 2), (3, 2), (3, 1)],
    (0, 1, 2, 3, 0, 4, 5, 6, 7, 4),
    10.0,
)
TWO_WINDOWS = (
    [(0, 0), (9, 0), (9, 3), (0, 3), (1, 1), (1, 2), (3, 2), (3, 1), (5, 1), (5, 2), (8, 2), (8, 1)],
    (0, 1, 2, 3, 0, 4, 5, 6, 7, 4, 0, 8, 9, 10, 11, 8),
    22.0,
)
IN_LINE = ([(0, 0), (1, 0), (2, 0), (2, 1), (2, 2), (1, 2), (1, 1), (0.5, 1), (0, 1)], range(9), 3.0)
TOUCHING_ITSELF = ([(0, 0), (4, 0), (4, 4), (2, 0), (0, 4)], range(5), 8.0)
REPEATED = ([(0, 0), (3, 0), (3, 0), (3, 1), (1, 1), (1, 1), (1, 2), (0, 2)], range(8), 4.0)
DART = ([(0, 0), (2, 1), (0, 2), (0.5, 1)], range(4), 1.5)
HEXAGON = ([(2, 0), (1, 2), (-1, 2), (-2, 0), (-1, -2), (1, -2)], range(6), 12.0)
SHAPES = {
    "L": L_SHAPE,
    "comb": COMB,
    "window": WINDOW,
    "two windows": TWO_WINDOWS,
    "corners in line": IN_LINE,
    "touching itself": TOUCHING_ITSELF,
    "repeated corners": REPEATED,
    "dart": DART,
    "convex": HEXAGON,
}


def cut(points: Float64, corners: Int64) -> tuple[Int64, int]:
    """Triangles of one polygon that stands between two others, so that its place in the list matters."""
    triangle, quad = [0, 1, 2], [0, 1, 2, 3]
    every = np.concatenate([triangle, corners, quad]).astype(np.int64)
    found = triangulate(points, every, np.array([3, len(corners), 4]))
    assert found.faces[0].tolist() == triangle
    return found.faces[1:-2], found.crossed


def signed_areas(points: Float64, faces: Int64, normal: Float64) -> Float64:
    a, b, c = (points[faces[:, k]] for k in range(3))
    return np.cross(b - a, c - a) @ normal / 2


def outline(faces: Int64) -> Counter[tuple[int, int]]:
    """Directed edges that no triangle uses the other way round."""
    edges = Counter((int(f[k]), int(f[(k + 1) % 3])) for f in faces for k in range(3) if f[k] != f[(k + 1) % 3])
    return edges - Counter({(b, a): n for (a, b), n in edges.items()})


@pytest.mark.parametrize("start", [0, 1, 3])
@pytest.mark.parametrize("bend", [0.0, 1e-3], ids=["flat", "not quite flat"])
@pytest.mark.parametrize("name", SHAPES)
def test_area_orientation_and_outline(name: str, bend: float, start: int) -> None:
    flat, corners, area = SHAPES[name]
    rng = np.random.default_rng(5)
    for _ in range(5):
        turn = Rotation.random(random_state=int(rng.integers(1 << 30))).as_matrix()
        local = np.c_[np.array(flat, dtype=np.float64), bend * rng.uniform(-1, 1, len(flat))]
        points = local @ turn.T + rng.uniform(-10, 10, 3)
        polygon = np.roll(np.array(corners), start)
        faces, crossed = cut(points, polygon)
        found = signed_areas(points, faces, turn[:, 2])
        assert crossed == 0
        assert found.sum() == pytest.approx(area, abs=1e-9)
        assert found.min() > -1e-6 * area
        assert len(faces) == len(polygon) - 2
        sides = Counter((int(a), int(b)) for a, b in zip(polygon, np.roll(polygon, -1), strict=True))
        assert outline(faces) == sides - Counter({(b, a): n for (a, b), n in sides.items()})


def test_random_concave_polygons_in_the_thousands() -> None:
    rng = np.random.default_rng(1)
    for _ in range(2000):
        n = int(rng.integers(4, 40))
        turn = 2 * np.pi * (np.arange(n) + rng.uniform(0.1, 0.9, n)) / n
        ring = rng.uniform(0.05, 1, (n, 1)) * np.stack([np.cos(turn), np.sin(turn)], axis=1)
        x, y = ring.T
        points = np.c_[ring, np.zeros(n)]
        found = signed_areas(points, cut(points, np.arange(n))[0], np.array([0, 0, 1.0]))
        assert found.sum() == pytest.approx((x * np.roll(y, -1) - y * np.roll(x, -1)).sum() / 2)
        assert found.min() > -1e-6


def test_convex_polygons_stay_fans_from_their_first_corner() -> None:
    points = np.c_[np.array(HEXAGON[0], dtype=np.float64), np.zeros(6)]
    assert cut(points, np.arange(6))[0].tolist() == [[0, 1, 2], [0, 2, 3], [0, 3, 4], [0, 4, 5]]


@pytest.mark.parametrize("corners", [[(0, 0), (1, 1), (1, 0), (0, 1)], [(0, 0), (4, 0), (0, 3), (4, 3), (2, -1)]])
def test_polygons_that_cross_themselves_are_counted(corners: list[tuple[float, float]]) -> None:
    points = np.c_[np.array(corners, dtype=np.float64), np.zeros(len(corners))]
    assert triangulate(points, np.arange(len(corners)), np.array([len(corners)])).crossed == 1


def test_corners_in_line_but_for_rounding_are_no_crossing() -> None:
    rng = np.random.default_rng(0)
    along = np.sort(rng.random((200, 5)), axis=1)[:, :, None]
    points = rng.normal(size=(200, 1, 3)) + along * rng.normal(size=(200, 1, 3))
    for size in (4, 5):
        corners = np.arange(1000).reshape(200, 5)[:, :size].ravel()
        assert triangulate(points.reshape(-1, 3), corners, np.full(200, size)).crossed == 0


@pytest.mark.parametrize("bad", [-1, 99])
def test_a_polygon_with_a_corner_that_is_none_is_lost_as_a_whole(bad: int) -> None:
    points = np.c_[np.array(HEXAGON[0], dtype=np.float64), np.zeros(6)]
    corners = np.array([0, 1, 2, 3, 4, 5, 0, 1, bad, 3, 4])
    faces = triangulate(points, corners, np.array([6, 5])).faces
    assert len(faces) == 7
    assert (faces[4:] == -1).all()


def test_a_polygon_with_a_corner_without_a_place_is_lost_as_a_whole() -> None:
    points = np.c_[np.array(HEXAGON[0], dtype=np.float64), np.zeros(6)]
    points[4] = np.nan
    assert (triangulate(points, np.arange(6), np.array([6])).faces == 4).all()
