"""The decoder with conditional normalisation: points and a code → occupancy logits.

Mescheder et al., CVPR 2019, supplementary 1.2; conditional batch norm: de Vries et al., NeurIPS 2017. The parameters
are those of the original. Activations are (points, features) instead of the original's (features, points): products are
twice as fast, and normalisation, conditioning and ReLU are one pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from pix3d_onet.config import Norm
from pix3d_onet.learning import distributed
from pix3d_onet.learning.network.decoder_cpu import FusedDecoder

BATCH_NORM_EPS = 1e-5
"""Added to the variance (default of PyTorch and the original)."""
BATCH_NORM_MOMENTUM = 0.1
"""Weight of the newest batch in the running statistics (default of PyTorch and the original)."""


def without_autocast(tensor: Tensor) -> AbstractContextManager[Any]:
    """Switch autocast off on the tensor's device, if it is on."""
    kind = tensor.device.type
    if kind in ("cpu", "cuda") and torch.is_autocast_enabled(kind):
        return torch.autocast(kind, enabled=False)
    return nullcontext()


def product_dtype(tensor: Tensor) -> torch.dtype:
    """Type of products on the tensor's device under autocast; the tensor's own type without autocast."""
    kind = tensor.device.type
    if kind in ("cpu", "cuda") and torch.is_autocast_enabled(kind):
        return torch.get_autocast_dtype(kind)
    return tensor.dtype


def conditional_norm_relu(
    x: Tensor, gamma: Tensor, beta: Tensor, running_mean: Tensor, running_var: Tensor, *, momentum: float, eps: float
) -> Tensor:
    """Training mode: relu(gamma · (x - mean) / sqrt(var + eps) + beta), statistics of x (B, T, F) over B, T and all
    processes.

    gamma, beta (B, F) float32; the running statistics (F,) are updated in place as PyTorch's BatchNorm does
    (variance unbiased). Returns (B, T, F) in x's dtype.
    """
    rows = x.flatten(0, 1)
    if distributed.active():
        normed = distributed.standardise(rows, (0,), running_mean, running_var, momentum=momentum, eps=eps)
    else:
        normed = functional.batch_norm(rows, running_mean, running_var, None, None, True, momentum, eps)
    normed = normed.view_as(x)
    return functional.relu(torch.addcmul(beta[:, None].to(x.dtype), normed, gamma[:, None].to(x.dtype)))


class ConditionalNorm(nn.Module):
    """ReLU of ``gamma(c) · (x - mean) / deviation + beta(c)``, with gamma and beta linear in the code c.

    x (B, T, F), code (B, C) → (B, T, F).
    """

    def __init__(self, c_dim: int, features: int) -> None:
        super().__init__()
        self.conv_gamma = nn.Linear(c_dim, features)
        self.conv_beta = nn.Linear(c_dim, features)
        for layer, bias in ((self.conv_gamma, 1.0), (self.conv_beta, 0.0)):
            nn.init.zeros_(layer.weight)
            nn.init.constant_(layer.bias, bias)

    def condition(self, code: Tensor) -> tuple[Tensor, Tensor]:
        """gamma and beta (B, F) of a code (B, C), without autocast, since they are cheap."""
        with without_autocast(code):
            wide = code.to(self.conv_gamma.weight.dtype)
            return self.conv_gamma(wide), self.conv_beta(wide)


class ConditionalLayerNorm(ConditionalNorm):
    """Statistics are over the features of each point (Ba et al., 2016), in training and inference alike."""

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        """x (B, T, F), code (B, C) → relu of the normalised x, (B, T, F)."""
        gamma, beta = (part[:, None].to(x.dtype) for part in self.condition(code))
        normed = functional.layer_norm(x, x.shape[-1:]).to(x.dtype)
        return functional.relu(torch.addcmul(beta, normed, gamma))


class ConditionalBatchNorm(ConditionalNorm):
    """Statistics are over all points of all shapes in the batch."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, c_dim: int, features: int) -> None:
        super().__init__(c_dim, features)
        self.register_buffer("running_mean", torch.zeros(features))
        self.register_buffer("running_var", torch.ones(features))

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        """x (B, T, F), code (B, C) → relu of the normalised x, (B, T, F)."""
        gamma, beta = self.condition(code)
        if not self.training:
            scale, shift = self.affine(gamma, beta)
            return functional.relu(torch.addcmul(shift[:, None].to(x.dtype), x, scale[:, None].to(x.dtype)))
        return conditional_norm_relu(
            x, gamma, beta, self.running_mean, self.running_var, momentum=BATCH_NORM_MOMENTUM, eps=BATCH_NORM_EPS
        )

    def affine(self, gamma: Tensor, beta: Tensor) -> tuple[Tensor, Tensor]:
        """(…, F) scale and shift of the normalisation in eval mode: ``x · scale + shift``."""
        scale = gamma * torch.rsqrt(self.running_var + BATCH_NORM_EPS)
        return scale, beta - self.running_mean * scale


NORMS: Mapping[Norm, type[ConditionalNorm]] = {"batch": ConditionalBatchNorm, "layer": ConditionalLayerNorm}


class ResidualBlock(nn.Module):
    """``x + fc_1(norm(fc_0(norm(x))))``, pre-activation (He et al., ECCV 2016); x (B, T, F)."""

    def __init__(self, c_dim: int, features: int, norm: Norm = "batch") -> None:
        super().__init__()
        self.bn_0 = NORMS[norm](c_dim, features)
        self.fc_0 = nn.Linear(features, features)
        self.bn_1 = NORMS[norm](c_dim, features)
        self.fc_1 = nn.Linear(features, features)
        nn.init.zeros_(self.fc_1.weight)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        """x (B, T, F), code (B, C) → (B, T, F)."""
        inner = self.fc_0(self.bn_0(x, code))
        result: Tensor = x + self.fc_1(self.bn_1(inner, code))
        return result


class ConditionalDecoder(nn.Module):
    """points (B, T, 3) in the normalised frame and code (B, C) → logits (B, T).

    ``local`` (B, T, F) float32, if there is one, is added to the points' embedding: what is known of each point.
    """

    def __init__(self, c_dim: int = 256, hidden_dim: int = 256, blocks: int = 5, norm: Norm = "batch") -> None:
        super().__init__()
        self.fc_p = nn.Linear(3, hidden_dim)
        self.blocks = nn.ModuleList(ResidualBlock(c_dim, hidden_dim, norm) for _ in range(blocks))
        self.bn = NORMS[norm](c_dim, hidden_dim)
        self.fc_out = nn.Linear(hidden_dim, 1)

    def forward(self, points: Tensor, code: Tensor, local: Tensor | None = None) -> Tensor:
        """points (B, T, 3), code (B, C), local (B, T, F) → logits (B, T)."""
        if (
            self.training
            and isinstance(self.bn, ConditionalBatchNorm)
            and points.device.type == "cpu"
            and not points.requires_grad
            and not torch.compiler.is_compiling()
        ):
            return self._fused(points, code, local)
        x = self.embed(points, local)  # (B, T, F)
        for block in self.blocks:
            x = block(x, code)
        logits: Tensor = self.fc_out(self.bn(x, code))
        return logits.squeeze(-1)

    def embed(self, points: Tensor, local: Tensor | None = None) -> Tensor:
        """``fc_p`` plus ``local``, without autocast: bfloat16 would round coordinates to half a voxel at 256³."""
        with without_autocast(points):
            x: Tensor = self.fc_p(points)
            x = x if local is None else x + local
        return x.to(product_dtype(points))

    def _fused(self, points: Tensor, code: Tensor, local: Tensor | None) -> Tensor:
        """The same computation by ``network.decoder_cpu``, which is faster on a CPU."""
        norms = self.norms()
        conditions = [norm.condition(code) for norm in norms]
        linears = [
            layer for name, layer in self.blocks.named_modules() if isinstance(layer, nn.Linear) and ".fc_" in name
        ]
        dtype = product_dtype(points)
        with without_autocast(points):
            logits: Tensor
            logits, means, variances = FusedDecoder.apply(
                points,
                local,
                self.fc_p.weight,
                torch.stack([gamma for gamma, _ in conditions]),  # (L, B, F)
                torch.stack([beta for _, beta in conditions]),
                torch.stack([layer.weight for layer in linears]),  # (L-1, F, F)
                self.fc_out.weight[0],
                self.fc_out.bias[0],
                dtype,
                BATCH_NORM_EPS,
            )
        self._update_statistics(norms, linears, means, variances, points)
        idle = torch.cat([self.fc_p.bias, *(layer.bias for layer in linears)])
        return logits + 0.0 * idle.sum()  # DDP needs a gradient for every parameter; these get zeros

    def _update_statistics(
        self,
        norms: list[ConditionalBatchNorm],
        linears: list[nn.Linear],
        means: Tensor,
        variances: Tensor,
        points: Tensor,
    ) -> None:
        """Update the running statistics with the batch's (L, F), which the fused decoder computes without biases."""
        count = distributed.summed_count(points.shape[0] * points.shape[1])
        with torch.no_grad():
            stream = self.fc_p.bias.clone()  # bias accumulated in the residual stream
            for index, norm in enumerate(norms):
                bias = stream if index % 2 == 0 else linears[index - 1].bias
                norm.running_mean.lerp_((means[index] + bias).to(norm.running_mean.dtype), BATCH_NORM_MOMENTUM)
                unbiased = variances[index] * (count / max(count - 1, 1))
                norm.running_var.lerp_(unbiased.to(norm.running_var.dtype), BATCH_NORM_MOMENTUM)
                if index % 2 == 1:
                    stream += linears[index].bias

    def norms(self) -> list[ConditionalBatchNorm]:
        """All conditional batch norms, in the order of use."""
        return [module for module in self.modules() if isinstance(module, ConditionalBatchNorm)]
