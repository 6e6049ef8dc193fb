"""Every variant trains through the real path: its kind of network, with tiny parts, and its training settings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers.datasets import make_dataset

from pix3d_onet.ablation.variants import VARIANTS, Variant
from pix3d_onet.config import ModelConfig, TrainConfig
from pix3d_onet.errors import InputError, UnsuitableError
from pix3d_onet.learning.checkpoint import load_model
from pix3d_onet.learning.training.run import train

BASE = TrainConfig(
    steps=2, batch_size=4, points_per_shape=32, image_size=32, pretrained=False, val_every=2, val_points=64,
    precision="fp32",
)  # fmt: skip
RENDERED = 2


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("data") / "shapes"
    return make_dataset(folder, shapes=4, points=256, image_size=32, near=64, views=1 + RENDERED, rendered=RENDERED)


def tiny(v: Variant) -> tuple[ModelConfig, TrainConfig]:
    """The variant's settings, with a small network of the same kind, and fewer rendered views."""
    model = replace(v.model, encoder="test_resnet", c_dim=8, hidden_dim=16, blocks=1)
    config = v.recipe(BASE)
    return model, replace(config, views="1") if config.views.isdecimal() else config


KINDS = {tiny(v): v.name for v in reversed(VARIANTS.values())}


@pytest.mark.parametrize(("settings", "name"), KINDS.items(), ids=KINDS.values())
def test_steps_change_every_part_of_the_network(
    settings: tuple[ModelConfig, TrainConfig], name: str, data: Path, tmp_path: Path
) -> None:
    model, config = settings
    record = train(model, config, data, tmp_path, name=name, device="cpu", threads=1, examples=False)
    assert record.data["train"] == 2 * {"all": 1 + RENDERED, "photos": 1, "1": 2}[config.views]
    trained, last = load_model(tmp_path), dict(load_model(tmp_path).named_parameters())
    torch.manual_seed(config.seed)
    first = dict(type(trained)(model).named_parameters())
    moved = {key.partition(".")[0] for key, value in last.items() if not torch.equal(value, first[key])}
    assert moved == {key.partition(".")[0] for key in first}
    assert torch.isfinite(torch.cat([value.flatten() for value in last.values()])).all()
    still = {key for key in last if "backbone" in key and torch.equal(last[key], first[key])}
    assert config.freeze_encoder == (still == {key for key in last if "backbone" in key})


def test_what_a_variant_cannot_have_is_one_line(data: Path, tmp_path: Path) -> None:
    model, _ = tiny(VARIANTS["resnet18-pose"])
    with pytest.raises(UnsuitableError, match=r"stretch.*not rigid"):
        train(model, replace(BASE, augment=("stretch",)), data, tmp_path, name="x", device="cpu")
    with pytest.raises(InputError, match="has 2 rendered views per shape, fewer than `views=48`"):
        train(model, replace(BASE, views="48"), data, tmp_path, name="x", device="cpu", threads=1)
