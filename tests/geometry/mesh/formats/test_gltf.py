"""glTF features one by one: compression, skins, morph targets, extensions, bounds, places of buffers."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_from_bytes

import numpy as np
import pytest
from helpers.meshes.gltf import Writer

pytest.importorskip("numba")

from pix3d_onet.errors import RejectError
from pix3d_onet.geometry.mesh.formats.gltf import compression
from pix3d_onet.geometry.mesh.reading import read_mesh
from pix3d_onet.geometry.mesh.topology import volume

RNG = np.random.default_rng(0)
CORNERS = np.array([[x, y, z] for x in (0, 1) for y in (0, 2) for z in (0, 3)], dtype=np.float64)
FACES = np.array(
    [
        *([0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1]),
        *([2, 3, 7], [2, 7, 6], [0, 2, 6], [0, 6, 4], [1, 5, 7], [1, 7, 3]),
    ]
)
"""A box of volume 6, outside out."""


def box(**node: Any) -> Writer:
    """A document with the box and one node."""
    writer = Writer()
    position, indices = writer.accessor(CORNERS, "VEC3", "f4"), writer.accessor(FACES.reshape(-1, 1), "SCALAR", "u2")
    mesh = writer.add("meshes", {"primitives": [{"attributes": {"POSITION": position}, "indices": indices}]})
    writer.add("nodes", {"mesh": mesh, **node})
    writer.json |= {"scenes": [{"nodes": [0]}], "scene": 0}
    return writer


def read(writer: Writer, folder: Path, how: str = "glb") -> Any:
    return read_mesh(writer.save(folder, how, RNG), root=folder)


def refused(writer: Writer, folder: Path, how: str = "glb") -> RejectError:
    with pytest.raises(RejectError) as caught:
        read(writer, folder, how)
    assert caught.value.stage == "mesh"
    return caught.value


def test_skins_hold_vertices_at_their_joints_and_ignore_their_own_node(tmp_path: Path) -> None:
    writer = box(translation=[50, 0, 0], skin=0)
    attributes = writer.json["meshes"][0]["primitives"][0]["attributes"]
    joints, weights = np.zeros((8, 4)), np.zeros((8, 4))
    joints[4:, 0], weights[:, 0] = 1, 1  # the side x = 1 hangs on the second joint
    attributes["JOINTS_0"] = writer.accessor(joints, "VEC4", "u1")
    attributes["WEIGHTS_0"] = writer.accessor(weights, "VEC4", "f4")
    bind = np.tile(np.eye(4), (2, 1, 1))
    bind[1, 0, 3] = -1
    inverse = writer.accessor(bind.transpose(0, 2, 1).reshape(2, 16), "MAT4", "f4")
    joint = writer.add("nodes", {"translation": [0, 0, 0], "children": [2]})
    writer.add("nodes", {"translation": [3, 0, 0]})  # bound at x = 1, now at x = 3
    writer.json["scenes"] = [{"nodes": [0, joint]}]
    writer.add("skins", {"joints": [1, 2], "inverseBindMatrices": inverse})
    mesh = read(writer, tmp_path).mesh
    assert volume(mesh) == pytest.approx(18)
    assert mesh.bounds.tolist() == [[0, 0, 0], [3, 2, 3]]


@pytest.mark.parametrize(
    ("holder", "weights", "expected"), [("nodes", [1], 12), ("meshes", [0.5], 9), ("meshes", [0], 6)]
)
def test_morph_targets_move_by_their_weights(
    tmp_path: Path, holder: str, weights: list[float], expected: float
) -> None:
    writer = box()
    moved = np.zeros((8, 3))
    moved[4:, 0] = 1
    target = writer.accessor(moved, "VEC3", "f4", sparse=RNG)
    writer.json["meshes"][0]["primitives"][0]["targets"] = [{"POSITION": target}]
    writer.json[holder][0]["weights"] = weights
    found = read(writer, tmp_path)
    assert volume(found.mesh) == pytest.approx(expected)
    assert (found.figures["left_out"] is None) == any(weights)


def draco(writer: Writer, legs: bool) -> Writer:
    """The box compressed by Draco; with ``legs`` another, uncompressed box beside it."""
    library = pytest.importorskip("DracoPy")
    data = library.encode(CORNERS.astype(np.float32), FACES.astype(np.uint32), quantization_bits=14)
    packed = {"bufferView": writer.view(data), "attributes": {"POSITION": 0}}
    for accessor in writer.json["accessors"]:
        accessor.pop("bufferView")
        accessor.pop("byteOffset")
    writer.json["meshes"][0]["primitives"][0]["extensions"] = {"KHR_draco_mesh_compression": packed}
    writer.use("KHR_draco_mesh_compression")
    if legs:
        position = writer.accessor(np.add(CORNERS, (5, 0, 0)), "VEC3", "f4")
        indices = writer.accessor(FACES.reshape(-1, 1), "SCALAR", "u1")
        primitive = {"attributes": {"POSITION": position}, "indices": indices}
        writer.json["meshes"][0]["primitives"].append(primitive)
    return writer


@pytest.mark.parametrize("legs", [False, True])
def test_draco(tmp_path: Path, legs: bool) -> None:
    library = pytest.importorskip("DracoPy")
    decoded = library.decode(library.encode(CORNERS.astype(np.float32), FACES.astype(np.uint32), quantization_bits=14))
    writer = draco(box(), legs)  # the encoder drops equal vertices and may reorder: the counts are its own
    writer.json["accessors"][0]["count"] = len(decoded.points)
    assert volume(read(writer, tmp_path).mesh) == pytest.approx(12 if legs else 6, rel=1e-3)


def test_draco_counts_that_lie_are_refused(tmp_path: Path) -> None:
    writer = draco(box(), legs=False)
    writer.json["accessors"][0]["count"] = 7
    assert "declared 7 vertices" in refused(writer, tmp_path).message


def meshopt(writer: Writer) -> Writer:
    library = pytest.importorskip("meshoptimizer")
    index = FACES.astype(np.uint32).reshape(-1)
    streams = [
        ("ATTRIBUTES", library.encode_vertex_buffer(CORNERS.astype(np.float32), 8, 12), 8, 12),
        ("TRIANGLES", library.encode_index_buffer(index, len(index), 8), len(index), 2),
    ]
    for view, (mode, data, count, stride) in zip(writer.json["bufferViews"][:2], streams, strict=True):
        writer.data += b"\0" * (-len(writer.data) % 4)
        packed = {"buffer": 0, "byteOffset": len(writer.data), "byteLength": len(data), "byteStride": stride}
        view["extensions"] = {"EXT_meshopt_compression": packed | {"mode": mode, "count": count}}
        writer.data += bytes(data)
    writer.use("EXT_meshopt_compression")
    return writer


def test_meshopt(tmp_path: Path) -> None:
    writer = meshopt(box())
    writer.data[: 8 * 12 + 36 * 2] = bytes(8 * 12 + 36 * 2)  # the fallback is empty: what is read was unpacked
    assert volume(read(writer, tmp_path).mesh) == pytest.approx(6)
    writer.json["bufferViews"][0]["extensions"]["EXT_meshopt_compression"]["count"] = 9
    assert refused(writer, tmp_path).reason == "unreadable-mesh"


@pytest.mark.parametrize(("squeeze", "package"), [(lambda w: draco(w, False), "DracoPy"), (meshopt, "meshoptimizer")])
def test_a_missing_library_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, squeeze: Callable[[Writer], Writer], package: str
) -> None:
    writer = squeeze(box())
    if package == "meshoptimizer":
        writer.json["buffers"] = [{"byteLength": 1}]
        for view in writer.json["bufferViews"][:2]:
            view["buffer"] = 1  # a fallback without data
    monkeypatch.setattr(compression, "installed", lambda module: False)
    monkeypatch.setattr("pix3d_onet.geometry.mesh.formats.gltf.primitives.installed", lambda module: False)
    found = refused(writer, tmp_path)
    assert found.reason == "mesh-feature"
    assert f"pip install {package}" in found.message


def test_a_plain_fallback_is_read_without_the_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compression, "installed", lambda module: False)
    assert volume(read(meshopt(box()), tmp_path).mesh) == pytest.approx(6)


def test_required_extensions_are_named_and_harmless_ones_pass(tmp_path: Path) -> None:
    for name in ("KHR_materials_unlit", "KHR_texture_basisu", "KHR_lights_punctual", "FB_ngon_encoding"):
        writer = box()
        writer.use(name)
        assert volume(read(writer, tmp_path).mesh) == pytest.approx(6)
    writer = box()
    writer.use("ACME_displacement")
    assert "ACME_displacement" in refused(writer, tmp_path).message
    for key in ("nodes", "meshes", "accessors", "bufferViews"):
        writer = box()
        writer.json[key][0]["extensions"] = {"ACME_bend": {}}
        writer.use("ACME_bend", required=False)
        found = refused(writer, tmp_path)
        assert found.reason == "mesh-feature"
        assert "ACME_bend" in found.message


def edit(key: str, index: int, **values: Any) -> Callable[[Writer], None]:
    return lambda writer: writer.json[key][index].update(values)


def sparse(**values: Any) -> Callable[[Writer], None]:
    base = {"count": 1, "indices": {"bufferView": 0, "componentType": 5121}, "values": {"bufferView": 0}}
    return edit("accessors", 0, sparse=base | values)


HUGE = 1 << 40
BEYOND = {"bufferView": 0, "byteOffset": 22, "componentType": 5121}
"""One sparse index, 0x40: a byte of a float."""
UNIT = np.eye(4).reshape(-1).tolist()


def viewless(writer: Writer) -> None:
    writer.json["accessors"][0] = {"componentType": 5126, "type": "VEC3", "count": HUGE}


def bare(writer: Writer) -> None:
    writer.json["meshes"][0]["primitives"][0].pop("attributes")


def restarted(writer: Writer) -> None:
    corners = np.insert(FACES.reshape(-1), 18, 65535)
    index = writer.accessor(corners.reshape(-1, 1), "SCALAR", "u2")
    writer.json["meshes"][0]["primitives"][0] |= {"indices": index, "mode": 5}


BROKEN: dict[str, tuple[Callable[[Writer], None], str]] = {
    "count beyond its view": (edit("accessors", 0, count=9), "truncated-mesh"),
    "huge count": (edit("accessors", 0, count=HUGE), "mesh-too-large"),
    "huge count without a view": (viewless, "mesh-too-large"),
    "negative count": (edit("accessors", 0, count=-1), "unreadable-mesh"),
    "count of a fraction": (edit("accessors", 0, count=7.5), "unreadable-mesh"),
    "no such view": (edit("accessors", 0, bufferView=99), "unreadable-mesh"),
    "view beyond its buffer": (edit("bufferViews", 0, byteLength=1 << 20), "truncated-mesh"),
    "view far behind its buffer": (edit("bufferViews", 0, byteOffset=HUGE), "truncated-mesh"),
    "stride below the element": (edit("bufferViews", 0, byteStride=8), "unreadable-mesh"),
    "wrong type": (edit("accessors", 0, type="VEC2"), "unreadable-mesh"),
    "unknown component": (edit("accessors", 0, componentType=5130), "mesh-feature"),
    "float indices": (edit("accessors", 1, componentType=5126, count=18), "unreadable-mesh"),
    "corners of no triangle": (edit("accessors", 1, count=35), "unreadable-mesh"),
    "normalized floats": (edit("accessors", 0, normalized=True), "unreadable-mesh"),
    "huge sparse count": (sparse(count=HUGE), "unreadable-mesh"),
    "sparse index beyond": (sparse(indices=BEYOND), "unreadable-mesh"),
    "no such mesh": (edit("nodes", 0, mesh=4), "unreadable-mesh"),
    "a circle": (edit("nodes", 0, children=[0]), "unreadable-mesh"),
    "no such child": (edit("nodes", 0, children=[7]), "unreadable-mesh"),
    "no such scene": (lambda w: w.json.update(scene=3), "unreadable-mesh"),
    "matrix and scale": (edit("nodes", 0, matrix=UNIT, scale=[1, 1, 1]), "unreadable-mesh"),
    "projective matrix": (edit("nodes", 0, matrix=[1, 0, 0, 1, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]), "mesh-feature"),
    "zero rotation": (edit("nodes", 0, rotation=[0, 0, 0, 0]), "unreadable-mesh"),
    "scale of text": (edit("nodes", 0, scale=["1", 1, 1]), "unreadable-mesh"),
    "endless number": (edit("nodes", 0, scale=[10**400, 1, 1]), "unreadable-mesh"),
    "version 1": (lambda w: w.json.update(asset={"version": "1.0"}), "mesh-feature"),
    "a later minVersion": (lambda w: w.json.update(asset={"version": "2.1", "minVersion": "2.1"}), "mesh-feature"),
    "hidden nodes": (edit("nodes", 0, extensions={"KHR_node_visibility": {"visible": False}}), "mesh-feature"),
    "meshes as an object": (lambda w: w.json.update(meshes={}), "unreadable-mesh"),
    "restarted strip": (restarted, "unreadable-mesh"),
    "a mode of none": (lambda w: w.json["meshes"][0]["primitives"][0].update(mode=7), "unreadable-mesh"),
    "primitive without attributes": (bare, "unreadable-mesh"),
    "index beyond the vertices": (edit("accessors", 0, count=7), "damaged-mesh"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_broken_documents_are_refused_by_name(tmp_path: Path, name: str) -> None:
    spoil, reason = BROKEN[name]
    writer = box()
    spoil(writer)
    found = refused(writer, tmp_path)
    assert found.reason == reason, found.message
    assert "Error" not in found.message  # a sentence, not an exception that nobody foresaw


def test_instances_cannot_outgrow_the_file(tmp_path: Path) -> None:
    writer = box()
    many = writer.add("accessors", {"componentType": 5126, "type": "VEC3", "count": 1_900_000})  # zeros: no bytes
    writer.json["nodes"][0]["extensions"] = {"EXT_mesh_gpu_instancing": {"attributes": {"TRANSLATION": many}}}
    writer.use("EXT_mesh_gpu_instancing")
    assert refused(writer, tmp_path).reason == "mesh-too-large"


def test_a_shared_node_is_not_drawn_by_its_index_into_the_next_part(tmp_path: Path) -> None:
    """An index behind one part's vertices must not reach those of the next one."""
    writer = box()
    writer.json["accessors"][0]["count"] = 7
    writer.add("nodes", {"mesh": 0, "translation": [5, 0, 0]})
    writer.json["scenes"] = [{"nodes": [0, 1]}]
    assert refused(writer, tmp_path).reason == "damaged-mesh"


def test_coarser_levels_of_detail_are_left_out_without_scenes_too(tmp_path: Path) -> None:
    writer = box()
    for name in ("scene", "scenes"):
        writer.json.pop(name, None)
    other = writer.add("nodes", {"mesh": 0, "translation": [5, 0, 0]})
    whole = volume(read(writer, tmp_path).mesh)
    writer.json["nodes"][0]["extensions"] = {"MSFT_lod": {"ids": [other]}}
    writer.json["extensionsUsed"] = ["MSFT_lod"]
    found = read(writer, tmp_path)
    assert volume(found.mesh) == pytest.approx(whole / 2)
    assert found.figures["left_out"] == "1 meshes outside of the scene"


def test_what_is_left_out_is_told(tmp_path: Path) -> None:
    writer = box()
    writer.json["meshes"][0]["primitives"].append({"attributes": {"POSITION": 0}, "mode": 1})
    writer.json["animations"] = [{"channels": [], "samplers": []}]
    writer.add("nodes", {"mesh": 0})
    assert read(writer, tmp_path).figures["left_out"] == "1 meshes outside of the scene, 1 lines, 1 animations"


@pytest.mark.parametrize(
    "uri", ["../../b.bin", "/etc/passwd", "file:///etc/passwd", "http://example.org/b.bin", "%2e%2e/%2e%2e/b.bin"]
)
def test_buffers_outside_of_the_root_are_refused(tmp_path: Path, uri: str) -> None:
    root = tmp_path / "root"
    (root / "inner").mkdir(parents=True)
    path = box().save(root, "above", RNG)
    (tmp_path / "b.bin").write_bytes((root / "b.bin").read_bytes())
    document = json.loads(path.read_text())
    document["buffers"][0]["uri"] = uri
    path.write_text(json.dumps(document))
    with pytest.raises(RejectError) as caught:
        read_mesh(path, root=root)
    assert caught.value.reason == "unsafe-path"


def test_a_buffer_through_a_link_that_leads_out_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "inner").mkdir(parents=True)
    path = box().save(root, "above", RNG)
    (root / "b.bin").rename(tmp_path / "b.bin")
    (root / "b.bin").symlink_to(tmp_path / "b.bin")
    with pytest.raises(RejectError) as caught:
        read_mesh(path, root=root)
    assert caught.value.reason == "unsafe-path"


@pytest.mark.parametrize(
    ("head", "encode"),
    [
        ("data:;base64,", lambda data: base64.encodebytes(data).decode()),
        ("data:text/plain;charset=x;base64, ", lambda data: base64.b64encode(data).decode().rstrip("=")),
        ("DATA:model/x;BASE64,", lambda data: quote(base64.b64encode(data).decode(), safe="")),
        ("data:application/octet-stream,", quote_from_bytes),
    ],
)
def test_data_uris_as_browsers_decode_them(tmp_path: Path, head: str, encode: Callable[[bytes], str]) -> None:
    writer = box()
    writer.data += b"\xc3\xa9!!"
    data = bytes(writer.data)
    assert len(data) % 3  # padded
    buffers = [{"byteLength": len(data), "uri": head + encode(data)}]
    (tmp_path / "a.gltf").write_text(json.dumps(writer.json | {"buffers": buffers}))
    assert volume(read_mesh(tmp_path / "a.gltf").mesh) == pytest.approx(6)


def test_what_writers_get_slightly_wrong_is_read(tmp_path: Path) -> None:
    writer = box(matrix=[1, 0, 0, 1e-9, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1.0000001])
    writer.json["asset"]["version"] = 2.0
    path = writer.save(tmp_path, "glb", RNG)
    data = path.read_bytes()
    length = int.from_bytes(data[12:16], "little")
    text = data[20 : 20 + length].rstrip() + b"\0" * 4  # NUL for the blanks of the format
    text += b"\0" * (-len(text) % 4)
    rest = len(text).to_bytes(4, "little") + data[16:20] + text + data[20 + length :]
    path.write_bytes(data[:8] + (12 + len(rest)).to_bytes(4, "little") + rest)
    assert volume(read_mesh(path).mesh) == pytest.approx(6)


def test_the_bytes_tell_glb_from_gltf(tmp_path: Path) -> None:
    glb = box().save(tmp_path, "glb", RNG).rename(tmp_path / "b.gltf")
    text = box().save(tmp_path, "embedded", RNG).rename(tmp_path / "c.glb")
    assert volume(read_mesh(glb).mesh) == volume(read_mesh(text).mesh) == pytest.approx(6)


def test_a_glb_that_is_cut_off_is_refused_at_every_length(tmp_path: Path) -> None:
    path = box().save(tmp_path, "glb", RNG)
    data = path.read_bytes()
    for length in range(4, len(data), 7):
        path.write_bytes(data[:length])
        with pytest.raises(RejectError):
            read_mesh(path)
