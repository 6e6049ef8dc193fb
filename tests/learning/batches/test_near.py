"""Training with points near the surface: an own run, exactly resumed, scored like any other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers.datasets import make_dataset
from safetensors.torch import load_file

from pix3d_onet.config import ModelConfig, TrainConfig
from pix3d_onet.errors import InputError, InterruptedRunError, SettingError
from pix3d_onet.events import Event, TrainStep
from pix3d_onet.learning.training.run import train
from pix3d_onet.runs.record import RunRecord

MODEL = ModelConfig("test_resnet", c_dim=8, hidden_dim=16, blocks=1)
PLAIN = TrainConfig(
    steps=4, batch_size=4, points_per_shape=64, image_size=32, pretrained=False, val_every=2, lr=1e-3, precision="fp32"
)  # fmt: skip
NEAR = replace(PLAIN, near=0.5)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("data") / "near", shapes=6, points=512, image_size=32, near=256)


def run(data: Path, out: Path, config: TrainConfig, **options: object) -> RunRecord:
    return train(MODEL, config, data, out, name="tiny", device="cpu", threads=1, examples=False, **options)  # type: ignore[arg-type]


def weights(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / "last" / "model.safetensors")


def test_a_run_with_near_points_is_another_run_and_resumes_exactly(data: Path, tmp_path: Path) -> None:
    plain, near = run(data, tmp_path / "plain", PLAIN), run(data, tmp_path / "near", NEAR)
    assert plain.run_id != near.run_id
    assert "near" not in plain.train
    assert near.train["near"] == 0.5

    def stop(event: Event) -> None:
        if isinstance(event, TrainStep) and event.step == 3 and event.val_iou is None:
            import os
            import signal

            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(InterruptedRunError):
        run(data, tmp_path / "cut", NEAR, emit=stop, residence="disk")
    with pytest.raises(InputError, match=r"near was 0\.5, now 0\.0"):
        run(data, tmp_path / "cut", PLAIN, resume=True)
    run(data, tmp_path / "cut", NEAR, resume=True, residence="disk")
    whole, cut = weights(tmp_path / "near"), weights(tmp_path / "cut")
    assert all(torch.equal(whole[key], cut[key]) for key in whole)
    other = weights(tmp_path / "plain")
    assert not all(torch.equal(whole[key], other[key]) for key in whole)


def test_a_share_of_none_is_refused(tmp_path: Path) -> None:
    data = make_dataset(tmp_path / "plain", shapes=3, points=64, image_size=32)
    with pytest.raises(InputError, match="no points near the surface"):
        run(data, tmp_path / "run", NEAR)
    assert not (tmp_path / "run").exists()
    with pytest.raises(SettingError, match="near"):
        replace(PLAIN, near=0.1)  # six points, less than a byte of labels
