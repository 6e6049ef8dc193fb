"""Encoders: names, scales, poses, weights from files, and what is said when weights cannot be had."""

from __future__ import annotations

import math
import socket
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from pix3d_onet.config import ModelConfig
from pix3d_onet.errors import ConfigError, InputError
from pix3d_onet.learning.network.encoders import (
    FpnEncoder,
    ImageEncoder,
    PoseEncoder,
    PyramidEncoder,
    enlarge,
    make_backbone,
)
from pix3d_onet.learning.network.model import build_model


def test_normalises_with_imagenet_s_numbers_inside() -> None:
    encoder = ImageEncoder("resnet18", 8).eval()
    seen: list[torch.Tensor] = []
    encoder.backbone.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    encoder(torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1).expand(1, 3, 32, 32))
    assert seen[0].abs().max() < 1e-6
    encoder(torch.ones(1, 3, 32, 32))
    assert seen[1][0, 0, 0, 0].item() == pytest.approx((1 - 0.485) / 0.229, rel=1e-5)


def test_pyramid_adds_the_codes_of_full_half_and_quarter_size() -> None:
    encoder = PyramidEncoder("resnet18", 8, 3).eval()
    images = torch.rand(2, 3, 128, 128)
    half = torch.nn.functional.avg_pool2d(images, 2)
    quarter = torch.nn.functional.avg_pool2d(half, 2)
    parts = [part(x) for part, x in zip(encoder.encoders, (images, half, quarter), strict=True)]
    torch.testing.assert_close(encoder(images), sum(parts), rtol=1e-5, atol=1e-5)


def test_shared_pyramid_has_one_encoder_s_parameters() -> None:
    def count(pyramid: str) -> int:
        config = ModelConfig("resnet18", scales=3, pyramid=pyramid)
        with torch.device("meta"):
            return sum(p.numel() for p in build_model(config).parameters())

    assert count("shared") == 13_414_465
    assert count("separate") == 3 * (13_414_465 - 2_106_625) + 2_106_625


def test_small_scales_are_enlarged_and_white_stays_white() -> None:
    assert enlarge(torch.ones(1, 3, 64, 64)).shape[-1] == 64
    small = enlarge(torch.ones(1, 3, 16, 8))
    assert small.shape[-2:] == (64, 32)
    assert torch.equal(small, torch.ones_like(small))
    assert PyramidEncoder("convnext_tiny", 4, 3).eval()(torch.rand(1, 3, 64, 64)).shape == (1, 4)


def test_fpn_takes_over_every_weight_of_the_backbone() -> None:
    torch.manual_seed(0)
    encoder = FpnEncoder("resnet18", 8).eval()
    assert encoder(torch.rand(2, 3, 64, 64)).shape == (2, 8)
    assert FpnEncoder("convnext_tiny", 8).eval()(torch.rand(1, 3, 64, 64)).shape == (1, 8)


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "mobilenetv3_small_050"])
def test_any_timm_backbone_takes_any_size(name: str) -> None:
    encoder = ImageEncoder(name, 8).eval()
    assert encoder(torch.rand(2, 3, 64, 64)).shape == (2, 8)


def test_unknown_encoder_names_close_ones() -> None:
    with pytest.raises(ConfigError, match=r"resnet19.*Did you mean resnet") as error:
        make_backbone("resnet19")
    assert error.value.exit_status == 2


def camera(*translation: float) -> torch.Tensor:
    """(1, 4, 4): a pose whose numbers are all different, with that translation."""
    pose = torch.arange(16.0).view(1, 4, 4)
    pose[0, :3, 3] = torch.tensor(translation)
    return pose


def test_pose_matrix_is_the_flattened_matrix_with_a_shortened_translation() -> None:
    encoder = PoseEncoder("matrix")
    near = math.log1p(5.0) / 5.0
    numbers = torch.tensor([[0, 1, 2, 3 * near, 4, 5, 6, 0, 8, 9, 10, 4 * near, 12, 13, 14, 15]])
    torch.testing.assert_close(encoder(camera(3.0, 0.0, 4.0), None), encoder.linear(numbers))
    assert encoder.linear.weight.shape == (32, 16)


def test_pose_6d_is_two_columns_translation_and_focal() -> None:
    encoder = PoseEncoder("6d")
    near = math.log1p(5.0) / 5.0
    numbers = torch.tensor([[0, 4, 8, 1, 5, 9, 3 * near, 0, 4 * near, math.log1p(2.5)]])
    intrinsics = torch.diag(torch.tensor([-2.5, -2.5, 1]))[None]
    torch.testing.assert_close(encoder(camera(3.0, 0.0, 4.0), intrinsics), encoder.linear(numbers))
    with pytest.raises(ValueError, match="intrinsics"):
        encoder(camera(3.0, 0.0, 4.0), None)


@pytest.mark.parametrize("kind", ["matrix", "6d"])
def test_a_camera_at_the_object_or_far_away_gives_small_numbers(kind: str) -> None:
    encoder = PoseEncoder(kind)
    for distance in (0.0, 1e4):
        pose = torch.eye(4)[None].clone()
        pose[0, 2, 3] = distance
        assert encoder(pose, distance * torch.eye(3)[None]).abs().max() < 20


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("kind", ["pth", "safetensors"])
def test_weights_come_from_a_file_and_the_classifier_is_dropped(tmp_path: Path, kind: str, wrapped: bool) -> None:
    if kind == "safetensors" and wrapped:
        pytest.skip("a safetensors file has no wrapper")
    source = make_backbone("resnet18")  # with its classifier of 1000
    state = {key: torch.full_like(value, 0.01) for key, value in source.state_dict().items()}
    path = tmp_path / f"weights.{kind}"
    if kind == "safetensors":
        save_file(state, path)
    else:
        torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}} if wrapped else state, path)
    model = build_model(ModelConfig("resnet18", scales=3), weights=path)
    for encoder in model.encoder.encoders:  # type: ignore[union-attr]
        assert torch.all(encoder.backbone.layer4[1].conv2.weight == 0.01)  # type: ignore[union-attr,index]


def test_weights_that_do_not_fit_or_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    for content, message in (
        ({"conv1.weight": torch.zeros(1)}, "holds 0 of the 100 tensors of resnet18"),
        ([1, 2], "holds a list"),
    ):
        torch.save(content, path)
        with pytest.raises(InputError, match=message):
            build_model(ModelConfig("resnet18"), weights=path)
    path.write_bytes(b"no weights at all")
    with pytest.raises(InputError, match=r"is a text file"):
        build_model(ModelConfig("resnet18"), weights=path)
    with pytest.raises(InputError, match="not found"):
        build_model(ModelConfig("resnet18"), weights=tmp_path / "absent.pth")


class Malicious:
    """Runs something when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.target,)


def test_a_weights_file_cannot_run_code(tmp_path: Path) -> None:
    target = tmp_path / "executed"
    torch.save({"state_dict": Malicious(target)}, tmp_path / "evil.pth")
    with pytest.raises(InputError, match="refused"):
        build_model(ModelConfig("resnet18"), weights=tmp_path / "evil.pth")
    assert not target.exists()


def test_pretrained_without_a_way_to_them_is_one_clear_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from huggingface_hub import constants

    def unreachable(*_: object, **__: object) -> None:
        raise OSError("no network")

    for key in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(key, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(socket, "getaddrinfo", unreachable)
    with pytest.raises(InputError) as error:
        build_model(ModelConfig("resnet18"), pretrained=True)
    line = str(error.value)
    assert "`pretrained=False`" in line
    assert "`weights=FILE`" in line
    assert "\n" not in line
