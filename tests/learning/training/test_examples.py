"""The pictures and meshes that a run leaves for the figures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers import datasets, stored_run

from pix3d_onet.data.store.reader import Dataset
from pix3d_onet.errors import InputError
from pix3d_onet.learning.checkpoint import load_model
from pix3d_onet.learning.extraction.extract import logit
from pix3d_onet.learning.training.examples import (
    EXAMPLE_FACES,
    choose_examples,
    examples_split,
    write_examples,
)
from pix3d_onet.runs.examples import MAX_FACES, read_examples
from pix3d_onet.runs.folder import RunFolder


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return datasets.make_dataset(tmp_path_factory.mktemp("data"), shapes=12, points=1024, image_size=32)


@pytest.fixture(scope="module")
def model(run: Path):
    return load_model(run)


def test_the_file_has_what_the_figures_read(data, model, tmp_path) -> None:
    write_examples(model, data, tmp_path, count=2, resolution=24, image_size=64)
    with np.load(RunFolder(tmp_path).examples, allow_pickle=False) as file:
        arrays = {k: file[k] for k in file}
    assert arrays["rgb"].shape == (2, 32, 32, 3)
    assert arrays["mask"].dtype == np.bool_
    assert arrays["record_id"].dtype.kind == "U"
    assert str(arrays["split"]) == "test"
    assert ((arrays["iou"] >= 0) & (arrays["iou"] <= 1)).all()
    for i in range(2):
        for kind in ("pred", "true"):
            vertices, faces = arrays[f"{kind}_vertices_{i}"], arrays[f"{kind}_faces_{i}"]
            assert vertices.dtype == np.float32
            assert faces.dtype == np.uint32
            assert 0 < len(faces) <= EXAMPLE_FACES
            assert faces.max() < len(vertices)
    assert [p.name for p in tmp_path.iterdir()] == ["examples.npz"]
    assert [e.record_id for e in read_examples(tmp_path)] == arrays["record_id"].tolist()
    assert EXAMPLE_FACES <= MAX_FACES


def test_iou_is_that_of_the_stored_points_unless_it_is_known(data, model, tmp_path) -> None:
    write_examples(model, data, tmp_path, count=1, resolution=16, image_size=32)
    with np.load(RunFolder(tmp_path).examples) as file:
        record, value, rgb = str(file["record_id"][0]), float(file["iou"][0]), file["rgb"][0]
    with Dataset(data) as dataset:
        sample = next(dataset.sample(e, "test") for e in dataset.entries("test") if record in e.record_ids)
    import torch

    with torch.no_grad():
        images = torch.from_numpy(rgb).permute(2, 0, 1)[None].float() / 255
        values = model.decode(torch.from_numpy(sample.points)[None], model.encode(images))[0]
    inside = (values > logit(0.2)).numpy()
    assert value == pytest.approx((inside & sample.occupancy).sum() / (inside | sample.occupancy).sum(), abs=2e-3)
    write_examples(model, data, tmp_path, count=1, resolution=16, image_size=32, scores={record: 0.25})
    with np.load(RunFolder(tmp_path).examples) as file:
        assert file["iou"][0] == 0.25


def test_a_loaded_network_knows_the_side_of_its_pictures(model) -> None:
    assert model.image_size == 64


def test_the_same_examples_for_every_run_on_the_same_data(data) -> None:
    with Dataset(data) as first, Dataset(data) as second:
        chosen = choose_examples(first, "train", 5)
        assert chosen == choose_examples(second, "train", 5)
        assert len({e.object_id for e in chosen}) == 5
        assert len(choose_examples(first, "test", 100)) == 2


def test_split_is_test_then_what_was_asked_for(data, tmp_path) -> None:
    with Dataset(data) as dataset:
        assert examples_split(dataset, "val") == "test"
    text = (data / "manifest.json").read_text()
    folder = datasets.make_dataset(tmp_path / "d", shapes=3, points=64, image_size=16)
    path = folder / "manifest.json"
    path.write_text(path.read_text().replace('"test"', '"train"'))
    with Dataset(folder) as dataset:
        assert examples_split(dataset, "val") == "val"
    assert text == (data / "manifest.json").read_text()


def test_an_empty_reconstruction_is_an_empty_mesh(data, tmp_path) -> None:
    empty = load_model(stored_run.store_run(tmp_path / "run", empty=True))
    write_examples(empty, data, tmp_path, count=1, resolution=16)
    with np.load(RunFolder(tmp_path).examples) as file:
        assert file["pred_vertices_0"].shape == (0, 3)
        assert file["iou"][0] == 0


def test_no_pictures_at_all(tmp_path) -> None:
    folder = datasets.make_dataset(tmp_path, shapes=3, points=64, image_size=16, views=0)
    with Dataset(folder) as dataset, pytest.raises(InputError, match="no pictures"):
        examples_split(dataset, "val")


def test_a_network_with_a_pose_branch_is_shown_pictures_with_a_camera_only(tmp_path) -> None:
    folder = datasets.make_dataset(tmp_path / "d", shapes=12, points=64, image_size=32, without_pose=(10,))
    posed = load_model(stored_run.store_run(tmp_path / "run", pose="matrix"))
    write_examples(posed, folder, tmp_path, resolution=8, image_size=32)
    with np.load(RunFolder(tmp_path).examples) as file:
        assert file["object_id"].tolist() == ["ball_011"]


def test_pictures_with_a_camera_come_first_for_every_network(tmp_path) -> None:
    folder = datasets.make_dataset(tmp_path, shapes=36, points=64, image_size=16, without_pose=(30, 31, 32, 34))
    with Dataset(folder) as dataset:
        chosen = [e.object_id for e in choose_examples(dataset, "test", 2)]
        assert chosen == [e.object_id for e in choose_examples(dataset, "test", 2, need_pose=True)]
        assert chosen == ["ball_033", "ball_035"]
        assert len(choose_examples(dataset, "test", 6)) == 6


def test_no_picture_with_a_camera_at_all(tmp_path) -> None:
    folder = datasets.make_dataset(tmp_path, shapes=3, points=64, image_size=16, without_pose=(0, 1, 2))
    with Dataset(folder) as dataset, pytest.raises(InputError, match="no pictures with a camera"):
        examples_split(dataset, "val", need_pose=True)
