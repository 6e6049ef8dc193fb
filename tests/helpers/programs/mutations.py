"""Structure-aware mutations: valid files of each kind that onet reads, with one to three changes."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from helpers.hostile import HOSTILE, mutated

Random = np.random.Generator
ODD: tuple[Any, ...] = (
    *(None, True, "", "x" * 100_000, [], {}, [[]], [None], {"a": {}}, ["a"], [1, 2], "5", "nan", {"": 0}),
    *(
        0,
        -1,
        1,
        0.5,
        -0.0,
        2**31,
        2**53,
        2**63,
        2**64,
        10**400,
        1e308,
        -1e308,
        float("nan"),
        float("inf"),
        float("-inf"),
    ),
    *HOSTILE[:50:5],
)


def pick(rng: Random, items: Any) -> Any:
    """One of a sequence."""
    return items[int(rng.integers(len(items)))]


def deep(levels: int) -> Any:
    """A list in a list in a list …"""
    document: Any = 0
    for _ in range(levels):
        document = [document]
    return document


def places(document: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) of a JSON document."""
    found, waiting = [], [document]
    while waiting:
        node = waiting.pop()
        keys = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
        found += [(node, key) for key in keys]
        waiting += [node[key] for key in keys]
    return found


def odd_json(document: Any, rng: Random) -> str:
    """The JSON text of ``document`` with one to three values, keys or lists made odd; ``document`` is changed."""
    for _ in range(int(rng.integers(1, 4))):
        found = places(document)
        if not found:
            break
        node, key = pick(rng, found)
        kind = int(rng.integers(8))
        if kind <= 3:
            node[key] = pick(rng, ODD)
        elif kind == 4:
            del node[key]
        elif kind == 5:
            node[key] = deep(int(pick(rng, (5, 63, 70, 500))))
        elif kind == 6 and isinstance(node, list):
            node += [node[key]] * int(rng.integers(1, 50))
        elif isinstance(node, dict):
            node[pick(rng, ("", "extra", key * 2, *HOSTILE[:10]))] = pick(rng, ODD)
    text = json.dumps(document)
    if rng.random() < 0.05:
        return mutated(text.encode(), rng).decode("utf-8", "replace")
    return text


def odd_json_file(path: Path, rng: Random) -> None:
    """``odd_json`` in place."""
    path.write_text(odd_json(json.loads(path.read_text()), rng), errors="replace")


def odd_glb(path: Path, rng: Random) -> None:
    """A binary glTF with an odd JSON chunk, or odd lengths."""
    data = path.read_bytes()
    length = struct.unpack("<I", data[12:16])[0]
    text = odd_json(json.loads(data[20 : 20 + length]), rng).encode("utf-8", "replace")
    text += b" " * (-len(text) % 4)
    rest = data[20 + length :]
    size = 20 + len(text) + len(rest)
    head = struct.pack("<4sII", b"glTF", 2, size) + struct.pack("<I4s", len(text), b"JSON")
    made = head + text + rest
    path.write_bytes(mutated(made, rng) if rng.random() < 0.1 else made)


def odd_safetensors(path: Path, rng: Random) -> None:
    """A safetensors file with an odd header, of its tensors or of ours in it."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    if rng.random() < 0.6:
        ours = json.loads(header["__metadata__"]["onet"])
        header["__metadata__"]["onet"] = odd_json(ours, rng)
        text = json.dumps(header)
    else:
        text = odd_json(header, rng)
    coded = text.encode("utf-8", "replace")
    coded += b" " * (-len(coded) % 8)
    claimed = len(coded) if rng.random() < 0.9 else int(pick(rng, (0, 7, 2**20, 2**40, 2**63)))
    path.write_bytes(claimed.to_bytes(8, "little") + coded + data[8 + length :])


def odd_npz(path: Path, rng: Random) -> None:
    """An npz of which some arrays have another shape, type, header or packing, are missing or there twice."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    for _ in range(int(rng.integers(1, 4))):
        name = pick(rng, sorted(members))
        kind = int(rng.integers(5))
        if kind == 0:
            del members[name]
        elif kind == 1:
            shape = pick(rng, ((), (0,), (1,), (3,), (1, 3), (0, 3), (2, 2, 2), (1 << 16,), (1, 1 << 16, 3)))
            dtype = pick(rng, ("f4", "f8", "u1", "i8", "U3", "?", "c8", "S3"))
            buffer = io.BytesIO()
            np.save(buffer, np.zeros(shape, dtype=dtype))
            members[name] = buffer.getvalue()
        elif kind == 2:
            header = str(pick(rng, ("(1000000000000,)", "(-1,)", "(2**70,)", "(1, 1000000000, 3)", "(True,)", "'a'")))
            text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {header}, }}".ljust(117).encode() + b"\n"
            members[name] = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + b"0" * 64
        elif kind == 3:
            members[name] = mutated(members[name], rng)
        else:
            members[name] = bytes(int(pick(rng, (0, 1, 100, 40 << 20))))
    with zipfile.ZipFile(path, "w", pick(rng, (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    if rng.random() < 0.2:
        path.write_bytes(mutated(path.read_bytes(), rng))


def odd_shard(path: Path, rng: Random) -> None:
    """A shard with an array elsewhere, missing, of another shape, type, layout or content, odd attributes, or bits."""
    with h5py.File(path, "r+") as file:
        names: list[str] = []
        file.visititems(lambda name, node: names.append(name) if isinstance(node, h5py.Dataset) else None)
        for _ in range(int(rng.integers(1, 4))):
            name = pick(rng, names)
            if name in file and isinstance(file.get(name, getlink=True), h5py.HardLink):
                pick(rng, SHARD_ODDITIES)(file, name, rng)
    if rng.random() < 0.2:
        path.write_bytes(mutated(path.read_bytes(), rng))


def _replace(file: h5py.File, name: str, **options: Any) -> None:
    del file[name]
    file.create_dataset(name, **options)


def _missing(file: h5py.File, name: str, rng: Random) -> None:
    del file[name]


def _linked(file: h5py.File, name: str, rng: Random) -> None:
    del file[name]
    file[name] = pick(rng, (h5py.SoftLink("/points"), h5py.ExternalLink("/etc/passwd", "/"), h5py.SoftLink(f"/{name}")))


def _shaped(file: h5py.File, name: str, rng: Random) -> None:
    shape = pick(rng, ((), (0,), (1,), (1 << 40,), (3, 3), (1, 1 << 30, 3)))
    chunks = tuple(min(n, 1024) for n in shape) if shape and min(shape) else None
    _replace(file, name, shape=shape, dtype="f4", chunks=chunks)


def _packed(file: h5py.File, name: str, rng: Random) -> None:
    data = file[name]
    if data.dtype.kind != "O" and 0 < data.size < 1_000_000:
        _replace(file, name, data=data[...], chunks=data.shape, compression=pick(rng, ("gzip", "lzf")), shuffle=True)


def _virtual(file: h5py.File, name: str, rng: Random) -> None:
    shape, dtype = file[name].shape, file[name].dtype
    if dtype.kind != "O":
        layout = h5py.VirtualLayout(shape=shape, dtype=dtype)
        layout[...] = h5py.VirtualSource("/etc/passwd", "x", shape=shape)
        del file[name]
        file.create_virtual_dataset(name, layout)


def _external(file: h5py.File, name: str, rng: Random) -> None:
    shape, dtype = file[name].shape, file[name].dtype
    if dtype.kind != "O":
        _replace(file, name, shape=shape, dtype=dtype, external=[("/etc/passwd", 0, h5py.h5f.UNLIMITED)])


def _filled(file: h5py.File, name: str, rng: Random) -> None:
    data = file[name]
    if data.dtype.kind != "O" and 0 < data.size < 1_000_000:
        high = np.finfo(data.dtype).max if data.dtype.kind == "f" else np.iinfo(data.dtype).max
        data[...] = np.array(pick(rng, (0, high, 1, np.nan if data.dtype.kind == "f" else 7)), dtype=data.dtype)


def _attributes(file: h5py.File, name: str, rng: Random) -> None:
    key = pick(rng, [*file.attrs, "extra"])
    file.attrs[key] = pick(rng, (0, -1, 2**40, "x", np.zeros(5), np.array(["a"], dtype="S1"), 1.5, b"\xff"))


def _group(file: h5py.File, name: str, rng: Random) -> None:
    del file[name]
    file.create_group(name)


SHARD_ODDITIES: tuple[Callable[[h5py.File, str, Random], None], ...] = (
    *(_missing, _linked, _shaped, _packed, _virtual, _external, _filled, _filled, _attributes, _group),
)
