"""Training with pixel features: cameras and masks reach the network, and pictures without a camera are left out."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.datasets import make_dataset

from pix3d_onet.config import ModelConfig, Residence, TrainConfig
from pix3d_onet.errors import InputError
from pix3d_onet.events import Event, Note
from pix3d_onet.learning.checkpoint import load_model
from pix3d_onet.learning.training.run import train

MODEL = ModelConfig("test_resnet", c_dim=8, hidden_dim=16, blocks=1, conditioning="pixel", mirror=True)
CONFIG = TrainConfig(
    steps=4, batch_size=4, points_per_shape=64, image_size=32, pretrained=False, val_every=2, lr=1e-3, near=0.5,
    augment=("color", "crop", "flip"), precision="bf16",
)  # fmt: skip
DATA = {"shapes": 9, "points": 512, "image_size": 32, "near": 256}


@pytest.mark.parametrize("residence", ["ram", "disk"])
def test_it_trains_on_the_pictures_that_have_a_camera(tmp_path: Path, residence: Residence) -> None:
    data = make_dataset(tmp_path / "data", **DATA, without_pose=[1])  # type: ignore[arg-type]
    events: list[Event] = []
    record = train(
        MODEL, CONFIG, data, tmp_path / "run", name="tiny", device="cpu", threads=1, residence=residence,
        emit=events.append,
    )  # fmt: skip
    assert record.data["train"] == 6  # of 7
    assert any("1 pictures without a pose" in e.message for e in events if isinstance(e, Note))
    assert load_model(tmp_path / "run").config == MODEL
    assert set(record.test_scores) == {"box_008-0"}
    assert (tmp_path / "run" / "examples.npz").exists()


def test_data_without_cameras_are_refused(tmp_path: Path) -> None:
    data = make_dataset(tmp_path / "data", **DATA, without_pose=range(9))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="conditioning='global'"):
        train(MODEL, CONFIG, data, tmp_path / "run", name="tiny", device="cpu", threads=1)
