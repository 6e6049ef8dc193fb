"""A decoder folded for one picture: what extraction, validation and evaluation ask millions of points of.

Three things make it several times faster than the decoder as it is trained, and change nothing but the rounding:

* every conditional batch norm depends on the picture alone: it is computed once and folded into the weights;
* points are taken in chunks whose activations stay in the processor's cache;
* on a CPU the chunks are *places*: points near each other switch off the same ReLUs, so a third to a half of the
  units are zero for every point of a chunk, and their rows of the next product are left out. A product with zeros
  adds nothing: the answer is the same sum with fewer terms.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from pix3d_onet.config import POINTS_HALF_SIDE
from pix3d_onet.learning.network.decoder import BATCH_NORM_EPS, ConditionalBatchNorm, ConditionalDecoder, ResidualBlock

CHUNK = 2048
"""Points worked on at once on a CPU where places are not told apart: their two buffers stay in the caches. Whatever the
threads, as for places: results must not depend on how many there are."""
PLACE_CHUNK = 1024
"""Points of one place: fewer leave out more units, more multiply faster (best: 256 to 1024 for each thread)."""
GPU_CHUNK = 1 << 18
"""Points at once on a GPU, which wants large products: 268 MB a buffer."""
SLOPE_SHARE = 8
"""A gradient keeps eleven buffers instead of two, so on a GPU fewer points are taken at once."""
PLACE_BITS = 7
"""Places are cells of an octree this deep over the box: finer ones change nothing."""


@dataclass(frozen=True, slots=True, eq=False)
class _Awake:
    """A chunk's units that are not 0 everywhere: ``values`` (T, U) after the ReLU, ``units`` (U,) (None = all)."""

    values: Tensor
    units: Tensor | None

    def rows(self, matrix: Tensor) -> Tensor:
        """The rows (U, G) of (F, G) ``matrix`` that belong to the units."""
        return matrix if self.units is None else matrix.index_select(0, self.units)

    def columns(self, matrix: Tensor) -> Tensor:
        """The columns (T, U) of (T, F) ``matrix`` that belong to the units."""
        return matrix if self.units is None else matrix.index_select(1, self.units)

    def add_to(self, whole: Tensor, part: Tensor) -> Tensor:
        """``whole`` (T, F) with ``part`` (T, U) added to the units' columns."""
        return whole.add_(part) if self.units is None else whole.index_add_(1, self.units, part)


class FoldedDecoder:
    """A decoder specialised to one code: points (T, 3) → logits (T,) in float32, eval mode, no gradients.

    Every conditional batch norm is folded once into a scale and a shift, those after ``fc_0`` into its weights,
    and the biases of ``fc_1`` into the next shift. Equal to the unfolded decoder up to rounding.
    """

    def __init__(self, decoder: ConditionalDecoder, code: Tensor, dtype: torch.dtype = torch.float32) -> None:
        self.exact = FoldedDecoder(decoder, code) if dtype.itemsize < torch.float32.itemsize else None
        with torch.no_grad():
            self._fold(decoder, code.detach().reshape(-1).double(), dtype)

    def _fold(self, decoder: ConditionalDecoder, code: Tensor, dtype: torch.dtype) -> None:
        def affine(norm: ConditionalBatchNorm) -> tuple[Tensor, Tensor]:
            gamma = functional.linear(code, norm.conv_gamma.weight.double(), norm.conv_gamma.bias.double())
            beta = functional.linear(code, norm.conv_beta.weight.double(), norm.conv_beta.bias.double())
            scale = gamma * torch.rsqrt(norm.running_var.double() + BATCH_NORM_EPS)
            return scale, beta - norm.running_mean.double() * scale

        self.device = decoder.fc_p.weight.device
        self.dtype = dtype
        self.by_place = self.device.type == "cpu" and dtype != torch.bfloat16
        bias = decoder.fc_p.bias.double()  # what the residual stream is short of: biases are added in the shifts
        self.first = decoder.fc_p.weight.t().float().contiguous()  # (3, F); coordinates are never rounded to 16 bits
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
        self.out_bias = decoder.fc_out.bias.float().reshape(())  # on the device: to fetch it would wait for a GPU

    def __call__(self, points: Tensor) -> Tensor:
        """points (T, 3) in the normalised frame → logits (T,) float32 on the decoder's device."""
        points = points.to(self.device).float()
        result = torch.empty(points.shape[0], dtype=torch.float32, device=self.device)
        with torch.no_grad():
            for rows in self._chunks(points):
                result[rows] = self._forward(points[rows])
        return result

    def slope(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """points (T, 3) → logits (T,) and their gradient by the point (T, 3), float32: the chain rule, backwards.

        Costs about two calls; central differences cost seven. In float32 whatever the products of a call are in: what
        is asked for a gradient wants to lie exactly on the level set.
        """
        if self.exact is not None:
            return self.exact.slope(points)
        points = points.to(self.device).float()
        result, slope = torch.empty_like(points[:, 0]), torch.empty_like(points)
        with torch.no_grad():
            for rows in self._chunks(points, SLOPE_SHARE):
                kept: list[_Awake] = []
                result[rows] = self._forward(points[rows], kept)
                slope[rows] = self._backward(kept)
        return result, slope

    def _chunks(self, points: Tensor, share: int = 1) -> Iterator[Tensor | slice]:
        """Rows to be worked on together, each of the points once; on a GPU a ``share``-th of what is usual."""
        if not len(points):
            return
        if self.by_place:
            yield from torch.split(by_place(points), PLACE_CHUNK)
            return
        chunk = CHUNK if self.device.type == "cpu" else GPU_CHUNK // share
        for start in range(0, points.shape[0], chunk):
            yield slice(start, start + chunk)

    def _forward(self, points: Tensor, kept: list[_Awake] | None = None) -> Tensor:
        """Logits (T,) of a chunk; appends what ``_backward`` needs of every ReLU to ``kept``, where that is asked."""
        x = (points @ self.first).to(self.dtype)  # (T, F)
        for scale, shift, weight, inner_bias, outer in self.layers:
            h = torch.addcmul(shift, x, scale).relu_()
            outside = self.awake(h)
            h = torch.addmm(inner_bias, outside.values, outside.rows(weight)).relu_()
            inside = self.awake(h)
            x.addmm_(inside.values, inside.rows(outer))
            if kept is not None:
                kept += [outside, inside]
        h = torch.addcmul(self.last[1], x, self.last[0]).relu_()
        if kept is not None:
            kept.append(_Awake(h, None))
        return torch.mv(h, self.out_weight).float() + self.out_bias

    def _backward(self, kept: list[_Awake]) -> Tensor:
        """The gradient (T, 3) of the chunk whose ReLUs ``kept`` holds; empties it."""
        through = kept.pop().values > 0
        g = through * (self.out_weight * self.last[0])  # (T, F)
        for scale, _, weight, _, outer in reversed(self.layers):
            inside, outside = kept.pop(), kept.pop()
            d = (g @ inside.rows(outer).t()) * (inside.values > 0)
            d = (d @ inside.columns(outside.rows(weight)).t()) * (outside.values > 0)
            g = outside.add_to(g, d * outside.columns(scale[None]))
        return g.float() @ self.first.t()

    def awake(self, h: Tensor) -> _Awake:
        """h (T, F) ≥ 0 without the units that are 0 at all points; NaN is not 0."""
        if not self.by_place:
            return _Awake(h, None)
        units = (~(h.amax(dim=0) <= 0)).nonzero()[:, 0]
        return _Awake(h.index_select(1, units), units)


def by_place(points: Tensor) -> Tensor:
    """(T, 3) → their order (T,) int64 along the Morton curve of the box's octree: neighbours come close together.

    Morton, IBM report 1966: the bits of the three coordinates interleaved. Points beyond the box count to its rim.
    """
    cells = 1 << PLACE_BITS
    index = ((points + POINTS_HALF_SIDE) * (cells / (2 * POINTS_HALF_SIDE))).nan_to_num(0).clamp_(0, cells - 1)
    spread = index.to(torch.int64)  # each coordinate's bits are moved three apart
    for shift, mask in ((8, 0x00F00F), (4, 0x0C30C3), (2, 0x249249)):
        spread = (spread | spread << shift) & mask
    return torch.argsort(spread[:, 0] << 2 | spread[:, 1] << 1 | spread[:, 2], stable=True)
