"""Edges and corners of solids survive ``tight``: bars of a few voxels keep their volume, boxes their corners."""

from __future__ import annotations

import numpy as np
import pytest

# ruff: noqa: E402 - the geometry libraries are an extra
trimesh = pytest.importorskip("trimesh")
pytest.importorskip("numba")
pytest.importorskip("open3d")

from pix3d_onet import Mesh, make_watertight
from pix3d_onet.geometry.mesh.decimation import decimate
from pix3d_onet.geometry.mesh.inside.winding import winding_numbers
from pix3d_onet.geometry.mesh.topology import component_labels, is_watertight, volume
from pix3d_onet.geometry.watertight.brick_grid import frame_for
from pix3d_onet.geometry.watertight.tight import tight, tight_in

LENGTH = 64.0
"""Voxels along a bar: shorter than a chair's leg, so that its ends weigh in."""


def bar(shape: str, width: float) -> trimesh.Trimesh:
    if shape == "square":
        return trimesh.creation.box((width, width, LENGTH))
    return trimesh.creation.cylinder(width / 2, LENGTH, sections=64)


def turned(body: trimesh.Trimesh, turn: str, rng: np.random.Generator) -> trimesh.Trimesh:
    if turn == "one-axis":
        body.apply_transform(trimesh.transformations.rotation_matrix(rng.uniform(0.2, 1.3), (0, 0, 1)))
    elif turn == "general":
        body.apply_transform(trimesh.transformations.random_rotation_matrix(rng.random(3)))
    body.apply_translation(rng.uniform(-0.5, 0.5, 3))
    return body


def in_voxels(body: trimesh.Trimesh) -> tuple[Mesh, float]:
    """The mesh, and the resolution at which a voxel is 1."""
    mesh = Mesh(body.vertices, body.faces)
    return mesh, float(np.ptp(mesh.bounds, axis=0).max() / 0.9)


@pytest.mark.parametrize("turn", ["aligned", "one-axis", "general"])
@pytest.mark.parametrize("width", [2.0, 3.0, 4.0, 8.0])
def test_square_bars_keep_their_volume(width: float, turn: str) -> None:
    body = turned(bar("square", width), turn, np.random.default_rng(int(width)))
    mesh, resolution = in_voxels(body)
    surface = tight_in(mesh, frame_for(mesh, round(resolution), border=5.5))  # not doubled, whatever is thin
    assert surface is not None
    result = surface.mesh()
    assert is_watertight(result)
    assert component_labels(result)[0] == 1
    assert volume(result) == pytest.approx(body.volume, rel=0.01 if width == 2 else 0.005)


@pytest.mark.parametrize("turn", ["aligned", "one-axis", "general"])
@pytest.mark.parametrize("width", [2.0, 3.0, 4.0, 8.0])
def test_round_bars_keep_their_volume(width: float, turn: str) -> None:
    body = turned(bar("round", width), turn, np.random.default_rng(int(width)))
    mesh, resolution = in_voxels(body)
    result = make_watertight(mesh, resolution=round(resolution))
    assert is_watertight(result)
    assert volume(result) == pytest.approx(body.volume, rel=0.01 if width == 2 else 0.005)


def test_a_box_keeps_its_corners_and_edges_also_when_simplified() -> None:
    body = trimesh.creation.box((1, 0.6, 0.3))
    body.apply_transform(trimesh.transformations.random_rotation_matrix(np.array([0.3, 0.6, 0.9])))
    result = make_watertight(Mesh(body.vertices, body.faces), resolution=64)
    small, _ = decimate(result, 0.001)
    for mesh in (result, small):
        gaps = np.linalg.norm(mesh.vertices[:, None] - body.vertices[None], axis=2).min(axis=0)
        assert gaps.max() < 1e-4  # a hundredth of a voxel is 2e-4
        assert volume(mesh) == pytest.approx(0.18, rel=1e-4)
    assert len(small.faces) < len(result.faces) / 50


def test_concave_edges_stay_sharp_too() -> None:
    boxes = [((4, 1, 2), (2, 0.5, 1)), ((1, 2, 2), (0.5, 2, 1)), ((1, 2, 2), (3.5, 2, 1))]  # a U of three that touch
    bodies = [trimesh.creation.box(extents, trimesh.transformations.translation_matrix(at)) for extents, at in boxes]
    body = trimesh.util.concatenate(bodies)
    body.apply_transform(trimesh.transformations.random_rotation_matrix(np.array([0.1, 0.7, 0.4])))
    result = make_watertight(Mesh(body.vertices, body.faces), resolution=64)
    assert volume(result) == pytest.approx(16, rel=1e-3)


def test_no_point_is_enclosed_twice_or_backwards() -> None:
    """Fans may reach out of their cell, but not into another part of the surface."""
    rng = np.random.default_rng(0)
    bodies = [turned(bar(shape, width), "general", rng) for shape in ("square", "round") for width in (2.0, 5.0)]
    body = trimesh.util.concatenate(bodies)
    surface = tight(Mesh(body.vertices, body.faces), 64)
    mesh = Mesh(surface.vertices, surface.faces)
    near = mesh.vertices[rng.integers(len(mesh.vertices), size=50_000)] + rng.normal(scale=0.5, size=(50_000, 3))
    found = winding_numbers(mesh, near)
    assert set(np.unique(found)) == {0, 1}


def test_too_much_surface_gets_a_coarser_grid_and_says_so() -> None:
    rng = np.random.default_rng(0)
    soup = Mesh(rng.uniform(-1, 1, (600, 3)), np.arange(600).reshape(-1, 3))
    surface = tight(soup, 64)
    assert surface.info["grid_resolution"] < surface.info["grid_wanted"]
    assert is_watertight(surface.mesh())
    body = trimesh.creation.box()
    plain = tight(Mesh(body.vertices, body.faces), 64)
    assert plain.info == {"grid_resolution": 64, "grid_wanted": 64}
