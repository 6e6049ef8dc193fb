"""Quality figures against shapes whose answers are known, and the one-shape pipeline as a whole."""

from __future__ import annotations

import struct
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

# ruff: noqa: E402 - the geometry libraries are an extra
trimesh = pytest.importorskip("trimesh")
pytest.importorskip("numba")

from pix3d_onet import Mesh
from pix3d_onet.config import PrepareConfig
from pix3d_onet.data.store.encoding import decode_normals
from pix3d_onet.data.store.quality_figures import FIGURES, RULES
from pix3d_onet.errors import RejectError
from pix3d_onet.geometry.mesh.inside.winding import contains
from pix3d_onet.geometry.mesh.topology import is_watertight
from pix3d_onet.geometry.mesh.writing import write_mesh
from pix3d_onet.lattice import decode_points
from pix3d_onet.preparation import quality
from pix3d_onet.preparation.from_mesh import GeometryResult, shape_geometry

CONFIG = PrepareConfig(points=20_000, surface_points=5_000, resolution=64)


def shape_of(
    folder: Path, body: trimesh.Trimesh, config: PrepareConfig = CONFIG, voxel: Path | None = None
) -> GeometryResult:
    path = folder / "model.obj"
    write_mesh(path, Mesh(body.vertices, body.faces))
    return shape_geometry(path, "chair-x", config, root=folder, voxel=voxel)


def voxels_of(body: trimesh.Trimesh, path: Path) -> Path:
    """Pix3D's grid of a mesh: index = (x - c, -(z - c), y - c) / longest · 128 + 64."""
    import scipy.io

    low, high = body.bounds
    centre, longest = (low + high) / 2, (high - low).max()
    i, j, k = np.meshgrid(*[np.arange(128)] * 3, indexing="ij")
    half = np.array([0.5, 0.5, -0.5])
    local = (np.stack([i, k, -j], axis=-1).reshape(-1, 3) + half - np.array([64, 64, -64])) / 128
    inside = contains(Mesh(body.vertices, body.faces), local * longest + centre)
    scipy.io.savemat(path, {"voxel": inside.reshape(128, 128, 128).astype(np.uint8)}, do_compression=True)
    return path


def test_a_sound_solid_has_good_figures(tmp_path: Path) -> None:
    body = trimesh.creation.capsule(0.8, 0.5, count=(48, 48))
    body.apply_transform(trimesh.transformations.rotation_matrix(0.5, (1, 2, 3), (0.3, 0, 0)))
    shape = shape_of(tmp_path, body, voxel=voxels_of(body, tmp_path / "voxel.mat"))
    qc = shape.stored.qc
    assert qc["watertight"]
    assert qc["winding_consistent"]
    assert qc["warnings"] == []
    assert qc["components"] == qc["components_before"] == 1
    assert qc["volume_ratio"] == pytest.approx(1, abs=0.01)
    assert qc["label_agreement"] >= 0.9999
    assert qc["voxel_agreement"] > 0.99
    assert qc["voxel_iou"] > 0.96
    assert qc["distance_mean"] < 0.001
    assert abs(qc["bias_voxels"]) < 0.1
    assert qc["lost_share"] == 0
    assert set(shape.seconds) >= {"mesh", "watertight", "labels", "qc"}


def test_what_is_stored_is_normalised_and_labelled_exactly(tmp_path: Path) -> None:
    body = trimesh.creation.torus(3.0, 1.0)
    body.apply_translation((10, -20, 30))
    shape = shape_of(tmp_path, body)
    low, high = shape.full_mesh.bounds
    assert np.allclose(low, -high)
    assert (high - low).max() == pytest.approx(1)
    points = decode_points(shape.stored.points_q)
    again = contains(shape.full_mesh, points)
    assert (again == shape.stored.occupancy).mean() >= 0.9999
    assert is_watertight(shape.stored.mesh)
    assert (contains(shape.stored.mesh, points) == shape.stored.occupancy).mean() >= 0.995
    original = shape.stored.normalisation.undo(shape.full_mesh.vertices)
    assert np.allclose(original.mean(axis=0), (10, -20, 30), atol=0.05)
    surface, normals = decode_points(shape.stored.surface_points_q), decode_normals(shape.stored.surface_normals_q)
    ring = np.hypot(surface[:, 0], surface[:, 1])[:, None]
    outward = surface - np.concatenate([surface[:, :2] / ring * 0.375, 0 * ring], axis=1)
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)
    assert np.median((outward * normals).sum(axis=1)) > 0.99


def test_the_same_shape_gives_the_same_arrays_and_another_seed_others(tmp_path: Path) -> None:
    body = trimesh.creation.icosphere(subdivisions=2)
    first, second = (shape_of(tmp_path, body).stored for _ in range(2))
    other = shape_of(tmp_path, body, PrepareConfig(points=20_000, surface_points=5_000, resolution=64, seed=1)).stored
    for name in ("points_q", "occupancy", "surface_points_q", "surface_normals_q"):
        assert np.array_equal(getattr(first, name), getattr(second, name))
        if name != "occupancy":
            assert not np.array_equal(getattr(first, name), getattr(other, name))
    assert first.qc == second.qc


def test_a_thin_sheet_is_named_as_thickened_and_an_unreadable_grid_is_blank(tmp_path: Path) -> None:
    (tmp_path / "voxel.mat").write_bytes(b"MATLAB rubbish")
    sheet = trimesh.Trimesh([[0, 0, 0], [1, 0, 0], [1, 1, 0.1], [0, 1, 0.1]], [[0, 1, 2], [0, 2, 3]])
    qc = shape_of(tmp_path, sheet, voxel=tmp_path / "voxel.mat").stored.qc
    assert 0.3 < qc["bias_voxels"] < 0.8
    assert qc["volume_ratio"] is None
    assert qc["voxel_agreement"] is None


def test_a_grid_that_unpacks_to_gigabytes_is_blank(tmp_path: Path) -> None:
    """Packed zeros; the type of an object; more cells than any grid has. Whole grids are read, packed or not."""
    import scipy.io

    path, grid = tmp_path / "voxel.mat", np.arange(27).reshape(3, 3, 3) % 2
    for packed in (False, True):
        scipy.io.savemat(path, {"other": np.zeros(3), "voxel": grid.astype(np.uint8)}, do_compression=packed)
        assert np.array_equal(quality.read_voxels(path), grid)
    packer = zlib.compressobj()
    zeros = b"".join(packer.compress(bytes(1 << 24)) for _ in range(17)) + packer.flush()
    scipy.io.savemat(path, {"voxel": grid})
    path.write_bytes(path.read_bytes()[:128] + struct.pack("<II", 15, len(zeros)) + zeros)
    assert quality.read_voxels(path) is None
    for odd in (np.array([[[{}]]], dtype=object), np.zeros((1, 1, 600)), np.zeros((600, 600, 1), dtype=bool)):
        scipy.io.savemat(path, {"voxel": odd})
        assert quality.read_voxels(path) is None


@pytest.mark.parametrize(("cut", "hollow"), [(1, True), (0, False)], ids=["a triangle missing", "whole"])
def test_a_box_whose_inside_is_reached_through_a_hole_is_named_as_hollow(
    tmp_path: Path, cut: int, hollow: bool
) -> None:
    box = trimesh.creation.box()
    box.faces = box.faces[cut:]
    # A second, whole box keeps the shape from being all shell.
    both = trimesh.util.concatenate([box, trimesh.creation.box(transform=np.diag([1, 1, 1, 1.0]) + 2 * np.eye(4, k=3))])
    qc = shape_of(tmp_path, both).stored.qc
    assert ("hollow" in qc["warnings"]) == hollow
    assert qc["hollow"] is None if not hollow else 0.1 < qc["hollow"] < 1


@pytest.mark.parametrize("method", ["tight", "fusion", "meshfix", "none"])
def test_every_figure_of_a_shape_is_in_the_table(tmp_path: Path, method: str) -> None:
    """A figure that is not documented in docs/qc.md is a defect: add it to data/store/quality_figures.py."""
    config = replace(CONFIG, watertight=method, points=800, surface_points=800, resolution=32)
    figures = set(shape_of(tmp_path, trimesh.creation.box(), config).stored.qc)
    assert figures - set(FIGURES) == set()
    of_others = {"mask_fill"} if method == "tight" else {"mask_fill", "grid_resolution"}
    assert {rule.figure for rule in RULES} - figures == of_others


def test_a_broken_file_is_rejected_with_its_stage(tmp_path: Path) -> None:
    (tmp_path / "model.obj").write_text("v nan nan nan\nf 1 1 1\n")
    with pytest.raises(RejectError) as caught:
        shape_geometry(tmp_path / "model.obj", "x", CONFIG, root=tmp_path)
    assert (caught.value.stage, caught.value.reason) == ("mesh", "empty-mesh")
