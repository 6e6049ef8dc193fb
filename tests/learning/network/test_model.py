"""The whole network: the report's parameter counts, shapes, folding, cost."""

from __future__ import annotations

import pytest
import torch

from pix3d_onet.config import ModelConfig
from pix3d_onet.learning.network.model import build_model, cost, count_parameters

COUNTS = [
    (ModelConfig("resnet18"), 13_414_465),
    (ModelConfig("resnet34"), 23_522_625),
    (ModelConfig("resnet50"), 26_139_201),
    (ModelConfig("resnet101"), 45_131_329),
    (ModelConfig("convnext"), 30_123_617),
    (ModelConfig("convnext", scales=3), 86_157_601),
    (ModelConfig("convnext", scales=3, pose="matrix"), 86_338_369),
]


@pytest.mark.parametrize(("config", "params"), COUNTS, ids=lambda value: str(value)[:60])
def test_parameter_counts_are_the_report_s(config: ModelConfig, params: int) -> None:
    with torch.device("meta"):
        assert count_parameters(build_model(config)) == params


def test_cost_is_exact_where_it_can_be_worked_out() -> None:
    found = cost(ModelConfig("resnet18"), 224)
    assert found["params"] == 13_414_465
    per_point = 2 * (3 * 256 + 10 * 256 * 256 + 256)  # multiply-adds count as two
    conditioning = 2 * 11 * 2 * 256 * 256 / 1024  # gamma and beta, once a picture, counted over 1,024 points
    assert found["gflops_point"] * 1e9 == pytest.approx(per_point + conditioning, rel=1e-6)
    assert found["gflops_image"] == pytest.approx(3.6274, rel=1e-3)  # 1.8 G multiply-adds, as published


def test_pictures_and_poses_make_the_code() -> None:
    torch.manual_seed(0)
    model = build_model(ModelConfig("resnet18", pose="matrix", c_dim=16, hidden_dim=16, blocks=1)).eval()
    images, pose = torch.rand(2, 3, 32, 32), torch.eye(4).expand(2, 4, 4)
    assert model.encode(images, pose).vector.shape == (2, 16 + 32)
    assert model(images, torch.rand(2, 7, 3) - 0.5, pose).shape == (2, 7)
    with pytest.raises(ValueError, match="pose"):
        model.encode(images)


def test_fold_equals_decode_in_eval_mode_and_takes_one_code() -> None:
    torch.manual_seed(0)
    model = build_model(ModelConfig("resnet18", c_dim=16, hidden_dim=32, blocks=2))
    with torch.no_grad():
        for norm in model.decoder.norms():
            norm.conv_gamma.weight.normal_(std=0.2)
            norm.running_mean.normal_()
    model.eval()
    code = model.encode(torch.rand(2, 3, 32, 32))
    points = torch.rand(1, 500, 3) - 0.5
    with torch.no_grad():
        expected = model.decode(points, code.picture(0))[0]
    torch.testing.assert_close(model.fold(code.picture(0))(points[0]), expected, rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match="one picture"):
        model.fold(code)


def test_same_seed_same_initial_weights() -> None:
    states = []
    for _ in range(2):
        torch.manual_seed(7)
        states.append(build_model(ModelConfig("resnet18", hidden_dim=8, c_dim=8)).state_dict())
    assert all(torch.equal(a, b) for a, b in zip(states[0].values(), states[1].values(), strict=True))
