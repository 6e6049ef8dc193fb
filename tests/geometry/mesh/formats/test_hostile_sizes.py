"""Meshes that would take the square of their size in time, or much more memory than they have bytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("numba")

from pix3d_onet.errors import RejectError
from pix3d_onet.geometry.mesh.formats import ply
from pix3d_onet.geometry.mesh.formats.gltf import container, nodes, skins
from pix3d_onet.geometry.mesh.formats.gltf.container import SideFiles
from pix3d_onet.geometry.mesh.formats.side_files import mesh_files
from pix3d_onet.geometry.mesh.formats.strips import strip_triangles, strips_in_lists
from pix3d_onet.geometry.mesh.reading import read_mesh

MANY = 2_000_000
"""So many bytes in a row end the test by its time limit where the time grows with their square."""
TRIANGLE = "v 0 0 0\nv 1 0 0\nv 0 1 0\n"
LONG_RUNS: dict[str, tuple[str, bytes, str]] = {
    "NUL bytes": (".obj", b"#" * 600 + b"\n" + b"\x00" * MANY + b"x\n", "NUL bytes"),
    "blanks in STL": (".stl", b"solid" + b" " * MANY + b"x\n", "no faces"),
    "blanks before facets": (".stl", b"solid x" + (b" " * 1000 + b"facet") * 2000, "no faces"),
    "a line that goes on": (".obj", TRIANGLE.encode() + b"f 1 " + b"\\\n" * MANY, "ends within a face"),
    "PLY comments": (
        ".ply",
        b"ply\nformat ascii 1.0\n" + b"comment\n" * (MANY // 8) + b"end_header\n",
        "no PLY header",
    ),
    "mtllib": (".obj", b"mtllib a.mtl\n" * (MANY // 13), "no faces"),
}


def refused(folder: Path, suffix: str, data: bytes) -> str:
    path = folder / f"model{suffix}"
    path.write_bytes(data)
    with pytest.raises(RejectError) as caught:
        read_mesh(path)
    return caught.value.message


@pytest.mark.parametrize("name", LONG_RUNS)
def test_a_long_run_takes_linear_time(tmp_path: Path, name: str) -> None:
    suffix, data, said = LONG_RUNS[name]
    assert said in refused(tmp_path, suffix, data)


def test_a_header_of_its_largest_size_is_read_in_linear_time(tmp_path: Path) -> None:
    """60,000 elements, each with a name of its own."""
    elements = b"".join(b"element a%d 0\n" % k for k in range(60_000))
    data = b"ply\nformat ascii 1.0\n" + elements + b"end_header\n"
    assert len(data) < ply.MAX_HEADER_BYTES
    assert "no vertices" in refused(tmp_path, ".ply", data)


def test_one_long_index_does_not_make_all_of_them_long(tmp_path: Path) -> None:
    text = f"OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 {'0' * 30}2\n"
    assert "not an index" in refused(tmp_path, ".off", text.encode())


def test_strips_in_lists_are_those_that_are_read_one_by_one() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        sizes = rng.integers(0, 7, rng.integers(1, 6))
        corners = rng.integers(-1, 4, sizes.sum())
        lists = np.split(corners, np.cumsum(sizes)[:-1])
        runs = [run for strip in lists for run in np.split(strip, np.flatnonzero(strip == -1))]
        expected = np.concatenate([strip_triangles(run[run != -1]) for run in runs])
        assert strips_in_lists(corners, sizes).tolist() == expected.tolist()


def gltf(folder: Path, **more: Any) -> Path:
    path = folder / "model.gltf"
    path.write_text(json.dumps({"asset": {"version": "2.0"}, **more}))
    return path


def test_a_buffer_named_again_and_again_counts_and_is_hashed_once(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(bytes(1000))
    (tmp_path / "b.bin").symlink_to("a.bin")
    names = ["a.bin", "./a.bin", "b.bin", "%61.bin", "none.bin", "x" * 5000]
    path = gltf(tmp_path, buffers=[{"uri": name, "byteLength": 4} for name in names * 50])
    files = SideFiles(tmp_path, tmp_path)
    assert files.size(names) == 1000
    assert files.read("a.bin") is files.read("b.bin")
    assert mesh_files(path, tmp_path) == [path, *(tmp_path / n for n in ("a.bin", "b.bin", "none.bin", "x" * 5000))]


def test_a_document_has_a_bounded_number_of_buffers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container, "MAX_BUFFERS", 3)
    path = gltf(tmp_path, buffers=[{"uri": "a.bin"}] * 4)
    assert mesh_files(path, tmp_path) == [path]
    with pytest.raises(RejectError, match="over 3 buffers"):
        read_mesh(path)


def scene(**node: Any) -> dict[str, Any]:
    """A triangle without data: an accessor without a buffer view is zeros, for any count."""
    accessor = {"componentType": 5126, "count": 3, "type": "VEC3"}
    return {
        "accessors": [accessor, {**accessor, "count": 100}, {**accessor, "type": "MAT4", "count": 100}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}}]}],
        "nodes": [{"mesh": 0, **node}],
        "skins": [{"joints": [0]}, {"joints": [0], "inverseBindMatrices": 2}, {"joints": [0] * 100}],
    }


INSTANCES = {"extensions": {"EXT_mesh_gpu_instancing": {"attributes": {"TRANSLATION": 1}}}}


@pytest.mark.parametrize(
    ("module", "limit", "most", "node", "said"),
    [
        (nodes, "MAX_INSTANCES", 99, INSTANCES, "100 instances"),
        (skins, "MAX_SKINNED", 2, {"skin": 0}, "3 vertices with a skin"),
        (skins, "MAX_NODES", 99, {"skin": 1}, "over 99 matrices"),
        (skins, "MAX_NODES", 99, {"skin": 2}, "over 99 joints"),
    ],
)
def test_what_a_small_file_multiplies_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: Any, limit: str, most: int, node: Any, said: str
) -> None:
    monkeypatch.setattr(module, limit, most)
    with pytest.raises(RejectError, match=said) as caught:
        read_mesh(gltf(tmp_path, **scene(**node)))
    assert caught.value.reason == "mesh-too-large"
