"""Translate other projects' names of the tensors of timm's backbones to timm's names.

Only tensors that are equal in both projects are renamed. Tensors that would have to be computed (query, key and value
joined, a resampled position embedding) are not. ``network.backbone_weights`` checks whether names and shapes fit.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

TRANSPARENT = frozenset({"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
"""Name parts that wrappers (torch.compile, FSDP, activation checkpointing) insert into names."""

Rename = Callable[[re.Match[str]], str]
"""A match → timm's name; group 1 is the prefix, the other groups are those of the rule's pattern."""


@dataclass(frozen=True, slots=True)
class Scheme:
    """A naming scheme.

    ``origin``: a description for the run record; ``rules``: regular expression of the name of a layer,
    or of a parameter outside layers, → timm's name.
    """

    origin: str
    rules: tuple[tuple[str, Rename], ...]

    def translate(self, name: str) -> str:
        """timm's name of a tensor under any prefix; unchanged if no rule matches."""
        layer, dot, leaf = name.rpartition(".")
        for subject, rest in ((layer, dot + leaf), (name, "")):
            for pattern, rename in self.rules:
                found = re.fullmatch(rf"(.*\.|){pattern}", subject)
                if found is not None:
                    return f"{found[1]}{rename(found)}{rest}"
        return name


def _fixed(name: str) -> Rename:
    return lambda _: name


CONVNEXT_PARTS = {"0": "conv_dw", "2": "norm", "3": "mlp.fc1", "5": "mlp.fc2"}
HF_CONVNEXT_PARTS = {
    "dwconv": "conv_dw",
    "layernorm": "norm",
    "pwconv1": "mlp.fc1",
    "pwconv2": "mlp.fc2",
    "layer_scale_parameter": "gamma",
}
HF_NORM = {"convolution": "conv", "normalization": "bn"}
VIT_PARTS = {
    "ln_1": "norm1",
    "self_attention.in_proj_weight": "attn.qkv.weight",
    "self_attention.in_proj_bias": "attn.qkv.bias",
    "self_attention.out_proj": "attn.proj",
    "ln_2": "norm2",
    "mlp.0": "mlp.fc1",
    "mlp.3": "mlp.fc2",
    "mlp.linear_1": "mlp.fc1",
    "mlp.linear_2": "mlp.fc2",
}


def _either(parts: Mapping[str, str]) -> str:
    return "|".join(re.escape(part) for part in parts)


SCHEMES = (
    Scheme("names with a wrapper's parts inside", ()),
    Scheme(
        "torchvision's names of a ConvNeXt",
        (
            (r"features\.0\.([01])", lambda m: f"stem.{m[2]}"),
            (r"features\.([246])\.([01])", lambda m: f"stages.{int(m[2]) // 2}.downsample.{m[3]}"),
            (
                rf"features\.([1357])\.(\d+)\.block\.({_either(CONVNEXT_PARTS)})",
                lambda m: f"stages.{int(m[2]) // 2}.blocks.{m[3]}.{CONVNEXT_PARTS[m[4]]}",
            ),
            (r"features\.([1357])\.(\d+)\.layer_scale", lambda m: f"stages.{int(m[2]) // 2}.blocks.{m[3]}.gamma"),
            (r"classifier\.0", _fixed("head.norm")),
            (r"classifier\.2", _fixed("head.fc")),
        ),
    ),
    Scheme(
        "torchvision's names of a ViT",
        (
            (r"conv_proj", _fixed("patch_embed.proj")),
            (r"class_token", _fixed("cls_token")),
            (r"encoder\.pos_embedding", _fixed("pos_embed")),
            (
                rf"encoder\.layers\.encoder_layer_(\d+)\.({_either(VIT_PARTS)})",
                lambda m: f"blocks.{m[2]}.{VIT_PARTS[m[3]]}",
            ),
            (r"encoder\.ln", _fixed("norm")),
            (r"heads\.head", _fixed("head")),
        ),
    ),
    Scheme(
        "Hugging Face's names of a ResNet",
        (
            (r"embedder\.embedder\.(convolution|normalization)", lambda m: f"{HF_NORM[m[2]]}1"),
            (
                r"encoder\.stages\.(\d+)\.layers\.(\d+)\.layer\.(\d+)\.(convolution|normalization)",
                lambda m: f"layer{int(m[2]) + 1}.{m[3]}.{HF_NORM[m[5]]}{int(m[4]) + 1}",
            ),
            (
                r"encoder\.stages\.(\d+)\.layers\.(\d+)\.shortcut\.(convolution|normalization)",
                lambda m: f"layer{int(m[2]) + 1}.{m[3]}.downsample.{int(m[4] == 'normalization')}",
            ),
        ),
    ),
    Scheme(
        "Hugging Face's names of a ConvNeXt",
        (
            (r"embeddings\.patch_embeddings", _fixed("stem.0")),
            (r"embeddings\.layernorm", _fixed("stem.1")),
            (
                r"encoder\.stages\.(\d+)\.downsampling_layer\.([01])",
                lambda m: f"stages.{m[2]}.downsample.{m[3]}",
            ),
            (
                rf"encoder\.stages\.(\d+)\.layers\.(\d+)\.({_either(HF_CONVNEXT_PARTS)})",
                lambda m: f"stages.{m[2]}.blocks.{m[3]}.{HF_CONVNEXT_PARTS[m[4]]}",
            ),
            (r"layernorm", _fixed("head.norm")),
        ),
    ),
)


def unwrapped(name: str) -> str:
    """``name`` without the parts inserted by wrappers."""
    return ".".join(part for part in name.split(".") if part not in TRANSPARENT)


def renamed(tensors: Mapping[str, Tensor], scheme: Scheme) -> dict[str, Tensor]:
    """The tensors under the names that ``scheme`` gives them."""
    return {scheme.translate(unwrapped(name)): value for name, value in tensors.items()}
