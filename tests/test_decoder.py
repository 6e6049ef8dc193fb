"""The decoder in all its forms against the formula written out in float64."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from pix3d_onet.learning import fused
from pix3d_onet.learning.decoder import (
    BATCH_NORM_EPS,
    BATCH_NORM_MOMENTUM,
    ConditionalDecoder,
    FoldedDecoder,
    exact,
)

EXACT = 1e-12
"""Relative to values of order one, in float64."""
SINGLE = 2e-5
"""The same in float32."""


def decoder(c_dim: int = 8, hidden: int = 16, blocks: int = 2, seed: int = 0) -> ConditionalDecoder:
    """A decoder in float64 in which nothing is zero or one by initialisation."""
    torch.manual_seed(seed)
    made = ConditionalDecoder(c_dim, hidden, blocks).double()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(std=0.4)
        for norm in made.norms():
            norm.conv_gamma.bias += 1
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2)
    return made


def reference(made: ConditionalDecoder, points: Tensor, code: Tensor) -> Tensor:
    """The original's formula, (features) × (points), by its own words; (B, T, 3), (B, C) → (B, T)."""
    state = dict(made.named_parameters()) | dict(made.named_buffers())

    def conv(name: str, x: Tensor) -> Tensor:
        return functional.conv1d(x, state[f"{name}.weight"][:, :, None], state[f"{name}.bias"])

    def norm(name: str, x: Tensor) -> Tensor:
        gamma, beta = conv(f"{name}.conv_gamma", code[:, :, None]), conv(f"{name}.conv_beta", code[:, :, None])
        mean, var = state[f"{name}.running_mean"].clone(), state[f"{name}.running_var"].clone()
        normed = functional.batch_norm(x, mean, var, None, None, made.training, BATCH_NORM_MOMENTUM, BATCH_NORM_EPS)
        return functional.relu(gamma * normed + beta)

    x = conv("fc_p", points.transpose(1, 2))
    for i in range(len(made.blocks)):
        inner = conv(f"blocks.{i}.fc_0", norm(f"blocks.{i}.bn_0", x))
        x = x + conv(f"blocks.{i}.fc_1", norm(f"blocks.{i}.bn_1", inner))
    return conv("fc_out", norm("bn", x)).squeeze(1)


def inputs(shapes: int, count: int, c_dim: int = 8, seed: int = 1) -> tuple[Tensor, Tensor]:
    torch.manual_seed(seed)
    return torch.rand(shapes, count, 3, dtype=torch.float64) - 0.5, torch.randn(shapes, c_dim, dtype=torch.float64)


@pytest.mark.parametrize("training", [True, False])
def test_equals_the_reference_in_float64(training: bool) -> None:
    made = decoder().train(training)
    points, code = inputs(3, 50)
    expected = reference(made, points, code)
    torch.testing.assert_close(made(points, code), expected, rtol=EXACT, atol=EXACT)


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


@settings(max_examples=25, deadline=None)
@given(
    shapes=st.integers(1, 5),
    count=st.integers(2, 60),
    rows=st.integers(1, 80),
    hidden=st.sampled_from([1, 3, 16]),
    blocks=st.integers(1, 3),
)
def test_fused_step_has_the_reference_s_value_gradients_and_statistics(
    shapes: int, count: int, rows: int, hidden: int, blocks: int
) -> None:
    """Any cut into blocks: logits, the gradient of every parameter and of the code, running statistics."""
    labels = (torch.rand(shapes, count, generator=torch.Generator().manual_seed(5)) > 0.5).double()
    results = []
    before = fused.BLOCK_ROWS
    fused.BLOCK_ROWS = rows
    try:
        for plain in (False, True):
            made = decoder(8, hidden, blocks).train()
            points, code = inputs(shapes, count)
            code.requires_grad_()
            points.requires_grad_(plain)  # gradients of points are what the fused step does not give
            logits = made(points, code)
            assert ("Fused" in str(logits.grad_fn.next_functions)) != plain  # type: ignore[union-attr]
            functional.binary_cross_entropy_with_logits(logits, labels, reduction="none").sum(-1).mean().backward()
            gradients = {name: value.grad for name, value in made.named_parameters()} | {"code": code.grad}
            results.append((logits.detach(), gradients, dict(made.named_buffers())))
    finally:
        fused.BLOCK_ROWS = before
    ours, theirs = results
    torch.testing.assert_close(ours[0], theirs[0], rtol=1e-9, atol=1e-9)
    for name, gradient in theirs[1].items():
        assert ours[1][name] is not None, name
        torch.testing.assert_close(ours[1][name], gradient, rtol=1e-7, atol=1e-7, msg=lambda m, n=name: f"{n}: {m}")
    for name, value in theirs[2].items():
        torch.testing.assert_close(ours[2][name], value, rtol=1e-9, atol=1e-9, msg=lambda m, n=name: f"{n}: {m}")


def test_bfloat16_training_step_stays_near_float32() -> None:
    results = []
    for on in (True, False):
        made = decoder(16, 64, 3).train().float()
        points, code = inputs(4, 300, 16)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=on):
            logits = made(points.float(), code.float())
        logits.square().mean().backward()
        results.append((logits.detach(), made.blocks[0].fc_0.weight.grad))
    (rough, rough_gradient), (fine, gradient) = results
    assert rough.dtype == torch.float32
    assert (rough - fine).std() < 0.02 * fine.std()
    cosine = functional.cosine_similarity(rough_gradient.flatten(), gradient.flatten(), dim=0)
    assert cosine > 0.999


def test_biases_before_a_norm_get_a_gradient_of_exactly_zero() -> None:
    made = decoder().train()
    points, code = inputs(3, 40)
    made(points, code).sum().backward()
    assert made.fc_p.bias.grad is not None
    assert torch.count_nonzero(made.fc_p.bias.grad) == 0
    assert made.fc_out.bias.grad is not None
    assert made.fc_out.bias.grad.item() == pytest.approx(3 * 40)


def test_constant_features_do_not_divide_by_zero() -> None:
    made = decoder().train()
    with torch.no_grad():
        made.fc_p.weight.zero_()
    points, code = inputs(2, 30)
    logits = made(points, code)
    logits.sum().backward()
    assert torch.isfinite(logits).all()
    assert all(torch.isfinite(p.grad).all() for p in made.parameters() if p.grad is not None)


def test_coordinates_are_not_rounded_by_autocast() -> None:
    """bfloat16 coordinates would fall together: 0.5 and 0.501 are the same number there."""
    made = decoder(8, 64, 1).eval().float()
    points = torch.tensor([[[0.5, 0.1, 0.1], [0.501, 0.1, 0.1]]])
    assert points[0, 0, 0].bfloat16() == points[0, 1, 0].bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16), exact(points):
        embedded = made.fc_p(points)
    assert not torch.equal(embedded[0, 0], embedded[0, 1])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert made.embed(points).dtype == torch.bfloat16


@pytest.mark.parametrize(("shapes", "points", "rows"), [(3, 100, 37), (9, 10, 37), (1, 1, 1), (4, 64, 64)])
def test_blocks_cover_every_row_once(shapes: int, points: int, rows: int) -> None:
    seen = torch.zeros(shapes, points)
    for block in fused.blocks_of(shapes, points, rows):
        part = block.of(seen)
        assert part.numel() == block.rows
        part += 1
    assert torch.equal(seen, torch.ones(shapes, points))
