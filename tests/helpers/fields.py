"""Analytic occupancy fields for tests of extraction: points (T, 3) → logits (T,)."""

from __future__ import annotations

import torch
from torch import Tensor

SHARPNESS = 20.0
"""Logits a unit of distance: a field of which the level matters."""


def sphere(radius: float = 0.4, centre: tuple[float, float, float] = (0.0, 0.0, 0.0)):
    def field(points: Tensor) -> Tensor:
        return (radius - (points - torch.tensor(centre)).norm(dim=1)) * SHARPNESS

    return field


def torus(major: float = 0.32, minor: float = 0.12):
    def field(points: Tensor) -> Tensor:
        ring = points[:, :2].norm(dim=1) - major
        return (minor - (ring**2 + points[:, 2] ** 2).sqrt()) * SHARPNESS

    return field


def box(centre: tuple[float, float, float], half: tuple[float, float, float]):
    def field(points: Tensor) -> Tensor:
        q = (points - torch.tensor(centre)).abs() - torch.tensor(half)
        return -(q.clamp(min=0).norm(dim=1) + q.amax(dim=1).clamp(max=0)) * SHARPNESS

    return field


def union(*fields):
    def field(points: Tensor) -> Tensor:
        return torch.stack([f(points) for f in fields]).amax(dim=0)

    return field


def chair():
    """A seat and a back, 0.08 thick, and four legs 0.05 thick (1.1/32 = 0.034)."""
    legs = [box((x, -0.27, z), (0.025, 0.2, 0.025)) for x in (-0.2, 0.2) for z in (-0.2, 0.2)]
    return union(box((0, -0.05, 0), (0.25, 0.04, 0.25)), box((0, 0.2, 0.22), (0.25, 0.25, 0.04)), *legs)
