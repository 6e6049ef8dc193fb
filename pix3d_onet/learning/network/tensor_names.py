"""Translate other projects' names of the tensors of timm's backbones to timm's names.

Only tensors that are equal in both projects are renamed, and separate query, key and value tensors joined. Tensors that
would have to be computed (a resampled position embedding) are not taken. ``network.backbone_weights`` checks whether
names and shapes fit.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

TRANSPARENT = frozenset({"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
"""Name parts that wrappers (torch.compile, FSDP, activation checkpointing) insert into names."""

QKV = ("query", "key", "value")
"""Parts of timm's ``qkv`` layer that others store apart, in its order."""

Rename = Callable[[re.Match[str]], str]
"""A match → timm's name; group 1 is the prefix, the other groups are those of the rule's pattern."""


@dataclass(frozen=True, slots=True)
class Scheme:
    """A naming scheme.

    ``origin``: a description for the run record; ``rules``: regular expression of the name of a layer,
    or of a parameter outside layers, → timm's name; ``norm_eps``: number of features → eps of the batch norms, which no
    file holds, where it differs among the networks of these names.
    """

    origin: str
    rules: tuple[tuple[str, Rename], ...]
    norm_eps: Callable[[int], float] | None = None

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


MBCONV_LAYERS = {
    1: {"0.0": "conv_dw", "0.1": "bn1", "2.0": "conv_pw", "2.1": "bn2"},
    2: {"0.0": "conv_pw", "0.1": "bn1", "1.0": "conv_dw", "1.1": "bn2", "3.0": "conv_pwl", "3.1": "bn3"},
}
"""Layers of EfficientNet's blocks: of the first stage, which does not expand, and of the others."""
SQUEEZE = {"fc1": "se.conv_reduce", "fc2": "se.conv_expand"}
LEAST_OF_B5 = 2048
"""Features of EfficientNet-B5, from which on torchvision's have an eps of 1e-3 like those of TensorFlow."""
SWIN_PARTS = {"mlp.0": "mlp.fc1", "mlp.3": "mlp.fc2"}
HF_BLOCK = {
    "layernorm_before": "norm1",
    "layernorm_after": "norm2",
    "attention.output.dense": "attn.proj",
    "intermediate.dense": "mlp.fc1",
    "output.dense": "mlp.fc2",
    "attention.o_proj": "attn.proj",
    **{f"attention.{part[0]}_proj": f"attn.qkv.{part}" for part in QKV},
    **{name: name for name in ("mlp.fc1", "mlp.fc2")},
}
"""Names in the files; then those in the memory of transformers 5, which ``torch.save`` writes."""
HF_VIT_PARTS = {
    **HF_BLOCK,
    **{f"attention.attention.{part}": f"attn.qkv.{part}" for part in QKV},
    **{name: name for name in ("norm1", "norm2")},
    "layer_scale1.lambda1": "ls1.gamma",
    "layer_scale2.lambda1": "ls2.gamma",
}
"""Also of DINOv2, which names its norms and perceptron as timm does."""
HF_SWIN_PARTS = {
    **HF_BLOCK,
    "attention.self": "attn",
    "attention.relative_position_bias": "attn",
    **{f"attention.self.{part}": f"attn.qkv.{part}" for part in QKV},
}


def _either(parts: Mapping[str, str]) -> str:
    return "|".join(re.escape(part) for part in parts)


def _mbconv(stage: str, block: str, layer: str) -> str:
    """timm's name of a layer of EfficientNet's block; of one that it has not, a name that is nobody's."""
    known = MBCONV_LAYERS[min(int(stage), 2)]
    return f"blocks.{int(stage) - 1}.{block}.{known.get(layer, f'block.{layer}')}"


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
        "torchvision's names of an EfficientNet",
        (
            (r"features\.0\.0", _fixed("conv_stem")),
            (r"features\.0\.1", _fixed("bn1")),
            (r"features\.([1-7])\.(\d+)\.block\.(\d\.[01])", lambda m: _mbconv(m[2], m[3], m[4])),
            (
                r"features\.([1-7])\.(\d+)\.block\.\d\.(fc[12])",
                lambda m: f"blocks.{int(m[2]) - 1}.{m[3]}.{SQUEEZE[m[4]]}",
            ),
            (r"features\.8\.0", _fixed("conv_head")),
            (r"features\.8\.1", _fixed("bn2")),
            (r"classifier\.1", _fixed("classifier")),
        ),
        norm_eps=lambda features: 1e-3 if features >= LEAST_OF_B5 else 1e-5,
    ),
    Scheme(
        "torchvision's names of a Swin transformer",
        (
            (r"features\.0\.0", _fixed("patch_embed.proj")),
            (r"features\.0\.2", _fixed("patch_embed.norm")),
            (r"features\.([246])\.(norm|reduction)", lambda m: f"layers.{int(m[2]) // 2}.downsample.{m[3]}"),
            (
                r"features\.([1357])\.(\d+)\.(.+)",
                lambda m: f"layers.{int(m[2]) // 2}.blocks.{m[3]}.{SWIN_PARTS.get(m[4], m[4])}",
            ),
        ),
    ),
    Scheme(
        "Hugging Face's names of a ViT",
        (
            (r"embeddings\.cls_token", _fixed("cls_token")),
            (r"embeddings\.distillation_token", _fixed("dist_token")),
            (r"embeddings\.register_tokens", _fixed("reg_token")),
            (r"embeddings\.position_embeddings", _fixed("pos_embed")),
            (r"embeddings\.patch_embeddings\.projection", _fixed("patch_embed.proj")),
            (
                rf"(?:encoder\.layer|layers)\.(\d+)\.({_either(HF_VIT_PARTS)})",
                lambda m: f"blocks.{m[2]}.{HF_VIT_PARTS[m[3]]}",
            ),
            (r"layernorm", _fixed("norm")),
        ),
    ),
    Scheme(
        "Hugging Face's names of a Swin transformer",
        (
            (r"embeddings\.patch_embeddings\.projection", _fixed("patch_embed.proj")),
            (r"embeddings\.norm", _fixed("patch_embed.norm")),
            (
                rf"encoder\.layers\.(\d+)\.blocks\.(\d+)\.({_either(HF_SWIN_PARTS)})",
                lambda m: f"layers.{m[2]}.blocks.{m[3]}.{HF_SWIN_PARTS[m[4]]}",
            ),
            (  # at the end of a stage, in timm at the start of the next
                r"encoder\.layers\.(\d+)\.downsample\.(norm|reduction)",
                lambda m: f"layers.{int(m[2]) + 1}.downsample.{m[3]}",
            ),
            (r"layernorm", _fixed("norm")),
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

BY_TIMM = Scheme("names that timm knows and renames", ())
"""Names that timm's own conversion of old checkpoints translates."""


def unwrapped(name: str) -> str:
    """``name`` without the parts inserted by wrappers."""
    return ".".join(part for part in name.split(".") if part not in TRANSPARENT)


def renamed(tensors: Mapping[str, Tensor], scheme: Scheme) -> dict[str, Tensor]:
    """The tensors under the names that ``scheme`` gives them; separate query, key and value are joined."""
    return _joined({scheme.translate(unwrapped(name)): value for name, value in tensors.items()})


def _joined(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """``qkv.query``, ``qkv.key`` and ``qkv.value`` → ``qkv``, where all three are there, of one shape and type."""
    found = dict(tensors)
    for name in tensors:
        before, first, leaf = name.rpartition(f".qkv.{QKV[0]}.")
        parts = [f"{before}.qkv.{part}.{leaf}" for part in QKV]
        if not first or not all(part in tensors for part in parts):
            continue
        values = [found.pop(part) for part in parts]
        if len({(value.shape, value.dtype) for value in values}) == 1 and values[0].ndim:
            found[f"{before}.qkv.{leaf}"] = torch.cat(values)
    return found
