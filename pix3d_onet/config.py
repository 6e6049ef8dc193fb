"""The settings of every command: small frozen dataclasses, one docstring a field, validated, hashable, JSON.

A wrong value raises :class:`~pix3d_onet.errors.ConfigError` that names the flag.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from pix3d_onet.errors import ConfigError

WATERTIGHT_METHODS = ("tight", "fusion", "meshfix", "none")
SPLITS = ("train", "val", "test")
POINTS_HALF_SIDE = 0.55
"""Half the side of the cube that points are drawn from: the unit box padded by 0.1 (Mescheder et al. 2019)."""
MIN_RESOLUTION = 8
"""Fewest cells an axis of an extracted mesh: of fewer no shape is left."""
MAX_RESOLUTION = 1024
"""Most cells an axis of an extracted mesh: 1027³ float32 are 4.3 GB (only memory near the surface is ever touched)."""
LEAST_FACES = 4
"""Faces of the smallest closed mesh, a tetrahedron."""


def _require(condition: bool, flag: str, rule: str, value: object) -> None:
    if not condition:
        raise ConfigError(f"--{flag} must be {rule}, not {value!r}.")


def check_extraction(
    *, resolution: int, threshold: float | None = None, simplify: int | None = None, coarse: int = 1
) -> None:
    """ConfigError unless a mesh can be extracted so: cells an axis (at last, at first), probability, wanted faces."""
    _require(
        MIN_RESOLUTION <= resolution <= MAX_RESOLUTION,
        "resolution",
        f"between {MIN_RESOLUTION} and {MAX_RESOLUTION}",
        resolution,
    )
    _require(1 <= coarse <= MAX_RESOLUTION, "coarse", f"between 1 and {MAX_RESOLUTION}", coarse)
    if threshold is not None:
        _require(0 < threshold < 1, "threshold", "between 0 and 1", threshold)
    if simplify is not None:
        _require(simplify >= LEAST_FACES, "simplify", f"at least {LEAST_FACES} faces", simplify)


@dataclass(frozen=True)
class Config:
    """Base: JSON in and out, and a hash of what defines the result."""

    def to_json(self) -> dict[str, Any]:
        """A JSON-able dict of all fields (tuples become lists)."""
        return {key: list(v) if isinstance(v, tuple) else v for key, v in dataclasses.asdict(self).items()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of ``to_json``; missing keys take their default.

        ConfigError for unknown keys, values of another type than the default's, and values out of range.
        """
        defaults = {f.name: f.default for f in dataclasses.fields(cls)}
        values = {key: tuple(v) if isinstance(v, list) else v for key, v in data.items()}
        for key, value in values.items():
            if key not in defaults:
                raise ConfigError(f"unknown setting {key!r} for {cls.__name__}.")
            wanted = type(defaults[key])
            if type(value) is not wanted and not (wanted is float and type(value) is int):
                raise ConfigError(f"setting {key!r} of {cls.__name__} is {value!r}, no {wanted.__name__}.")
        return cls(**values)

    def hash(self) -> str:
        """First 12 hex digits of the SHA-256 of the canonical JSON."""
        text = json.dumps(self.to_json(), sort_keys=True, allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


@dataclass(frozen=True)
class PrepareConfig(Config):
    """What defines a prepared data set. Workers, backend and output folder do not belong here: they change nothing."""

    categories: tuple[str, ...] = ("chair",)
    """Categories to take; ``("all",)`` takes every category of the source."""
    watertight: str = "tight"
    """Method of ``geometry.watertight.methods.WATERTIGHT``."""
    resolution: int = 256
    """Voxels along the longest side of the watertighting grid."""
    points: int = 100_000
    """Labelled points a shape."""
    surface_points: int = 100_000
    """Surface samples with normals a shape."""
    image_size: int = 224
    """Side of the stored square images, pixels."""
    crop_margin: float = 0.1
    """White margin around the object's box, as a fraction of the box's longest side, on each side."""
    split: str = "shape"
    """``shape`` (by group), ``image``, or a prescribed split (``s1``, ``s2``, ``lst``)."""
    fractions: tuple[float, ...] = (0.7, 0.1, 0.2)
    """Shares of train, val, test for ``shape`` and ``image`` splits."""
    images_per_object: str = "one"
    """``one`` (the first usable record of a shape) or ``all``."""
    flags: str = "all"
    """``clean`` = only records neither truncated nor occluded nor slightly occluded."""
    require_pose: bool = False
    """Reject pictures without a camera."""
    render_views: int = 0
    """Shaded views rendered of each shape, besides the photos."""
    mesh_error: float = 0.001
    """Largest stated surface error of the stored, decimated watertight mesh, normalised units (0 = not decimated)."""
    seed: int = 0
    """Seed of everything random: points, surface samples, split, rendered cameras."""
    limit: int = 0
    """Take only the first N shapes (0 = all)."""
    shapes_per_shard: int = 32
    """Shapes in one HDF5 shard."""

    def __post_init__(self) -> None:
        _require(
            self.watertight in WATERTIGHT_METHODS,
            "watertight",
            f"one of {', '.join(WATERTIGHT_METHODS)}",
            self.watertight,
        )
        _require(16 <= self.resolution <= 1024, "resolution", "between 16 and 1024", self.resolution)
        _require(
            8 <= self.points <= 10_000_000 and self.points % 8 == 0,
            "points",
            "a multiple of 8 up to 10,000,000",
            self.points,
        )
        _require(
            0 <= self.surface_points <= 10_000_000, "surface-points", "between 0 and 10,000,000", self.surface_points
        )
        _require(16 <= self.image_size <= 4096, "image-size", "between 16 and 4096", self.image_size)
        _require(0 <= self.crop_margin <= 1, "crop-margin", "between 0 and 1", self.crop_margin)
        _require(
            self.split in ("shape", "image", "s1", "s2", "lst"), "split", "one of shape, image, s1, s2", self.split
        )
        _require(
            len(self.fractions) == 3 and min(self.fractions) >= 0 and abs(sum(self.fractions) - 1) < 1e-6,
            "fractions",
            "three shares that sum to 1",
            self.fractions,
        )
        _require(self.images_per_object in ("one", "all"), "images-per-object", "one or all", self.images_per_object)
        _require(self.flags in ("clean", "all"), "flags", "clean or all", self.flags)
        _require(0 <= self.render_views <= 1000, "render-views", "between 0 and 1000", self.render_views)
        _require(0 <= self.mesh_error <= 0.1, "mesh-error", "between 0 and 0.1", self.mesh_error)
        _require(self.limit >= 0, "limit", "0 or more", self.limit)
        _require(1 <= self.shapes_per_shard <= 4096, "shapes-per-shard", "between 1 and 4096", self.shapes_per_shard)
        _require(len(self.categories) > 0, "category", "given", self.categories)


ENCODER_ALIASES = {"convnext": "convnext_tiny"}
"""Short names of encoders → timm's names."""


def encoder_name(encoder: str) -> str:
    """timm's name of an encoder: ``convnext`` and ``timm:NAME`` are spelled out."""
    name = encoder.removeprefix("timm:")
    return ENCODER_ALIASES.get(name, name)


@dataclass(frozen=True)
class ModelConfig(Config):
    """What defines a network's architecture (Mescheder et al., CVPR 2019, and the report's additions)."""

    encoder: str = "resnet18"
    """A timm model name, or ``convnext`` for ``convnext_tiny``."""
    scales: int = 1
    """1, or 3 = the image at full, half and quarter size through separate encoders, features added."""
    pose: str = "none"
    """``none``, ``matrix`` (Linear 16 → 32 on the flattened 4×4) or ``6d`` (Zhou et al., CVPR 2019)."""
    pyramid: str = "separate"
    """How three scales are encoded: ``separate`` encoders, one ``shared`` encoder, or ``fpn`` over feature levels."""
    c_dim: int = 256
    """Features of the image code (the pose's 32 come on top)."""
    hidden_dim: int = 256
    """Width of the decoder."""
    blocks: int = 5
    """Residual blocks of the decoder."""

    def __post_init__(self) -> None:
        _require(bool(encoder_name(self.encoder)), "encoder", "a timm model name", self.encoder)
        _require(self.scales in (1, 3), "scales", "1 or 3", self.scales)
        _require(self.pose in ("none", "matrix", "6d"), "pose", "none, matrix or 6d", self.pose)
        _require(self.pyramid in ("separate", "shared", "fpn"), "pyramid", "separate, shared or fpn", self.pyramid)

    def architecture(self) -> dict[str, Any]:
        """``to_json`` with the encoder's name spelled out: equal for networks whose weights fit each other."""
        return {**self.to_json(), "encoder": encoder_name(self.encoder)}


@dataclass(frozen=True)
class TrainConfig(Config):
    """What defines a training run, besides the model and the data set."""

    steps: int = 3000
    """Optimiser steps."""
    batch_size: int = 64
    """Pictures a step (over all processes)."""
    points_per_shape: int = 2048
    """Points drawn a shape and step."""
    image_size: int = 224
    """Side of the images fed to the encoder, pixels."""
    lr: float = 1e-4
    """Adam's learning rate."""
    weight_decay: float = 0.0
    """Decoupled weight decay (AdamW) when above 0."""
    schedule: str = "constant"
    """``constant`` or ``cosine`` (to 0, after ``warmup`` steps)."""
    warmup: int = 0
    """Steps of linear warm-up."""
    ema: float = 0.0
    """Decay of the exponential moving average of the weights (0 = none)."""
    augment: tuple[str, ...] = ()
    """Any of ``color``, ``crop``, ``flip`` (with the matching mirror of the points)."""
    patience: int = 0
    """Stop after so many validations without a better IoU (0 = never)."""
    freeze_encoder: bool = False
    """Train only the projection and the decoder."""
    pretrained: bool = True
    """Start from timm's pretrained encoder weights."""
    views: str = "all"
    """Pictures trained on: ``all``, or ``photos`` = without rendered views. Validation uses the photos of a split
    wherever it has any, so that the two compare."""
    val_every: int = 100
    """Steps between validations."""
    val_points: int = 0
    """Points a shape in validation (0 = all stored)."""
    threshold: float = 0.2
    """Occupancy probability above which a point counts as inside (the original's constant)."""
    precision: str = "auto"
    """``auto``, ``fp32``, ``bf16`` or ``fp16``."""
    seed: int = 0
    """Seed of initial weights, data order, drawn points and augmentation."""

    def __post_init__(self) -> None:
        _require(self.steps >= 1, "steps", "1 or more", self.steps)
        _require(self.batch_size >= 0, "batch-size", "1 or more, or auto", self.batch_size)
        _require(self.points_per_shape >= 1, "points-per-shape", "1 or more", self.points_per_shape)
        _require(32 <= self.image_size <= 1024, "image-size", "between 32 and 1024", self.image_size)
        _require(0 < self.lr < 10, "lr", "above 0", self.lr)
        _require(self.views in ("all", "photos"), "views", "all or photos", self.views)
        _require(0 <= self.seed < 2**32, "seed", "0 to 4294967295", self.seed)
        _require(self.schedule in ("constant", "cosine"), "schedule", "constant or cosine", self.schedule)
        _require(0 <= self.ema < 1, "ema", "at least 0 and below 1", self.ema)
        _require(set(self.augment) <= {"color", "crop", "flip"}, "augment", "any of color, crop, flip", self.augment)
        _require(0 < self.threshold < 1, "threshold", "between 0 and 1", self.threshold)
        _require(
            self.precision in ("auto", "fp32", "bf16", "fp16"), "precision", "auto, fp32, bf16 or fp16", self.precision
        )
        _require(self.val_every >= 1, "val-every", "1 or more", self.val_every)
        _require(0 <= self.weight_decay < 10, "weight-decay", "0 or more", self.weight_decay)
        for flag, value in (("warmup", self.warmup), ("patience", self.patience), ("val-points", self.val_points)):
            _require(value >= 0, flag, "0 or more", value)


PREPARE_PRESETS: dict[str, dict[str, object]] = {
    "paper": {"watertight": "fusion", "resolution": 256, "points": 100_000, "image_size": 224},
}
"""Named settings of ``prepare``: ``paper`` is what Occupancy Networks and the report did, its bias included."""
