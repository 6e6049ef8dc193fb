"""The whole decoder as one autograd function, with blocks that fit into CPU caches.

Training on a CPU is limited by memory bandwidth: layer by layer, the decoder reads and writes each (B, T, F) activation
a dozen times. Here rows are processed in blocks that stay in the second-level cache, with forward and backward written
by hand. Normalised and rectified activations are recomputed instead of stored, which also halves the memory. Results
equal the plain decoder's up to rounding. Statistics, normalisation and sums are in float32 (float64 for float64), also
if products are in bfloat16.

A bias before a batch norm has no effect in training, because the mean is subtracted. Such biases are omitted here and
get a gradient of exactly zero; rounding noise would be scaled up to full steps by Adam. They only enter the running
means.

Derivation of the batch norm's gradient: Ioffe & Szegedy, ICML 2015, section 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pix3d_onet.learning.distributed import add_up, summed_count

BLOCK_ROWS = 1024
"""Rows per block and thread: the five buffers of a block with 256 features fit into 2 MB."""
VARIANCE_FLOOR = 1e-12
"""Keeps PyTorch's inverse deviation finite for a constant channel; subtracted again from the variance."""


@dataclass(frozen=True, slots=True)
class Block:
    """The points ``start`` to ``stop`` of the shapes ``first`` to ``last`` (ends excluded): contiguous in (B, T, F)."""

    first: int
    last: int
    start: int
    stop: int

    @property
    def rows(self) -> int:
        """Number of points."""
        return (self.last - self.first) * (self.stop - self.start)

    def of(self, tensor: Tensor) -> Tensor:
        """(n, t, …) view of a (B, T, …) tensor."""
        return tensor[self.first : self.last, self.start : self.stop]


def blocks_of(shapes: int, points: int, rows: int) -> list[Block]:
    """Cut (shapes, points) into contiguous blocks of about ``rows`` rows: part of one shape, or several shapes."""
    if points > rows:
        parts = -(-points // rows)
        edges = [points * i // parts for i in range(parts + 1)]
        return [Block(b, b + 1, edges[i], edges[i + 1]) for b in range(shapes) for i in range(parts)]
    group = max(1, rows // points)
    return [Block(b, min(b + group, shapes), 0, points) for b in range(0, shapes, group)]


class _Statistics:
    """Running mean and variance over blocks (Chan, Golub & LeVeque 1979)."""

    def __init__(self, features: int) -> None:
        self.count = 0
        self.mean = torch.zeros(features, dtype=torch.float64)
        self.spread = torch.zeros(features, dtype=torch.float64)

    def add(self, rows: Tensor) -> None:
        """Include the rows (R, F) of a block."""
        _, mean, inverse = torch.native_batch_norm(rows, None, None, None, None, True, 0.0, VARIANCE_FLOOR)
        mean, spread = mean.double(), (inverse.double() ** -2 - VARIANCE_FLOOR).clamp_(min=0) * len(rows)
        total = self.count + len(rows)
        delta = mean - self.mean
        self.mean += delta * (len(rows) / total)
        self.spread += spread + delta * delta * (self.count * len(rows) / total)
        self.count = total

    def result(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Mean and biased variance (F,) over all blocks of all processes."""
        total = summed_count(self.count)
        mean = add_up(self.mean * self.count) / total
        delta = self.mean - mean
        spread = add_up(self.spread + delta * delta * self.count)
        return mean.to(dtype), (spread / total).to(dtype)


class _Buffers:
    """Scratch memory for one block: two buffers in the precision of sums, two in that of products."""

    def __init__(self, blocks: list[Block], features: int, wide: torch.dtype, narrow: torch.dtype) -> None:
        shape = (max(block.rows for block in blocks), features)
        self.wide = [torch.empty(shape, dtype=wide) for _ in range(2)]
        self.narrow = [torch.empty(shape, dtype=narrow) for _ in range(2)]
        self._views: dict[torch.Size, tuple[Tensor, Tensor, Tensor, Tensor]] = {}

    def views(self, block: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The buffers with the shape (n, t, F) of ``block``."""
        found = self._views.get(block.shape)
        if found is None:
            rows = block.shape[0] * block.shape[1]
            f, g, h, k = (buffer[:rows].view(block.shape) for buffer in (*self.wide, *self.narrow))
            found = self._views[block.shape] = (f, g, h, k)
        return found


def _flat(block: Tensor) -> Tensor:
    return block.reshape(-1, block.shape[-1])


def _activate(z: Tensor, scale: Tensor, shift: Tensor, wide: tuple[Tensor, Tensor], out: Tensor) -> None:
    """out = relu(z · scale + shift), computed in float32; wide[0] is left with z in float32."""
    f, g = wide
    f.copy_(z)
    torch.addcmul(shift, f, scale, out=g)
    out.copy_(g.clamp_(min=0))


class FusedDecoder(torch.autograd.Function):
    """points (B, T, 3) → logits (B, T), and the batch's mean and variance at every norm, (L, F) each, without biases.

    ``local`` (B, T, F) or None: added after the first layer; ``first_weight`` (F, 3); ``gamma``, ``beta`` (L, B, F);
    ``weights`` (L-1, F, F); ``last_weight`` (F,), ``last_bias`` (). L = 2 · blocks + 1 norms: bn_0 and bn_1 of each
    block, then the final one. ``dtype``: type of products. All inputs but the points get gradients.
    """

    @staticmethod
    def forward(
        ctx: Any,
        points: Tensor,
        local: Tensor | None,
        first_weight: Tensor,
        gamma: Tensor,
        beta: Tensor,
        weights: Tensor,
        last_weight: Tensor,
        last_bias: Tensor,
        dtype: torch.dtype,
        eps: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Logits, means and variances, see the class."""
        shapes, count, _ = points.shape
        features = first_weight.shape[0]
        wide = gamma.dtype
        blocks = blocks_of(shapes, count, BLOCK_ROWS * torch.get_num_threads())
        narrow_w = weights.to(dtype).transpose(1, 2).contiguous()  # (L-1, in, out)
        kept = torch.empty((len(gamma), shapes, count, features), dtype=dtype)  # the input of every norm
        means, variances = (
            torch.empty((len(gamma), features), dtype=wide),
            torch.empty((len(gamma), features), dtype=wide),
        )
        scratch = _Buffers(blocks, features, wide, dtype)
        statistics = _Statistics(features)
        for block in blocks:
            z = block.of(kept[0])
            f = scratch.views(z)[0]
            torch.mm(_flat(block.of(points)), first_weight.t(), out=_flat(f))
            if local is not None:
                f += block.of(local)
            z.copy_(f)
            statistics.add(_flat(z))
        for layer in range(len(gamma) - 1):
            means[layer], variances[layer] = statistics.result(wide)
            scale, shift = _affine(gamma[layer], beta[layer], means[layer], variances[layer], eps)
            statistics = _Statistics(features)
            for block in blocks:
                z, out = block.of(kept[layer]), block.of(kept[layer + 1])
                f, g, h, _ = scratch.views(z)
                rows = slice(block.first, block.last)
                _activate(z, scale[rows, None], shift[rows, None], (f, g), h)
                if layer % 2:  # fc_1 adds to the residual stream
                    torch.addmm(_flat(block.of(kept[layer - 1])), _flat(h), narrow_w[layer], out=_flat(out))
                else:
                    torch.mm(_flat(h), narrow_w[layer], out=_flat(out))
                statistics.add(_flat(out))
        means[-1], variances[-1] = statistics.result(wide)
        scale, shift = _affine(gamma[-1], beta[-1], means[-1], variances[-1], eps)
        logits = torch.empty((shapes, count), dtype=wide)
        for block in blocks:
            f, g, _, _ = scratch.views(block.of(kept[-1]))
            rows = slice(block.first, block.last)
            f.copy_(block.of(kept[-1]))
            torch.addcmul(shift[rows, None], f, scale[rows, None], out=g)
            block.of(logits).copy_(torch.mv(_flat(g.clamp_(min=0)), last_weight).view(f.shape[:2]))
        logits += last_bias
        ctx.save_for_backward(points, first_weight, gamma, beta, weights, last_weight, kept, means, variances)
        ctx.eps = eps
        ctx.has_local = local is not None
        ctx.mark_non_differentiable(means, variances)
        return logits, means, variances

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        """Gradients in the order of ``forward``'s arguments."""
        return _Backward(ctx, grads[0]).run()


def _affine(gamma: Tensor, beta: Tensor, mean: Tensor, var: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """(B, F) scale and shift of the normalisation."""
    scale = gamma * torch.rsqrt(var + eps)
    return scale, beta - mean * scale


class _Backward:
    """The gradients, from the last layer to the first, with one pass over the blocks per layer."""

    def __init__(self, ctx: Any, upstream: Tensor) -> None:
        (
            self.points,
            self.first_weight,
            self.gamma,
            self.beta,
            weights,
            self.last_weight,
            self.kept,
            self.mean,
            self.var,
        ) = ctx.saved_tensors
        self.eps = ctx.eps
        self.upstream = upstream.contiguous()
        self.dtype, self.wide = self.kept.dtype, self.gamma.dtype
        shapes, count = upstream.shape
        self.blocks = blocks_of(shapes, count, BLOCK_ROWS * torch.get_num_threads())
        self.weights = weights.to(self.dtype)  # (L-1, out, in)
        self.scratch = _Buffers(self.blocks, self.kept.shape[-1], self.wide, self.dtype)
        self.through = torch.empty_like(self.kept[0])  # gradient at the input of the current ReLU
        self.stream = torch.empty_like(self.kept[0])  # gradient of the residual stream
        self.d_gamma, self.d_beta = torch.zeros_like(self.gamma), torch.zeros_like(self.beta)
        self.d_weights = torch.zeros_like(weights)
        self.d_last = torch.zeros_like(self.last_weight)
        self.d_first = torch.zeros_like(self.first_weight)
        self.d_local = torch.empty(self.stream.shape, dtype=self.wide) if ctx.has_local else None
        self.partial = torch.empty(weights.shape[1:], dtype=self.wide)

    def run(self) -> Any:
        """Gradients in the order of ``forward``'s arguments."""
        layers = len(self.gamma)
        self._last()
        for layer in range(layers - 2, -1, -1):
            self._layer(layer, coefficients=self._norm_coefficients(layer + 1))
        self._first(self._norm_coefficients(0))
        d_last_bias = self.upstream.sum().to(self.wide)
        return (
            None, self.d_local, self.d_first, self.d_gamma, self.d_beta, self.d_weights, self.d_last, d_last_bias,
            None, None,
        )  # fmt: skip

    def _last(self) -> None:
        """Gradients of fc_out and the last ReLU."""
        scale, shift = self._scale_shift(-1)
        for block in self.blocks:
            z, through = block.of(self.kept[-1]), block.of(self.through)
            f, g, h, k = self.scratch.views(z)
            self._activate(block, z, scale, shift)
            up = block.of(self.upstream).reshape(-1)
            self.d_last += torch.mv(_flat(g).t(), up)
            torch.mul(up[:, None], self.last_weight, out=_flat(g))
            k.copy_(g)
            torch.ops.aten.threshold_backward.grad_input(k, h, 0, grad_input=through)
            self._sums(block, -1, through, f, g)

    def _layer(self, layer: int, coefficients: tuple[Tensor, Tensor, Tensor]) -> None:
        """Gradients of norm ``layer + 1`` (with its ``coefficients``), and of the linear layer and ReLU before it."""
        scale, shift = self._scale_shift(layer)
        fc_1 = layer % 2 == 1
        top = layer == len(self.gamma) - 2
        for block in self.blocks:
            z, through = block.of(self.kept[layer]), block.of(self.through)
            f, g, h, k = self.scratch.views(z)
            down = block.of(self.stream) if fc_1 else k
            self._norm_input_gradient(block, layer + 1, coefficients, down, accumulate=fc_1 and not top)
            self._activate(block, z, scale, shift)  # h; z in f
            self.partial.copy_(torch.mm(_flat(down).t(), _flat(h)))
            self.d_weights[layer] += self.partial
            flowing = torch.mm(_flat(down), self.weights[layer]).view(h.shape)
            torch.ops.aten.threshold_backward.grad_input(flowing, h, 0, grad_input=through)
            self._sums(block, layer, through, f, g)

    def _first(self, coefficients: tuple[Tensor, Tensor, Tensor]) -> None:
        """Gradients of the first norm, fc_p and ``local``."""
        for block in self.blocks:
            stream = block.of(self.stream)
            f = self.scratch.views(stream)[0]
            self._norm_input_gradient(block, 0, coefficients, stream, accumulate=True)
            f.copy_(stream)
            if self.d_local is not None:
                block.of(self.d_local).copy_(f)
            self.d_first += torch.mm(_flat(f).t(), _flat(block.of(self.points)))

    def _scale_shift(self, layer: int) -> tuple[Tensor, Tensor]:
        return _affine(self.gamma[layer], self.beta[layer], self.mean[layer], self.var[layer], self.eps)

    def _activate(self, block: Block, z: Tensor, scale: Tensor, shift: Tensor) -> None:
        f, g, h, _ = self.scratch.views(z)
        rows = slice(block.first, block.last)
        _activate(z, scale[rows, None], shift[rows, None], (f, g), h)

    def _sums(self, block: Block, layer: int, through: Tensor, z: Tensor, buffer: Tensor) -> None:
        """Add Σ g to d_beta and Σ g·z to d_gamma, which ``_norm_coefficients`` completes; z in float32."""
        rows = slice(block.first, block.last)
        buffer.copy_(through)
        self.d_beta[layer, rows] += buffer.sum(1)
        self.d_gamma[layer, rows] += buffer.mul_(z).sum(1)

    def _norm_coefficients(self, layer: int) -> tuple[Tensor, Tensor, Tensor]:
        """Scale (B, F), k (F,) and q (F,) of a norm's input gradient dz = g·scale + z·k + q. Completes d_gamma."""
        inverse = torch.rsqrt(self.var[layer] + self.eps)
        self.d_gamma[layer] = (self.d_gamma[layer] - self.mean[layer] * self.d_beta[layer]) * inverse
        total = summed_count(self.upstream.numel())
        sums = torch.stack(
            [(self.gamma[layer] * self.d_beta[layer]).sum(0), (self.gamma[layer] * self.d_gamma[layer]).sum(0)]
        )
        level, along = add_up(sums) / total
        k = -inverse * inverse * along
        q = -self.mean[layer] * k - inverse * level
        return (self.gamma[layer] * inverse).to(self.dtype), k.to(self.dtype), q.to(self.dtype)

    def _norm_input_gradient(
        self, block: Block, layer: int, coefficients: tuple[Tensor, Tensor, Tensor], out: Tensor, *, accumulate: bool
    ) -> None:
        """Write the gradient of norm ``layer``'s input to ``out``, or add it with ``accumulate``.

        The precision of products suffices: the terms with k and q, which remove the gradient's mean and its component
        along z, are small compared with g.
        """
        scale, k, q = coefficients
        if accumulate:
            out.addcmul_(block.of(self.kept[layer]), k).add_(q)
        else:
            torch.addcmul(q, block.of(self.kept[layer]), k, out=out)
        out.addcmul_(block.of(self.through), scale[block.first : block.last, None])
