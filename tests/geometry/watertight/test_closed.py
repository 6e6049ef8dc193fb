"""``none``: labels of closed solids, however they touch, nest, overlap or are wound."""

from __future__ import annotations

import numpy as np
import pytest

# ruff: noqa: E402 - the geometry libraries are an extra
trimesh = pytest.importorskip("trimesh")
pytest.importorskip("numba")
pytest.importorskip("open3d")

from pix3d_onet import Mesh, make_watertight
from pix3d_onet.errors import RejectError
from pix3d_onet.geometry.mesh.inside.winding import contains
from pix3d_onet.geometry.mesh.topology import volume

Box = tuple[tuple[float, float, float], tuple[float, float, float]]
OUTER, INNER = ((0, 0, 0), (4, 4, 4)), ((1, 1, 1), (3, 3, 3))
POINTS = 20_000


def body(box: Box, *, inward: bool = False) -> trimesh.Trimesh:
    result = trimesh.creation.box(np.subtract(box[1], box[0]))
    result.apply_translation(np.add(*box) / 2)
    if inward:
        result.invert()
    return result


def within(points: np.ndarray, box: Box) -> np.ndarray:
    return ((points > box[0]) & (points < box[1])).all(axis=1)


def labelled(*parts: trimesh.Trimesh, flat: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Random points around the parts and their labels; ``flat``: every face has corners of its own."""
    joined = trimesh.util.concatenate(parts)
    mesh = Mesh(joined.vertices, joined.faces)
    if flat:
        mesh = Mesh(mesh.triangles.reshape(-1, 3), np.arange(3 * len(mesh.faces)).reshape(-1, 3))
    low, high = mesh.bounds
    points = np.random.default_rng(0).uniform(low - 0.5, high + 0.5, (POINTS, 3))
    made = make_watertight(mesh, method="none")
    assert volume(made) > 0
    return points, contains(made, points)


@pytest.mark.parametrize("flat", [False, True], ids=["parts", "loose-faces"])
@pytest.mark.parametrize("inward", [False, True])
@pytest.mark.parametrize(
    "second",
    [((4, 0, 0), (6, 4, 4)), ((4, 1, 1), (6, 3, 3)), ((4, 4, 0), (6, 6, 4)), ((4, 4, 4), (5, 5, 5))],
    ids=["same-face", "within-a-face", "edge", "corner"],
)
def test_touching_solids(second: Box, inward: bool, flat: bool) -> None:
    points, found = labelled(body(OUTER), body(second, inward=inward), flat=flat)
    assert np.array_equal(found, within(points, OUTER) | within(points, second))


@pytest.mark.parametrize("inward", [(False, False), (False, True), (True, False), (True, True)])
def test_overlapping_solids_however_wound(inward: tuple[bool, bool]) -> None:
    second = ((2, 2, 2), (6, 6, 6))
    points, found = labelled(body(OUTER, inward=inward[0]), body(second, inward=inward[1]))
    assert np.array_equal(found, within(points, OUTER) | within(points, second))


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("flat", [False, True], ids=["parts", "loose-faces"])
def test_cavities_stay_hollow_and_what_floats_in_them_solid(flat: bool, mirrored: bool) -> None:
    floating = ((1.5, 1.5, 1.5), (2.5, 2.5, 2.5))
    parts = [body(OUTER), body(INNER, inward=True), body(floating)]
    for part in parts if mirrored else []:  # a node of negative scale whose faces were not turned
        part.invert()
    points, found = labelled(*parts, flat=flat)
    assert np.array_equal(found, within(points, OUTER) & ~within(points, INNER) | within(points, floating))


def test_a_cavity_that_spans_two_overlapping_solids() -> None:
    first, second, hole = ((0, 0, 0), (4, 4, 4)), ((3, 0, 0), (7, 4, 4)), ((2, 1, 1), (5, 3, 3))
    points, found = labelled(body(first), body(second), body(hole, inward=True))
    # In the overlap the two solids go around a point twice, so that the cavity does not empty it.
    solid = within(points, first).astype(int) + within(points, second) - within(points, hole)
    assert np.array_equal(found, solid != 0)


def test_a_solid_inside_of_a_solid_changes_nothing() -> None:
    points, found = labelled(body(OUTER), body(INNER))
    assert np.array_equal(found, within(points, OUTER))


@pytest.mark.parametrize("inward", [False, True])
def test_a_solid_given_twice_is_that_solid(inward: bool) -> None:
    """Also double-sided: the copy's faces look the other way."""
    points, found = labelled(body(OUTER), body(OUTER, inward=inward))
    assert np.array_equal(found, within(points, OUTER))


def test_faces_that_all_cancel_are_rejected_by_name() -> None:
    both = trimesh.util.concatenate([body(OUTER), body(OUTER, inward=True)])
    loose = Mesh(both.triangles.reshape(-1, 3), np.arange(3 * len(both.faces)).reshape(-1, 3))
    with pytest.raises(RejectError, match="in both orientations") as caught:
        make_watertight(loose, method="none")
    assert caught.value.reason == "doubled-faces"


def test_many_parts_some_of_them_inward() -> None:
    rng = np.random.default_rng(0)
    boxes = [(tuple(low), tuple(low + rng.uniform(0.5, 2, 3))) for low in rng.uniform(-3, 3, (30, 3))]
    points, found = labelled(*(body(box, inward=bool(rng.random() < 0.5)) for box in boxes))
    exact = np.any([within(points, box) for box in boxes], axis=0)
    # An inward box wholly inside of one other is a cavity; among these random ones there is none.
    assert np.array_equal(found, exact)
