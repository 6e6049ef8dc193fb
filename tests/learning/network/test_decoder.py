"""The decoder as it is trained, against the formula written out in float64; folded: ``test_folded.py``."""

from __future__ import annotations

import pytest
import torch
from helpers.decoders import decoder, inputs, reference
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from pix3d_onet.learning.network import decoder_cpu
from pix3d_onet.learning.network.decoder import without_autocast

EXACT = 1e-12
"""Relative to values of order one, in float64."""


@pytest.mark.parametrize("training", [True, False])
def test_equals_the_reference_in_float64(training: bool) -> None:
    made = decoder().train(training)
    points, code = inputs(3, 50)
    expected = reference(made, points, code)
    torch.testing.assert_close(made(points, code), expected, rtol=EXACT, atol=EXACT)


@settings(max_examples=25, deadline=None)
@given(
    with_local=st.booleans(),
    shapes=st.integers(1, 5),
    count=st.integers(2, 60),
    rows=st.integers(1, 80),
    hidden=st.sampled_from([1, 3, 16]),
    blocks=st.integers(1, 3),
)
def test_fused_step_has_the_reference_s_value_gradients_and_statistics(
    with_local: bool, shapes: int, count: int, rows: int, hidden: int, blocks: int
) -> None:
    """Any cut into blocks: logits, the gradient of every parameter, of code and local term, running statistics."""
    labels = (torch.rand(shapes, count, generator=torch.Generator().manual_seed(5)) > 0.5).double()
    results = []
    before = decoder_cpu.BLOCK_ROWS
    decoder_cpu.BLOCK_ROWS = rows
    try:
        for plain in (False, True):
            made = decoder(8, hidden, blocks).train()
            points, code = inputs(shapes, count)
            code.requires_grad_()
            points.requires_grad_(plain)  # gradients of points are what the fused step does not give
            local = torch.randn(shapes, count, hidden, dtype=torch.float64, requires_grad=True) if with_local else None
            logits = made(points, code, local)
            assert ("Fused" in str(logits.grad_fn.next_functions)) != plain  # type: ignore[union-attr]
            functional.binary_cross_entropy_with_logits(logits, labels, reduction="none").sum(-1).mean().backward()
            gradients = {name: value.grad for name, value in made.named_parameters()} | {"code": code.grad}
            gradients |= {} if local is None else {"local": local.grad}
            results.append((logits.detach(), gradients, dict(made.named_buffers())))
    finally:
        decoder_cpu.BLOCK_ROWS = before
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
        local = torch.randn(4, 300, 64, requires_grad=True)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=on):
            logits = made(points.float(), code.float(), local)
        logits.square().mean().backward()
        results.append((logits.detach(), made.blocks[0].fc_0.weight.grad, local.grad))
    (rough, *rough_gradients), (fine, *gradients) = results
    assert rough.dtype == torch.float32
    assert (rough - fine).std() < 0.02 * fine.std()
    for ours, theirs, least in zip(rough_gradients, gradients, (0.999, 0.98), strict=True):  # a sum, single points
        assert functional.cosine_similarity(ours.flatten(), theirs.flatten(), dim=0) > least


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
    with torch.autocast("cpu", dtype=torch.bfloat16), without_autocast(points):
        embedded = made.fc_p(points)
    assert not torch.equal(embedded[0, 0], embedded[0, 1])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert made.embed(points).dtype == torch.bfloat16


@pytest.mark.parametrize(("shapes", "points", "rows"), [(3, 100, 37), (9, 10, 37), (1, 1, 1), (4, 64, 64)])
def test_blocks_cover_every_row_once(shapes: int, points: int, rows: int) -> None:
    seen = torch.zeros(shapes, points)
    for block in decoder_cpu.blocks_of(shapes, points, rows):
        part = block.of(seen)
        assert part.numel() == block.rows
        part += 1
    assert torch.equal(seen, torch.ones(shapes, points))
