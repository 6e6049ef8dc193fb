"""Weights files of strangers: what they claim is compared with their bytes and their network before it is allocated."""

from __future__ import annotations

import json
import resource
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.decoders import original_state
from helpers.stored_run import store_run
from safetensors.torch import load_file, save_file

from pix3d_onet.config import ModelConfig
from pix3d_onet.errors import InputError
from pix3d_onet.learning.checkpoint import load_model
from pix3d_onet.learning.import_original import load_original
from pix3d_onet.learning.network.model import build_model
from pix3d_onet.learning.network.weights_file import read_tensors

PEAK = 300 << 10
"""KiB that a refusal may add to the process's peak."""


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def rewritten(run: Path, **changes: object) -> Path:
    """The run's checkpoint with parts of its description exchanged."""
    path = run / "best" / "model.safetensors"
    header = json.loads(path.with_suffix(".json").read_text())
    for key, value in changes.items():
        header[key] = {**header[key], **value} if isinstance(value, dict) else value
    save_file(load_file(path), path, metadata={"onet": json.dumps(header)})
    return run


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": {"hidden_dim": 1 << 20}}, "hidden_dim` must be between"),
        ({"model": {"hidden_dim": 4096}}, r"decoder\S+ is 32×3 F32, not 4096×3 F32"),
        ({"model": {"c_dim": 8192}}, "F32, not"),
        ({"model": {"blocks": 10**9}}, "blocks` must be between"),
        ({"model": {"blocks": 3}}, "it lacks decoder.blocks.2"),
        ({"model": {"blocks": 1}}, "it holds decoder.blocks.1"),
        ({"model": {"blocks": "5"}}, "must be a whole number, not '5'"),
        ({"model": {"encoder": "vit_giant_patch14_224"}}, "it lacks encoder"),
        ({"model": {"encoder": "x" * 1_000_000}}, "must be a timm model name"),
        ({"model": ["resnet18"]}, "not an object"),
        ({"model": None}, "not an object"),
        ({"train": {"image_size": 10**9}}, "image_size` must be between"),
    ],
)
def test_a_checkpoint_is_its_description_or_nothing(tmp_path: Path, changes: dict[str, object], said: str) -> None:
    run, before = rewritten(store_run(tmp_path), **changes), peak()
    with pytest.raises(InputError, match=said) as raised:
        load_model(run)
    assert len(str(raised.value)) < 600
    assert peak() - before < PEAK


@pytest.fixture(scope="module")
def original() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return original_state(build_model(ModelConfig("resnet18", c_dim=8, hidden_dim=16, blocks=5)))


def _wide(state: dict[str, torch.Tensor]) -> None:
    state["decoder.block0.bn_0.conv_gamma.weight"] = torch.zeros(1).expand(1 << 20, 1 << 20, 1)


def _far(state: dict[str, torch.Tensor]) -> None:
    state["decoder.block99999999.fc_0.weight"] = torch.zeros(16, 16, 1)


def _unstored(state: dict[str, torch.Tensor]) -> None:
    state["decoder.fc_p.weight"] = torch.zeros(1).expand(16, 3, 1)


def _huge(state: dict[str, torch.Tensor]) -> None:
    state["decoder.block0.bn_0.conv_gamma.weight"] = torch.zeros(20_000, 8, 1)


def _shared(state: dict[str, torch.Tensor]) -> None:
    large = torch.zeros(20_000_000)
    state |= {f"more{i}": large for i in range(40)}


def _flat(state: dict[str, torch.Tensor]) -> None:
    state["decoder.block0.bn_0.conv_gamma.weight"] = torch.zeros(16)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_wide, "not stored in full"),
        (_far, "it lacks decoder.blocks.5"),
        (_unstored, "not stored in full"),
        (_huge, "hidden_dim` must be between"),
        (_shared, "larger than the file"),
        (_flat, "c_dim` must be between"),
    ],
)
def test_an_original_checkpoint_is_compared_before_a_network_is_built(
    tmp_path: Path,
    original: dict[str, torch.Tensor],
    damage: Callable[[dict[str, torch.Tensor]], None],
    said: str,
) -> None:
    state = dict(original)
    damage(state)
    torch.save({"model": state}, tmp_path / "o.pt")
    del state
    before = peak()
    with pytest.raises(InputError, match=said):
        load_original(tmp_path / "o.pt")
    assert peak() - before < PEAK


def test_weights_of_another_precision_are_converted(tmp_path: Path, original: dict[str, torch.Tensor]) -> None:
    torch.save(
        {"model": {k: v.double() if v.is_floating_point() else v for k, v in original.items()}}, tmp_path / "o.pt"
    )
    assert load_original(tmp_path / "o.pt")[0].decoder.fc_p.weight.dtype == torch.float32


def test_a_deflated_archive_is_refused_unread(tmp_path: Path) -> None:
    torch.save({"model": {"a": torch.zeros(30_000_000)}}, tmp_path / "o.pt")
    with (
        zipfile.ZipFile(tmp_path / "o.pt") as old,
        zipfile.ZipFile(tmp_path / "p.pt", "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in old.namelist():
            new.writestr(name, old.read(name))
    assert (tmp_path / "p.pt").stat().st_size < 1 << 20
    with pytest.raises(InputError, match="compressed"):
        load_original(tmp_path / "p.pt")


def test_a_file_of_other_keys_and_objects_is_refused_in_one_line(tmp_path: Path) -> None:
    for content in ({1: torch.zeros(1)}, {"model": {2: torch.zeros(1)}}, {"model": 3}, {"a": np.float64(1)}):
        torch.save(content, tmp_path / "o.pt")
        with pytest.raises(InputError, match="not a checkpoint that can be imported"):
            load_original(tmp_path / "o.pt")


def _global(name: str) -> bytes:
    return f"c{name.replace(' ', chr(10))}\n".encode()


def _text(text: str) -> bytes:
    coded = text.encode()
    return b"X" + len(coded).to_bytes(4, "little") + coded


FORMS = ("zip", "old", "old, keys", "old, before a zip")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("called", "said"),
    [
        (_global("builtins bytearray") + b"\x8a\x05" + (2 << 30).to_bytes(5, "little") + b"\x85R", "bytearray"),
        (_global("torch._utils _rebuild_device_tensor_from_cpu_tensor") + b")R", "_rebuild_device_tensor_from_cpu"),
        (_global("numpy dtype") + _text("V2000000000") + b"\x89\x88\x87R", "damaged|refused"),
        (_global("_codecs encode") + _text("é" * 100_000) + _text("!PunyCode ") + b"\x86R", "is refused"),
    ],
    ids=["bytearray", "copy", "dtype", "codec"],
)
def test_a_pickle_that_asks_for_gigabytes_or_hours_is_not_run(
    tmp_path: Path, called: bytes, said: str, form: str
) -> None:
    """All of them are functions that PyTorch's safe reader calls, from every pickle that it reads."""
    path, document = tmp_path / "o.pt", b"\x80\x02}" + _text("a") + called + b"s."
    if form.startswith("old"):
        torch.save({}, path, _use_new_zipfile_serialization=False)
        replaced = b"\x80\x02]q\x00." if form == "old, keys" else b"\x80\x02}q\x00."
        path.write_bytes(path.read_bytes().replace(replaced, document, 1))
        assert document in path.read_bytes()
    if "zip" in form:
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("o/data.pkl", b"\x80\x02}." if form.startswith("old") else document)
            archive.writestr("o/version", "3\n")
    before = peak()
    with pytest.raises(InputError, match=said):
        load_original(path)
    assert peak() - before < PEAK


@pytest.mark.parametrize(
    "document",
    [
        {"a." * 50_000 + "conv1.weight": torch.zeros(1)},
        {"x" * 1_000_000: {str(i): torch.zeros(1) for i in range(10_000)}},
        {"x" * 1_000_000: [[[0]]] * 10_000},
    ],
    ids=["deep", "repeated", "without tensors"],
)
def test_a_name_of_a_megabyte_is_not_multiplied(tmp_path: Path, document: dict[str, object]) -> None:
    torch.save(document, tmp_path / "o.pt")
    before = peak()
    with pytest.raises(InputError, match=r"a name in it has 1[\d,]+ characters"):
        read_tensors(tmp_path / "o.pt")
    assert peak() - before < PEAK


@pytest.mark.parametrize("method", ["items", "get", "keys", "values", "__iter__"])
def test_an_ordered_dict_whose_methods_are_attributes_is_a_dict(tmp_path: Path, method: str) -> None:
    attribute = b"}" + _text(method) + b"K\x01sb"
    with zipfile.ZipFile(tmp_path / "o.pt", "w") as archive:
        archive.writestr("o/data.pkl", b"\x80\x02" + _global("collections OrderedDict") + b")R" + attribute + b".")
        archive.writestr("o/version", "3\n")
    with pytest.raises(InputError, match="holds no tensors; its keys: none"):
        read_tensors(tmp_path / "o.pt")
    with pytest.raises(InputError, match="not a checkpoint that can be imported"):
        load_original(tmp_path / "o.pt")
