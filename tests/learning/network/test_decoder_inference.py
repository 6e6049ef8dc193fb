"""The decoder folded for one picture: the formula's values and gradient, whatever the chunks, places and sleepers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers.decoders import decoder, inputs, reference
from torch import Tensor

from pix3d_onet.config import POINTS_HALF_SIDE
from pix3d_onet.learning.network import decoder_inference as folded_module
from pix3d_onet.learning.network.decoder_inference import MORTON_BITS, FoldedDecoder, PlainDecoder, morton_order

SINGLE = 2e-5
"""Relative to values of order one, in float32."""


def test_folded_equals_the_reference_in_float64_and_float32() -> None:
    made = decoder(blocks=5).eval()
    points, code = inputs(1, 333)
    expected = reference(made, points, code)[0].float()
    for dtype, tolerance in ((torch.float64, 1e-6), (torch.float32, SINGLE)):
        folded = FoldedDecoder(made, code, dtype)
        torch.testing.assert_close(folded(points[0]), expected, rtol=tolerance, atol=tolerance)


def test_folded_answer_does_not_depend_on_how_points_are_cut() -> None:
    folded = FoldedDecoder(decoder().eval().float(), torch.randn(8))
    points = torch.rand(10_001, 3) - 0.5
    whole = folded(points)
    parts = torch.cat([folded(part) for part in torch.split(points, 777)])
    torch.testing.assert_close(whole, parts, rtol=0, atol=1e-6)
    assert folded(points[:0]).shape == (0,)


def test_folded_bfloat16_keeps_coordinates_and_nearly_all_signs() -> None:
    made = decoder(32, 64, 5).eval().float()
    torch.manual_seed(3)
    code = torch.randn(32)
    points = torch.rand(20_000, 3) - 0.5
    exact_signs = FoldedDecoder(made, code)(points) > 0
    rough = FoldedDecoder(made, code, torch.bfloat16)(points)
    assert rough.dtype == torch.float32
    assert ((rough > 0) == exact_signs).float().mean() > 0.98


def test_layer_norms_have_the_formula_s_values_chunks_and_gradient() -> None:
    """Ba et al.: over the features of each point, before gamma and beta of the code."""
    made = decoder(norm="layer").eval()
    points, code = inputs(1, 5_000)
    points.requires_grad_()
    x = points[0] @ made.fc_p.weight.T + made.fc_p.bias

    def norm(layer: Any, x: Tensor) -> Tensor:
        gamma, beta = layer.conv_gamma(code[0]), layer.conv_beta(code[0])
        normed = (x - x.mean(1, keepdim=True)) / (x.var(1, keepdim=True, unbiased=False) + 1e-5).sqrt()
        return torch.relu(gamma * normed + beta)

    for block in made.blocks:
        x = x + block.fc_1(norm(block.bn_1, block.fc_0(norm(block.bn_0, x))))  # type: ignore[operator]
    expected = made.fc_out(norm(made.bn, x))[:, 0]
    (slope,) = torch.autograd.grad(expected.sum(), points)
    torch.testing.assert_close(made(points, code)[0], expected)
    field = PlainDecoder(made.float(), code.float())
    values, gradient = field.value_and_gradient(points[0].detach().float())
    torch.testing.assert_close(values, expected.float(), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(field(points[0].detach()), values, rtol=SINGLE, atol=SINGLE)
    assert_near(gradient, slope[0], 1e-3)
    assert field(points[0, :0]).shape == (0,)
    rough = PlainDecoder(made, code.float(), torch.bfloat16)(points[0].detach())
    assert ((rough > 0) == (values > 0)).float().mean() > 0.98


def sleepy(hidden: int = 64, blocks: int = 3):
    """A decoder of which many units are zero in any one place, as in a trained one: steep first layer, little shift."""
    made = decoder(8, hidden, blocks)
    with torch.no_grad():
        made.fc_p.weight *= 8
    return made.eval()


def assert_near(found, expected, tolerance: float) -> None:
    """Largest difference in units of the expected values' spread."""
    assert ((found - expected.float()).abs().max() / expected.std()).item() < tolerance


def test_units_asleep_are_left_out_and_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    made = sleepy()
    points, code = inputs(1, 4000)
    monkeypatch.setattr(folded_module, "SPATIAL_CHUNK", 50)
    seen: list[tuple[int, int]] = []
    plain = FoldedDecoder.active_units

    def counted(self, h):
        found = plain(self, h)
        assert torch.equal(found.columns(h), found.values)
        asleep = torch.ones(h.shape[1], dtype=torch.bool)
        asleep[found.units] = False
        assert not h[:, asleep].any()
        assert found.values.amax(dim=0).gt(0).all()
        seen.append(tuple(found.values.shape))
        return found

    monkeypatch.setattr(FoldedDecoder, "active_units", counted)
    fold = FoldedDecoder(made, code, torch.float64)
    values = fold(points[0])
    assert sum(units for _, units in seen) < 0.9 * 64 * len(seen)  # some are left out
    assert sum(rows for rows, _ in seen) == 4000 * 6  # every point, at every ReLU of three blocks
    assert_near(values, reference(made, points, code)[0], 1e-5)
    monkeypatch.setattr(FoldedDecoder, "active_units", plain)
    fold.spatial = False
    assert_near(values, fold(points[0]), 1e-6)


@pytest.mark.parametrize("places", [True, False])
def test_slope_is_the_gradient_of_the_formula(places: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folded_module, "SPATIAL_CHUNK", 32)
    made = sleepy()
    points, code = inputs(1, 500)
    points = points.float().double().requires_grad_()  # float32 is what a field is asked in
    expected = reference(made, points, code)
    (gradient,) = torch.autograd.grad(expected.sum(), points)
    for dtype, tolerance in ((torch.float64, 1e-5), (torch.float32, 1e-3)):
        fold = FoldedDecoder(made, code, dtype)
        fold.spatial = places
        value, slope = fold.value_and_gradient(points[0].detach())
        assert_near(value, expected[0].detach(), 1e-4)
        wrong = (slope - gradient[0].float()).norm(dim=1) > tolerance * gradient[0].norm(dim=1)
        assert wrong.sum() <= 2  # rounding may switch a ReLU at its very edge
        assert torch.equal(value, fold(points[0].detach()))
    exact = FoldedDecoder(made, code).value_and_gradient(points[0].detach())
    rough = FoldedDecoder(made, code, torch.bfloat16).value_and_gradient(points[0].detach())
    assert all(torch.equal(a, b) for a, b in zip(exact, rough, strict=True))  # a gradient is never in 16 bits
    empty = fold.value_and_gradient(points[0, :0].detach())
    assert empty[0].shape == (0,)
    assert empty[1].shape == (0, 3)


def test_undefined_numbers_are_not_asleep() -> None:
    fold = FoldedDecoder(decoder().eval().float(), torch.randn(8))
    points = torch.rand(100, 3) - 0.5
    points[17, 1] = torch.nan
    assert torch.isnan(fold(points)).nonzero().flatten().tolist() == [17]
    made = decoder().eval().float()
    with torch.no_grad():
        made.blocks[1].fc_0.weight[3, 4] = torch.nan
    assert torch.isnan(FoldedDecoder(made, torch.randn(8))(points)).all()


def test_places_are_the_cells_of_an_octree() -> None:
    points = (torch.rand(20_000, 3, generator=torch.Generator().manual_seed(0)) - 0.5) * 2 * POINTS_HALF_SIDE
    order = morton_order(points)
    assert torch.equal(order.sort().values, torch.arange(20_000))
    assert torch.equal(order, morton_order(points))
    for level in range(1, MORTON_BITS + 1):  # the points of a cell of any level follow each other
        cell = ((points[order] / (2 * POINTS_HALF_SIDE) + 0.5) * 2**level).long().clamp(0, 2**level - 1)
        code = (cell[:, 0] * 2**level + cell[:, 1]) * 2**level + cell[:, 2]
        runs = 1 + int((code[1:] != code[:-1]).sum())
        assert runs == len(torch.unique(code))


def test_places_beyond_the_box_and_without_one() -> None:
    points = torch.tensor([[9.0, 9, 9], [torch.nan, 0, 0], [-torch.inf, 0, 0], [0, 0, 0], [torch.inf, 9, 9]])
    assert morton_order(points).sort().values.tolist() == [0, 1, 2, 3, 4]
    assert morton_order(points)[-2:].tolist() == [0, 4]
    assert morton_order(points[:0]).shape == (0,)
