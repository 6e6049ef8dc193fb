"""Every variant trains through the real path: its kind of network, with tiny parts, and its training settings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers.datasets import make_dataset

from pix3d_onet.ablation.variants import VARIANTS, Variant
from pix3d_onet.config import ModelConfig, TrainConfig
from pix3d_onet.errors import InputError, UnsuitableError
from pix3d_onet.events import Note
from pix3d_onet.learning.batches.drawing import DrawPlan
from pix3d_onet.learning.checkpoint import load_model
from pix3d_onet.learning.training.run import train
from pix3d_onet.learning.training.trainer import Trainer

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


class _StoppedError(Exception):
    pass


@contextmanager
def first_trainer(config: TrainConfig, data: Path, out: Path, variant: str = "resnet18") -> Iterator[Trainer]:
    """The trainer of a run, by default of a network without a mask, before its first step."""
    made: list[Trainer] = []
    model, _ = tiny(VARIANTS[variant])

    def stop(trainer: Trainer) -> str:
        made.append(trainer)
        raise _StoppedError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "run", stop)
        with pytest.raises(_StoppedError):
            train(model, config, data, out, name="x", device="cpu", threads=1, examples=False)
    yield made[0]


def test_tint_paints_objects_and_only_in_training(data: Path, tmp_path: Path) -> None:
    """The network sees no mask."""
    with first_trainer(BASE, data, tmp_path / "plain") as trainer:
        plain = trainer.batch(1).images
    with first_trainer(replace(BASE, augment=("tint",)), data, tmp_path / "tint") as trainer:
        tinted, raw = trainer.batch(1).images, trainer.raw_batch(1)
        assert trainer.setup.val.gather(DrawPlan(0, 1, 256, 1).draw(1), 8).images.shape[1] == 3
    assert tinted.shape == plain.shape
    assert tinted.shape[1] == 3
    mask = raw.images[:, 3:] > 0
    assert torch.equal(tinted[~mask.expand_as(plain)], plain[~mask.expand_as(plain)])
    assert ((tinted != plain).any(1, keepdim=True) & mask).flatten(1).any(1).all()


def test_a_share_of_photos_is_one_of_photos(data: Path, tmp_path: Path) -> None:
    with first_trainer(replace(BASE, photo_share=0.75), data, tmp_path / "run") as trainer:
        drawn = trainer.setup.train.rendered[trainer.plans[0].draw(1).pictures]
    assert drawn.sum() == 1  # of four


def test_further_pictures_have_their_share_of_photos_and_their_own_cameras(data: Path, tmp_path: Path) -> None:
    config = replace(BASE, photo_share=0.75, camera_pictures=8)
    with first_trainer(config, data, tmp_path / "run", "best-predicted") as trainer:
        split, rows = trainer.setup.train, trainer.draws(1)[1].pictures
        further = trainer.batch(1).further
    assert further is not None
    images, pose, intrinsics = split.pictures(rows)
    torch.testing.assert_close(further.images, images.float() / 255)
    assert torch.equal(further.pose, pose)
    assert torch.equal(further.intrinsics, intrinsics)
    assert split.rendered[rows].sum() == 2  # of eight
    assert not set(rows.tolist()) <= set(trainer.draws(1)[0].pictures.tolist())


def test_a_share_of_photos_without_any_other_picture_is_said(data: Path, tmp_path: Path) -> None:
    model, _ = tiny(VARIANTS["resnet18"])
    notes: list[str] = []

    def emit(event: object) -> None:
        notes.extend([event.message] if isinstance(event, Note) else [])

    for views, told in (("photos", True), ("all", False)):
        notes.clear()
        config = replace(BASE, steps=1, photo_share=0.5, views=views)
        train(model, config, data, tmp_path / views, name="x", device="cpu", threads=1, examples=False, emit=emit)
        assert any("has no effect: all training pictures are photos" in text for text in notes) == told


def test_a_weight_of_no_camera_is_said(data: Path, tmp_path: Path) -> None:
    for name, told in (("resnet18", True), ("resnet18-pixel-predicted", False)):
        notes: list[str] = []

        def emit(event: object, notes: list[str] = notes) -> None:
            notes.extend([event.message] if isinstance(event, Note) else [])

        model, _ = tiny(VARIANTS[name])
        config = replace(BASE, steps=1, camera_weight=2.0)
        train(model, config, data, tmp_path / name, name="x", device="cpu", threads=1, examples=False, emit=emit)
        assert any("camera_weight=2` has no effect" in text for text in notes) == told


def test_what_a_variant_cannot_have_is_one_line(data: Path, tmp_path: Path) -> None:
    model, _ = tiny(VARIANTS["resnet18-pose"])
    with pytest.raises(UnsuitableError, match=r"stretch.*not rigid"):
        train(model, replace(BASE, augment=("stretch",)), data, tmp_path, name="x", device="cpu")
    with pytest.raises(InputError, match="has 2 rendered views per shape, fewer than `views=48`"):
        train(model, replace(BASE, views="48"), data, tmp_path, name="x", device="cpu", threads=1)
