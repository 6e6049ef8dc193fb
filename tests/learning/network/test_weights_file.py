"""What people give for a weights file: told apart by content, read without running anything, named where it is none."""

from __future__ import annotations

import argparse
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from pix3d_onet.errors import InputError
from pix3d_onet.learning.network.weights_file import flatten, read_tensors

TENSORS = {"a.weight": torch.arange(6.0).view(2, 3), "b": torch.ones(1)}


def lfs(path: Path) -> None:
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0a1b\nsize 46830571\n")


def cut(path: Path) -> None:
    torch.save({"w": torch.rand(1000)}, path)
    path.write_bytes(path.read_bytes()[:2000])


def cut_safetensors(path: Path) -> None:
    save_file({"w": torch.rand(1000)}, path)
    path.write_bytes(path.read_bytes()[:2000])


def loop(path: Path) -> None:
    document: dict[str, object] = {"epoch": 1}
    document["self"] = document
    torch.save(document, path)


def archive(path: Path) -> None:
    with path.open("wb") as handle:
        np.savez(handle, w=np.zeros(3))


def script(path: Path) -> None:
    torch.jit.script(nn.Linear(2, 2)).save(str(path))


OTHERS: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "empty": (lambda p: p.write_bytes(b""), r"is empty \(0 bytes\)", "Download"),
    "blank": (lambda p: p.write_text("\n\n"), "is blank", "Download"),
    "Git LFS": (lfs, "is a Git LFS pointer", "git lfs pull"),
    "HTML": (lambda p: p.write_text("\n<!DOCTYPE html><html>Sign in"), "is an HTML page", "Download"),
    "text": (lambda p: p.write_text('title = "My suite"\n'), "is a text file, not a file of tensors", "Download"),
    "HTML in capitals": (lambda p: p.write_text("<HTML><BODY>404"), "is an HTML page", "Download"),
    "JSON": (lambda p: p.write_text(json.dumps({"weight_map": {}})), "is a JSON document", "merge"),
    "HDF5": (lambda p: p.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(64)), "is an HDF5 file", "safetensors"),
    "gzip": (lambda p: p.write_bytes(b"\x1f\x8b\x08" + bytes(64)), "compressed archive", "Unpack"),
    "npz": (archive, "zip archive without PyTorch's data.pkl", "Unpack"),
    "TorchScript": (script, "TorchScript program", "tensors alone"),
    "cut short": (cut, "damaged or cut short", "size"),
    "cut short, safetensors": (cut_safetensors, "damaged or cut short", "size"),
    "Namespace": (
        lambda p: torch.save({"model": TENSORS, "args": argparse.Namespace(lr=0.1)}, p),
        r"besides tensors it holds argparse\.Namespace",
        "tensors alone",
    ),
    "a whole module": (
        lambda p: torch.save(nn.Linear(2, 2), p),
        r"holds torch\.nn\.modules\.linear\.Linear",
        "state_dict",
    ),
    "optimiser": (
        lambda p: torch.save({"optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": []}}, p),
        "optimiser's state only",
        "weights",
    ),
    "optimiser alone": (
        lambda p: torch.save({"state": {0: {"exp_avg": torch.ones(2), "step": torch.ones(())}}, "param_groups": []}, p),
        "optimiser's state only",
        "weights",
    ),
    "no tensors": (
        lambda p: torch.save({"epoch": 3, "state_dict": {}}, p),
        "no tensors; its keys: epoch, state_dict",
        "",
    ),
    "a loop": (loop, "no tensors; its keys: epoch, self", ""),
    "a list": (lambda p: torch.save([1, 2], p), "holds a list, not a dict", ""),
    "a tensor": (lambda p: torch.save(torch.ones(3), p), "single tensor", ""),
}


@pytest.mark.parametrize("kind", OTHERS)
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_what_is_no_weights_file_is_named(kind: str, suffix: str, tmp_path: Path) -> None:
    make, message, hint = OTHERS[kind]
    path = tmp_path / f"w.{suffix}"
    make(path)
    with pytest.raises(InputError, match=message) as error:
        read_tensors(path)
    assert hint in error.value.hint
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("suffix", ["pth", "safetensors", "bin", "ckpt"])
def test_the_content_decides_not_the_name(suffix: str, tmp_path: Path) -> None:
    for write in (save_file, torch.save):
        path = tmp_path / f"w.{suffix}"
        write(TENSORS, path)
        assert all(torch.equal(read_tensors(path)[key], value) for key, value in TENSORS.items())


def test_numbers_of_numpy_and_old_formats_are_read(tmp_path: Path) -> None:
    torch.save({"best": np.float64(0.5), "model": TENSORS}, tmp_path / "new.pt")
    torch.save({"model": TENSORS}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    for name in ("new.pt", "old.pt"):
        assert list(read_tensors(tmp_path / name)) == ["model.a.weight", "model.b"]


def test_a_zip_that_is_no_checkpoint(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "w.pth", "w") as archive:
        archive.writestr("readme.txt", "see the other file")
    with pytest.raises(InputError, match="zip archive without"):
        read_tensors(tmp_path / "w.pth")


def test_flatten_joins_keys_and_leaves_out_what_has_no_numbers() -> None:
    document = {
        "a": {"b": [torch.ones(1), {"c": torch.ones(2)}]}, 3: {"d": torch.ones(3)}, "e": 5,
        "meta": torch.ones(2, device="meta"), "sparse": torch.eye(2).to_sparse(),
    }  # fmt: skip
    assert list(flatten(document)) == ["a.b.0", "a.b.1.c", "3.d"]
