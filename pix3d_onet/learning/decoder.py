"""The decoder with conditional batch normalisation: points and a code → logits of occupancy.

Mescheder et al., CVPR 2019, supplementary 1.2; conditional batch norm after de Vries et al., NeurIPS 2017. The
parameters are the original's; their layout is (rows of points) × (features), which multiplies twice as fast as
the original's (features) × (points) and lets the normalisation, its conditioning and the ReLU run as one pass.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from pix3d_onet.learning.normalise import conditional_norm_relu

BATCH_NORM_EPS = 1e-5
"""Added to the variance (PyTorch's and the original's constant)."""
BATCH_NORM_MOMENTUM = 0.1
"""Share of the newest batch in the running statistics (likewise)."""
FOLD_CHUNK = 4096
"""Points that a folded decoder works on at once: its two buffers stay in the cache."""


class ConditionalBatchNorm(nn.Module):
    """``gamma(c) · (x - mean) / deviation + beta(c)``, gamma and beta linear in the code; then ReLU.

    x (B, T, F), code (B, C) → (B, T, F). Statistics run over all points of all shapes in the batch.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, c_dim: int, features: int) -> None:
        super().__init__()
        self.conv_gamma = nn.Linear(c_dim, features)
        self.conv_beta = nn.Linear(c_dim, features)
        for layer, bias in ((self.conv_gamma, 1.0), (self.conv_beta, 0.0)):
            nn.init.zeros_(layer.weight)
            nn.init.constant_(layer.bias, bias)
        self.register_buffer("running_mean", torch.zeros(features))
        self.register_buffer("running_var", torch.ones(features))

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        """x (B, T, F), code (B, C) → relu of the normalised x, (B, T, F)."""
        gamma, beta = self.conv_gamma(code).float(), self.conv_beta(code).float()  # (B, F) each
        if not self.training:
            scale, shift = self.affine(gamma, beta)
            return functional.relu(torch.addcmul(shift[:, None].to(x.dtype), x, scale[:, None].to(x.dtype)))
        return conditional_norm_relu(
            x, gamma, beta, self.running_mean, self.running_var, momentum=BATCH_NORM_MOMENTUM, eps=BATCH_NORM_EPS
        )

    def affine(self, gamma: Tensor, beta: Tensor) -> tuple[Tensor, Tensor]:
        """The eval-mode normalisation as ``x · scale + shift``; (…, F) each."""
        scale = gamma * torch.rsqrt(self.running_var + BATCH_NORM_EPS)
        return scale, beta - self.running_mean * scale


class ResidualBlock(nn.Module):
    """``x + fc_1(norm(fc_0(norm(x))))``, pre-activation (He et al., ECCV 2016); x (B, T, F)."""

    def __init__(self, c_dim: int, features: int) -> None:
        super().__init__()
        self.bn_0 = ConditionalBatchNorm(c_dim, features)
        self.fc_0 = nn.Linear(features, features)
        self.bn_1 = ConditionalBatchNorm(c_dim, features)
        self.fc_1 = nn.Linear(features, features)
        nn.init.zeros_(self.fc_1.weight)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        """x (B, T, F), code (B, C) → (B, T, F)."""
        inner = self.fc_0(self.bn_0(x, code))
        result: Tensor = x + self.fc_1(self.bn_1(inner, code))
        return result


class ConditionalDecoder(nn.Module):
    """points (B, T, 3) in the normalised frame and code (B, C) → logits (B, T)."""

    def __init__(self, c_dim: int = 256, hidden_dim: int = 256, blocks: int = 5) -> None:
        super().__init__()
        self.fc_p = nn.Linear(3, hidden_dim)
        self.blocks = nn.ModuleList(ResidualBlock(c_dim, hidden_dim) for _ in range(blocks))
        self.bn = ConditionalBatchNorm(c_dim, hidden_dim)
        self.fc_out = nn.Linear(hidden_dim, 1)

    def forward(self, points: Tensor, code: Tensor) -> Tensor:
        """points (B, T, 3), code (B, C) → logits (B, T)."""
        x = self.embed(points)  # (B, T, F)
        for block in self.blocks:
            x = block(x, code)
        logits: Tensor = self.fc_out(self.bn(x, code))
        return logits.squeeze(-1)

    def embed(self, points: Tensor) -> Tensor:
        """``fc_p`` in float32 whatever autocast says: bfloat16 would round coordinates to half a voxel at 256³."""
        kind = points.device.type
        if kind not in ("cpu", "cuda") or not torch.is_autocast_enabled(kind):
            plain: Tensor = self.fc_p(points)
            return plain
        with torch.autocast(kind, enabled=False):
            x: Tensor = self.fc_p(points.float())
        return x.to(torch.get_autocast_dtype(kind))

    def norms(self) -> list[ConditionalBatchNorm]:
        """Every conditional batch norm, in the order of use."""
        return [module for module in self.modules() if isinstance(module, ConditionalBatchNorm)]


class FoldedDecoder:
    """A decoder specialised to one code: points (T, 3) → logits (T,) in float32, eval mode, no gradients.

    Every conditional batch norm is folded once into a scale and a shift, those after ``fc_0`` into its weights,
    and the biases of ``fc_1`` into the next shift. Equal to the unfolded decoder up to rounding.
    """

    def __init__(self, decoder: ConditionalDecoder, code: Tensor, dtype: torch.dtype = torch.float32) -> None:
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
        self.out_bias = float(decoder.fc_out.bias.double())

    def __call__(self, points: Tensor) -> Tensor:
        """points (T, 3) in the normalised frame → logits (T,) float32 on the decoder's device."""
        points = points.to(self.device)
        result = torch.empty(points.shape[0], dtype=torch.float32, device=self.device)
        with torch.no_grad():
            for start in range(0, points.shape[0], FOLD_CHUNK):
                block = points[start : start + FOLD_CHUNK].float()
                result[start : start + FOLD_CHUNK] = self._chunk(block)
        return result

    def _chunk(self, points: Tensor) -> Tensor:
        x = (points @ self.first).to(self.dtype)  # (T, F)
        for scale, shift, weight, inner_bias, outer in self.layers:
            h = torch.addcmul(shift, x, scale).relu_()
            h = torch.addmm(inner_bias, h, weight).relu_()
            x.addmm_(h, outer)
        h = torch.addcmul(self.last[1], x, self.last[0]).relu_()
        return torch.mv(h, self.out_weight).float() + self.out_bias
