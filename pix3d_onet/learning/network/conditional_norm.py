"""Conditional batch normalisation and ReLU in training mode, with statistics over all processes."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from pix3d_onet.learning import distributed


def conditional_norm_relu(
    x: Tensor, gamma: Tensor, beta: Tensor, running_mean: Tensor, running_var: Tensor, *, momentum: float, eps: float
) -> Tensor:
    """relu(gamma · (x - mean) / sqrt(var + eps) + beta), statistics of x (B, T, F) over B and T.

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
