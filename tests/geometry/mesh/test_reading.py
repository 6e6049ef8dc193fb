"""Reading, cleaning, measuring, decimating and writing meshes."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

# ruff: noqa: E402 - the geometry libraries are an extra
trimesh = pytest.importorskip("trimesh")
pytest.importorskip("numba")

from pix3d_onet import Mesh
from pix3d_onet.errors import InputError, RejectError
from pix3d_onet.geometry.mesh.cleaning import box_normalisation, transformed
from pix3d_onet.geometry.mesh.decimation import decimate
from pix3d_onet.geometry.mesh.formats.obj import parse_obj
from pix3d_onet.geometry.mesh.inside.winding import contains
from pix3d_onet.geometry.mesh.reading import load_mesh
from pix3d_onet.geometry.mesh.sampling import sample_occupancy, sample_surface
from pix3d_onet.geometry.mesh.topology import component_labels, edge_counts, face_areas, is_watertight, volume
from pix3d_onet.geometry.mesh.writing import vertex_normals, write_mesh


def test_obj_polygons_negative_indices_slashes_and_rubbish() -> None:
    text = b"""# comment
mtllib /etc/passwd
v 0 0 0
v 1 0 0 0.5 0.5 0.5
v  1.0e0\t1 0
v 0 1 -.0
vt 0 0
vn 0 0 1
f 1/1/1 2/1/1 3//1 4 # a quad
f -4 -3 -2
f 1 2 \\
  3
usemtl x
f 1 2
l 1 2
"""
    mesh = parse_obj(text)
    assert mesh.lost["few-corners"] == 1
    assert mesh.left_out["lines"] == 1
    assert mesh.vertices.tolist() == [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]]
    assert mesh.faces.tolist() == [[0, 1, 2], [0, 2, 3], [0, 1, 2], [0, 1, 2]]


@settings(max_examples=200, deadline=None)
@given(st.floats(-1e300, 1e300, allow_nan=False))
def test_obj_numbers_are_read_to_the_last_digits(value: float) -> None:
    mesh = parse_obj(f"v {value!r} 0 0\n".encode())
    assert mesh.vertices[0, 0] == pytest.approx(value, rel=1e-14, abs=1e-290)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
def test_obj_reader_takes_any_bytes(data: bytes) -> None:
    try:
        mesh = parse_obj(b"v 0 0 0\nf 1 2 3\nf " + data)
    except RejectError as error:
        assert error.reason in ("unreadable-mesh", "truncated-mesh", "mesh-feature")  # noqa: PT017
        return
    assert mesh.vertices.shape[1] == mesh.faces.shape[1] == 3


@pytest.mark.parametrize("suffix", [".obj", ".off", ".ply", ".stl", ".glb"])
def test_what_is_written_is_read(tmp_path: Path, suffix: str) -> None:
    body = trimesh.creation.icosphere(subdivisions=1)
    path = tmp_path / f"ball{suffix}"
    write_mesh(path, Mesh(body.vertices, body.faces))
    read = load_mesh(path)
    assert len(read.faces) == len(body.faces)
    assert volume(read) == pytest.approx(body.volume, rel=1e-5)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_writing_an_unknown_format_says_which_are_known(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\.glb"):
        write_mesh(tmp_path / "x.fbx", Mesh(np.zeros((3, 3)), [[0, 1, 2]]))


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.obj", b"", "empty-mesh"),
        ("a.obj", b"v 0 0 0\nv 1 1 1\n", "empty-mesh"),
        ("a.ply", b"ply\nrubbish", "unreadable-mesh"),
        ("a.stl", b"\x00" * 10, "truncated-mesh"),
        ("a.glb", b"glTF\x02\x00\x00\x00\xff\xff\xff\x7f", "truncated-mesh"),
        ("a.gltf", b"{", "unreadable-mesh"),
        ("a.off", b"OFF\n99999999999 1 0\n", "truncated-mesh"),
        ("a.docx", b"x", "mesh-format"),
    ],
)
def test_damaged_files_are_rejected_by_name(tmp_path: Path, name: str, data: bytes, reason: str) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(RejectError) as caught:
        load_mesh(path)
    assert caught.value.reason == reason
    assert "\n" not in caught.value.message


def test_a_missing_file_and_a_folder_are_rejected(tmp_path: Path) -> None:
    for path, reason in ((tmp_path / "no.obj", "missing-mesh"), (tmp_path / "d.obj", "unreadable-mesh")):
        if reason == "unreadable-mesh":
            path.mkdir()
        with pytest.raises(RejectError) as caught:
            load_mesh(path)
        assert caught.value.reason == reason


def test_gltf_buffers_outside_the_root_are_not_opened(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "secret.bin").write_bytes(b"\0" * 36)
    document = (
        '{"asset":{"version":"2.0"},"buffers":[{"uri":"../secret.bin","byteLength":36}],'
        '"bufferViews":[{"buffer":0,"byteLength":36}],'
        '"accessors":[{"bufferView":0,"componentType":5126,"count":3,"type":"VEC3"}],'
        '"meshes":[{"primitives":[{"attributes":{"POSITION":0}}]}],"nodes":[{"mesh":0}],"scenes":[{"nodes":[0]}]}'
    )
    (root / "a.gltf").write_text(document)
    with pytest.raises(RejectError) as caught:
        load_mesh(root / "a.gltf", root=root)
    assert caught.value.reason in ("unreadable-mesh", "unsafe-path")


def test_measures_of_a_box_and_two_balls() -> None:
    body = trimesh.creation.box((1, 2, 3))
    mesh = Mesh(body.vertices, body.faces)
    assert is_watertight(mesh)
    assert volume(mesh) == pytest.approx(6)
    assert face_areas(mesh).sum() == pytest.approx(22)
    flipped = mesh.faces.copy()
    flipped[0] = flipped[0, ::-1]
    assert edge_counts(Mesh(mesh.vertices, flipped))["clashes"] == 3
    assert not is_watertight(Mesh(mesh.vertices, mesh.faces[1:]))
    balls = trimesh.util.concatenate(
        [trimesh.creation.icosphere(1), trimesh.creation.icosphere(1).apply_translation((3, 0, 0))]
    )
    count, labels = component_labels(Mesh(balls.vertices, balls.faces))
    assert count == 2
    assert np.bincount(labels).tolist() == [80, 80]
    unit = transformed(mesh, box_normalisation(mesh))
    assert np.allclose(unit.bounds, [[-1 / 6, -1 / 3, -0.5], [1 / 6, 1 / 3, 0.5]])


def test_decimation_keeps_a_closed_mesh_closed_and_within_its_error() -> None:
    body = trimesh.creation.torus(0.35, 0.14, 160, 80)
    mesh = Mesh(body.vertices, body.faces)
    small, error = decimate(mesh, 0.002)
    assert is_watertight(small)
    assert len(small.faces) < 0.2 * len(mesh.faces)
    assert 0 < error <= 0.002
    assert volume(small) == pytest.approx(volume(mesh), rel=0.01)
    assert decimate(mesh, 0)[0] is mesh


def test_decimation_of_a_finely_cut_box_leaves_few_faces() -> None:
    body = trimesh.creation.box((1, 1, 1))
    for _ in range(5):
        body = body.subdivide()
    small, error = decimate(Mesh(body.vertices, body.faces), 0.001)
    assert is_watertight(small)
    assert len(small.faces) < 100
    assert volume(small) == pytest.approx(1, rel=1e-6)
    assert error < 1e-6


def test_surface_samples_are_uniform_seeded_and_carry_normals() -> None:
    body = trimesh.creation.box((1, 1, 0.5))
    mesh = Mesh(body.vertices, body.faces)
    points, normals = sample_surface(mesh, 40_000, 3)
    top = points[:, 2] > 0.25 - 1e-9
    assert top.mean() == pytest.approx(0.25, abs=0.001)
    assert np.allclose(normals[top], [0, 0, 1])
    assert np.abs(points[top][:, :2].mean(axis=0)).max() < 0.01
    again, _ = sample_surface(mesh, 40_000, 3)
    other, _ = sample_surface(mesh, 40_000, 4)
    assert np.array_equal(points, again)
    assert not np.array_equal(points, other)
    half = points[:20_000][:, 2] > 0.25 - 1e-9  # any block is a sample
    assert half.mean() == pytest.approx(0.25, abs=0.01)


def test_occupancy_of_a_ball() -> None:
    body = trimesh.creation.icosphere(subdivisions=4, radius=0.5)
    points, inside = sample_occupancy(Mesh(body.vertices, body.faces), 50_000, 0)
    assert points.dtype == np.float32
    assert np.abs(points).max() <= 0.55
    radius = np.linalg.norm(points, axis=1)
    sure = np.abs(radius - 0.5) > 0.002
    assert np.array_equal(inside[sure], radius[sure] < 0.5)
    assert not contains(Mesh(np.zeros((0, 3)), np.zeros((0, 3))), points).any()


@pytest.mark.parametrize("suffix", [".obj", ".ply", ".glb"])
def test_normals_go_along(tmp_path: Path, suffix: str) -> None:
    body = trimesh.creation.icosphere(subdivisions=1)
    normals = body.vertices / np.linalg.norm(body.vertices, axis=1, keepdims=True)
    tilted = np.roll(normals, 1, axis=1)  # not what a reader would compute from the faces
    path = tmp_path / f"ball{suffix}"
    write_mesh(path, Mesh(body.vertices, body.faces), tilted)
    loaded = trimesh.load(path, process=False)
    read = next(iter(loaded.geometry.values())) if isinstance(loaded, trimesh.Scene) else loaded
    order = np.argmin(np.linalg.norm(read.vertices[:, None] - body.vertices[None], axis=2), axis=1)
    np.testing.assert_allclose(read.vertex_normals, tilted[order], atol=1e-3)


def test_a_glb_always_has_normals_and_a_matt_material(tmp_path: Path) -> None:
    body = trimesh.creation.icosphere(subdivisions=2)
    mesh = Mesh(body.vertices, body.faces)
    write_mesh(tmp_path / "ball.glb", mesh)
    data = (tmp_path / "ball.glb").read_bytes()
    document = json.loads(data[20 : 20 + struct.unpack("<I", data[12:16])[0]])
    (primitive,) = document["meshes"][0]["primitives"]
    assert "NORMAL" in primitive["attributes"]
    material = document["materials"][primitive["material"]]["pbrMetallicRoughness"]
    assert material["metallicFactor"] == 0
    assert material["roughnessFactor"] == pytest.approx(0.8)
    red, green, blue, alpha = material["baseColorFactor"]
    assert 0.5 < red < green < blue < 0.8
    assert alpha == 1
    read = load_mesh(tmp_path / "ball.glb")
    assert is_watertight(read)
    assert len(read.vertices) == len(mesh.vertices)
    stored = next(iter(trimesh.load_scene(tmp_path / "ball.glb", process=False).geometry.values()))
    np.testing.assert_allclose(stored.vertex_normals, body.vertices, atol=0.02)


def test_normals_are_weighted_by_angle_not_by_triangles() -> None:
    """At a corner of a box the three sides count alike, whichever diagonals cut them."""
    body = trimesh.creation.box((1, 1, 1))
    np.testing.assert_allclose(vertex_normals(Mesh(body.vertices, body.faces)), body.vertices * 2 / 3**0.5, atol=1e-9)
    flat = Mesh([[0, 0, 0], [1, 0, 0], [2, 0, 0], [0, 0, 1.0]], [[0, 1, 2], [0, 1, 1]])
    assert (vertex_normals(flat) == [0, 1, 0]).all()


def test_the_normals_of_a_glb_are_unit_also_where_faces_have_no_area(tmp_path: Path) -> None:
    """As glTF demands; a normal of length zero makes viewers draw a black spot."""
    mesh = Mesh([[0, 0, 0], [1, 0, 0], [2, 0, 0], [0, 0, 1.0], [0, 1, 0]], [[0, 1, 2], [0, 4, 3]])
    write_mesh(tmp_path / "a.glb", mesh)
    stored = next(iter(trimesh.load_scene(tmp_path / "a.glb", process=False).geometry.values()))
    np.testing.assert_allclose(stored.vertex_normals, [[1, 0, 0], [0, 1, 0], [0, 1, 0], [1, 0, 0], [1, 0, 0]])
