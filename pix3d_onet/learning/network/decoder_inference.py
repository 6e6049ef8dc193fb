"""The decoder for inference on one picture, as extraction, validation and evaluation use it for millions of points.

It is several times faster than the training decoder, and equal up to rounding, for three reasons:

* conditional batch norms depend only on the picture, so they are computed once and folded into the weights;
* points are processed in chunks whose activations stay in the processor's cache;
* on a CPU, each chunk holds points that are near each other, for which mostly the same ReLUs are active. A third to a
  half of the hidden units are zero for a whole chunk, and their rows of the next product, which add nothing, are
  skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Union

import torch
from torch import Tensor, nn
from torch.nn import functional

from pix3d_onet.config import POINTS_HALF_SIDE
from pix3d_onet.learning.network.decoder import BATCH_NORM_EPS, ConditionalBatchNorm, ConditionalDecoder, ResidualBlock

CHUNK = 2048
"""Points per chunk on a CPU without spatial sorting; two buffers stay in the caches. Independent of the number of
threads, so that results are, too."""
SPATIAL_CHUNK = 1024
"""Points per chunk with spatial sorting: smaller chunks skip more units, larger ones multiply faster (best: 256 to 1024
per thread)."""
GPU_CHUNK = 1 << 18
"""Points per chunk on a GPU, which needs large products: 268 MB per buffer."""
GRADIENT_SHARE = 8
"""Factor by which chunks on a GPU are smaller for gradients, which need eleven buffers instead of two."""
MORTON_BITS = 7
"""Bits per axis of the Morton order; more have no effect."""


@dataclass(frozen=True, slots=True, eq=False)
class _ActiveUnits:
    """The units not 0 for a whole chunk: ``values`` (T, U) after the ReLU, ``units`` (U,) indices (None = all)."""

    values: Tensor
    units: Tensor | None

    def rows(self, matrix: Tensor) -> Tensor:
        """The units' rows (U, G) of ``matrix`` (F, G)."""
        return matrix if self.units is None else matrix.index_select(0, self.units)

    def columns(self, matrix: Tensor) -> Tensor:
        """The units' columns (T, U) of ``matrix`` (T, F)."""
        return matrix if self.units is None else matrix.index_select(1, self.units)

    def add_to(self, whole: Tensor, part: Tensor) -> Tensor:
        """``whole`` (T, F) with ``part`` (T, U) added to the units' columns."""
        return whole.add_(part) if self.units is None else whole.index_add_(1, self.units, part)


class FoldedDecoder:
    """A decoder for one code: points (T, 3) → logits (T,) float32; eval mode, no gradients.

    Conditional batch norms are folded into scales and shifts, those after ``fc_0`` into its weights, and the biases of
    ``fc_1`` into the next shift. ``dtype``: type of products. ``local``: points (T, 3) → (T, F), differentiable, added
    to the points' embedding.
    """

    def __init__(
        self,
        decoder: ConditionalDecoder,
        code: Tensor,
        dtype: torch.dtype = torch.float32,
        local: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.local = local
        narrow = dtype.itemsize < torch.float32.itemsize
        self.in_float32 = FoldedDecoder(decoder, code, local=local) if narrow else None
        with torch.no_grad():
            self._fold(decoder, code.detach().reshape(-1).double(), dtype)

    def _fold(self, decoder: ConditionalDecoder, code: Tensor, dtype: torch.dtype) -> None:
        def affine(norm: nn.Module) -> tuple[Tensor, Tensor]:
            assert isinstance(norm, ConditionalBatchNorm)
            gamma = functional.linear(code, norm.conv_gamma.weight.double(), norm.conv_gamma.bias.double())
            beta = functional.linear(code, norm.conv_beta.weight.double(), norm.conv_beta.bias.double())
            scale = gamma * torch.rsqrt(norm.running_var.double() + BATCH_NORM_EPS)
            return scale, beta - norm.running_mean.double() * scale

        self.device = decoder.fc_p.weight.device
        self.dtype = dtype
        self.spatial = self.device.type == "cpu" and dtype != torch.bfloat16
        bias = decoder.fc_p.bias.double()  # sum of the stream's biases, which are not added to it but to the shifts
        self.first = (
            decoder.fc_p.weight.t().float().contiguous()
        )  # (3, F); always float32: 16 bits are too few for coordinates
        self.layers = []
        for block in decoder.blocks:
            assert isinstance(block, ResidualBlock)
            scale, shift = affine(block.bn_0)
            inner_scale, inner_shift = affine(block.bn_1)
            weight = (inner_scale[:, None] * block.fc_0.weight.double()).t()
            inner_bias = inner_scale * block.fc_0.bias.double() + inner_shift
            outer = block.fc_1.weight.double().t()
            self.layers.append(
                tuple(t.contiguous().to(dtype) for t in (scale, shift + scale * bias, weight, inner_bias, outer))
            )
            bias = bias + block.fc_1.bias.double()
        scale, shift = affine(decoder.bn)
        self.last = (scale.to(dtype), (shift + scale * bias).to(dtype))
        self.out_weight = decoder.fc_out.weight.double().reshape(-1).to(dtype)  # (F,)
        self.out_bias = decoder.fc_out.bias.float().reshape(())  # a tensor: a Python number would wait for the GPU

    def __call__(self, points: Tensor) -> Tensor:
        """points (T, 3) in the normalised frame → logits (T,) float32 on the decoder's device."""
        points = points.to(self.device).float()
        result = torch.empty(points.shape[0], dtype=torch.float32, device=self.device)
        with torch.no_grad():
            for rows in self._chunks(points):
                result[rows] = self._forward(points[rows])
        return result

    def value_and_gradient(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """points (T, 3) → logits (T,) and their gradient with respect to the point (T, 3), float32, by backpropagation.

        Costs about as much as two calls; central differences need seven. Always in float32, because it is used to move
        points onto the level set.
        """
        if self.in_float32 is not None:
            return self.in_float32.value_and_gradient(points)
        points = points.to(self.device).float()
        result, gradient = torch.empty_like(points[:, 0]), torch.empty_like(points)
        with torch.no_grad():
            for rows in self._chunks(points, GRADIENT_SHARE):
                kept: list[_ActiveUnits] = []
                result[rows] = self._forward(points[rows], kept)
                gradient[rows] = self._backward(points[rows], kept)
        return result, gradient

    def _chunks(self, points: Tensor, share: int = 1) -> Iterator[Tensor | slice]:
        """Partition the points into chunks, given as rows; on a GPU ``share`` times smaller than usual."""
        if not len(points):
            return
        if self.spatial:
            yield from torch.split(morton_order(points), SPATIAL_CHUNK)
            return
        chunk = CHUNK if self.device.type == "cpu" else GPU_CHUNK // share
        for start in range(0, points.shape[0], chunk):
            yield slice(start, start + chunk)

    def _forward(self, points: Tensor, kept: list[_ActiveUnits] | None = None) -> Tensor:
        """Logits (T,) of a chunk. The active units of every ReLU are appended to ``kept``, for ``_backward``."""
        x = points @ self.first  # (T, F)
        x = (x if self.local is None else x + self.local(points)).to(self.dtype)
        for scale, shift, weight, inner_bias, outer in self.layers:
            h = torch.addcmul(shift, x, scale).relu_()
            outside = self.active_units(h)
            h = torch.addmm(inner_bias, outside.values, outside.rows(weight)).relu_()
            inside = self.active_units(h)
            x.addmm_(inside.values, inside.rows(outer))
            if kept is not None:
                kept += [outside, inside]
        h = torch.addcmul(self.last[1], x, self.last[0]).relu_()
        if kept is not None:
            kept.append(_ActiveUnits(h, None))
        return torch.mv(h, self.out_weight).float() + self.out_bias

    def _backward(self, points: Tensor, kept: list[_ActiveUnits]) -> Tensor:
        """The gradient (T, 3) at the points of a chunk, from the ``kept`` of ``_forward``, which is emptied."""
        through = kept.pop().values > 0
        g = through * (self.out_weight * self.last[0])  # (T, F)
        for scale, _, weight, _, outer in reversed(self.layers):
            inside, outside = kept.pop(), kept.pop()
            d = (g @ inside.rows(outer).t()) * (inside.values > 0)
            d = (d @ inside.columns(outside.rows(weight)).t()) * (outside.values > 0)
            g = outside.add_to(g, d * outside.columns(scale[None]))
        gradient = g.float() @ self.first.t()
        if self.local is None:
            return gradient
        with torch.enable_grad():
            moving = points.detach().requires_grad_()
            (through,) = torch.autograd.grad(self.local(moving), moving, g.float())
        return gradient + through

    def active_units(self, h: Tensor) -> _ActiveUnits:
        """h (T, F) ≥ 0 without the units that are 0 at all points (NaN is not 0)."""
        if not self.spatial:
            return _ActiveUnits(h, None)
        units = (~(h.amax(dim=0) <= 0)).nonzero()[:, 0]
        return _ActiveUnits(h.index_select(1, units), units)


class PlainDecoder:
    """As :class:`FoldedDecoder` for layer norms, which depend on the point and cannot be folded: the decoder itself.

    On a CPU it takes twice the time.
    """

    def __init__(
        self,
        decoder: ConditionalDecoder,
        code: Tensor,
        dtype: torch.dtype = torch.float32,
        local: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.decoder, self.code, self.dtype, self.local = decoder, code.detach().reshape(1, -1), dtype, local
        self.device = decoder.fc_p.weight.device

    def __call__(self, points: Tensor) -> Tensor:
        """points (T, 3) in the normalised frame → logits (T,) float32 on the decoder's device."""
        narrow = self.dtype.itemsize < torch.float32.itemsize
        chunks = torch.split(points.to(self.device).float(), CHUNK if self.device.type == "cpu" else GPU_CHUNK)
        with torch.no_grad(), torch.autocast(self.device.type, self.dtype, enabled=narrow):
            return torch.cat([self._logits(chunk) for chunk in chunks])

    def value_and_gradient(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """points (T, 3) → logits (T,) and their gradient with respect to the point (T, 3), float32."""
        chunk = CHUNK if self.device.type == "cpu" else GPU_CHUNK // GRADIENT_SHARE
        values: list[Tensor] = []
        gradients: list[Tensor] = []
        for part in torch.split(points.to(self.device).float(), chunk):
            with torch.enable_grad():
                moving = part.detach().requires_grad_()
                logits = self._logits(moving)
                gradients += torch.autograd.grad(logits.sum(), moving)
            values.append(logits.detach())
        return torch.cat(values), torch.cat(gradients)

    def _logits(self, points: Tensor) -> Tensor:
        local = None if self.local is None else self.local(points)[None]
        logits: Tensor = self.decoder(points[None], self.code, local)
        return logits[0].float()


Decoder = Union[FoldedDecoder, PlainDecoder, "FlipAveraged"]
"""A decoder for the code of one picture."""


@dataclass(frozen=True, slots=True, eq=False)
class FlipAveraged:
    """The mean of the logits of a picture's decoder, and of its mirror image's decoder at the mirrored points.

    The mirror image shows the mirrored shape, so both predict the same; their errors differ.
    """

    decoder: Decoder
    flipped: Decoder

    def __call__(self, points: Tensor) -> Tensor:
        """points (T, 3) in the normalised frame → logits (T,) float32 on the decoder's device."""
        return (self.decoder(points) + self.flipped(reflected(points))) / 2

    def value_and_gradient(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """points (T, 3) → logits (T,) and their gradient with respect to the point (T, 3), float32."""
        value, gradient = self.decoder.value_and_gradient(points)
        other, turned = self.flipped.value_and_gradient(reflected(points))
        return (value + other) / 2, (gradient + reflected(turned)) / 2


def reflected(points: Tensor) -> Tensor:
    """(…, 3) points or gradients mirrored in the plane x = 0 of the normalised frame."""
    return torch.cat([-points[..., :1], points[..., 1:]], dim=-1)


def morton_order(points: Tensor) -> Tensor:
    """(T, 3) → (T,) int64: indices that sort the points along a Morton curve, so that neighbours are close together.

    Morton, IBM report 1966: the bits of the three coordinates are interleaved. Coordinates are clamped to the box.
    """
    cells = 1 << MORTON_BITS
    index = ((points + POINTS_HALF_SIDE) * (cells / (2 * POINTS_HALF_SIDE))).nan_to_num(0).clamp_(0, cells - 1)
    spread = index.to(torch.int64)  # two zero bits between the bits of each coordinate
    for shift, mask in ((8, 0x00F00F), (4, 0x0C30C3), (2, 0x249249)):
        spread = (spread | spread << shift) & mask
    return torch.argsort(spread[:, 0] << 2 | spread[:, 1] << 1 | spread[:, 2], stable=True)
