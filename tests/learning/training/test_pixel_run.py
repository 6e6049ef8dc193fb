"""Training with pixel features: cameras and masks reach the network, and pictures without a camera are left out."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers.datasets import make_dataset
from torch import Tensor

from pix3d_onet.config import ModelConfig, Residence, TrainConfig
from pix3d_onet.errors import ConfigError, InputError, InterruptedRunError, UnsuitableError
from pix3d_onet.events import Event, Note, TrainStep
from pix3d_onet.learning.checkpoint import load_model
from pix3d_onet.learning.network.model import build_model
from pix3d_onet.learning.training import batch_size
from pix3d_onet.learning.training.run import train
from pix3d_onet.learning.training.suitability import check_suitable

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


def test_predicted_cameras_are_learned_from_those_that_are_known_and_used_for_all(tmp_path: Path) -> None:
    data = make_dataset(tmp_path / "data", **DATA, without_pose=[1, 8])  # type: ignore[arg-type]
    model = replace(MODEL, pose="predicted")
    record = train(model, CONFIG, data, tmp_path / "run", name="tiny", device="cpu", threads=1)
    assert record.data["train"] == 6  # of 7
    assert set(record.test_scores) == {"box_008-0"}  # without a camera
    trained = load_model(tmp_path / "run").state_dict()
    assert trained["camera_head.out.weight"].abs().max() > 0
    again = train(model, CONFIG, data, tmp_path / "again", name="tiny", device="cpu", threads=1)
    assert again.val_scores == record.val_scores


def test_a_camera_s_own_encoder_learns_from_further_pictures(tmp_path: Path) -> None:
    data = make_dataset(tmp_path / "data", **DATA)  # type: ignore[arg-type]
    model = replace(MODEL, pose="predicted", camera_encoder="own")
    config = replace(CONFIG, camera_pictures=6)
    folders: dict[str, Path] = {}

    def weights(name: str, config: TrainConfig, residence: Residence = "ram") -> dict[str, Tensor]:
        folders[name] = tmp_path / name
        train(model, config, data, folders[name], name="tiny", device="cpu", threads=1, residence=residence)
        return load_model(folders[name]).state_dict()

    found, without = weights("run", config), weights("without", CONFIG)
    streamed = weights("streamed", config, "disk")
    assert all(torch.equal(found[name], streamed[name]) for name in found)
    changed = {name for name in found if not torch.equal(found[name], without[name])}
    assert any(name.startswith("camera_encoder.") for name in changed)
    assert any(name.startswith("camera_head.") for name in changed)
    half, pending = tmp_path / "half", [signal.SIGTERM]

    def stop(event: Event) -> None:
        if isinstance(event, TrainStep) and event.step == 2 and pending:
            signal.raise_signal(pending.pop())

    with pytest.raises(InterruptedRunError):
        train(model, config, data, half, name="tiny", device="cpu", threads=1, emit=stop)
    train(model, config, data, half, name="tiny", device="cpu", threads=1, resume=True)
    shared = replace(model, camera_encoder="shared")
    with pytest.raises(InputError, match="camera_encoder was 'own', now 'shared'; camera_pictures was 6, now 0"):
        train(shared, CONFIG, data, half, name="tiny", device="cpu", threads=1, resume=True)
    resumed = load_model(half).state_dict()
    assert all(torch.equal(found[name], resumed[name]) for name in found)


def test_pictures_for_a_camera_that_is_not_predicted_are_refused(tmp_path: Path) -> None:
    for model in (MODEL, replace(MODEL, pose="predicted")):
        with pytest.raises(UnsuitableError, match="an encoder for the camera alone"):
            train(model, replace(CONFIG, camera_pictures=6), tmp_path, tmp_path / "run", name="tiny", device="cpu")


def test_one_further_picture_may_be_too_few_for_a_batch_norm() -> None:
    model = ModelConfig("resnet18", conditioning="pixel", pose="predicted", camera_encoder="own")
    check_suitable(build_model(model), replace(CONFIG, camera_pictures=2))
    with pytest.raises(UnsuitableError, match="`camera_pictures=1` with `image_size=32`"):
        check_suitable(build_model(model), replace(CONFIG, camera_pictures=1))


def test_memory_for_further_pictures_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build_model(replace(MODEL, pose="predicted", camera_encoder="own"))
    cpu = torch.device("cpu")
    kept = [
        batch_size.kept_bytes(model, replace(CONFIG, camera_pictures=count), cpu, "fp32", 2) for count in (0, 16, 32)
    ]
    assert kept[1] - kept[0] > 0.2 * kept[0]
    assert kept[2] - kept[1] == pytest.approx(kept[1] - kept[0], rel=0.1)
    weights = 16 * sum(p.numel() for p in model.parameters())
    monkeypatch.setattr(batch_size, "available_memory", lambda _: int((weights + kept[0] * 4) / 0.8))
    assert batch_size.largest_batch(model, CONFIG, cpu, "fp32") > 1
    with pytest.raises(ConfigError, match="beside `camera_pictures=512`"):
        batch_size.largest_batch(model, replace(CONFIG, camera_pictures=512), cpu, "fp32")


def test_data_without_cameras_are_refused(tmp_path: Path) -> None:
    data = make_dataset(tmp_path / "data", **DATA, without_pose=range(9))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="conditioning='global'"):
        train(MODEL, CONFIG, data, tmp_path / "run", name="tiny", device="cpu", threads=1)
