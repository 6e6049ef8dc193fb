"""Damaged mesh files of every format: each ends in a closed shape or in a reject with its reason, within its time."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from helpers.hostile import mutated

# ruff: noqa: E402 - the geometry libraries are an extra
trimesh = pytest.importorskip("trimesh")
pytest.importorskip("numba")
pytest.importorskip("open3d")

from pix3d_onet.config import PrepareConfig
from pix3d_onet.errors import RejectError
from pix3d_onet.geometry.mesh.topology import is_watertight
from pix3d_onet.preparation.from_mesh import shape_geometry

CONFIG = PrepareConfig(resolution=32, points=1000, surface_points=500)
FEW, MANY = 12, 350
FORMATS = ("obj", "off", "ply-text", "ply-binary", "stl-text", "stl-binary", "glb", "gltf")


def written(kind: str) -> tuple[str, bytes, dict[str, bytes]]:
    """Suffix, bytes and side files of a small table (a board on two legs) in one format."""
    board = trimesh.creation.box((1.0, 0.1, 0.6))
    legs = [trimesh.creation.cylinder(0.05, 0.6, sections=12).apply_translation((x, 0.3, 0.0)) for x in (-0.4, 0.4)]
    table = trimesh.util.concatenate([board, *legs])
    match kind.partition("-"):
        case ("gltf", _, _):
            files = table.export(file_type="gltf")
            return ".gltf", files.pop("model.gltf"), files
        case ("ply", _, how):
            data = table.export(file_type="ply", encoding="ascii" if how == "text" else "binary")
        case ("stl", _, "text"):
            data = table.export(file_type="stl_ascii")
        case (suffix, _, _):
            data = table.export(file_type=suffix)
    return f".{kind.partition('-')[0]}", data.encode() if isinstance(data, str) else data, {}


def edited(data: bytes, rng: np.random.Generator) -> bytes:
    """Text with one to three of its numbers or words replaced, which random bits seldom manage."""
    words = data.split(b" ")
    odd = (b"nan", b"-1", b"1e39", b"1e308", b"0", b"99999999999", b"", b"x", b"2147483647", b"4294967295", b"\n")
    for _ in range(int(rng.integers(1, 4))):
        words[int(rng.integers(len(words)))] = odd[int(rng.integers(len(odd)))]
    return b" ".join(words)


def fuzz(folder: Path, kind: str, count: int, seed: int) -> Counter[str]:
    """How ``count`` damaged files of one format ended, by outcome."""
    suffix, good, side = written(kind)
    for name, data in side.items():
        (folder / name).write_bytes(data)
    path, rng, ends = folder / f"model{suffix}", np.random.default_rng(seed), Counter[str]()
    for turn in range(count):
        path.write_bytes(edited(good, rng) if turn % 2 else mutated(good, rng))
        try:
            shape = shape_geometry(path, f"fuzz-{turn}", CONFIG, root=folder)
        except RejectError as error:
            ends[error.reason if error.stage and "\n" not in error.message else "unclear"] += 1
        else:
            assert is_watertight(shape.full_mesh)
            assert np.isfinite(shape.full_mesh.vertices).all()
            ends["shape"] += 1
    assert not ends["unclear"]
    return ends


@pytest.mark.parametrize("kind", FORMATS)
def test_the_undamaged_file_is_a_shape(tmp_path: Path, kind: str) -> None:
    suffix, good, side = written(kind)
    for name, data in {**side, f"model{suffix}": good}.items():
        (tmp_path / name).write_bytes(data)
    assert is_watertight(shape_geometry(tmp_path / f"model{suffix}", "table", CONFIG, root=tmp_path).full_mesh)


@pytest.mark.parametrize("kind", FORMATS)
def test_damaged_meshes(tmp_path: Path, kind: str) -> None:
    assert fuzz(tmp_path, kind, FEW, 0).total() == FEW


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", FORMATS)
def test_many_damaged_meshes(tmp_path: Path, kind: str) -> None:
    ends = fuzz(tmp_path, kind, MANY, 1)
    assert 0 < ends["shape"] < MANY, ends


def test_gltf_buffers_stay_inside_the_root(tmp_path: Path) -> None:
    _, good, side = written("gltf")
    document = json.loads(good)
    (tmp_path / "inner").mkdir()
    for name, data in side.items():
        (tmp_path / name).write_bytes(data)
    for buffer in document["buffers"]:
        buffer["uri"] = f"../{buffer['uri']}"
    (tmp_path / "inner" / "model.gltf").write_text(json.dumps(document))
    with pytest.raises(RejectError) as refused:
        shape_geometry(tmp_path / "inner" / "model.gltf", "table", CONFIG, root=tmp_path / "inner")
    assert refused.value.reason == "unsafe-path"
