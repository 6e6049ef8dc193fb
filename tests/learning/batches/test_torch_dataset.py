"""``pix3d_onet.torch_dataset``: what is stored, the same in any process, other points in every epoch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.datasets import make_dataset
from torch.utils.data import DataLoader

import pix3d_onet
from pix3d_onet.data.store.reader import Dataset
from pix3d_onet.errors import ConfigError, InputError

POINTS, NEAR = 512, 256


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "set"
    return make_dataset(folder, shapes=7, points=POINTS, image_size=48, views=2, without_pose=[0], near=NEAR, sdf=True)


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[k].nan_to_num(), other[k].nan_to_num()) for k in one)


def test_what_the_data_set_lacks_is_no_damage(data: Path, tmp_path: Path) -> None:
    plain = make_dataset(tmp_path / "plain", shapes=7, points=64, image_size=32)
    with Dataset(plain) as stored, pytest.raises(InputError, match="has no points near the surface"):
        stored.arrays("train", near=True)
    with Dataset(data) as stored:
        entry = stored.entries("train")[0]
        for ask in (stored.entries, stored.has_photos, lambda name: stored.sample(entry, name), stored.arrays):
            with pytest.raises(ConfigError, match="`split` must be train, val or test, not 'Train'"):
                ask("Train")


def test_an_item_is_what_the_data_set_stores(data: Path) -> None:
    items = pix3d_onet.torch_dataset(data, "train", points=100, near=20, image_size=24, sdf=True)
    samples = {s.object_id: s for s in pix3d_onet.load_dataset(data, "train")}
    assert len(items) == 10
    for index in range(len(items)):
        item, sample = items[index], samples[items.object_ids[index]]
        assert {k: (tuple(v.shape), v.dtype) for k, v in item.items()} == {
            "index": ((), torch.int64),
            "image": ((3, 24, 24), torch.float32),
            "mask": ((1, 24, 24), torch.float32),
            "pose": ((4, 4), torch.float32),
            "intrinsics": ((3, 3), torch.float32),
            "points": ((100, 3), torch.float32),
            "occupancy": ((100,), torch.float32),
            "sdf": ((100,), torch.float32),
            "near_points": ((20, 3), torch.float32),
            "near_occupancy": ((20,), torch.float32),
            "near_sdf": ((20,), torch.float32),
        }
        assert sample.sdf is not None
        assert sample.near_points is not None
        assert sample.near_occupancy is not None
        assert sample.near_sdf is not None
        kinds = ((sample.points, sample.occupancy, sample.sdf, ""),)
        kinds += ((sample.near_points, sample.near_occupancy, sample.near_sdf, "near_"),)
        for points, occupancy, sdf, prefix in kinds:
            place = {tuple(p): i for i, p in enumerate(points.tolist())}
            rows = [place[tuple(p)] for p in item[f"{prefix}points"].tolist()]
            assert (np.diff(rows) % len(points) == 1).all()  # a block with wrap-around
            np.testing.assert_array_equal(item[f"{prefix}occupancy"].numpy() > 0, occupancy[rows])
            np.testing.assert_array_equal(item[f"{prefix}sdf"].numpy(), sdf[rows])
        view = next(v for v in sample.images if v.record_id == items.record_ids[index])
        assert abs(item["image"].mean().item() - view.rgb.mean() / 255) < 0.01
        np.testing.assert_array_equal(item["pose"].numpy(), view.pose)
        np.testing.assert_allclose(item["intrinsics"][:2].numpy(), view.intrinsics[:2] / 2)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_give_the_same_and_see_the_epoch(data: Path, method: str) -> None:
    items = pix3d_onet.torch_dataset(data, "train", points=64, near=16)
    options = {"num_workers": 2, "multiprocessing_context": method, "persistent_workers": True}
    loader = DataLoader(items, batch_size=4, shuffle=True, **options)  # type: ignore[arg-type]
    starts = []
    for epoch in (0, 1):
        items.set_epoch(epoch)
        seen = []
        for batch in loader:
            for row, index in enumerate(batch["index"].tolist()):
                assert same({key: values[row] for key, values in batch.items()}, items[index])
                seen.append(index)
        assert sorted(seen) == list(range(10))
        starts.append([items[i]["points"][0].tolist() for i in range(10)])
    assert starts[0] != starts[1]


def test_without_pictures_an_item_is_a_shape(data: Path, tmp_path: Path) -> None:
    items = pix3d_onet.torch_dataset(data, None, points=64, image_size=0)
    assert len(items) == 7
    assert set(items[0]) == {"index", "points", "occupancy"}
    bare = make_dataset(tmp_path / "bare", shapes=3, points=64, views=0)
    assert len(pix3d_onet.torch_dataset(bare, "train", points=64, image_size=0)) == 1
    with pytest.raises(InputError, match="no shape of"):
        pix3d_onet.torch_dataset(bare, "train", points=64)


def test_what_a_data_set_lacks_is_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="`points` must be from 0 to 512"):
        pix3d_onet.torch_dataset(data, points=513)
    with pytest.raises(ConfigError, match="split"):
        pix3d_onet.torch_dataset(data, "training")
    plain = make_dataset(tmp_path / "plain", shapes=3, points=64)
    with pytest.raises(ConfigError, match="`near` must be from 0 to 0"):
        pix3d_onet.torch_dataset(plain, points=64, near=8)
    with pytest.raises(InputError, match="no signed distances"):
        pix3d_onet.torch_dataset(plain, points=64, sdf=True)
