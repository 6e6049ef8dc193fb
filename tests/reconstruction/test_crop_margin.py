"""A photo is cropped as the pictures that the network was trained on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import stored_run
from helpers.datasets import make_dataset
from PIL import Image

from pix3d_onet import reconstruct
from pix3d_onet.config import ModelConfig, PrepareConfig, TrainConfig
from pix3d_onet.files import write_json
from pix3d_onet.learning.extraction.predictor import network_predictor
from pix3d_onet.learning.training import examples
from pix3d_onet.learning.training.run import train
from pix3d_onet.reconstruction import surface
from pix3d_onet.reconstruction.photo import read_photo
from pix3d_onet.types import View

MARGIN = 0.5


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run on a data set with an unusual margin."""
    data = make_dataset(tmp_path / "data", shapes=3, points=64, image_size=16)
    document = json.loads((data / "manifest.json").read_text())
    document["config"]["crop_margin"] = MARGIN
    write_json(data / "manifest.json", document)
    monkeypatch.setattr(examples, "write_examples", lambda *_, **__: None)
    config = TrainConfig(steps=1, batch_size=2, points_per_shape=8, image_size=32, pretrained=False, precision="fp32")
    model = ModelConfig("resnet18", c_dim=8, hidden_dim=8, blocks=1)
    train(model, config, data, tmp_path / "run", name="tiny", device="cpu")
    return tmp_path / "run"


def test_the_margin_of_the_data_set_is_that_of_new_photos(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class SeenError(Exception):
        pass

    rgb = np.full((60, 80, 3), 255, np.uint8)
    rgb[10:50, 20:60] = (90, 60, 30)
    Image.fromarray(rgb).save(tmp_path / "photo.png")
    seen: list[View] = []

    def stop(*arguments: Any, **options: Any) -> View:
        seen.append(read_photo(*arguments, **options))
        raise SeenError

    monkeypatch.setattr(surface, "read_photo", stop)
    with pytest.raises(SeenError):
        reconstruct(run, tmp_path / "photo.png", mask="auto")
    assert seen[0].mask.any(axis=0).mean() == pytest.approx(1 / (1 + 2 * MARGIN), abs=0.02)


def test_a_run_that_does_not_know_its_margin_takes_the_default(tmp_path: Path) -> None:
    assert network_predictor(stored_run.store_run(tmp_path)).crop_margin == PrepareConfig().crop_margin
