"""Encoder weights from files of any origin: whole or not at all, never from the network, checked after loading."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from pix3d_onet.config import ModelConfig
from pix3d_onet.errors import InputError
from pix3d_onet.learning.network.backbone_weights import FileWeights, LoadedWeights, load_backbone
from pix3d_onet.learning.network.encoders import make_backbone
from pix3d_onet.learning.network.model import build_model
from pix3d_onet.learning.network.tensor_names import QKV
from pix3d_onet.learning.network.weights_file import flatten

State = dict[str, Tensor]
FILE = Path("weights.pth")


def randomised(name: str, seed: int, **options: Any) -> State:
    """A network's state with random numbers, of which variances are positive, in every floating-point tensor."""
    generator = torch.Generator().manual_seed(seed)
    state = make_backbone(name, **options).state_dict()
    return {
        key: getattr(torch, "rand" if "var" in key else "randn")(value.shape, generator=generator)
        if value.is_floating_point()
        else value
        for key, value in state.items()
    }


@pytest.fixture(scope="module")
def resnet() -> State:
    return randomised("resnet18", 1)


@pytest.fixture(autouse=True)
def no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here may ask timm for its published weights, be they cached or not."""
    real = timm.create_model

    def create(name: str, *args: Any, pretrained: bool = False, **options: Any) -> nn.Module:
        assert not pretrained, "asked for published weights"
        return real(name, *args, **options)

    monkeypatch.setattr(timm, "create_model", create)


def under(prefix: str, state: State) -> State:
    return {f"{prefix}{key}": value for key, value in state.items()}


def without_head(state: State) -> State:
    return {key: value for key, value in state.items() if not key.startswith("fc.")}


def other(state: State) -> State:
    return {key: value + 1 for key, value in state.items()}


def our_run(state: State) -> State:
    model = build_model(ModelConfig("resnet18", c_dim=8, hidden_dim=8, blocks=1))
    model.encoder.backbone.load_state_dict(without_head(state))  # type: ignore[union-attr]
    return model.state_dict()


def our_pyramid(state: State) -> State:
    scales = [under(f"encoder.encoders.{i}.backbone.", without_head(s)) for i, s in enumerate((state, other(state)))]
    return {**scales[1], **scales[0]}


def rewritten(state: State, rules: list[tuple[str, Any]]) -> State:
    found = {}
    for key, value in state.items():
        name = key
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        found[name] = value
    return found


HF_PARTS = {"conv": "convolution", "bn": "normalization", "0": "convolution", "1": "normalization"}
HUGGING_FACE = [
    (r"^(conv|bn)1\.", lambda m: f"embedder.embedder.{HF_PARTS[m[1]]}."),
    (
        r"^layer(\d)\.(\d)\.(conv|bn)(\d)",
        lambda m: f"encoder.stages.{int(m[1]) - 1}.layers.{m[2]}.layer.{int(m[4]) - 1}.{HF_PARTS[m[3]]}",
    ),
    (
        r"^layer(\d)\.(\d)\.downsample\.(\d)",
        lambda m: f"encoder.stages.{int(m[1]) - 1}.layers.{m[2]}.shortcut.{HF_PARTS[m[3]]}",
    ),
]
"""timm's names of a ResNet → those of transformers' ResNetModel."""
HUGGING_FACE_VIT = [
    (r"^cls_token", "embeddings.cls_token"),
    (r"^pos_embed", "embeddings.position_embeddings"),
    (r"^patch_embed\.proj", "embeddings.patch_embeddings.projection"),
    (r"^blocks\.", "encoder.layer."),
    (r"\.attn\.proj\.", ".attention.output.dense."),
    (r"\.attn\.qkv\.", ".attention.attention."),
    (r"\.norm1\.", ".layernorm_before."),
    (r"\.norm2\.", ".layernorm_after."),
    (r"\.mlp\.fc1\.", ".intermediate.dense."),
    (r"\.mlp\.fc2\.", ".output.dense."),
    (r"^norm\.", "layernorm."),
]
"""timm's names of a ViT → those in the files of transformers."""
HUGGING_FACE_SWIN = [
    (r"^patch_embed\.proj", "embeddings.patch_embeddings.projection"),
    (r"^patch_embed\.norm", "embeddings.norm"),
    (r"^layers\.(\d)\.downsample", lambda m: f"encoder.layers.{int(m[1]) - 1}.downsample"),
    (r"^layers\.", "encoder.layers."),
    (r"\.attn\.proj\.", ".attention.output.dense."),
    (r"\.attn\.qkv\.", ".attention.self."),
    (r"\.attn\.", ".attention.self."),
    *HUGGING_FACE_VIT[-5:],
]
HUGGING_FACE_NOW = [
    (r"^encoder\.layer\.", "layers."),
    (r"attention\.attention\.(.)\w+\.", r"attention.\1_proj."),
    (r"attention\.output\.dense", "attention.o_proj"),
    (r"intermediate\.dense", "mlp.fc1"),
    (r"output\.dense", "mlp.fc2"),
]
"""Names of a ViT in the files of transformers → those in the memory of its version 5."""
FACEBOOK = [
    (r"^stem\.", "downsample_layers.0."),
    (r"^stages\.(\d)\.downsample\.", r"downsample_layers.\1."),
    (r"^stages\.(\d)\.blocks\.", r"stages.\1."),
    ("conv_dw", "dwconv"),
    (r"mlp\.fc", "pwconv"),
    (r"^head\.norm", "norm"),
]
"""timm's names of a ConvNeXt → those it was published with."""


def apart(state: State) -> State:
    """The joined query, key and value of timm's attention as three tensors each."""
    found: State = {}
    for key, value in state.items():
        before, joined, leaf = key.rpartition(".qkv.")
        if joined:
            found |= {f"{before}.qkv.{part}.{leaf}": v.clone() for part, v in zip(QKV, value.chunk(3), strict=True)}
        else:
            found[key] = value
    return found


def hugging_face_vit(state: State) -> State:
    named = under("vit.", rewritten(apart(state), HUGGING_FACE_VIT))
    return {**named, "vit.pooler.dense.weight": torch.zeros(2, 2), "classifier.weight": torch.zeros(2, 2)}


def moco(state: State) -> dict[str, Any]:
    queries, keys = under("module.encoder_q.", state), under("module.encoder_k.", other(state))
    return {"epoch": 3, "state_dict": {**queries, **keys, "module.queue": torch.zeros(4)}}


def dino(state: State) -> dict[str, Any]:
    heads = {"head.mlp.0.weight": torch.zeros(2, 2)}
    return {
        "student": {**under("module.backbone.", other(without_head(state))), **under("module.", heads)},
        "teacher": {**under("backbone.", without_head(state)), **heads},
        "optimizer": {"state": {0: {"exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 0.1}]},
    }


ALL = "100 of 100 tensors"
HEAD = "; 2 of the head left out"
NAMINGS: dict[str, tuple[Callable[[State], dict[str, Any]], str]] = {
    "timm, torchvision": (lambda s: s, f"{ALL}{HEAD}"),
    "old, without counters": (lambda s: {k: v for k, v in s.items() if "num_batches" not in k}, f"{ALL}{HEAD}"),
    "averaged, with counters": (
        lambda s: {k: v.double() * 0.5 if "num_batches" in k else v for k, v in s.items()},
        f"{ALL}{HEAD}",
    ),
    "state_dict": (lambda s: {"state_dict": s, "epoch": 1}, f"{ALL}{HEAD}"),
    "DDP": (lambda s: {"state_dict": under("module.", s)}, f"{ALL} under `module.`{HEAD}"),
    "Lightning": (
        lambda s: {"state_dict": under("model.", s), "global_step": 7, "callbacks": {}},
        f"{ALL} under `model.`{HEAD}",
    ),
    "Lightning, a part": (
        lambda s: {"state_dict": {**under("model.backbone.", without_head(s)), "model.decoder.w": torch.ones(1)}},
        f"{ALL} under `model.backbone.`",
    ),
    "torch.compile": (lambda s: under("_orig_mod.", s), f"{ALL} under `_orig_mod.`{HEAD}"),
    "torch.compile, a part": (
        lambda s: {k.replace("layer1.", "layer1._orig_mod."): v for k, v in s.items()},
        f"{ALL}{HEAD}; names with a wrapper's parts inside",
    ),
    "MoCo": (moco, f"{ALL} under `module.encoder_q.`{HEAD}; preferred to `module.encoder_k.`"),
    "DINO": (dino, f"{ALL} under `teacher.backbone.`; preferred to `student.module.backbone.`"),
    "MAE-style": (
        lambda s: {"model": {**without_head(s), "mask_token": torch.zeros(1), "decoder_embed.weight": torch.zeros(1)}},
        f"{ALL} under `model.`; 2 of the head left out",
    ),
    "Hugging Face": (
        lambda s: {**under("resnet.", rewritten(without_head(s), HUGGING_FACE)), "classifier.1.weight": torch.zeros(1)},
        f"{ALL} under `resnet.`; Hugging Face's names of a ResNet",
    ),
    "moving average": (
        lambda s: {"state_dict_ema": s, "state_dict": other(s)},
        f"{ALL} under `state_dict_ema.`{HEAD}; preferred to `state_dict.`",
    ),
    "our own run": (our_run, f"{ALL} under `encoder.backbone.`"),
    "our own run, three scales": (
        our_pyramid,
        f"{ALL} under `encoder.encoders.0.backbone.`; preferred to `encoder.encoders.1.backbone.`",
    ),
}


@pytest.mark.parametrize("naming", NAMINGS)
def test_the_backbone_is_found_whole_in_every_naming(naming: str, resnet: State) -> None:
    wrap, line = NAMINGS[naming]
    backbone = make_backbone("resnet18", num_classes=0)
    taken = load_backbone(backbone, "resnet18", flatten(wrap(resnet)), FILE)
    for key, value in backbone.state_dict().items():
        assert torch.equal(value, resnet[key]), key
    assert taken.line() == line


def half(state: State) -> State:
    keys = list(without_head(state))
    return {key: state[key] for key in keys[: len(keys) // 2]}


REFUSED: dict[str, tuple[Callable[[State], dict[str, Any]], str]] = {
    "half a file": (half, r"holds 50 of the 100 tensors of resnet18; missing layer3.* and \d+ more"),
    "one missing": (
        lambda s: {k: v for k, v in s.items() if k != "layer2.0.bn2.bias"},
        r"99 of the 100 .* missing layer2\.0\.bn2\.bias\.",
    ),
    "foreign names": (
        lambda s: {f"net.l{i}.w": v for i, v in enumerate(s.values())},
        r"none of the 100 tensors of resnet18; its 122 have other names: net\.l0\.w, net\.l1\.w, net\.l2\.w and 119",
    ),
    "another shape": (
        lambda s: {**s, "conv1.weight": torch.zeros(64, 1, 7, 7)},
        r"99 of the 100 .* not fitting conv1\.weight \(64, 1, 7, 7\) instead of \(64, 3, 7, 7\)",
    ),
    "quantised": (
        lambda s: {**s, "conv1.weight": s["conv1.weight"].to(torch.int8)},
        r"not fitting conv1\.weight in int8",
    ),
    "NaN": (lambda s: {**s, "bn1.bias": torch.full((64,), torch.nan)}, r"NaN or infinite values in bn1\.bias"),
    "a larger network": (
        lambda _: randomised("resnet34", 2),
        r"larger network than resnet18: it has 80 more tensors inside the backbone: layer1\.2",
    ),
    "negative variances": (
        lambda s: {**s, "bn1.running_var": s["bn1.running_var"].abs().neg()},
        r"negative variances in bn1\.running_var",
    ),
    "two of equal right": (
        lambda s: {**under("left.", s), **under("right.", other(s))},
        r"2 different backbones of resnet18: `left\.`, `right\.`",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_anything_less_is_refused_by_name_and_changes_nothing(case: str, resnet: State) -> None:
    spoil, message = REFUSED[case]
    backbone = make_backbone("resnet18", num_classes=0)
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    with pytest.raises(InputError, match=message) as error:
        load_backbone(backbone, "resnet18", flatten(spoil(resnet)), FILE)
    assert error.value.hint
    assert "\n" not in str(error.value)
    assert all(torch.equal(value, before[key]) for key, value in backbone.state_dict().items())


def test_equal_copies_are_one_backbone(resnet: State) -> None:
    twice = {**under("left.", resnet), **under("right.", resnet)}
    taken = load_backbone(make_backbone("resnet18", num_classes=0), "resnet18", twice, FILE)
    assert taken.prefix == "left."


FORMS: dict[str, Callable[[State], dict[str, Any]]] = {
    "DDP": lambda s: under("module.", s),
    "Lightning": lambda s: {"state_dict": under("model.backbone.", s), "global_step": 7},
    "DINO": dino,
}
MUTATED = [
    *((name, wrap) for name in ("test_resnet", "test_vit", "test_convnext") for wrap in FORMS.values()),
    ("test_vit", hugging_face_vit),
    ("test_convnext", lambda s: rewritten(s, FACEBOOK)),
]


@pytest.mark.parametrize(("name", "wrap"), MUTATED)
def test_a_change_of_any_one_tensor_changes_the_network(name: str, wrap: Callable[[State], dict[str, Any]]) -> None:
    """And of nothing else: every tensor of the file is in the network, bit for bit."""
    state = randomised(name, 3, num_classes=0)
    file = flatten(wrap(state))
    reached = set()
    backbone = make_backbone(name, num_classes=0)
    for changed in file:
        taken = load_backbone(backbone, name, {**file, changed: file[changed] + 1}, FILE)
        differing = [key for key, value in backbone.state_dict().items() if not torch.equal(value, state[key])]
        used = taken.prefix in changed and "pooler" not in changed
        assert len(differing) == used, changed
        reached.update(differing)
    assert reached == set(state)


def test_every_tensor_of_a_torchvision_file_reaches_the_network() -> None:
    theirs = pytest.importorskip("torchvision").models.efficientnet_b0(weights=None).state_dict()
    before = make_backbone("efficientnet_b0", num_classes=0)
    load_backbone(before, "efficientnet_b0", theirs, FILE)
    after = make_backbone("efficientnet_b0", num_classes=0)
    load_backbone(after, "efficientnet_b0", {key: value + 1 for key, value in theirs.items()}, FILE)
    changed = {key for key, value in after.state_dict().items() if torch.equal(value, before.state_dict()[key] + 1)}
    assert changed == set(before.state_dict())
    assert len(changed) == len(theirs) - 2


@pytest.mark.parametrize(("dtype", "said"), [(torch.float16, "float16"), (torch.bfloat16, "bfloat16")])
def test_half_precision_is_cast_and_said(dtype: torch.dtype, said: str, resnet: State) -> None:
    narrow = {key: value.to(dtype) if value.is_floating_point() else value for key, value in resnet.items()}
    backbone = make_backbone("resnet18", num_classes=0)
    taken = load_backbone(backbone, "resnet18", narrow, FILE)
    assert taken.line() == f"{ALL}{HEAD}; {said} cast to float32"
    assert torch.equal(backbone.state_dict()["conv1.weight"], narrow["conv1.weight"].float())


@pytest.mark.parametrize("name", ["resnet18", "convnext_tiny", "vit_b_16", "efficientnet_b0", "swin_t"])
def test_torchvision_s_networks_give_timm_s_the_same_features(name: str) -> None:
    torchvision = pytest.importorskip("torchvision")
    torch.manual_seed(0)
    theirs = torchvision.models.get_model(name, weights=None)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    ours = {"vit_b_16": "vit_base_patch16_224", "swin_t": "swin_tiny_patch4_window7_224"}.get(name, name)
    backbone = make_backbone(ours, num_classes=0)
    taken = load_backbone(backbone, ours, theirs.state_dict(), FILE)
    assert taken.taken == taken.total
    assert taken.left_out == 2
    heads = {"convnext_tiny": "classifier", "vit_b_16": "heads", "efficientnet_b0": "classifier", "swin_t": "head"}
    last = heads.get(name, "fc")
    head = getattr(theirs, last)
    images = torch.rand(1, 3, 224, 224)
    with torch.no_grad():
        head = head[-1] if isinstance(head, nn.Sequential) else head
        logits = head(backbone.eval()(images))
        torch.testing.assert_close(logits, theirs.eval()(images), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("theirs", "ours", "said"),
    [
        (
            "efficientnet_b0",
            "tf_efficientnet_b0",
            r"1e-05 .* tf_efficientnet_b0 has 0\.001, .*=efficientnet_b0`",
        ),
        ("efficientnet_b5", "efficientnet_b5", r"eps of 0\.001 .* efficientnet_b5 has 1e-05, .*=tf_efficientnet_b5`"),
        ("efficientnet_b5", "efficientnet_b5.sw_in12k", r"=tf_efficientnet_b5`"),
        ("efficientnet_b4", "efficientnet_b4", ""),
        ("efficientnet_b5", "tf_efficientnet_b5", ""),
    ],
)
def test_an_eps_that_is_not_in_the_file_must_be_the_network_s(theirs: str, ours: str, said: str) -> None:
    """torchvision's EfficientNets have 1e-5 up to B4 and 1e-3 from B5 on, timm's all 1e-5, those of TensorFlow 1e-3."""
    models = pytest.importorskip("torchvision").models
    with torch.device("meta"):
        network, backbone = models.get_model(theirs, weights=None), make_backbone(ours, num_classes=0)
    eps = {module.eps for module in network.modules() if isinstance(module, nn.BatchNorm2d)}
    fits = eps == {module.eps for module in backbone.modules() if isinstance(module, nn.BatchNorm2d)}
    assert fits == (not said)
    state = {key: torch.zeros(value.shape, dtype=value.dtype) for key, value in network.state_dict().items()}
    backbone.to_empty(device="cpu")
    if fits:
        taken = load_backbone(backbone, ours, state, FILE)
        assert taken.line().endswith("; padded as in TensorFlow") == ours.startswith("tf_")
        return
    with pytest.raises(InputError) as error:
        load_backbone(backbone, ours, state, FILE)
    assert re.search(said, f"{error.value} {error.value.hint}")


@pytest.mark.parametrize("token", ["reg_token", "register_tokens", "dist_token"])
def test_tokens_that_the_backbone_lacks_are_no_head(token: str) -> None:
    file = {**randomised("test_vit", 8, num_classes=0), "mask_token": torch.zeros(1), token: torch.zeros(1, 4, 8)}
    with pytest.raises(InputError, match=rf"larger network than test_vit: .* inside the backbone: {token}\."):
        load_backbone(make_backbone("test_vit", num_classes=0), "test_vit", file, FILE)


def test_an_unusual_normalisation_is_told() -> None:
    for name, said in (("vit_tiny_patch16_224", "mean 0.5, deviation 0.5"), ("deit_tiny_patch16_224", "")):
        with torch.device("meta"):
            backbone = make_backbone(name, num_classes=0)
        file = {key: torch.zeros(value.shape) for key, value in backbone.state_dict().items()}
        line = load_backbone(backbone.to_empty(device="cpu"), name, file, FILE).line()
        assert line.endswith(f"; pictures normalised as timm's {name}: {said}") == bool(said)
        assert ("normalised" in line) == bool(said)


def test_names_of_a_paper_s_own_release_are_timm_s_business() -> None:
    """ConvNeXt as it was published: ``downsample_layers``, ``dwconv``, ``pwconv``; timm knows how to rename it."""
    state = randomised("test_convnext", 4, num_classes=0)
    published = rewritten(state, FACEBOOK)
    backbone = make_backbone("test_convnext", num_classes=0)
    taken = load_backbone(backbone, "test_convnext", under("model.", published), FILE)
    assert all(torch.equal(value, state[key]) for key, value in backbone.state_dict().items())
    assert "timm" in taken.line()


@pytest.mark.parametrize("now", [False, True], ids=["files", "memory of version 5"])
def test_a_vit_of_transformers_is_joined(now: bool) -> None:
    """``transformers`` 5.24's own networks gave timm's features in a trial; here are their names."""
    state = randomised("test_vit", 5, num_classes=0)
    file = rewritten(apart(state), HUGGING_FACE_VIT)
    backbone = make_backbone("test_vit", num_classes=0)
    taken = load_backbone(backbone, "test_vit", rewritten(file, HUGGING_FACE_NOW) if now else file, FILE)
    assert all(torch.equal(value, state[key]) for key, value in backbone.state_dict().items())
    normalised = "pictures normalised as timm's test_vit: mean 0.5, deviation 0.5"
    assert taken.line() == f"{len(state)} of {len(state)} tensors; Hugging Face's names of a ViT; {normalised}"


def test_a_swin_of_transformers_is_joined() -> None:
    name = "swin_tiny_patch4_window7_224"
    state = randomised(name, 6, num_classes=0)
    backbone = make_backbone(name, num_classes=0)
    taken = load_backbone(backbone, name, under("swin.", rewritten(apart(state), HUGGING_FACE_SWIN)), FILE)
    assert all(torch.equal(value, state[key]) for key, value in backbone.state_dict().items())
    assert taken.line() == "171 of 171 tensors under `swin.`; Hugging Face's names of a Swin transformer"


@pytest.mark.parametrize("spoil", [torch.Tensor.half, lambda v: v[:-1], lambda v: None], ids=["type", "shape", "gone"])
def test_a_query_key_and_value_that_do_not_belong_together_are_not_joined(spoil: Callable[[Tensor], Any]) -> None:
    file = hugging_face_vit(randomised("test_vit", 7, num_classes=0))
    key = "vit.encoder.layer.1.attention.attention.key.weight"
    spoilt = {name: value for name, value in {**file, key: spoil(file[key])}.items() if value is not None}
    with pytest.raises(InputError, match=r"missing blocks\.1\.attn\.qkv\.weight"):
        load_backbone(make_backbone("test_vit", num_classes=0), "test_vit", spoilt, FILE)


@pytest.mark.parametrize(
    ("theirs", "ours", "missing"),
    [
        ("swin_v2_t", "swinv2_tiny_window8_256", r"layers\.0\.blocks\.0\.attn\.q_bias"),  # stored as one bias
        ("efficientnet_v2_s", "efficientnetv2_s", r"blocks\.0\.0\.conv\.weight"),  # fused blocks
    ],
)
def test_torchvision_s_other_networks_are_refused_by_name(theirs: str, ours: str, missing: str) -> None:
    state = pytest.importorskip("torchvision").models.get_model(theirs, weights=None).state_dict()
    with pytest.raises(InputError, match=rf"holds \d+ of the \d+ tensors of {ours}; missing {missing}"):
        load_backbone(make_backbone(ours, num_classes=0), ours, state, FILE)


def test_every_scale_gets_the_file_and_the_network_tells_what_it_took(tmp_path: Path, resnet: State) -> None:
    save_file(resnet, tmp_path / "weights.safetensors")
    for pyramid in ("separate", "shared", "fpn"):
        config = ModelConfig("resnet18", scales=3, pyramid=pyramid, c_dim=8, hidden_dim=8, blocks=1)
        model = build_model(config, weights=tmp_path / "weights.safetensors")
        convolutions = [value for key, value in model.state_dict().items() if key.endswith("backbone.conv1.weight")]
        assert len(convolutions) == (3 if pyramid == "separate" else 1)
        assert all(torch.equal(value, resnet["conv1.weight"]) for value in convolutions)
        assert model.encoder_weights == LoadedWeights("weights.safetensors", "", 100, 100, 2)
    assert build_model(ModelConfig("resnet18", c_dim=8, hidden_dim=8, blocks=1)).encoder_weights is None


def test_a_run_folder_stands_for_its_best_network(tmp_path: Path, resnet: State) -> None:
    (tmp_path / "run" / "best").mkdir(parents=True)
    save_file(our_run(resnet), tmp_path / "run" / "best" / "model.safetensors")
    model = build_model(ModelConfig("resnet18"), weights=tmp_path / "run")
    assert model.encoder_weights is not None
    assert model.encoder_weights.line() == f"{ALL} under `encoder.backbone.`"
    (tmp_path / "other").mkdir()
    with pytest.raises(InputError, match="folder without weights"):
        build_model(ModelConfig("resnet18"), weights=tmp_path / "other")


def test_a_network_that_changes_weights_on_loading_is_caught(tmp_path: Path, resnet: State) -> None:
    backbone = make_backbone("resnet18", num_classes=0)

    def spoil(module: nn.Module, _: object) -> None:
        with torch.no_grad():
            module.conv1.weight.mul_(2)  # type: ignore[union-attr,operator]

    backbone.register_load_state_dict_post_hook(spoil)
    save_file(resnet, tmp_path / "w.safetensors")
    with pytest.raises(InputError, match=r"changes 1 of its tensors on loading: conv1\.weight"):
        FileWeights(tmp_path / "w.safetensors").load_into(backbone, "resnet18")
