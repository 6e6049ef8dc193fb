"""A setting's value is of its field's type, or refused; equal settings have one hash."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from pix3d_onet.config import Config, ExtractionConfig, ModelConfig, PrepareConfig, TrainConfig
from pix3d_onet.errors import SettingError


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (TrainConfig(weight_decay=0), TrainConfig(weight_decay=0.0)),
        (TrainConfig(ema=0, lr=1), TrainConfig(ema=0.0, lr=1.0)),
        (TrainConfig(augment=["color", "flip"]), TrainConfig(augment=("color", "flip"))),
        (TrainConfig(steps=np.int64(7), pretrained=np.bool_(False)), TrainConfig(steps=7, pretrained=False)),
        (TrainConfig(threshold=torch.tensor(0.5)), TrainConfig(threshold=0.5)),
        (ModelConfig("timm:mobilenetv3_small_050"), ModelConfig("mobilenetv3_small_050")),
        (ModelConfig("timm:convnext_tiny"), ModelConfig("convnext")),
        (PrepareConfig(fractions=[1, 0, 0]), PrepareConfig(fractions=(1.0, 0.0, 0.0))),
        (ExtractionConfig(threshold=np.float64(0.35)), ExtractionConfig(threshold=0.35)),
    ],
)
def test_one_value_in_two_spellings_is_one_setting(one: Config, other: Config) -> None:
    assert one == other
    assert hash(one) == hash(other)
    assert one.hash() == other.hash()
    assert {k: type(v) for k, v in one.values().items()} == {k: type(v) for k, v in other.values().items()}


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: PrepareConfig(sdf="no"), "`sdf` must be True or False, not 'no'."),
        (lambda: TrainConfig(pretrained=1), "`pretrained` must be True or False, not 1."),
        (lambda: TrainConfig(steps=2.5), "`steps` must be a whole number, not 2.5."),
        (lambda: TrainConfig(steps=True), "`steps` must be a whole number, not True."),
        (lambda: PrepareConfig(points=1000.0), "`points` must be a whole number, not 1000.0."),
        (lambda: TrainConfig(lr="fast"), "`lr` must be a number, not 'fast'."),
        (lambda: TrainConfig(lr=float("inf")), "`lr` must be a number, not inf."),
        (lambda: TrainConfig(views=8), "`views` must be text, not 8."),
        (lambda: TrainConfig(augment="color"), "`augment` must be a list, not 'color'."),
        (
            lambda: TrainConfig(augment=("colour",)),
            "`augment` must be color, crop, flip, stretch or tint, not 'colour'.",
        ),
        (lambda: ModelConfig(scales=True), "`scales` must be 1 or 3, not True."),
        (lambda: ModelConfig(scales=2), "`scales` must be 1 or 3, not 2."),
        (lambda: ExtractionConfig(threshold="best"), "`threshold` must be a number, val or None, not 'best'."),
        (lambda: ExtractionConfig(simplify=1.5), "`simplify` must be a whole number or None, not 1.5."),
        (lambda: PrepareConfig(seed=-1), "`seed` must be 0 or more, below 2^63, not -1."),
    ],
)
def test_a_value_of_another_type_is_refused(make: Callable[[], Config], says: str) -> None:
    with pytest.raises(SettingError) as caught:
        make()
    assert str(caught.value) == says


@pytest.mark.parametrize("pose", ["none", "matrix", "6d"])
def test_pixel_features_need_the_whole_camera(pose: str) -> None:
    config = ModelConfig(conditioning="pixel", pose=pose)
    assert (config.needs_pose, config.needs_intrinsics, config.needs_mask) == (True, True, True)
