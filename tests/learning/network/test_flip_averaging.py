"""Test-time augmentation: a picture and its mirror image, averaged."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from pix3d_onet.config import ModelConfig
from pix3d_onet.learning.network.model import OccupancyNetwork, build_model

TINY = ModelConfig("test_resnet", c_dim=16, hidden_dim=32, blocks=2)
CASES = {
    "global": TINY,
    "matrix": replace(TINY, pose="matrix"),
    "6d": replace(TINY, pose="6d"),
    "pixel": replace(TINY, conditioning="pixel", mirror=True, pyramid="fpn"),
    "predicted": replace(TINY, conditioning="pixel", pose="predicted"),
    "constant": replace(TINY, conditioning="pixel", pose="constant"),
    "own encoder": replace(TINY, conditioning="pixel", pose="predicted", camera_encoder="own"),
    "layer norm": replace(TINY, conditioning="pixel", norm="layer"),
}
MIRROR = torch.tensor([-1.0, 1.0, 1.0])


def network(config: ModelConfig) -> OccupancyNetwork:
    """Nothing in it is zero or one by initialisation; equal weights with and without the averaging."""
    torch.manual_seed(0)
    model = build_model(config).eval()
    with torch.no_grad():
        for parameter in model.decoder.parameters():
            parameter.normal_(std=0.3)
    return model


def scene(config: ModelConfig, count: int = 2) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Pictures, cameras that are level with the object and turned about its up axis, and points."""
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(count, 3 + config.needs_mask, 64, 64, generator=generator)
    pose = torch.eye(4).repeat(count, 1, 1)
    angle = torch.linspace(0.3, 1.1, count)
    pose[:, 0, 0] = pose[:, 2, 2] = angle.cos()
    pose[:, 0, 2], pose[:, 2, 0] = angle.sin(), -angle.sin()
    pose[:, 0, 3], pose[:, 2, 3] = 0.1, 2.0
    intrinsics = torch.tensor([[-1.4, 0, 0.45], [0, -1.4, 0.55], [0, 0, 1]]).repeat(count, 1, 1)
    return images, torch.rand(count, 40, 3, generator=generator) - 0.5, pose, intrinsics


def mirrored_by_hand(pose: Tensor, intrinsics: Tensor) -> tuple[Tensor, Tensor]:
    """The camera under which every mirrored point is seen at the mirrored place."""
    flip = torch.diag(torch.tensor([-1.0, 1.0, 1.0, 1.0]))
    swap = torch.tensor([[-1.0, 0, 1], [0, 1, 0], [0, 0, 1]])
    return flip @ pose @ flip, swap @ intrinsics @ flip[:3, :3]


@pytest.mark.parametrize("name", CASES)
def test_logits_are_the_mean_over_the_picture_and_its_mirror_image(name: str) -> None:
    config = CASES[name]
    one, both = network(config), network(replace(config, tta="flip"))
    images, points, pose, intrinsics = scene(config)
    with torch.no_grad():
        own = one.decode(points, one.encode(images, pose, intrinsics))
        other = one.decode(points * MIRROR, one.encode(images.flip(-1), *mirrored_by_hand(pose, intrinsics)))
        code = both.encode(images, pose, intrinsics)
        torch.testing.assert_close(both.decode(points, code), (own + other) / 2)
        assert (own - other).abs().max() > 1e-3
        if config.pose == "matrix":  # as evaluation and reconstruction call it
            torch.testing.assert_close(both.encode(images, pose).mirrored.vector, code.mirrored.vector)
        for index in range(len(images)):
            folded = both.fold(code.picture(index))(points[index])
            torch.testing.assert_close(folded, (own + other)[index] / 2, atol=1e-4, rtol=1e-4)
            narrow = both.fold(code.picture(index), torch.bfloat16)(points[index])
            torch.testing.assert_close(narrow, folded, atol=0.3, rtol=0.1)


@pytest.mark.parametrize("name", ["pixel", "layer norm", "predicted"])
def test_a_mirrored_scene_has_the_mirrored_field(name: str) -> None:
    """Also if its camera is predicted: from the picture and from its mirror image."""
    config = replace(CASES[name], tta="flip")
    model = network(config)
    images, points, pose, intrinsics = scene(config, 1)
    known, mirrored = (pose, intrinsics), mirrored_by_hand(pose, intrinsics)
    if model.camera_head is not None:
        torch.nn.init.normal_(model.camera_head.out.weight, std=0.3)
        known = mirrored = (None, None)
    with torch.no_grad():
        field = model.fold(model.encode(images, *known))
        turned = model.fold(model.encode(images.flip(-1), *mirrored))
    torch.testing.assert_close(field(points[0]), turned(points[0] * MIRROR))
    value, gradient = field.value_and_gradient(points[0])
    torch.testing.assert_close(value, field(points[0]))
    other, reflected = turned.value_and_gradient(points[0] * MIRROR)
    torch.testing.assert_close(other, value)
    torch.testing.assert_close(reflected * MIRROR, gradient)
    moved = points[0] + torch.tensor([1e-3, 0, 0])
    slope = (field(moved) - field(points[0] - torch.tensor([1e-3, 0, 0]))) / 2e-3
    close = (slope - gradient[:, 0]).abs() < 0.05 * gradient.norm(dim=1)
    assert close.float().mean() > 0.8  # the others have a kink between the two points


def test_the_mean_camera_is_used_by_both_decoders_even_beside_known_ones() -> None:
    config = replace(CASES["predicted"], tta="flip")
    model = network(config)
    assert model.camera_head is not None
    torch.nn.init.normal_(model.camera_head.out.weight, std=0.3)
    images, points, pose, intrinsics = scene(config, 2)
    with torch.no_grad():
        free = model.encode(images)
        again = model.encode(images, free.pose, free.intrinsics)
        torch.testing.assert_close(model.decode(points, again), model.decode(points, free))
        pose[1] = torch.nan
        mixed = model.encode(images, pose, intrinsics)
        torch.testing.assert_close(model.decode(points, mixed)[1], model.decode(points, free)[1])
        assert not torch.allclose(model.decode(points, mixed)[0], model.decode(points, free)[0], atol=1e-3)


def test_training_sees_only_the_picture_and_weights_are_the_same() -> None:
    config = CASES["pixel"]
    one, both = network(config).train(), network(replace(config, tta="flip")).train()
    images, points, pose, intrinsics = scene(config)
    assert both.encode(images, pose, intrinsics).mirrored is None
    torch.testing.assert_close(both(images, points, pose, intrinsics), one(images, points, pose, intrinsics))
    assert {k: v.shape for k, v in one.state_dict().items()} == {k: v.shape for k, v in both.state_dict().items()}
