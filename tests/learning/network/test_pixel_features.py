"""Features where a point projects: the pixel rule, the camera, points out of the picture, mirrored points."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional

from pix3d_onet.ablation.variants import SUITES, variant
from pix3d_onet.config import CameraEncoder, ModelConfig, Pyramid
from pix3d_onet.errors import ConfigError, SettingError
from pix3d_onet.learning.network.camera import TURNS, Camera, camera_loss, constant_camera, seen
from pix3d_onet.learning.network.encoders import ImageEncoder
from pix3d_onet.learning.network.model import OccupancyNetwork, build_model
from pix3d_onet.learning.network.pixel_features import PLACE, Code, MergedLevels, PixelFeatures
from pix3d_onet.learning.training.trainer import occupancy_loss

TINY = {"encoder": "test_resnet", "c_dim": 16, "hidden_dim": 32, "blocks": 2, "conditioning": "pixel"}
SIDE = 8
AHEAD = torch.eye(4)[None].clone()
AHEAD[:, 2, 3] = 2.0
"""A camera two units in front of the object, with axes left, up and forward, as in Pix3D."""
FOCAL_ONE = torch.tensor([[[-1.0, 0.0, 0.5], [0.0, -1.0, 0.5], [0.0, 0.0, 1.0]]])
"""A focal length of one side of the picture."""


def network(*, mirror: bool = False, pyramid: Pyramid = "separate") -> OccupancyNetwork:
    """Nothing in it is zero or one by initialisation."""
    torch.manual_seed(0)
    model = build_model(ModelConfig(**TINY, mirror=mirror, pyramid=pyramid)).train()
    with torch.no_grad():
        for parameter in model.decoder.parameters():
            parameter.normal_(std=0.3)
    return model


def views(count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Pictures with masks, and cameras around the object."""
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(count, 4, 64, 64, generator=generator)
    pose = torch.eye(4).repeat(count, 1, 1)
    pose[:, :3, :3] = torch.linalg.qr(torch.randn(count, 3, 3, generator=generator))[0]
    pose[:, 2, 3] = 2.0
    return images, pose, torch.tensor([[-1.4, 0, 0.5], [0, -1.4, 0.5], [0, 0, 1]]).repeat(count, 1, 1)


def points_of(count: int, points: int = 50) -> Tensor:
    return torch.rand(count, points, 3, generator=torch.Generator().manual_seed(2)) - 0.5


def test_a_point_gets_the_value_of_the_pixel_it_falls_into() -> None:
    """The centre of pixel (column, row) is (column + 0.5, row + 0.5): docs/conventions.md."""
    level = torch.arange(SIDE * SIDE, dtype=torch.float32).view(1, 1, SIDE, SIDE)
    column, row = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="xy")
    u, v = ((index.flatten() + 0.5) / SIDE for index in (column, row))
    depth = 2 + torch.linspace(-0.5, 0.5, SIDE * SIDE)
    points = torch.stack([(0.5 - u) * depth, (0.5 - v) * depth, depth - 2], dim=-1)[None]
    features = PixelFeatures([1], 4)
    values, place = features.sampled(points, Code(torch.zeros(1, 1), (level, level), AHEAD, FOCAL_ONE))
    torch.testing.assert_close(values[0, :, 0], level.flatten(), atol=1e-3, rtol=0)
    expected = torch.stack([level.flatten(), 2 * u - 1, 2 * v - 1, *points[0].T, torch.ones(SIDE * SIDE)], dim=1)
    torch.testing.assert_close(place[0], expected, atol=1e-3, rtol=1e-5)


def test_points_behind_the_camera_and_outside_the_picture_have_finite_numbers_and_say_so() -> None:
    points = torch.tensor([[[0.0, 0, 0], [0, 0, -2], [0, 0, -5], [9, 0, 0], [0, -9, 0]]])
    mask = torch.ones(1, 1, SIDE, SIDE)
    _, place = PixelFeatures([1], 4).sampled(points, Code(torch.zeros(1, 1), (mask, mask), AHEAD, FOCAL_ONE))
    assert torch.isfinite(place).all()
    assert place[0, :, -1].tolist() == [1, 0, 0, 0, 0]
    assert place[0, :, 0].tolist() == [1, 0, 0, 0, 0]
    assert place[..., 1:3].abs().max() <= 2


def test_the_global_code_is_that_of_the_same_encoder() -> None:
    for name in ("test_resnet", "test_convnext", "test_efficientnet", "test_vit"):
        encoder = ImageEncoder(name, 8).eval()
        images = torch.rand(2, 3, 160, 160)
        code, levels = encoder.with_levels(images)
        torch.testing.assert_close(code, encoder(images))
        assert [level.shape[1] for level in levels] == encoder.level_channels()


def test_an_encoder_without_levels_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(timm.models.resnet.ResNet, "forward_intermediates")
    with pytest.raises(ConfigError, match="feature levels"):
        build_model(ModelConfig(**TINY))


def test_levels_of_an_encoder_are_named_once() -> None:
    """The names of the tensors are those of global conditioning, so that encoder files fit both."""
    ours, theirs = (build_model(ModelConfig(**{**TINY, "conditioning": kind})) for kind in ("pixel", "global"))
    assert set(theirs.state_dict()) < set(ours.state_dict())
    assert timm.is_model(TINY["encoder"])


def test_a_merged_level_contains_the_coarser_ones() -> None:
    """The coarsest level changes both maps everywhere that it is enlarged to, and levels keep their order."""
    torch.manual_seed(0)
    merge = MergedLevels([3, 5, 7])
    levels = [torch.rand(1, channels, side, side) for channels, side in ((3, 16), (5, 8), (7, 4))]
    before = merge(levels)
    assert [tuple(level.shape[-2:]) for level in before] == [(16, 16), (8, 8)]
    levels[2] = levels[2] + torch.eye(4)
    for old, new in zip(before, merge(levels), strict=True):
        changed = (old - new).abs().amax(dim=1)[0] > 1e-4
        assert changed.diagonal().all()
    levels[0] = levels[0] + 1
    assert torch.equal(merge(levels)[1], new)  # nothing runs bottom-up


@pytest.mark.parametrize(
    ("mirror", "pyramid", "names"),
    [
        (False, "separate", ("lateral.0.0", "lateral.3.1")),
        (True, "separate", ("lateral.0.0", "lateral.3.1")),
        (True, "fpn", ("lateral.0", "lateral.3", "smooth.0", "smooth.1", "norm.1")),
    ],
)
def test_every_parameter_learns_and_fused_equals_plain(mirror: bool, pyramid: Pyramid, names: tuple[str, ...]) -> None:
    found: list[dict[str, Any]] = []
    for plain in (False, True):
        model = network(mirror=mirror, pyramid=pyramid)
        logits = model(views(3)[0], points_of(3).requires_grad_(plain), *views(3)[1:])
        assert ("Fused" in str(logits.grad_fn.next_functions)) != plain  # type: ignore[union-attr]
        functional.binary_cross_entropy_with_logits(logits, (logits > 0.1).float()).backward()
        found.append({"logits": logits.detach()} | {name: p.grad for name, p in model.named_parameters()})
    for name, value in found[0].items():
        assert value is not None, name
        torch.testing.assert_close(value, found[1][name], rtol=1e-3, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}")
    for name in (*(f"levels.{part}.weight" for part in names), "blend.weight", "locate.weight"):
        assert found[0][f"pixels.{name}"].abs().max() > 0, name


@pytest.mark.parametrize("name", SUITES["conditioning"].variants)
def test_two_training_steps_of_each_variant(name: str) -> None:
    """The code has no effect before the first step, because gamma and beta begin with weights of zero."""
    torch.manual_seed(0)
    config = variant(name).model
    model = build_model(config).train()
    images, pose, intrinsics = views(2)
    before = {key: value.clone() for key, value in model.named_parameters()}
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(2):
        found = model(images[:, : 3 + config.needs_mask], points_of(2), pose, intrinsics)
        logits, candidates = found if config.predicts_camera else (found, None)
        optimizer.zero_grad()
        loss = occupancy_loss(logits, torch.ones_like(logits))
        if candidates is not None:
            loss = loss + camera_loss(candidates, Camera(pose, intrinsics), torch.ones(2, TURNS, dtype=torch.bool))
        loss.backward()
        optimizer.step()
    still = [key for key, value in model.named_parameters() if value.grad is None or not value.isfinite().all()]
    assert still == []
    moved = {key.partition(".")[0] for key, value in model.named_parameters() if not torch.equal(value, before[key])}
    assert moved == {key.partition(".")[0] for key in before}


def test_a_network_that_predicts_cameras_needs_none_and_takes_those_that_are_known() -> None:
    model = build_model(ModelConfig(**TINY, pose="predicted")).eval()
    images, pose, intrinsics = views(2)
    pose[1] = torch.nan
    assert model.camera_head is not None
    torch.nn.init.normal_(model.camera_head.given)
    with torch.no_grad():
        alone, some = model.encode(images), model.encode(images, pose, intrinsics)
        assert alone.camera is not None
        assert torch.equal(alone.pose, alone.camera.pose)  # type: ignore[arg-type]
        assert torch.equal(alone.intrinsics, alone.camera.intrinsics)  # type: ignore[arg-type]
        torch.testing.assert_close(some.intrinsics[0] @ some.pose[0, :3], intrinsics[0] @ pose[0, :3])  # type: ignore[index]
        assert torch.equal(some.pose[1], alone.pose[1])  # type: ignore[index]
        torch.testing.assert_close(some.vector[0], alone.vector[0] + model.camera_head.given)
        assert torch.equal(some.vector[1], alone.vector[1])  # the decoder is told which cameras are given
        one = alone.picture(1)
        assert one.camera is not None
        assert torch.equal(one.camera.pose, alone.camera.pose[1:])
        assert model.fold(one)(points_of(1)[0]).isfinite().all()


def test_a_constant_camera_is_the_same_whatever_is_given_and_sees_the_whole_object_upright() -> None:
    """The control for pixel features: what they bring where nothing is known of the camera."""
    config = ModelConfig(**TINY, pose="constant")
    assert not config.needs_pose
    assert not config.needs_intrinsics
    assert not config.takes_camera
    model = build_model(config).eval()
    images, pose, intrinsics = views(2)
    points = points_of(2)
    with torch.no_grad():
        alone = model(images, points)
        assert torch.equal(alone, model(images, points, pose, intrinsics))
        assert (alone - model(images.flip(-1), points)).abs().max() > 1e-4  # the picture does matter
    camera = constant_camera(images)
    corners = torch.cartesian_prod(*[torch.tensor([-0.5, 0.5])] * 3)
    place, _ = seen(camera, corners)
    assert place.shape == (2, 8, 2)
    assert torch.equal(place[0], place[1])
    assert -0.25 < place.min() < 0.1  # the cube fills the crop, and its corners are hardly cut off
    assert 0.9 < place.max() < 1.25
    up, _ = seen(camera, torch.tensor([[0.0, 0.5, 0.0], [0.0, -0.5, 0.0], [0.5, 0.0, 0.0], [-0.5, 0.0, 0.0]]))
    assert up[0, 0, 1] < 0.5 < up[0, 1, 1]  # v grows downwards
    assert up[0, 2, 0] + up[0, 3, 0] == pytest.approx(1)  # on the mirror plane


def test_a_camera_s_own_encoder_is_the_only_one_that_learns_the_camera_and_sees_white_objects() -> None:
    model = build_model(ModelConfig(**TINY, pose="predicted", camera_encoder="own"))
    torch.nn.init.normal_(model.camera_head.out.weight)  # type: ignore[union-attr]
    images, points = views(2)[0], points_of(2)
    logits, candidates = model(images, points)
    candidates.numbers.sum().backward(retain_graph=True)
    reached = {key.partition(".")[0] for key, value in model.named_parameters() if value.grad is not None}
    assert reached == {"camera_encoder", "camera_head"}
    model.zero_grad()
    logits.sum().backward()
    reached = {key.partition(".")[0] for key, value in model.named_parameters() if value.grad is not None}
    assert reached == {"encoder", "decoder", "pixels"}
    white = torch.ones(2, 4, 64, 64)
    white[0, 3, :32] = white[1, 3, 32:] = 0
    numbers = model.eval().candidates(white).numbers
    assert (numbers[0] - numbers[1]).abs().max() > 1e-3  # where nothing but the mask says what is the object


def test_further_pictures_have_candidates_and_no_points() -> None:
    model = build_model(ModelConfig(**TINY, pose="predicted", camera_encoder="own")).eval()
    torch.nn.init.normal_(model.camera_head.out.weight)  # type: ignore[union-attr]
    images, points = views(5)[0], points_of(2)
    with torch.no_grad():
        logits, candidates = model(images[:2], points, further=images[2:])
        expected, first = model(images[:2], points)
        torch.testing.assert_close(logits, expected)
        torch.testing.assert_close(candidates.numbers[:2], first.numbers)
        torch.testing.assert_close(candidates.scores[2:], model.candidates(images[2:]).scores)
        assert len(candidates.numbers) == 5


def test_a_file_s_weights_are_those_of_both_encoders(tmp_path: Path) -> None:
    own = ModelConfig(**TINY, pose="predicted", camera_encoder="own")
    save_file(timm.create_model("test_resnet").state_dict(), tmp_path / "file.safetensors")
    model = build_model(own, weights=tmp_path / "file.safetensors")
    assert model.camera_encoder is not None
    other = model.camera_encoder.backbone.state_dict()
    expected = load_file(tmp_path / "file.safetensors")
    for name, value in model.encoder.backbone.state_dict().items():  # type: ignore[union-attr]
        assert torch.equal(value, expected[name])
        assert torch.equal(value, other[name])
    torch.nn.init.normal_(model.camera_encoder.backbone.get_parameter("conv1.0.weight"))
    save_file(model.state_dict(), tmp_path / "run.safetensors")
    again = build_model(ModelConfig("test_resnet"), weights=tmp_path / "run.safetensors")
    assert torch.equal(
        again.encoder.backbone.conv1[0].weight,  # type: ignore[union-attr,index]
        model.encoder.backbone.conv1[0].weight,  # type: ignore[union-attr,index]
    )


@pytest.mark.parametrize("encoder", ["shared", "own"])
def test_compiled_without_a_break(encoder: CameraEncoder) -> None:
    model = build_model(ModelConfig(**TINY, pose="predicted", mirror=True, camera_encoder=encoder)).eval()
    images, pose, intrinsics = views(2)
    pose[1] = torch.nan
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    with torch.no_grad():
        expected, _ = model(images, points_of(2), pose, intrinsics)
        torch.testing.assert_close(compiled(images, points_of(2), pose, intrinsics)[0], expected)


@pytest.mark.parametrize("mirror", [False, True])
def test_fold_equals_decode_and_its_gradient_is_the_field_s(mirror: bool) -> None:
    model = network(mirror=mirror).eval().double()
    images, pose, intrinsics = (value.double() for value in views(2))
    with torch.no_grad():
        code = model.encode(images, pose, intrinsics)
    points = points_of(1, 1500).double().requires_grad_()
    expected = model.decode(points, code.picture(1))
    (slope,) = torch.autograd.grad(expected.sum(), points)
    model, code = (
        model.float(),
        Code(code.vector.float(), tuple(level.float() for level in code.maps), pose[:2].float(), intrinsics.float()),
    )
    field = model.fold(code.picture(1))
    flat = points[0].detach().float()
    torch.testing.assert_close(field(flat), expected[0].detach().float(), rtol=1e-3, atol=1e-3)
    value, gradient = field.value_and_gradient(flat)
    assert torch.equal(value, field(flat))
    near = (gradient - slope[0].float()).norm(dim=1) < 1e-2 * slope[0].norm(dim=1).clamp(min=0.1)
    assert near.float().mean() > 0.99  # at the edges of texels and ReLUs rounding chooses the side


def test_the_picture_at_the_point_matters_and_only_there() -> None:
    """A spot in the mask changes the logits of the points that are seen there."""
    model = network().eval()
    images, pose, intrinsics = views(1)
    images[:, 3] = 0
    points = points_of(1, 200)
    spotted = images.clone()
    spotted[:, 3, :32] = 1
    with torch.no_grad():
        before, after = (model(picture, points, pose, intrinsics)[0] for picture in (images, spotted))
    camera = points[0] @ pose[0, :3, :3].T + pose[0, :3, 3]
    v = 0.5 - 1.4 * camera[:, 1] / camera[:, 2]
    changed = before != after
    assert changed[(v > 0) & (v < 0.49)].float().mean() > 0.9  # some are left of the picture or right of it
    assert not changed[v > 0.51].any()


def test_bfloat16_does_not_round_where_a_point_projects() -> None:
    model = network().eval()
    images, pose, intrinsics = views(1)
    places: list[Tensor] = []
    assert model.pixels is not None
    model.pixels.locate.register_forward_pre_hook(lambda _, given: places.append(given[0]))
    for narrow in (True, False):
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=narrow):
            model(images, points_of(1), pose, intrinsics)
    place, exact = places
    torch.testing.assert_close(place, exact, rtol=0, atol=0)
    assert place.dtype == torch.float32
    assert place.shape[-1] == PLACE


def test_a_missing_camera_and_settings_that_contradict_each_other() -> None:
    model = network()
    images, pose, _ = views(1)
    with pytest.raises(ValueError, match="pose"):
        model.encode(images)
    with pytest.raises(ValueError, match="intrinsics"):
        model.encode(images, pose)
    with pytest.raises(SettingError, match="mirror"):
        ModelConfig(mirror=True)
    with pytest.raises(SettingError, match="pyramid"):
        ModelConfig(conditioning="pixel", pyramid="shared")
    with pytest.raises(SettingError, match="conditioning"):
        ModelConfig(scales=3, conditioning="pixel")
    with pytest.raises(SettingError, match="pose"):
        ModelConfig(pose="predicted")
    with pytest.raises(SettingError, match="pose"):
        ModelConfig(pose="constant")
    with pytest.raises(SettingError, match="camera_encoder"):
        ModelConfig(conditioning="pixel", camera_encoder="own")
    assert ModelConfig("resnet18", pose="predicted", conditioning="pixel").default_name == "resnet18-pixel-predicted"
    assert ModelConfig("resnet18", pose="constant", conditioning="pixel").default_name == "resnet18-pixel-constant"
    assert "conditioning" not in ModelConfig().to_json()
    assert ModelConfig("resnet18", conditioning="pixel", mirror=True).default_name == "resnet18-pixel-mirror"
    assert ModelConfig(conditioning="pixel", pyramid="fpn", norm="layer").default_name == "resnet18-pixel-fpn-layernorm"
