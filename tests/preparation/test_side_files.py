"""A mesh's buffers are part of its shape: hashes, repeated preparation, duplicates and verification see them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from helpers.meshes.gltf import random_scene

pytest.importorskip("numba")
pytest.importorskip("open3d")

from pix3d_onet.config import PrepareConfig
from pix3d_onet.data.sources.mesh_folder import list_meshes
from pix3d_onet.data.store.manifest import Manifest, read_manifest
from pix3d_onet.files import digest
from pix3d_onet.geometry.mesh.formats.side_files import mesh_digest, mesh_files
from pix3d_onet.inspection.checks import check_duplicates, check_source
from pix3d_onet.preparation.job import Execution, PrepareResult, prepare

CONFIG = PrepareConfig(points=512, surface_points=64, resolution=32, categories=("all",))


def write(folder: Path, name: str, height: float) -> None:
    """A tetrahedron in ``name/model.gltf`` with its buffer beside it; the JSON is the same for every height."""
    (folder / name).mkdir(parents=True, exist_ok=True)
    corners = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, height]], dtype="<f4")
    faces = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]], dtype="<u2")
    (folder / name / "model.bin").write_bytes(corners.tobytes() + faces.tobytes())
    document = {
        "asset": {"version": "2.0"},
        "buffers": [{"uri": "model.bin", "byteLength": 72}],
        "bufferViews": [{"buffer": 0, "byteLength": 48}, {"buffer": 0, "byteOffset": 48, "byteLength": 24}],
        "accessors": [
            {"bufferView": 0, "componentType": 5126, "count": 4, "type": "VEC3"},
            {"bufferView": 1, "componentType": 5123, "count": 12, "type": "SCALAR"},
        ],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1}]}],
        "nodes": [{"mesh": 0}],
        "scenes": [{"nodes": [0]}],
    }
    (folder / name / "model.gltf").write_text(json.dumps(document))


def run(root: Path, out: Path) -> tuple[PrepareResult, Manifest]:
    result = prepare(list_meshes(root, CONFIG), CONFIG, out, Execution(backend="inline"))
    return result, read_manifest(out)


def test_a_changed_buffer_alone_is_prepared_again_and_noticed(tmp_path: Path) -> None:
    root, out = tmp_path / "source", tmp_path / "out"
    write(root, "a", 1.0)
    write(root, "b", 2.0)
    write(root, "c", 2.0)
    _, first = run(root, out)
    heights = {s.object_id: s.qc["volume"] for s in first.shapes}
    assert len({s.mesh_sha256 for s in first.shapes}) == 2
    (double,) = check_duplicates(first).findings
    assert "b/model, c/model" in double.message
    assert not check_source(first, root).findings
    write(root, "b", 0.5)
    (changed,) = check_source(first, root).findings
    assert (changed.level, changed.subject) == ("error", "b/model")
    _, second = run(root, out)
    assert [s.object_id for s in second.shapes if s.qc["volume"] != heights[s.object_id]] == ["b/model"]
    assert not check_source(second, root).findings
    assert run(root, out)[1] == second


def test_a_buffer_that_is_gone_is_noticed(tmp_path: Path) -> None:
    write(tmp_path, "a", 1.0)
    path = tmp_path / "a" / "model.gltf"
    before = mesh_digest(path, tmp_path)
    (tmp_path / "a" / "model.bin").unlink()
    assert mesh_digest(path, tmp_path) != before


def test_files_without_buffers_keep_the_hash_of_their_bytes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    writer, _ = random_scene(rng)
    for how in ("glb", "embedded"):
        path = writer.save(tmp_path, how, rng)
        assert mesh_digest(path, tmp_path) == digest(path.read_bytes())
    (tmp_path / "a.obj").write_text("v 0 0 0\n")
    (tmp_path / "broken.gltf").write_text("{")
    for name in ("a.obj", "broken.gltf"):
        assert mesh_digest(tmp_path / name, tmp_path) == digest((tmp_path / name).read_bytes())


def test_buffers_outside_of_the_root_are_not_hashed(tmp_path: Path) -> None:
    write(tmp_path / "root", "a", 1.0)
    path = tmp_path / "root" / "a" / "model.gltf"
    path.write_text(path.read_text().replace("model.bin", "../../secret"))
    (tmp_path / "secret").write_bytes(b"x")
    assert mesh_files(path, tmp_path / "root") == [path]
