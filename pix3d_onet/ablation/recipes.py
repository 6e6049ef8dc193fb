"""Recipes: a network and how to train it, by name, for ``onet train``, ``onet bench`` and suite files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pix3d_onet.config import ModelConfig, RecipeName, TrainConfig

AUGMENT = ("color", "crop", "flip")
"""The augmentation that suits any network."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """``changes``: the training settings that differ from ``TrainConfig``'s defaults. ``onet bench`` takes only them,
    since its variants are the networks."""

    model: ModelConfig
    changes: Mapping[str, Any]

    @property
    def train(self) -> TrainConfig:
        """All training settings."""
        return TrainConfig(**self.changes)


RECIPES: Mapping[RecipeName, Recipe] = {
    "paper": Recipe(ModelConfig(), {}),
    "quick": Recipe(
        ModelConfig(),
        {
            "steps": 200,
            "batch_size": 8,
            "points_per_shape": 512,
            "image_size": 64,
            "lr": 1e-3,
            "schedule": "cosine",
            "warmup": 20,
            "val_every": 50,
            "val_points": 8192,
        },
    ),
    "best": Recipe(
        ModelConfig("resnet18", conditioning="pixel", mirror=True, pyramid="fpn", tta="flip"),
        {
            "near": 0.5,
            "lr": 5e-4,
            "schedule": "cosine",
            "warmup": 50,
            "weight_decay": 0.05,
            "ema": 0.99,
            "augment": (*AUGMENT, "stretch", "tint"),
            "photo_share": 0.25,
            "threshold": 0.4,
        },
    ),
}
"""``paper``: settings of the report. ``quick``: small pictures, few points; Table 1 in minutes on two CPU cores.
``best``: pixel features and what helped them on real chairs (docs/findings.md)."""
