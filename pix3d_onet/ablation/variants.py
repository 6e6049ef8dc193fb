"""The variants and suites of the ablation, one line each.

The first seven are Table 1 of the reproduced report, in its order, with its numbers (Pix3D chairs, 3000 steps, Adam,
validation IoU; the report truncates parameter counts, it does not round them).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pix3d_onet.ablation.recipes import AUGMENT, RECIPES
from pix3d_onet.config import ModelConfig, Start, TrainConfig
from pix3d_onet.errors import ConfigError, choose_from, did_you_mean

BASE = "resnet18"
"""The variant to compare all others with, unless a suite has another base."""
PAPER_BASE_IOU = 0.4041
"""Validation IoU of the base in the report."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One variant of the ablation.

    ``label``: as in Table 1; ``params``: exact parameter count, if a test checks it; ``params_paper`` and
    ``val_iou_paper``: values in the report (None: not in the report); ``train``: the TrainConfig fields that the
    variant changes; ``start``: its own initial weights (``random``, a file's ``weights``, or ``init_from`` a run),
    empty: those of the other variants.
    """

    name: str
    label: str
    model: ModelConfig
    params: int | None = None
    params_paper: str | None = None
    val_iou_paper: float | None = None
    train: Mapping[str, Any] = field(default_factory=dict)
    start: Start = ""

    @property
    def changes(self) -> set[str]:
        """The settings in which its runs differ from other variants': TrainConfig fields, and ``weights``."""
        return {*self.train, *(["weights"] if self.start else [])}

    @property
    def relative_paper(self) -> float | None:
        """The relative improvement over the base in the report, as a fraction; None for the base."""
        if self.val_iou_paper is None or self.name == BASE:
            return None
        return round(self.val_iou_paper / PAPER_BASE_IOU - 1, 3)

    def recipe(self, config: TrainConfig) -> TrainConfig:
        """``config`` with the fields that this variant changes."""
        return TrainConfig.from_json({**config.to_json(), **self.train})


@dataclass(frozen=True, slots=True)
class Suite:
    """Variants that are compared in one table with this title; the first one is the base."""

    name: str
    title: str
    variants: tuple[str, ...]


_VIT = "vit_small_patch16_224"
_DEIT = "deit_small_patch16_224"
_SWIN = "swin_tiny_patch4_window7_224"
_LITE = ModelConfig("tf_efficientnet_lite0")
_BEST = RECIPES["best"].model
_MERGED = replace(_BEST, tta="none")
_LITE_PIXEL = replace(_MERGED, encoder=_LITE.encoder)

_TABLE: tuple[Variant, ...] = (
    # name, label, model, exact parameters, as the report prints them, its IoU
    Variant("resnet18", "ResNet18 (base)", ModelConfig("resnet18"), 13_414_465, "13.4M", PAPER_BASE_IOU),
    Variant("resnet34", "ResNet34", ModelConfig("resnet34"), 23_522_625, "23.5M", 0.4128),
    Variant("resnet50", "ResNet50", ModelConfig("resnet50"), 26_139_201, "26.1M", 0.3941),
    Variant("resnet101", "ResNet101", ModelConfig("resnet101"), 45_131_329, "45.1M", 0.4061),
    Variant("convnext", "ConvNeXt Tiny", ModelConfig("convnext"), 30_123_617, "30.1M", 0.4296),
    Variant("convnext-fp3", "+ 3-scale FP", ModelConfig("convnext", scales=3), 86_157_601, "86.1M", 0.4166),
    Variant(
        "convnext-fp3-pose", "+ Pose", ModelConfig("convnext", scales=3, pose="matrix"), 86_338_369, "86.3M", 0.3838
    ),
    # backbones: Figure 4 of the report, on this task
    Variant("vit-small", "ViT-S/16", ModelConfig(_VIT), 23_870_849),
    Variant("deit-small", "DeiT-S/16", ModelConfig(_DEIT), 23_870_849),
    Variant("swin-tiny", "Swin-T", ModelConfig(_SWIN), 29_822_843),
    # pose input, on the base
    Variant("resnet18-pose", "ResNet18 + pose 4×4", ModelConfig("resnet18", pose="matrix"), 13_595_233),
    Variant("resnet18-pose6d", "ResNet18 + pose 6D", ModelConfig("resnet18", pose="6d"), 13_595_041),
    # conditioning: also the features where a point projects
    Variant("resnet18-pixel", "ResNet18, pixel features", ModelConfig("resnet18", conditioning="pixel"), 13_544_001),
    Variant(
        "resnet18-pixel-mirror",
        "+ mirrored point",
        ModelConfig("resnet18", conditioning="pixel", mirror=True),
        13_611_329,
    ),
    Variant("resnet18-pixel-mirror-fpn", "ResNet18, merged pixel features", _MERGED, 13_619_393),
    Variant("best", "Recipe best", _BEST, 13_619_393, train=RECIPES["best"].changes),
    Variant(
        "best-predicted",
        "Recipe best, predicted camera",
        replace(_BEST, pose="predicted", camera_encoder="own"),
        25_163_385,
        train={
            **RECIPES["best"].changes,
            "augment": (*AUGMENT, "tint"),
            "camera_weight": 1.0,
            "camera_pictures": 48,
        },
    ),
    Variant(
        "convnext-pixel", "ConvNeXt Tiny, pixel features", ModelConfig("convnext", conditioning="pixel"), 30_283_873
    ),
    Variant(
        "convnext-pixel-fpn",
        "ConvNeXt Tiny, merged pixel features",
        ModelConfig("convnext", conditioning="pixel", pyramid="fpn"),
        30_324_705,
    ),
    Variant(
        "resnet18-pixel-constant",
        "+ one camera for all",
        ModelConfig("resnet18", pose="constant", conditioning="pixel"),
        13_544_001,
    ),
    Variant(
        "resnet18-pixel-predicted",
        "+ predicted camera",
        ModelConfig("resnet18", pose="predicted", conditioning="pixel"),
        13_780_153,
    ),
    # pyramid
    Variant("convnext-fp3-shared", "3 scales, shared", ModelConfig("convnext", scales=3, pyramid="shared"), 30_123_617),
    Variant("convnext-fpn", "FPN over levels", ModelConfig("convnext", scales=3, pyramid="fpn"), 30_467_425),
    # views: photos, and a number of rendered views per shape
    Variant("resnet18-photos", "ResNet18, photos only", ModelConfig("resnet18"), 13_414_465, train={"views": "photos"}),
    Variant("resnet18-views8", "+ 8 rendered views", ModelConfig("resnet18"), 13_414_465, train={"views": "8"}),
    Variant("resnet18-views24", "+ 24 rendered views", ModelConfig("resnet18"), 13_414_465, train={"views": "24"}),
    Variant("resnet18-views48", "+ 48 rendered views", ModelConfig("resnet18"), 13_414_465, train={"views": "48"}),
    # augmentation, one kind at a time and all together
    Variant("pixel-color", "+ color", _MERGED, 13_619_393, train={"augment": ("color",)}),
    Variant("pixel-crop", "+ crop", _MERGED, 13_619_393, train={"augment": ("crop",)}),
    Variant("pixel-flip", "+ flip", _MERGED, 13_619_393, train={"augment": ("flip",)}),
    Variant("pixel-stretch", "+ stretch", _MERGED, 13_619_393, train={"augment": ("stretch",)}),
    Variant("pixel-tint", "+ tint", _MERGED, 13_619_393, train={"augment": ("tint",)}),
    Variant("pixel-share", "a quarter of each step photos", _MERGED, 13_619_393, train={"photo_share": 0.25}),
    Variant(
        "pixel-augment",
        "color, crop, flip, stretch and tint",
        _MERGED,
        13_619_393,
        train={"augment": (*AUGMENT, "stretch", "tint")},
    ),
    # capacity: larger encoders, and encoders that are not trained
    Variant("convnext-small", "ConvNeXt Small", ModelConfig("convnext_small"), 51_758_177),
    Variant("convnext-base", "ConvNeXt Base", ModelConfig("convnext_base"), 89_935_489),
    *(
        Variant(f"{name}-frozen", f"{label}, frozen", ModelConfig(encoder), params, train={"freeze_encoder": True})
        for name, label, encoder, params in (
            ("resnet18", "ResNet18", "resnet18", 13_414_465),
            ("resnet101", "ResNet101", "resnet101", 45_131_329),
            ("convnext", "ConvNeXt Tiny", "convnext", 30_123_617),
            ("convnext-base", "ConvNeXt Base", "convnext_base", 89_935_489),
        )
    ),
    # pretraining: what the network starts from
    Variant("lite0", "EfficientNet-Lite0, random", _LITE, 5_805_569, train={"pretrained": False}, start="random"),
    Variant("lite0-weights", "+ weights of a file", _LITE, 5_805_569, start="weights"),
    Variant(
        "lite0-frozen", "+ weights of a file, frozen", _LITE, 5_805_569, train={"freeze_encoder": True}, start="weights"
    ),
    Variant("lite0-run", "+ network of another run", _LITE, 5_805_569, start="init_from"),
    Variant(
        "lite0-pixel",
        "merged pixel features, random",
        _LITE_PIXEL,
        5_980_801,
        train={"pretrained": False},
        start="random",
    ),
    Variant(
        "lite0-pixel-weights",
        "+ weights of a file, backbone at 0.3 of the rate",
        _LITE_PIXEL,
        5_980_801,
        train={"backbone_lr": 0.3},
        start="weights",
    ),
    # the decoder's norm, where the report's larger encoders and augmentation did not help
    Variant("resnet18-layernorm", "ResNet18, layer norm", ModelConfig("resnet18", norm="layer"), 13_414_465),
    Variant("resnet101-layernorm", "ResNet101, layer norm", ModelConfig("resnet101", norm="layer"), 45_131_329),
    Variant(
        "resnet18-augment-layernorm",
        "ResNet18, layer norm, augmentation",
        ModelConfig("resnet18", norm="layer"),
        13_414_465,
        train={"augment": AUGMENT},
    ),
    # sampling: half of the points near the surface
    Variant("resnet18-near", "ResNet18, near 0.5", ModelConfig("resnet18"), 13_414_465, train={"near": 0.5}),
    Variant("pixel-near", "merged pixel features, near 0.5", _MERGED, 13_619_393, train={"near": 0.5}),
    # recipe, one change at a time and all together
    Variant(
        "resnet18-cosine", "+ cosine, warm-up", ModelConfig(), 13_414_465, train={"schedule": "cosine", "warmup": 100}
    ),
    Variant("resnet18-ema", "+ EMA 0.99", ModelConfig(), 13_414_465, train={"ema": 0.99}),
    Variant("resnet18-decay", "+ weight decay 0.05", ModelConfig(), 13_414_465, train={"weight_decay": 0.05}),
    Variant("resnet18-augment", "+ augmentation", ModelConfig(), 13_414_465, train={"augment": AUGMENT}),
    Variant(
        "resnet18-recipe",
        "all four",
        ModelConfig(),
        13_414_465,
        train={"schedule": "cosine", "warmup": 100, "ema": 0.99, "weight_decay": 0.05, "augment": AUGMENT},
    ),
)

VARIANTS: Mapping[str, Variant] = {v.name: v for v in _TABLE}
"""All variants by name; the first seven are Table 1."""

_SUITES: tuple[Suite, ...] = (
    Suite("table1", "Table 1", tuple(v.name for v in _TABLE[:7])),
    Suite(
        "backbones",
        "Which encoder of about 25M parameters?",
        ("resnet50", "vit-small", "deit-small", "swin-tiny", "convnext"),
    ),
    Suite(
        "pose",
        "Does the camera help, and in which form?",
        (
            "resnet18",
            "resnet18-pose",
            "resnet18-pose6d",
            "resnet18-pixel",
            "resnet18-pixel-constant",
            "resnet18-pixel-predicted",
        ),
    ),
    Suite(
        "conditioning",
        "One code of the picture, or the features at each point's pixel?",
        (
            "resnet18",
            "resnet18-pixel",
            "resnet18-pixel-mirror",
            "resnet18-pixel-mirror-fpn",
            "resnet18-pixel-predicted",
            "convnext",
            "convnext-pixel",
        ),
    ),
    Suite(
        "pyramid",
        "What does the pyramid bring?",
        (
            "convnext",
            "convnext-fp3",
            "convnext-fp3-shared",
            "convnext-fpn",
            "convnext-pixel",
            "convnext-pixel-fpn",
        ),
    ),
    Suite(
        "views",
        "Do rendered views help real photos, and how many?",
        ("resnet18-photos", "resnet18-views8", "resnet18-views24", "resnet18-views48"),
    ),
    Suite(
        "augment",
        "Which augmentation helps pixel features?",
        (
            "resnet18-pixel-mirror-fpn",
            "pixel-color",
            "pixel-crop",
            "pixel-flip",
            "pixel-stretch",
            "pixel-tint",
            "pixel-share",
            "pixel-augment",
        ),
    ),
    Suite(
        "capacity",
        "Do larger encoders help, trained or frozen?",
        (
            "resnet18",
            "resnet34",
            "resnet50",
            "resnet101",
            "convnext",
            "convnext-small",
            "convnext-base",
            "resnet18-frozen",
            "resnet101-frozen",
            "convnext-frozen",
            "convnext-base-frozen",
        ),
    ),
    Suite(
        "pretrain",
        "What is a start worth?",
        ("lite0", "lite0-weights", "lite0-frozen", "lite0-run", "lite0-pixel", "lite0-pixel-weights"),
    ),
    Suite(
        "norm",
        "Is the conditional batch norm why larger encoders and augmentation do not help?",
        (
            "resnet18",
            "resnet18-augment",
            "resnet18-layernorm",
            "resnet18-augment-layernorm",
            "resnet101",
            "resnet101-layernorm",
        ),
    ),
    Suite(
        "sampling",
        "Uniform points, or half of them near the surface?",
        ("resnet18", "resnet18-near", "resnet18-pixel-mirror-fpn", "pixel-near"),
    ),
    Suite(
        "recipe",
        "Which change of the recipe helps?",
        ("resnet18", "resnet18-cosine", "resnet18-ema", "resnet18-decay", "resnet18-augment", "resnet18-recipe"),
    ),
)

SUITES: Mapping[str, Suite] = {s.name: s for s in _SUITES}
"""All suites by name."""


def variant(name: str) -> Variant:
    """The variant with this name; ConfigError with the list of names if there is none."""
    if name not in VARIANTS:
        close = did_you_mean(name, VARIANTS) or f"Choose from {', '.join(VARIANTS)}."
        raise ConfigError(f"no variant {name!r}.", hint=f"{close} `variant='timm:NAME'` is any encoder of timm.")
    return VARIANTS[name]


def suite(name: str) -> Suite:
    """The suite with this name; ConfigError with the list of names if there is none."""
    if name not in SUITES:
        raise ConfigError(f"no suite {name!r}.", hint=f"{choose_from(name, SUITES)} Or give a suite file (my.toml).")
    return SUITES[name]
