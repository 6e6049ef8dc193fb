"""The settings of every command: frozen dataclasses with one docstring per field; validated, hashable, JSON.

A wrong value raises :class:`~pix3d_onet.errors.SettingError`. Closed choices are ``Literal`` types, defined here once
and checked by :class:`Config`. The command line makes its options from the fields: flag, type, choices, default, help.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, Self, get_args, get_type_hints

from pix3d_onet.errors import ConfigError, SettingError
from pix3d_onet.setting_types import check_choice, converted

SplitName = Literal["train", "val", "test"]
Grouping = Literal["auto", "file", "folder", "top"]
"""Rules that say which mesh files are one shape, see ``data.sources.grouping``."""
SplitMode = Literal["shape", "image", "s1", "s2", "lst"]
ImagesPerObject = Literal["one", "all"]
Flags = Literal["clean", "all"]
Scales = Literal[1, 3]
PoseInput = Literal["none", "matrix", "6d", "predicted", "constant"]
CameraEncoder = Literal["shared", "own"]
Conditioning = Literal["global", "pixel"]
Pyramid = Literal["separate", "shared", "fpn"]
Schedule = Literal["constant", "cosine"]
Norm = Literal["batch", "layer"]
TestTimeAugmentation = Literal["none", "flip"]
Augmentation = Literal["color", "crop", "flip", "stretch", "tint"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
DecoderPrecision = Literal["fp32", "bf16"]
Residence = Literal["auto", "device", "ram", "disk"]
Backend = Literal["loky", "dask", "inline"]
EvaluationProtocol = Literal["onet", "pix3d"]
RecipeName = Literal["paper", "quick", "best"]
Start = Literal["", "random", "weights", "init_from"]
Baseline = Literal["mean-shape", "cone", "retrieval", "retrieval-cut", "oracle"]
Alignment = Literal["none", "box", "icp", "search"]
MaskRule = Literal["auto", "rembg"]
MeshFormat = Literal["glb", "obj", "ply", "stl", "off"]
Frame = Literal["normalised", "original"]

SPLITS: tuple[SplitName, ...] = get_args(SplitName)
LATER = {"later": True}
"""Marks a field added after the first data sets: with its default value it is not in the JSON, so that their hashes
stay the same."""
ENCODER_ALIASES = {"convnext": "convnext_tiny"}
"""Short names of encoders → timm's names."""
SHORT_NAMES = {name: short for short, name in ENCODER_ALIASES.items()}
"""timm's names of encoders → short ones, the spelling in a :class:`ModelConfig`: one network has one hash."""
WATERTIGHT_METHODS: Mapping[str, str] = {
    name: f"pix3d_onet.geometry.watertight.methods:{name}_method" for name in ("tight", "fusion", "meshfix", "none")
}
"""Name → ``module:function`` that closes a mesh: ``f(mesh, resolution) -> Watertight``. Imported when it is used.
A new method is one line here."""
POINTS_HALF_SIDE = 0.55
"""Half the side of the cube from which points are drawn: the unit box padded by 0.1 (Mescheder et al. 2019)."""
MAX_SIGMA = 0.5
"""Largest standard deviation of points near the surface; with larger ones they would be nearly uniform."""
MIN_RESOLUTION = 8
"""Fewest cells per axis of an extracted mesh; on fewer, no shape can be recognised."""
MAX_RESOLUTION = 1024
"""Most cells per axis of an extracted mesh: 1027³ float32 are 4.3 GB (only pages near the surface are touched)."""
MODEL_LIMITS = {"c_dim": 8192, "hidden_dim": 8192, "blocks": 100}
"""Largest networks: 30 times as wide and 20 times as deep as the paper's."""
MOST_THREADS = 1024
"""Most threads that may be asked for; a larger number is a typing error."""
LEAST_FACES = 4
"""Number of faces of the smallest closed mesh, a tetrahedron."""


def choices_of(config: type, name: str) -> Iterable[str] | None:
    """The names that a field may take from a table (its ``metadata["choices"]``); None for other fields."""
    (table,) = (f.metadata.get("choices") for f in dataclasses.fields(config) if f.name == name)
    return table


@functools.cache
def field_types(config: Any) -> Mapping[str, Any]:
    """Field of a dataclass → its type, with string annotations resolved."""
    return MappingProxyType(get_type_hints(config))


@dataclass(frozen=True)
class Config:
    """Base class: to and from JSON, a hash of all fields, and the check of types and of closed choices."""

    def __post_init__(self) -> None:
        for name, kind in field_types(type(self)).items():  # type: ignore[arg-type]  # mypy takes a class for its instances
            value = getattr(self, name)
            if table := choices_of(type(self), name):
                check_choice(name, value, table)
            object.__setattr__(self, name, converted(name, value, kind))

    def _require(self, condition: bool, setting: str, rule: str) -> None:
        if not condition:
            raise SettingError(setting, rule, getattr(self, setting))

    def values(self) -> dict[str, Any]:
        """All fields as JSON values (tuples become lists)."""
        return {key: list(v) if isinstance(v, tuple) else v for key, v in dataclasses.asdict(self).items()}

    @classmethod
    def trimmed(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """``values`` without ``LATER`` fields at their default."""
        default = cls().values()
        later = {f.name for f in dataclasses.fields(cls) if f.metadata.get("later")}
        return {key: v for key, v in values.items() if key not in later or v != default[key]}

    def to_json(self) -> dict[str, Any]:
        """The fields as a dict for JSON, without ``LATER`` fields at their default."""
        return self.trimmed(self.values())

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of ``to_json``; missing keys get their default.

        ConfigError for unknown keys, and as the constructor for values of another type or out of range.
        """
        if not isinstance(data, Mapping):
            raise ConfigError(f"the settings of {cls.__name__} are {data!r:.80}, not an object.")
        known = {f.name for f in dataclasses.fields(cls)}
        for key in data:
            if key not in known:
                raise ConfigError(f"unknown setting {key!r:.80} for {cls.__name__}.")
        return cls(**data)

    def hash(self) -> str:
        """First 12 hex digits of the SHA-256 of the canonical JSON."""
        text = json.dumps(self.to_json(), sort_keys=True, allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


@dataclass(frozen=True)
class PrepareConfig(Config):
    """Everything that defines a prepared data set. Workers, backend and output folder do not: they change no byte."""

    categories: tuple[str, ...] = ("chair",)
    """Categories to prepare; ``all`` = every category."""
    watertight: str = field(default="tight", metadata={"choices": WATERTIGHT_METHODS})
    """Method that makes meshes watertight."""
    resolution: int = 256
    """Voxels along the longest side of the watertighting grid."""
    points: int = 100_000
    """Labelled points per shape."""
    surface_points: int = 100_000
    """Surface samples with normals per shape."""
    image_size: int = 224
    """Side of the stored square pictures, pixels."""
    crop_margin: float = 0.1
    """White margin on each side of the object, as a fraction of its bounding box's longest side."""
    split: SplitMode = "shape"
    """How to split: ``shape`` (groups stay together), ``image``, or a prescribed split (``s1``, ``s2``, ``lst``)."""
    fractions: tuple[float, ...] = (0.7, 0.1, 0.2)
    """Fractions of train, val, test for ``shape`` and ``image`` splits."""
    images_per_object: ImagesPerObject = "one"
    """Pictures per shape: ``one`` (its first usable record) or ``all``."""
    flags: Flags = "all"
    """``clean`` = skip pictures that are truncated, occluded or slightly occluded."""
    require_pose: bool = False
    """Reject pictures without a camera."""
    render_views: int = 0
    """Shaded views to render per shape, in addition to its photos."""
    mesh_error: float = 0.001
    """Largest surface error of the stored mesh due to decimation, normalised units; 0 = not decimated."""
    seed: int = 0
    """Seed for points, surface samples, split and rendered cameras."""
    limit: int = 0
    """Prepare only the first N shapes; 0 = all."""
    shapes_per_shard: int = 32
    """Shapes per HDF5 shard."""
    group_by: Grouping = field(default="auto", metadata=LATER)
    """Mesh files that the split keeps together: auto, file (none), folder, or top (all below a top-level folder)."""
    pattern: str = field(default="", metadata=LATER)
    """Use only mesh files that match, such as '*/normalized_model.obj' (* matches any text, including /)."""
    near_points: int = field(default=0, metadata=LATER)
    """Labelled points near the surface per shape, in addition to the uniform ones; 0 = none."""
    near_sigma: tuple[float, ...] = field(default=(0.1, 0.01), metadata=LATER)
    """Standard deviations of their distance from surface samples, longest sides, each as likely as the others."""
    sdf: bool = field(default=False, metadata=LATER)
    """Store the signed distance of each labelled point."""

    def takes(self, category: str) -> bool:
        """Whether shapes of ``category`` are prepared."""
        return "all" in self.categories or category in self.categories

    def check_categories(self, present: Iterable[str], where: str, other_names: Iterable[str] = ()) -> None:
        """ConfigError for a category that is not ``present`` in the source ``where``, under these or other names."""
        present = sorted(present)
        for name in self.categories:
            if name not in ("all", *present, *other_names):
                raise ConfigError(f"`categories={name}`: {where} has only {', '.join(present)} (or all).")

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require(16 <= self.resolution <= 1024, "resolution", "between 16 and 1024")
        for name, least in (("points", 8), ("near_points", 0)):
            count = getattr(self, name)
            self._require(least <= count <= 10_000_000 and count % 8 == 0, name, "a multiple of 8 up to 10,000,000")
        good_sigma = 0 < len(self.near_sigma) <= 8 and all(0 < s <= MAX_SIGMA for s in self.near_sigma)
        self._require(good_sigma, "near_sigma", f"one to eight numbers above 0, at most {MAX_SIGMA}")
        self._require(0 <= self.surface_points <= 10_000_000, "surface_points", "between 0 and 10,000,000")
        self._require(16 <= self.image_size <= 4096, "image_size", "between 16 and 4096")
        self._require(0 <= self.crop_margin <= 1, "crop_margin", "between 0 and 1")
        whole = len(self.fractions) == 3 and min(self.fractions) >= 0 and abs(sum(self.fractions) - 1) < 1e-6
        self._require(whole, "fractions", "three shares that sum to 1")
        self._require(0 <= self.render_views <= 1000, "render_views", "between 0 and 1000")
        self._require(0 <= self.mesh_error <= 0.1, "mesh_error", "between 0 and 0.1")
        self._require(self.limit >= 0, "limit", "0 or more")
        self._require(0 <= self.seed < 2**63, "seed", "0 or more, below 2^63")
        self._require(1 <= self.shapes_per_shard <= 4096, "shapes_per_shard", "between 1 and 4096")
        self._require(len(self.categories) > 0, "categories", "given")


def encoder_name(encoder: str) -> str:
    """timm's name of an encoder; resolves ``convnext`` and ``timm:NAME``."""
    name = encoder.removeprefix("timm:")
    return ENCODER_ALIASES.get(name, name)


@dataclass(frozen=True)
class ModelConfig(Config):
    """Everything that defines a network's architecture (Mescheder et al., CVPR 2019, and the report's additions)."""

    encoder: str = "resnet18"
    """Image encoder: resnet18, …, convnext (timm's convnext_tiny), or any timm:NAME."""
    scales: Scales = 1
    """3 = an image pyramid: full, half and quarter size, features added."""
    pose: PoseInput = "none"
    """Camera pose as a second input: ``none``, ``matrix`` (Linear 16 → 32 on the flattened 4×4), ``6d`` (Zhou et al.,
    CVPR 2019). ``predicted``: the network predicts the camera of its pixel features, so that photos need none.
    ``constant``: these features through one camera for all pictures, a control that shows what a true one adds."""
    pyramid: Pyramid = "separate"
    """How to encode three scales: ``separate`` encoders, one ``shared`` encoder, or ``fpn`` over feature levels; with
    ``pixel``, sample each level (``separate``) or the finest two after merging top-down (``fpn``)."""
    c_dim: int = 256
    """Dimension of the image code, without the pose's 32."""
    hidden_dim: int = 256
    """Width of the decoder."""
    blocks: int = 5
    """Number of residual blocks in the decoder."""
    conditioning: Conditioning = field(default="global", metadata=LATER)
    """What the decoder knows of the picture: one code for all points (``global``), or also the features at the pixel
    where the point projects through the known camera (``pixel``)."""
    mirror: bool = field(default=False, metadata=LATER)
    """With ``pixel``, also the features of the point mirrored in the plane x = 0: chairs are symmetric."""
    norm: Norm = field(default="batch", metadata=LATER)
    """The decoder's conditional norm: over the points of a batch, as in the paper, or over each point's features."""
    tta: TestTimeAugmentation = field(default="none", metadata=LATER)
    """Test-time augmentation: ``flip`` averages the logits of a picture and of its mirror image in validation,
    evaluation and reconstruction, at twice their cost."""
    camera_encoder: CameraEncoder = field(default="shared", metadata=LATER)
    """With `pose=predicted`, the encoder that the camera is predicted from: the one that also describes the shape
    (``shared``), or one of the same kind for it alone (``own``)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "encoder", SHORT_NAMES.get(encoder_name(self.encoder), encoder_name(self.encoder)))
        named = bool(self.encoder) and len(self.encoder) <= 100
        self._require(named, "encoder", "a timm model name")
        for name, most in MODEL_LIMITS.items():
            self._require(1 <= getattr(self, name) <= most, name, f"between 1 and {most}")
        pixel = self.conditioning == "pixel"
        self._require(not pixel or self.scales == 1, "conditioning", "global with `scales=3`")
        self._require(not pixel or self.pyramid != "shared", "pyramid", "separate or fpn with `conditioning='pixel'`")
        self._require(pixel or not self.mirror, "mirror", "False without `conditioning='pixel'`")
        rule = "none, matrix or 6d without `conditioning='pixel'`"
        self._require(pixel or self.pose not in ("predicted", "constant"), "pose", rule)
        rule = "shared without `pose='predicted'`"
        self._require(self.predicts_camera or self.camera_encoder == "shared", "camera_encoder", rule)

    @property
    def predicts_camera(self) -> bool:
        """Whether the network predicts the camera; it can also be given, and is needed in training."""
        return self.pose == "predicted"

    @property
    def takes_camera(self) -> bool:
        """Whether the network uses a picture's camera where it is known."""
        return self.needs_pose or self.predicts_camera

    @property
    def needs_pose(self) -> bool:
        """Whether every picture needs the camera's pose."""
        return self.pose in ("matrix", "6d") or (self.conditioning == "pixel" and self.pose == "none")

    @property
    def needs_intrinsics(self) -> bool:
        """Whether every picture needs the camera's focal length, too."""
        return self.pose == "6d" or (self.conditioning == "pixel" and self.pose in ("none", "matrix"))

    @property
    def needs_mask(self) -> bool:
        """Whether the network's pictures have a fourth channel, the object's mask."""
        return self.conditioning == "pixel"

    @property
    def default_name(self) -> str:
        """Name of a run of this model by default: ``convnext-fp3-pose`` for the last row of Table 1."""
        parts = [self.encoder]
        if self.scales > 1:
            parts.append({"separate": "fp3", "shared": "fp3-shared", "fpn": "fpn"}[self.pyramid])
        parts += {"matrix": ["pose"], "6d": ["pose6d"]}.get(self.pose, [])
        if self.conditioning == "pixel":
            parts += ["pixel"] + ["mirror"] * self.mirror + ["fpn"] * (self.pyramid == "fpn")
        parts += [self.pose] * (self.pose in ("predicted", "constant")) + ["own"] * (self.camera_encoder == "own")
        parts += ["layernorm"] * (self.norm == "layer")
        parts += ["tta"] * (self.tta == "flip")
        return "-".join(parts)

    def architecture(self) -> dict[str, Any]:
        """``to_json`` with timm's name of the encoder; equal for networks that are equal if their weights are."""
        return {**self.to_json(), "encoder": encoder_name(self.encoder)}


@dataclass(frozen=True)
class TrainConfig(Config):
    """Everything that defines a training run, besides the model and the data set."""

    steps: int = 3000
    """Optimiser steps."""
    batch_size: int = 64
    """Pictures per step, summed over all processes; auto = as many as fit in memory, at most 64."""
    points_per_shape: int = 2048
    """Points drawn per shape and step."""
    image_size: int = 224
    """Side of the images fed to the encoder, pixels."""
    lr: float = 1e-4
    """Adam's learning rate."""
    weight_decay: float = 0.0
    """Decoupled weight decay (AdamW) when above 0."""
    schedule: Schedule = "constant"
    """Learning rate schedule; ``cosine`` decays to 0 after the warm-up."""
    warmup: int = 0
    """Steps of linear warm-up."""
    ema: float = 0.0
    """Decay of the exponential moving average of the weights; 0 = none."""
    augment: tuple[Augmentation, ...] = ()
    """Augmentation, repeatable; ``flip`` also mirrors the points; ``stretch`` scales the shape's axes, and the camera's
    with them, not the picture (for pixel features; not with a pose input); ``tint`` multiplies the object by
    a random colour, since rendered views are grey."""
    patience: int = 0
    """Stop after this many validations without a better IoU; 0 = never."""
    freeze_encoder: bool = False
    """Train only the projection and the decoder, and a camera's head."""
    pretrained: bool = True
    """Start from timm's pretrained encoder weights."""
    views: str = "all"
    """Pictures to train on: ``all``, ``photos`` (no rendered views), or photos and a number of rendered views per
    shape. Validation uses only photos if the split has any, so that all choices are comparable."""
    val_every: int = 100
    """Steps between validations."""
    val_points: int = 0
    """Points per shape in validation; 0 = all stored."""
    threshold: float = 0.2
    """Occupancy probability above which a point counts as inside (0.2 in the original code)."""
    precision: Precision = "auto"
    """Precision of matrix products; ``auto`` = bf16 if the hardware has it."""
    seed: int = 0
    """Seed for initial weights, data order, drawn points and augmentation."""
    near: float = field(default=0.0, metadata=LATER)
    """Share of each step's points that are near the surface, 0 to 1; the data set must have such points."""
    camera_weight: float = field(default=0.3, metadata=LATER)
    """With `pose=predicted`, weight of the camera's loss beside the mean cross-entropy of a point."""
    camera_pictures: int = field(default=0, metadata=LATER)
    """With `camera_encoder=own`, further pictures per step that train only the camera; augmentation and the share of
    photos are those of the others."""
    photo_share: float = field(default=0.0, metadata=LATER)
    """Share of photos among each step's pictures, if there are rendered views, too, 0 to 0.99; 0 = as in the data."""
    backbone_lr: float = field(default=1.0, metadata=LATER)
    """Factor of the learning rate for the encoder's backbone, if it is trained; below 1, pretrained features change
    more slowly."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require(self.steps >= 1, "steps", "1 or more")
        named = self.views in ("all", "photos") or bool(re.fullmatch("[1-9][0-9]{0,3}", self.views))
        self._require(named, "views", "all, photos, or a number of rendered views above 0")
        self._require(self.batch_size >= 0, "batch_size", "1 or more, or auto")
        self._require(self.points_per_shape >= 1, "points_per_shape", "1 or more")
        self._require(32 <= self.image_size <= 1024, "image_size", "between 32 and 1024")
        self._require(0 < self.lr < 10, "lr", "above 0")
        self._require(0 <= self.seed < 2**32, "seed", "0 to 4294967295")
        self._require(0 <= self.ema < 1, "ema", "at least 0 and below 1")
        self._require(0 < self.threshold < 1, "threshold", "between 0 and 1")
        self._require(self.val_every >= 1, "val_every", "1 or more")
        self._require(0 <= self.weight_decay < 10, "weight_decay", "0 or more")
        self._require(0 < self.camera_weight <= 100, "camera_weight", "above 0, at most 100")
        self._require(0 <= self.photo_share < 1, "photo_share", "at least 0 and below 1")
        self._require(0 < self.backbone_lr <= 100, "backbone_lr", "above 0, at most 100")
        enough = self.near == 0 or (self.near <= 1 and self.near * self.points_per_shape >= 8)
        self._require(enough, "near", "0, or at most 1 and at least 8 of the points")
        for name in ("warmup", "patience", "val_points", "camera_pictures"):
            self._require(getattr(self, name) >= 0, name, "0 or more")


@dataclass(frozen=True)
class MachineConfig(Config):
    """Settings that use the machine's resources and do not affect results."""

    threads: int = 0
    """Threads on the CPU; auto = as many as there are free cores, adjusted while running."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require(0 <= self.threads <= MOST_THREADS, "threads", f"1 to {MOST_THREADS}, or auto")


@dataclass(frozen=True)
class ExtractionConfig(Config):
    """How a mesh is extracted from a network's occupancy field (defaults: Mescheder et al., CVPR 2019)."""

    resolution: int = 128
    """Cells per axis of the extracted mesh, 8 to 1024."""
    coarse: int = 32
    """Cells per axis of the first, coarse grid; parts thinner than a cell can be missed."""
    threshold: float | Literal["val"] | None = None
    """Occupancy probability at the surface, between 0 and 1, or val: the one with the best IoU on the run's validation
    pictures  [default: that of the run's training]."""
    refine: bool = False
    """Move vertices along the field's gradient onto the level set."""
    simplify: int | None = None
    """Simplify the mesh to about this many faces, at least 4."""
    precision: DecoderPrecision = "fp32"
    """Precision of the decoder's matrix products; bf16 is meant for GPUs."""

    def __post_init__(self) -> None:
        super().__post_init__()
        cells = f"between {MIN_RESOLUTION} and {MAX_RESOLUTION}"
        self._require(MIN_RESOLUTION <= self.resolution <= MAX_RESOLUTION, "resolution", cells)
        self._require(1 <= self.coarse <= MAX_RESOLUTION, "coarse", f"between 1 and {MAX_RESOLUTION}")
        if self.threshold not in (None, "val"):
            number = isinstance(self.threshold, (int, float)) and 0 < self.threshold < 1
            self._require(number, "threshold", "between 0 and 1, or val")
        if self.simplify is not None:
            self._require(self.simplify >= LEAST_FACES, "simplify", f"at least {LEAST_FACES} faces")


@dataclass(frozen=True)
class EvaluationConfig(Config):
    """Everything that the scores of an evaluation depend on, besides the rows and the data set."""

    split: SplitName = "test"
    """Split to score."""
    protocol: EvaluationProtocol = "onet"
    """``onet``: field and mesh as in Occupancy Networks; ``pix3d``: the official protocol of Pix3D."""
    samples: int = 100_000
    """Samples per surface."""
    voxels: int = 128
    """Voxels per axis of the unit cube under pix3d, a multiple of 32 (fewer are faster, but not official)."""
    limit: int = 0
    """Score only the first N shapes of the split; 0 = all."""
    seed: int = 0
    """Seed for the surface samples."""
    align: Alignment = "none"
    """Align every predicted mesh with the true one before scoring: ``box`` = equal centre and longest side, ``icp`` =
    box, then rigid ICP, ``search`` = the best of 3,744 rotations, each with box, then ICP."""
    mesh_frame: Frame = "normalised"
    """Frame of meshes from other methods; original = that of the source's model."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require(self.samples >= 1, "samples", "1 or more")
        self._require(self.voxels >= 32 and self.voxels % 32 == 0, "voxels", "a multiple of 32")
        self._require(self.limit >= 0, "limit", "0 or more")


PREPARE_PRESETS: dict[str, dict[str, object]] = {
    "paper": {"watertight": "fusion", "resolution": 256, "points": 100_000, "image_size": 224},
}
"""Named settings of ``prepare``: ``paper`` is what Occupancy Networks and the report used, including its bias."""
