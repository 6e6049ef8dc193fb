"""Metrics: closed forms (spheres, shifted boxes), brute force, empty and NaN, intervals."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from helpers.shared import SHARED
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial.distance import cdist

from pix3d_onet.metrics import (
    EMPTY_DISTANCE,
    METRICS,
    Comparison,
    accuracy,
    chamfer_l1,
    completeness,
    f_score,
    iou,
    mean_interval,
    mean_rows,
    measure,
    normal_consistency,
    surface_distances,
)

SAMPLES = 40_000
NONE = np.empty((0, 3))


def ball(radius: float, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    unit = np.random.default_rng(seed).normal(size=(count, 3))
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    return unit * radius, unit


def compared(first: tuple[np.ndarray, np.ndarray], second: tuple[np.ndarray, np.ndarray]):
    return surface_distances(*first, *second)


def test_concentric_spheres_have_closed_forms() -> None:
    """Radii 0.5 and 0.46: every nearest distance is 0.04 but for the spacing of the samples, normals are the same."""
    d = compared(ball(0.46, SAMPLES, 0), ball(0.5, SAMPLES, 1))
    spacing = math.sqrt(4 * math.pi * 0.5**2 / SAMPLES)  # a sample's share of the surface
    slack = spacing**2 / (2 * 0.04)  # sideways distance adds in squares
    for value in (accuracy(d), completeness(d), chamfer_l1(d)):
        assert 0.04 <= value <= 0.04 + slack
    assert normal_consistency(d) == pytest.approx(1, abs=1e-3)
    assert f_score(d) == 0
    assert f_score(d, 0.045) == 1


def test_shifted_squares_have_a_closed_form_f_score() -> None:
    """Two unit squares in one plane, shifted by s along x: a sample has a near neighbour but in a strip of s - r."""
    random = np.random.default_rng(0)
    first = np.column_stack([random.random((SAMPLES, 2)), np.zeros(SAMPLES)])
    normals = np.tile([0.0, 0.0, 1.0], (SAMPLES, 1))
    second = np.column_stack([0.3 + random.random(SAMPLES), random.random(SAMPLES), np.zeros(SAMPLES)])
    d = compared((first, normals), (second, normals))
    assert f_score(d, 0.02) == pytest.approx(1 - 0.3 + 0.02, abs=0.01)
    assert accuracy(d) == pytest.approx(0.3**2 / 2, abs=0.005)  # mean over the strip of its distance to the edge
    assert normal_consistency(d) == 1


def test_iou_of_shifted_boxes() -> None:
    """Unit cubes shifted by 1/4 along x: 0.75 / 1.25."""
    points = np.random.default_rng(0).uniform(-1, 2, size=(400_000, 3))
    first = ((points >= 0) & (points <= 1)).all(axis=1)
    second = ((points - [0.25, 0, 0] >= 0) & (points - [0.25, 0, 0] <= 1)).all(axis=1)
    assert iou(first, second) == pytest.approx(0.6, abs=0.01)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 10_000))
def test_distances_equal_brute_force(n, m, seed) -> None:
    random = np.random.default_rng(seed)
    a, b = random.normal(size=(n, 3)), random.normal(size=(m, 3))
    u, v = random.normal(size=(n, 3)), random.normal(size=(m, 3))
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    v /= np.linalg.norm(v, axis=1, keepdims=True)
    table = cdist(a, b)
    d = surface_distances(a, u, b, v)
    np.testing.assert_allclose(d.to_true, table.min(axis=1), atol=1e-12)
    np.testing.assert_allclose(d.to_predicted, table.min(axis=0), atol=1e-12)
    np.testing.assert_allclose(d.cos_to_true, np.abs((u * v[table.argmin(axis=1)]).sum(axis=1)), atol=1e-12)
    precision, recall = (table.min(axis=1) < 0.01).mean(), (table.min(axis=0) < 0.01).mean()
    expected = stats.hmean([precision, recall]) if precision and recall else 0.0
    assert f_score(d) == pytest.approx(expected)
    swapped = surface_distances(b, v, a, u)
    assert chamfer_l1(swapped) == pytest.approx(chamfer_l1(d))
    assert accuracy(swapped) == pytest.approx(completeness(d))


def test_identical_surfaces_are_perfect() -> None:
    points, normals = ball(0.5, 1000, 0)
    d = surface_distances(points, normals, points, -normals)  # winding does not matter
    assert chamfer_l1(d) == 0
    assert normal_consistency(d) == pytest.approx(1)
    assert f_score(d) == 1


@pytest.mark.parametrize(("predicted", "true"), [(NONE, "ball"), ("ball", NONE)])
def test_one_empty_surface_gets_the_worst_values(predicted, true) -> None:
    some = ball(0.5, 100, 0)
    first = some if isinstance(predicted, str) else (NONE, NONE)
    second = some if isinstance(true, str) else (NONE, NONE)
    d = surface_distances(*first, *second)
    values = measure(Comparison(np.ones(8, bool), np.zeros(8, bool), np.zeros(8, bool), d))
    for metric in METRICS.values():
        assert values[metric.name] == pytest.approx(metric.worst), metric.name
    assert accuracy(d) == completeness(d) == EMPTY_DISTANCE


def test_both_empty_agree() -> None:
    d = surface_distances(NONE, NONE, NONE, NONE)
    values = measure(Comparison(np.zeros(8, bool), np.zeros(8, bool), np.zeros(8, bool), d))
    assert values["iou"] == values["iou_mesh"] == values["normal_consistency"] == values["f_score"] == 1
    assert values["chamfer_l1"] == values["accuracy"] == values["completeness"] == 0


def test_what_was_not_measured_is_nan_and_shows_in_the_mean() -> None:
    values = measure(Comparison(np.ones(8, bool), np.ones(8, bool)))
    assert values["iou"] == 1
    assert math.isnan(values["chamfer_l1"])
    assert math.isnan(mean_rows([values, values])["chamfer_l1"].mean)
    assert math.isnan(mean_interval([0.5, math.nan]).mean)


def test_the_table_is_complete() -> None:
    assert list(METRICS) == [
        "iou", "iou_mesh", "chamfer_l1", "chamfer_l1_x10", "accuracy", "completeness", "normal_consistency", "f_score",
    ]  # fmt: skip
    for metric in METRICS.values():
        assert metric.definition.endswith(".")
        assert metric.source
        assert metric.unit
    d = compared(ball(0.46, 500, 0), ball(0.5, 500, 1))
    values = measure(Comparison(np.ones(8, bool), np.ones(8, bool), np.ones(8, bool), d))
    assert values["chamfer_l1_x10"] == pytest.approx(10 * values["chamfer_l1"])


def test_labels_of_different_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="different shapes"):
        iou(np.zeros(3, bool), np.zeros(4, bool))


def test_a_patch_in_a_large_square_is_accurate_and_not_complete() -> None:
    """The middle [0.4, 0.6]² of the unit square: accuracy 0, completeness the mean distance to that patch."""
    random = np.random.default_rng(0)
    patch = np.column_stack([0.4 + 0.2 * random.random((SAMPLES, 2)), np.zeros(SAMPLES)])
    whole = np.column_stack([random.random((SAMPLES, 2)), np.zeros(SAMPLES)])
    normals = np.tile([0.0, 0.0, 1.0], (SAMPLES, 1))
    d = compared((patch, normals), (whole, normals))
    x = np.abs(np.linspace(0, 1, 1001) - 0.5) - 0.1
    expected = np.hypot(*np.meshgrid(x.clip(min=0), x.clip(min=0))).mean()
    assert accuracy(d) < 0.005
    assert completeness(d) == pytest.approx(expected, abs=0.005)
    values = measure(Comparison(np.ones(8, bool), surface=d))
    assert values["accuracy"] == accuracy(d)
    assert values["completeness"] == completeness(d)
    precision, recall = 1.0, 0.22**2  # the patch and a rim of 0.01 around it
    assert f_score(d) == pytest.approx(2 * precision * recall / (precision + recall), abs=0.01)


def test_interval_is_the_expanded_bootstrap_of_scipy() -> None:
    values = np.random.default_rng(3).beta(2, 3, size=12)
    ours = mean_interval(values.tolist())
    t = stats.t.ppf(0.975, 11) * math.sqrt(12 / 11)
    theirs = stats.bootstrap(
        (values,),
        np.mean,
        method="percentile",
        confidence_level=1 - 2 * stats.norm.cdf(-t),
        n_resamples=100_000,
        rng=np.random.default_rng(0),
    ).confidence_interval
    assert ours.mean == pytest.approx(values.mean())
    assert ours.low == pytest.approx(theirs.low, abs=0.004)
    assert ours.high == pytest.approx(theirs.high, abs=0.004)
    assert ours == mean_interval(values.tolist())


def test_the_interval_holds_the_mean_as_often_as_it_says() -> None:
    """Ten values of a skewed distribution: the plain percentile interval would hold it 89 times in a hundred."""
    random = np.random.default_rng(0)
    held = 0
    for seed in range(300):
        found = mean_interval(random.beta(1, 3, size=10).tolist(), seed=seed, resamples=1000)
        held += found.low <= 0.25 <= found.high
    assert held / 300 > 0.905


def test_pictures_of_one_shape_are_not_independent() -> None:
    values = np.random.default_rng(3).beta(2, 3, size=10).tolist()
    alone = mean_interval(values, [str(i) for i in range(10)])
    repeated = mean_interval([v for v in values for _ in range(20)], [str(i) for i in range(10) for _ in range(20)])
    assert repeated.mean == pytest.approx(alone.mean)
    assert repeated.count == 10
    assert repeated.high - repeated.low == pytest.approx(alone.high - alone.low, rel=0.05)
    single = mean_interval([0.4, 0.6], ["a", "a"])
    assert single.mean == 0.5
    assert math.isnan(single.low)
    assert mean_interval([]).count == 0
    assert math.isnan(mean_interval([0.1, 0.2, 0.3, 0.4]).low)  # fewer than five groups say nothing
    assert mean_interval([0.1, 0.2, 0.3, 0.4, 0.5]).low < 0.3


def real_meshes() -> list[Path]:
    """Models of the real Pix3D excerpt, where it lies beside the checkout or where ONET_SHARED says."""
    root = SHARED / "pix3d-photos" / "model" / "chair"
    return sorted(root.glob("*/model.obj"))[:3]


@pytest.mark.realdata
@pytest.mark.skipif(len(real_meshes()) < 3, reason="needs the real Pix3D photos (ONET_SHARED or ../shared)")
def test_real_chairs_against_open3d() -> None:
    """Nearest samples by Open3D's tree (float64 points: equal), and exact distances to the triangles (a lower bound).

    A sampled surface lies at most a sample's spacing away from the exact one: the tolerance of the second.
    """
    o3d = pytest.importorskip("open3d")
    from pix3d_onet.geometry.mesh.cleaning import box_normalisation, transformed
    from pix3d_onet.geometry.mesh.reading import load_mesh
    from pix3d_onet.geometry.mesh.sampling import sample_surface

    meshes = [transformed(m, box_normalisation(m)) for m in map(load_mesh, real_meshes())]
    clouds = [sample_surface(m, 20_000, seed) for seed, m in enumerate(meshes)]
    for i, j in ((0, 1), (1, 2), (2, 0)):
        d = surface_distances(*clouds[i], *clouds[j])
        a, b = (o3d.geometry.PointCloud(o3d.utility.Vector3dVector(clouds[k][0])) for k in (i, j))
        np.testing.assert_allclose(d.to_true, np.asarray(a.compute_point_cloud_distance(b)), atol=1e-9)
        np.testing.assert_allclose(d.to_predicted, np.asarray(b.compute_point_cloud_distance(a)), atol=1e-9)
        scene = o3d.t.geometry.RaycastingScene()
        scene.add_triangles(
            o3d.core.Tensor(meshes[j].vertices.astype(np.float32)), o3d.core.Tensor(meshes[j].faces.astype(np.uint32))
        )
        exact = scene.compute_distance(o3d.core.Tensor(clouds[i][0].astype(np.float32))).numpy()
        t = meshes[j].triangles
        area = np.linalg.norm(np.cross(t[:, 1] - t[:, 0], t[:, 2] - t[:, 0]), axis=1).sum() / 2
        spacing = math.sqrt(area / 20_000)
        assert (d.to_true >= exact - 1e-5).all()
        assert 0 <= accuracy(d) - exact.mean() <= spacing
        within = (exact < 0.01 + spacing).mean(), (exact < 0.01 - spacing).mean()
        assert within[1] <= (d.to_true < 0.01).mean() <= within[0]
