"""Baselines without a network: what each knows, what it does not, and where its number comes from."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from helpers import datasets
from hypothesis import given, settings
from hypothesis import strategies as st

from pix3d_onet.config import POINTS_HALF_SIDE, Baseline
from pix3d_onet.data.store.reader import Dataset
from pix3d_onet.errors import ConfigError, InputError
from pix3d_onet.evaluation.baselines import (
    BASELINES,
    GRID,
    MEAN_THRESHOLDS,
    MeanShape,
    Oracle,
    Retrieval,
    TrainingShapes,
    baseline,
    load_training_shapes,
    overlap,
    picture_feature,
)
from pix3d_onet.evaluation.evaluate import evaluate
from pix3d_onet.evaluation.voxels import voxel_centres, voxelised
from pix3d_onet.geometry.mesh.simplification import is_closed
from pix3d_onet.metrics import iou
from pix3d_onet.types import Mesh


def inside_box(mesh: Mesh, points: np.ndarray) -> np.ndarray:
    """The inside test of the axis-aligned boxes that these data sets store."""
    return (np.abs(points) <= mesh.bounds[1]).all(axis=1)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return datasets.make_dataset(tmp_path_factory.mktemp("data"), shapes=12, points=4096)


@pytest.fixture(scope="module")
def library(data) -> TrainingShapes:
    with Dataset(data) as dataset:
        return load_training_shapes(dataset, inside_box)


def test_the_library_holds_the_training_split_alone(data, library) -> None:
    with Dataset(data) as dataset:
        assert library.object_ids == tuple(e.object_id for e in dataset.entries("train"))
    assert library.grids.shape == (8, GRID**3)
    assert library.feature_shape.tolist() == list(range(8))
    np.testing.assert_allclose(np.linalg.norm(library.features, axis=1), 1, atol=1e-5)
    volumes = [8 * np.prod(mesh.bounds[1]) for mesh in library.meshes]
    np.testing.assert_allclose(library.grids.mean(axis=1) * 1.1**3, volumes, rtol=0.1)


@pytest.mark.parametrize(("voxels", "half_side"), [(64, 0.55), (33, 0.5), (128, 0.5), (2, 0.5)])
def test_grids_are_those_of_testing_every_centre(library, voxels, half_side) -> None:
    asked: list[int] = []

    def counted(mesh: Mesh, points: np.ndarray) -> np.ndarray:
        asked.append(len(points))
        return inside_box(mesh, points)

    for mesh in library.meshes[:3]:
        grid = voxelised(mesh, counted, voxels, half_side)
        expected = inside_box(mesh, voxel_centres(voxels, half_side)).reshape((voxels,) * 3)
        # a centre on the box's face may fall either way: two spellings of the same coordinate
        assert np.count_nonzero(grid != expected) <= (0 if voxels != 33 else 33**2)
    assert voxels < 128 or sum(asked) < 3 * voxels**3 / 5


def slab(centre: np.ndarray, half: np.ndarray) -> Mesh:
    return Mesh(datasets.CORNERS * 2 * half + centre, datasets.BOX_FACES)


@settings(max_examples=40, deadline=None)
@given(
    st.tuples(*[st.floats(-0.6, 0.6)] * 3),
    st.tuples(*[st.floats(0.004, 0.4)] * 3),
    st.integers(2, 40),
    st.floats(0.0, 6.3),
)
def test_grids_of_any_box_however_thin(centre, half, voxels, angle) -> None:
    """Turned, thinner than a voxel, or beyond the cube: the grid is that of asking everywhere."""
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    box = slab(np.zeros(3), np.array(half))
    mesh = Mesh(box.vertices @ turn.T + centre, box.faces)

    def inside(_: Mesh, points: np.ndarray) -> np.ndarray:
        return (np.abs((points - centre) @ turn) <= np.array(half)).all(axis=1)

    expected = inside(mesh, voxel_centres(voxels, 0.5)).reshape((voxels,) * 3)
    np.testing.assert_array_equal(voxelised(mesh, inside, voxels, 0.5), expected)


def test_a_hollow_box_is_hollow_in_the_grid() -> None:
    outer, inner = slab(np.zeros(3), np.full(3, 0.4)), slab(np.zeros(3), np.full(3, 0.37))
    mesh = Mesh(
        np.concatenate([outer.vertices, inner.vertices]), np.concatenate([outer.faces, inner.faces[:, ::-1] + 8])
    )

    def inside(_: Mesh, points: np.ndarray) -> np.ndarray:
        reach = np.abs(points).max(axis=1)
        return (reach <= 0.4) & (reach > 0.37)

    expected = inside(mesh, voxel_centres(48, 0.5)).reshape((48,) * 3)
    np.testing.assert_array_equal(voxelised(mesh, inside, 48, 0.5), expected)
    assert not voxelised(Mesh(np.empty((0, 3)), np.empty((0, 3), np.int64)), inside, 8, 0.5).any()


def test_overlap_is_the_iou_of_every_pair() -> None:
    random = np.random.default_rng(0)
    a, b = random.random((3, 500)) < 0.3, random.random((130, 500)) < 0.4
    a[0], b[0] = False, False
    expected = [[iou(x, y) for y in b] for x in a]
    np.testing.assert_allclose(overlap(a, b), expected, rtol=1e-6)


def test_mean_shape_is_cut_where_it_fits_the_training_shapes_best(data, library) -> None:
    mean = MeanShape(library)
    occupancy = library.grids.mean(axis=0)
    scores = [np.mean([iou(occupancy > t, g) for g in library.grids]) for t in MEAN_THRESHOLDS]
    assert mean.threshold == MEAN_THRESHOLDS[int(np.argmax(scores))]
    assert is_closed(mean.prediction.mesh.faces)
    with Dataset(data) as dataset:
        first, second = (dataset.sample(e, "test") for e in dataset.entries("test"))
    assert mean.predict(first, first.images[0]) is mean.predict(second, second.images[0])
    inside = mean.prediction.logits(voxel_centres(GRID, POINTS_HALF_SIDE)) > mean.prediction.level
    assert iou(inside, occupancy > mean.threshold) > 0.98  # between cell centres it is interpolated


def test_mean_of_one_shape_is_that_shape(library) -> None:
    box = library.meshes[0]
    alone = TrainingShapes(("box",), (box,), library.grids[:1], library.features[:1], np.zeros(1, np.int64), inside_box)
    mean = MeanShape(alone)
    np.testing.assert_allclose(np.abs(mean.prediction.mesh.bounds), np.abs(box.bounds), atol=1.1 / GRID)


def test_retrieval_finds_the_shape_of_the_same_picture(data, library) -> None:
    retrieval = Retrieval(library)
    with Dataset(data) as dataset:
        for row, entry in enumerate(dataset.entries("train")):
            sample = dataset.sample(entry, "train")
            assert retrieval.choose(sample.images[0]) == row
            np.testing.assert_array_equal(
                retrieval.predict(sample, sample.images[0]).logits(sample.points) > 0,
                inside_box(sample.mesh, sample.points),
            )


def test_the_oracle_is_the_best_training_shape(data, library) -> None:
    with Dataset(data) as dataset:
        for entry in dataset.entries("test"):
            sample = dataset.sample(entry, "test")
            prediction = Oracle(library).predict(sample, sample.images[0])
            found = iou(prediction.logits(sample.points) > prediction.level, sample.occupancy)
            every = [iou(inside_box(m, sample.points), sample.occupancy) for m in library.meshes]
            assert found == max(every)


def test_the_oracle_is_never_below_retrieval(data, library) -> None:
    with Dataset(data) as dataset:
        best, found = (evaluate(p, dataset, "test") for p in (Oracle(library), Retrieval(library)))
    for first, second in zip(best.rows, found.rows, strict=True):
        assert first.values["iou"] >= second.values["iou"]


def test_features_tell_pictures_apart_and_not_their_resolution() -> None:
    random = np.random.default_rng(0)
    _, extent = 0, datasets.extent_of(0, random)
    small = datasets.picture(0, extent, 64, "a", np.random.default_rng(1))
    large = datasets.picture(0, extent, 128, "a", np.random.default_rng(1))
    other = datasets.picture(1, extent, 64, "b", np.random.default_rng(1))
    a, b, c = (picture_feature(v.rgb, v.mask) for v in (small, large, other))
    assert a @ b > 0.9
    assert a @ b > a @ c
    inner = np.full((64, 64, 3), 255, np.uint8)
    inner[16:48, 16:48] = 120
    striped = inner.copy()
    striped[16:48:4, 16:48] = 20  # the same outline, other edges
    outline = (inner < 255).all(axis=2)
    assert picture_feature(inner, outline) @ picture_feature(striped, outline) < 0.9
    assert picture_feature(inner, outline) @ picture_feature(inner, ~outline) < 0.9  # the same edges, another outline
    blank = picture_feature(np.full((32, 32, 3), 255, np.uint8), np.zeros((32, 32), bool))
    assert np.isfinite(blank).all()


def test_unknown_names_and_empty_splits(tmp_path, library) -> None:
    with pytest.raises(ConfigError, match="retrieval, retrieval-cut or oracle"):
        baseline("median", library)
    folder = datasets.make_dataset(tmp_path, shapes=3, points=64, image_size=16)
    text = (folder / "manifest.json").read_text().replace('"train"', '"val"')
    (folder / "manifest.json").write_text(text)
    with Dataset(folder) as dataset, pytest.raises(InputError, match="train split"):
        load_training_shapes(dataset, inside_box)


def test_the_names_of_the_baselines_are_those_that_there_are() -> None:
    assert tuple(BASELINES) == get_args(Baseline)
