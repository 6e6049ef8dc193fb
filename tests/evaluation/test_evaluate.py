"""Evaluation of predictors on a prepared data set; Pix3D's protocol; the rows' documents."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from helpers import datasets, fields, stored_run
from onet_cli.scores import caption

from pix3d_onet import seeding
from pix3d_onet.config import ExtractionConfig, ModelConfig
from pix3d_onet.data.store.reader import Dataset
from pix3d_onet.errors import ConfigError
from pix3d_onet.evaluation import pix3d_protocol as protocol
from pix3d_onet.evaluation.baselines import depth_prediction
from pix3d_onet.evaluation.evaluate import compare, evaluate, ideal_f_score, nearest_by_pairs, nearest_on, rows_csv
from pix3d_onet.learning.batches.split import PictureFilter, ResidentSplit
from pix3d_onet.learning.extraction.extract import logit
from pix3d_onet.learning.extraction.predictor import NetworkPredictor, Prediction, network_predictor
from pix3d_onet.learning.training.validate import evaluate_split
from pix3d_onet.metrics import f_score, nearest, surface_distances
from pix3d_onet.types import Mesh

EMPTY = Mesh(np.empty((0, 3)), np.empty((0, 3), np.int64))


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return datasets.make_dataset(tmp_path_factory.mktemp("data"), shapes=6, points=4096, views=2)


def shape_of(object_id: str, seed: int = 0):
    """Kind and sides of a shape of ``datasets``, as it draws them."""
    rng = seeding.generator(seed, "test-shape", object_id)
    index = int(object_id.split("_")[1])
    return index % 2, datasets.extent_of(index, rng)


def inside_test(mesh: Mesh, points: np.ndarray) -> np.ndarray:
    """Exact for the boxes that the data sets store as meshes."""
    return np.abs(points).max(axis=1) < 0.5 if not len(mesh.faces) else (np.abs(points) <= mesh.bounds[1]).all(axis=1)


def no_surface(mesh: Mesh, count: int, seed: int):
    points = np.random.default_rng(seed).uniform(mesh.bounds[0], mesh.bounds[1], size=(count, 3))
    return points, np.tile([0.0, 0.0, 1.0], (count, 1))


class Truth:
    """Knows the answer; ``grow`` scales it."""

    name = "truth"
    settings: dict[str, float] = {}  # noqa: RUF012

    def __init__(self, grow: float = 1.0) -> None:
        self.grow = grow

    def usable(self, view) -> bool:
        return True

    def predict(self, sample, view) -> Prediction:
        kind, extent = shape_of(sample.object_id)

        def logits(points):
            return np.where(datasets.inside(kind, extent * self.grow, points), 5.0, -5.0).astype(np.float32)

        return Prediction(Mesh(sample.mesh.vertices * self.grow, sample.mesh.faces), logits, 0.0)


class Nothing(Truth):
    name = "nothing"

    def predict(self, sample, view) -> Prediction:
        return Prediction(EMPTY, lambda p: np.full(len(p), np.nan, np.float32), 0.0)


def test_the_truth_scores_one_and_every_picture_has_a_row(data) -> None:
    with Dataset(data) as dataset:
        result = evaluate(Truth(), dataset, "train", contains=inside_test, sample_surface=no_surface, samples=500)
    assert len(result.rows) == 8  # 4 shapes, 2 pictures each
    assert all(row.values["iou"] == 1 for row in result.rows)
    assert result.means["iou"].mean == 1
    assert result.means["iou"].count == 4
    boxes = [row for row in result.rows if row.object_id.startswith("box")]
    assert all(row.values["iou_mesh"] == 1 for row in boxes)
    document = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert len(document["shapes"]) == 8
    assert document["means"]["iou"]["mean"] == 1


def test_a_larger_shape_has_the_iou_of_the_volumes(data) -> None:
    with Dataset(data) as dataset:
        result = evaluate(Truth(0.8), dataset, "test")
    assert all(row.values["iou"] == pytest.approx(0.8**3, abs=0.06) for row in result.rows)
    assert all(math.isnan(row.values["chamfer_l1"]) for row in result.rows)
    assert result.to_json()["means"]["chamfer_l1"]["mean"] is None


def test_predictions_of_everything_are_counted(data) -> None:
    class Everything(Truth):
        def predict(self, sample, view) -> Prediction:
            return Prediction(sample.mesh, lambda p: np.ones(len(p), np.float32), 0.0)

    with Dataset(data) as dataset:
        whole, half = (evaluate(predictor, dataset, "test") for predictor in (Everything(), Truth()))
        share = np.mean([s.occupancy.mean() for e in dataset.entries("test") for s in [dataset.sample(e)]])
    assert (whole.full, half.full) == (len(whole.rows), 0)
    assert whole.means["iou"].mean == pytest.approx(share)
    assert f"inside by truth on {whole.full} of {whole.full} pictures" in caption([whole], "onet")


def test_empty_predictions_stay_in_the_mean(data) -> None:
    with Dataset(data) as dataset:
        result = evaluate(
            Nothing(), dataset, "test", contains=lambda m, p: np.zeros(len(p), bool), sample_surface=no_surface
        )
    assert result.empty == len(result.rows)
    assert result.means["iou"].mean == 0
    assert result.means["f_score"].mean == 0
    assert result.means["chamfer_l1"].mean == pytest.approx(math.sqrt(3))


def test_csv_has_a_line_a_picture(data) -> None:
    with Dataset(data) as dataset:
        results = [evaluate(Truth(), dataset, "test"), evaluate(Truth(0.9), dataset, "test")]
    lines = list(csv.DictReader(io.StringIO(rows_csv(results))))
    assert len(lines) == sum(len(r.rows) for r in results)
    assert float(lines[0]["iou"]) == results[0].rows[0].values["iou"]
    assert lines[0]["chamfer_l1"] == ""


def test_limits_and_missing_splits(data) -> None:
    with Dataset(data) as dataset:
        assert len(evaluate(Truth(), dataset, "train", limit=1).rows) == 2
        with pytest.raises(ConfigError, match="samples"):
            evaluate(Truth(), dataset, "train", samples=0)
        with pytest.raises(ConfigError, match="`split` must be train, val or test, not 'holdout'"):
            evaluate(Truth(), dataset, "holdout")


class Sphere(torch.nn.Module):
    def __init__(self, **settings: str) -> None:
        super().__init__()
        self.config = ModelConfig(**settings)

    def encode(self, images, pose=None, intrinsics=None):
        self.side = images.shape[-1]
        return images.new_zeros(1, 4)

    def fold(self, code, dtype=torch.float32):
        return fields.sphere(0.4)


def test_a_network_is_scored_on_its_field_and_its_mesh(data) -> None:
    model = Sphere()
    network = NetworkPredictor("sphere", model, resolution=32, threshold=0.2, image_size=32)
    radius = 0.4 - logit(0.2) / fields.SHARPNESS
    with Dataset(data) as dataset:
        sample = dataset.sample(dataset.entries("test")[0], "test")
        prediction = network.predict(sample, sample.images[0])
        inside = prediction.logits(sample.points) > prediction.level
    np.testing.assert_array_equal(inside, np.linalg.norm(sample.points, axis=1) < radius)
    assert np.linalg.norm(prediction.mesh.vertices, axis=1) == pytest.approx(radius, abs=2e-3)
    assert model.side == 32


def test_a_pose_network_skips_pictures_without_a_camera(data) -> None:
    network = NetworkPredictor("sphere", Sphere(pose="matrix"), resolution=32)
    with Dataset(data) as dataset:
        view = dataset.sample(dataset.entries("test")[0], "test").images[0]
        assert network.usable(view)
        assert not network.usable(replace(view, pose=np.full((4, 4), np.nan, np.float32)))


@pytest.mark.parametrize("kind", ["6d", "pixel"])
def test_a_network_skips_pictures_without_the_focal_length_it_needs(data, kind) -> None:
    with Dataset(data) as dataset:
        view = dataset.sample(dataset.entries("test")[0], "test").images[0]
    blind = replace(view, intrinsics=np.full((3, 3), np.nan, np.float32))
    assert NetworkPredictor("sphere", Sphere(**stored_run.CAMERAS[kind])).usable(view)
    assert not NetworkPredictor("sphere", Sphere(**stored_run.CAMERAS[kind])).usable(blind)
    assert NetworkPredictor("sphere", Sphere(pose="matrix")).usable(blind)


def test_pixel_features_score_as_in_validation(data, tmp_path) -> None:
    """Pictures, masks and cameras take two ways to the network: as tensors of a split, and as single views."""
    run = stored_run.store_run(tmp_path / "run", conditioning="pixel")
    with Dataset(data) as dataset:
        predictor = network_predictor(run, ExtractionConfig(resolution=16, threshold=0.5))
        rows = evaluate(predictor, dataset, "train", contains=inside_test, sample_surface=no_surface).rows
        split = ResidentSplit(dataset, "train", 64, PictureFilter(need_pose=True), masks=True)
    scores = evaluate_split(predictor.model, split, thresholds=(predictor.threshold,))
    assert len(set(scores.iou(predictor.threshold))) == len(rows) == 8
    assert {row.record_id: row.values["iou"] for row in rows} == pytest.approx(scores.by_record(predictor.threshold))


def test_an_evaluation_says_what_was_evaluated(data) -> None:
    network = NetworkPredictor("sphere", Sphere(), resolution=24, threshold=0.3, origin={"run": "a", "step": 7})
    with Dataset(data) as dataset:
        settings = evaluate(network, dataset, "test", seed=3).to_json()["settings"]
    expected = {"run": "a", "step": 7, "threshold": 0.3, "resolution": 24, "coarse": 32, "precision": "fp32", "seed": 3}
    assert expected.items() <= settings.items()


def test_predicted_and_true_are_not_taken_for_each_other(data) -> None:
    """A small box in the middle of a large one: accuracy is less than completeness, one way round alone."""

    class Core(Truth):
        def predict(self, sample, view) -> Prediction:
            small = Mesh(sample.mesh.vertices * [0.1, 1, 1], sample.mesh.faces)
            return Prediction(small, lambda p: np.full(len(p), -1, np.float32), 0.0)

    def flat(mesh, count, seed):  # the middle sheet of the box
        points = np.random.default_rng(seed).uniform(-0.5, 0.5, size=(count, 3)) * np.ptp(mesh.bounds, axis=0)
        points[:, 2] = mesh.bounds[1, 2]  # on its front face
        return points, np.tile([0.0, 0.0, 1.0], (count, 1))

    with Dataset(data) as dataset:
        result = evaluate(Core(), dataset, "train", sample_surface=flat, samples=2000)
    boxes = [row.values for row in result.rows if row.object_id.startswith("box")]
    assert boxes
    for values in boxes:
        assert values["accuracy"] < 0.06
        assert values["completeness"] > 2 * values["accuracy"]
        assert values["chamfer_l1"] == pytest.approx((values["accuracy"] + values["completeness"]) / 2)


def test_as_many_samples_on_both_surfaces(data) -> None:
    asked: list[int] = []

    def counted(mesh, count, seed):
        asked.append(count)
        return no_surface(mesh, count, seed)

    with Dataset(data) as dataset:
        stored = len(dataset.sample(dataset.entries("test")[0]).surface_points)
        evaluate(Truth(), dataset, "test", sample_surface=counted, samples=10 * stored)
        evaluate(Truth(), dataset, "test", sample_surface=counted, samples=17)
    assert set(asked) == {stored, 17}


@pytest.mark.parametrize("count", [500, 5000])
def test_a_surface_against_itself_has_the_f_score_that_is_foretold(count) -> None:
    random = np.random.default_rng(0)
    first, second = (np.column_stack([random.random((count, 2)), np.zeros(count)]) for _ in range(2))  # area 1
    up = np.tile([0.0, 0.0, 1.0], (count, 1))
    assert f_score(surface_distances(first, up, second, up)) == pytest.approx(ideal_f_score(count, 1.0), abs=0.03)


def test_pooling_takes_the_maximum() -> None:
    volume = np.zeros((64, 64, 64), np.float32)
    volume[3, 10, 63] = 0.7
    small = protocol.pooled(volume, 2)
    assert small.shape == (32, 32, 32)
    assert small[1, 5, 31] == np.float32(0.7)
    assert np.count_nonzero(small) == 1
    with pytest.raises(ValueError, match="multiple"):
        protocol.pooled(np.zeros((33, 33, 33), np.float32), 2)


def test_box_alignment_forgets_place_and_size() -> None:
    small, large = np.zeros((32, 32, 32), np.float32), np.zeros((32, 32, 32), np.float32)
    small[2:10, 20:24, 5:9] = 1
    large[8:24, 0:8, 10:18] = 1
    a, b = protocol.box_aligned(small), protocol.box_aligned(large)
    assert protocol.ious(a, b)[-1] > 0.8
    assert a.shape == (32, 32, 32)
    assert (a[:, 16, 16] == 1).all()  # the longest side fills the cube
    assert a[16, 0, 16] == 0
    assert not protocol.box_aligned(np.full((32, 32, 32), 0.05, np.float32)).any()


def test_official_rule_for_empty_pairs() -> None:
    nothing = np.zeros((32, 32, 32), np.float32)
    assert (protocol.ious(nothing, nothing) == 0).all()


def test_one_threshold_is_found_for_all(data, monkeypatch) -> None:
    """Every picture has a best threshold of its own; the one that is best for their mean counts for all."""
    table = []

    def scored(predicted, true):
        peak = (10, 30, 33)[len(table) % 3]
        table.append(1 - np.abs(np.arange(50) - peak) / 50)
        return table[-1]

    monkeypatch.setattr(protocol, "ious", scored)
    with Dataset(data) as dataset:
        result = protocol.evaluate_pix3d(Truth(), dataset, "train", inside_test, lattice=protocol.Lattice(32))
    means = np.mean(table, axis=0)
    assert result.settings["threshold"] == pytest.approx(0.01 * (1 + means.argmax()))
    assert result.means["iou_pix3d"].mean == pytest.approx(means.max())
    assert [row.values["iou_pix3d"] for row in result.rows] == [float(t[means.argmax()]) for t in table]
    assert result.settings["voxels"] == 32
    assert protocol.THRESHOLDS[0] == 0.01
    assert protocol.THRESHOLDS[-1] == 0.5


@pytest.mark.parametrize("voxels", [32, 64, 128])
def test_the_truth_scores_one_by_the_official_protocol(data, voxels) -> None:
    """Both volumes are sampled and pooled alike, or no network could reach the top of the scale."""

    class Same(Truth):
        def predict(self, sample, view) -> Prediction:
            return Prediction(
                sample.mesh, lambda p: np.where(inside_test(sample.mesh, p), 50.0, -50.0).astype(np.float32), 0.0
            )

    with Dataset(data) as dataset:
        result = protocol.evaluate_pix3d(Same(), dataset, "test", inside_test, lattice=protocol.Lattice(voxels))
    assert all(row.values["iou_pix3d"] == 1 for row in result.rows)
    assert all(row.faces is None for row in result.rows)


def test_an_empty_prediction_is_counted_by_the_official_protocol(data) -> None:
    with Dataset(data) as dataset:
        result = protocol.evaluate_pix3d(Nothing(), dataset, "test", inside_test, lattice=protocol.Lattice(32))
    assert result.empty == len(result.rows)
    assert result.means["iou_pix3d"].mean == 0


def test_voxels_must_be_multiples() -> None:
    with pytest.raises(ConfigError, match="voxels"):
        protocol.Lattice(voxels=50)


def test_a_distance_is_no_probability_in_the_official_protocol() -> None:
    """The truth, given as the distance from its surface, is the truth."""
    half = np.array([0.5, 0.3, 0.2])

    def depth(points: np.ndarray) -> np.ndarray:
        return (half - np.abs(points)).min(axis=1)

    lattice = protocol.Lattice(32)
    mesh = Mesh(datasets.CORNERS * 2 * half, datasets.BOX_FACES)
    true = protocol.true_volume(mesh, lambda _, points: depth(points) > 0, lattice)
    assert protocol.ious(protocol.predicted_volume(depth_prediction(depth), lattice), true).max() > 0.99


def test_search_by_pairs_equals_the_tree() -> None:
    random = np.random.default_rng(0)
    points, targets = random.random((3000, 3)), random.random((2000, 3))
    distance, row = nearest(points, targets)
    pairs_distance, pairs_row = nearest_by_pairs(points, targets, device="cpu")
    np.testing.assert_allclose(pairs_distance, distance, atol=1e-6)
    np.testing.assert_array_equal(pairs_row, row)
    assert nearest_on(torch.device("cpu")) is nearest


def test_photos_alone_count_where_there_are_some(tmp_path: Path) -> None:
    root = datasets.make_dataset(tmp_path / "data", shapes=6, points=4096, views=2)
    (shard,) = {root / entry.shard for entry in Dataset(root).entries("test")}
    with h5py.File(shard, "r+") as file:
        file["images/rendered"][1::2] = 1  # the second picture of each shape
    with Dataset(root) as dataset:
        shapes = len(dataset.entries("test"))
        assert dataset.has_photos("test")
        assert len(evaluate(Truth(), dataset).rows) == shapes
    with h5py.File(shard, "r+") as file:
        file["images/rendered"][:] = 1
    with Dataset(root) as dataset:
        assert not dataset.has_photos("test")
        assert len(evaluate(Truth(), dataset).rows) == 2 * shapes


def test_a_data_set_without_surface_samples_leaves_distances_blank(data) -> None:
    with Dataset(data) as dataset:
        full = dataset.sample(dataset.entries("test")[0])
    bare = replace(full, surface_points=np.empty((0, 3), np.float32), surface_normals=np.empty((0, 3), np.float32))
    prediction = Truth().predict(full, full.images[0])
    assert compare(prediction, full, inside_test, no_surface).surface is not None
    assert compare(prediction, bare, inside_test, no_surface).surface is None
