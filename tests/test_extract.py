"""Extraction: the dense lattice's mesh for fewer queries, closed, in place; NaN, empty, full and border fields."""

from __future__ import annotations

import math

import fields
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pix3d_onet.config import ModelConfig
from pix3d_onet.errors import ConfigError, InputError
from pix3d_onet.events import Note
from pix3d_onet.learning.extract import extract_field, extract_mesh, logit, march
from pix3d_onet.learning.mise import coarse_steps, sample_surface
from pix3d_onet.learning.polish import gradient, is_closed, simplify
from pix3d_onet.types import Mesh, Normalisation

SHAPES = {"sphere": fields.sphere(0.35), "torus": fields.torus(), "chair": fields.chair()}
SAME_PLACE = 1e-6
"""Vertices of two extractions of one field: float32 in another crop, nothing else."""


def volume(mesh: Mesh) -> float:
    t = mesh.triangles
    return float(np.einsum("ij,ij->", t[:, 0], np.cross(t[:, 1], t[:, 2])) / 6)


def euler(mesh: Mesh) -> int:
    edges = np.sort(np.concatenate([mesh.faces[:, [0, 1]], mesh.faces[:, [1, 2]], mesh.faces[:, [2, 0]]]), axis=1)
    return len(np.unique(mesh.faces)) - len(np.unique(edges, axis=0)) + len(mesh.faces)


def dense(field, resolution: int, **options) -> Mesh:
    return extract_field(field, resolution=resolution, coarse=resolution, **options).mesh


def assert_same(first: Mesh, second: Mesh) -> None:
    np.testing.assert_array_equal(first.faces, second.faces)
    np.testing.assert_allclose(first.vertices, second.vertices, atol=SAME_PLACE)


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("threshold", [0.2, 0.5])
def test_same_mesh_as_the_dense_lattice_for_15_times_fewer_queries(name, threshold) -> None:
    result = extract_field(SHAPES[name], resolution=128, threshold=threshold)
    assert 15 * result.queries <= 129**3
    assert is_closed(result.mesh.faces)
    assert_same(result.mesh, dense(SHAPES[name], 128, threshold=threshold))


@pytest.mark.parametrize("name", SHAPES)
def test_50_times_fewer_queries_at_512(name) -> None:
    lattice = sample_surface(SHAPES[name], 512)
    assert 50 * lattice.queries <= 513**3


@pytest.mark.parametrize("resolution", [33, 100, 127, 160])
def test_any_resolution(resolution) -> None:
    result = extract_field(fields.chair(), resolution=resolution)
    assert_same(result.mesh, dense(fields.chair(), resolution))
    assert is_closed(result.mesh.faces)


def test_sizes_and_topology_are_the_shapes() -> None:
    sphere = extract_field(fields.sphere(0.4), threshold=0.5).mesh
    assert volume(sphere) == pytest.approx(4 / 3 * math.pi * 0.4**3, rel=2e-3)
    assert np.linalg.norm(sphere.vertices, axis=1) == pytest.approx(0.4, abs=1e-4)
    assert euler(sphere) == 2
    ring = extract_field(fields.torus(0.32, 0.12), threshold=0.5).mesh
    assert volume(ring) == pytest.approx(2 * math.pi**2 * 0.32 * 0.12**2, rel=5e-3)
    assert euler(ring) == 0


def test_threshold_is_a_probability() -> None:
    mesh = extract_field(fields.sphere(0.4), threshold=0.2).mesh
    expected = 0.4 - logit(0.2) / fields.SHARPNESS
    assert np.linalg.norm(mesh.vertices, axis=1) == pytest.approx(expected, abs=1e-4)


def test_closed_at_the_border_of_the_box() -> None:
    mesh = extract_field(fields.sphere(0.7), resolution=64, threshold=0.5).mesh
    assert is_closed(mesh.faces)
    assert np.abs(mesh.vertices).max() == pytest.approx(0.55, abs=1e-9)
    assert_same(mesh, dense(fields.sphere(0.7), 64, threshold=0.5))
    everything = extract_field(lambda p: torch.ones(len(p)), resolution=32, threshold=0.5).mesh
    assert is_closed(everything.faces)
    assert volume(everything) == pytest.approx(1.1**3, rel=1e-6)


def test_nothing_inside_is_an_empty_mesh() -> None:
    result = extract_field(lambda p: -5 * torch.ones(len(p)), refine=True, simplify_to=100)
    assert result.mesh.vertices.shape == (0, 3)
    assert result.mesh.faces.shape == (0, 3)


def test_nan_counts_as_outside_and_is_told() -> None:
    def field(points: torch.Tensor) -> torch.Tensor:
        value = fields.sphere(0.4)(points)
        return torch.where(points[:, 0] > 0, torch.nan, value)

    notes: list[Note] = []
    result = extract_field(field, resolution=64, emit=notes.append)
    assert is_closed(result.mesh.faces)
    assert result.undefined > 0
    assert "NaN" in notes[0].message
    assert result.mesh.vertices[:, 0].max() <= 1.1 / 64
    assert not len(extract_field(lambda p: torch.full((len(p),), torch.nan), resolution=40).mesh.faces)


def test_infinite_logits_are_a_hard_shape() -> None:
    def field(points: torch.Tensor) -> torch.Tensor:
        return torch.where(points.abs().amax(dim=1) < 0.3, torch.inf, -torch.inf)

    mesh = extract_field(field, resolution=64).mesh
    assert is_closed(mesh.faces)
    assert np.isfinite(mesh.vertices).all()
    assert volume(mesh) == pytest.approx(0.6**3, rel=0.05)


def test_a_value_on_the_level_is_outside() -> None:
    mesh = extract_field(lambda p: torch.zeros(len(p)), resolution=32, threshold=0.5).mesh
    assert not len(mesh.faces)


def test_a_part_between_the_coarse_points_is_missed_whole_and_found_when_it_touches() -> None:
    centre = (1.1 / 32 * 1.5,) * 3  # the middle of a coarse cell
    small = fields.sphere(0.4 * 1.1 / 32, centre)
    both = fields.union(fields.box((-0.3, 0, 0), (0.1, 0.1, 0.1)), small)
    assert len(extract_field(both, threshold=0.5).mesh.faces) < len(dense(both, 128, threshold=0.5).faces)
    assert_same(
        extract_field(both, threshold=0.5).mesh, dense(fields.box((-0.3, 0, 0), (0.1,) * 3), 128, threshold=0.5)
    )
    rod = fields.box((0.05, centre[1], centre[2]), (0.3, 0.006, 0.006))  # thinner than a coarse cell, but it touches
    joined = fields.union(fields.box((-0.3, 0, 0), (0.1, 0.1, 0.1)), rod)
    assert_same(extract_field(joined, threshold=0.5).mesh, dense(joined, 128, threshold=0.5))


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([24, 36, 49]), st.sampled_from([8, 12]))
def test_random_smooth_fields(seed, resolution, coarse) -> None:
    """Every component that is extracted is one of the dense lattice's; where nothing is small, all of them."""
    random = torch.Generator().manual_seed(seed)
    waves = torch.randn(12, 3, generator=random) * 5
    phase, weight = torch.rand(12, generator=random) * 6.28, torch.randn(12, generator=random)

    def field(points: torch.Tensor) -> torch.Tensor:
        return torch.sin(points @ waves.T + phase) @ weight

    found = sample_surface(field, resolution, coarse=coarse)
    every = sample_surface(field, resolution, coarse=resolution)
    assert is_closed(march(found).faces)
    known = {tuple(c) for c in every.cells.tolist()}
    cells = {tuple(c) for c in found.cells.tolist()}
    assert cells <= known
    left_out = known - cells
    for x, y, z in left_out:  # whole components: none of their cells shares a crossed face with a found cell
        for axis in range(3):
            for side in (-1, 1):
                near = [x, y, z]
                near[axis] += side
                if tuple(near) in cells:
                    corners = [slice(v, v + 2) for v in (x, y, z)]
                    corners[axis] = slice((x, y, z)[axis] + (side > 0), (x, y, z)[axis] + (side > 0) + 1)
                    face = every.values[tuple(corners)] > 0
                    assert face.all() or not face.any()


def test_signs_of_the_lattice_are_the_fields() -> None:
    lattice = sample_surface(fields.chair(), 96)
    axis = torch.linspace(-0.55, 0.55, 97)
    points = torch.cartesian_prod(axis, axis, axis)
    np.testing.assert_array_equal(lattice.inside(), (fields.chair()(points) > 0).view(97, 97, 97).numpy())


def test_queries_are_counted_and_chunked() -> None:
    asked: list[int] = []

    def field(points: torch.Tensor) -> torch.Tensor:
        asked.append(len(points))
        return fields.sphere()(points)

    result = extract_field(field, resolution=64, chunk=1000)
    assert sum(asked) == result.queries
    assert max(asked) <= 1000
    assert_same(result.mesh, extract_field(fields.sphere(), resolution=64).mesh)


def test_coarse_steps_reach_the_end() -> None:
    assert coarse_steps(128, 32).tolist() == list(range(0, 129, 4))
    assert coarse_steps(100, 32).tolist()[-2:] == [99, 100]
    assert coarse_steps(10, 32).tolist() == list(range(11))


@pytest.mark.parametrize("differentiable", [True, False])
def test_refinement_brings_vertices_onto_the_level(differentiable) -> None:
    steep = fields.sphere(0.4)

    def field(points: torch.Tensor) -> torch.Tensor:  # curved along edges: linear interpolation misses the level
        value = (steep(points) / 2).tanh() * 3 + (steep(points) / 2) ** 3
        return value if differentiable else value.detach()

    plain = extract_field(field, resolution=32, threshold=0.5)
    refined = extract_field(field, resolution=32, threshold=0.5, refine=True)
    before = np.abs(np.linalg.norm(plain.mesh.vertices, axis=1) - 0.4).max()
    after = np.abs(np.linalg.norm(refined.mesh.vertices, axis=1) - 0.4).max()
    assert after < 2e-5
    assert after < before / 10
    np.testing.assert_array_equal(plain.mesh.faces, refined.mesh.faces)
    outward = refined.mesh.vertices / np.linalg.norm(refined.mesh.vertices, axis=1, keepdims=True)
    np.testing.assert_allclose(refined.normals, outward, atol=2e-3)


def test_refinement_leaves_the_caps_on_the_box() -> None:
    mesh = extract_field(fields.sphere(0.7), resolution=32, threshold=0.5, refine=True).mesh
    assert np.abs(mesh.vertices).max() <= 0.55 + 1e-6
    assert is_closed(mesh.faces)


def test_differences_agree_with_autograd() -> None:
    points = torch.rand(50, 3) - 0.5
    value, slope = gradient(fields.sphere(), points, 1e-3)
    plain, differences = gradient(lambda p: fields.sphere()(p).detach(), points, 1e-3)
    np.testing.assert_allclose(value, plain, atol=1e-5)
    np.testing.assert_allclose(slope, differences, atol=0.05)


def test_a_cap_simplifies_to_a_few_triangles() -> None:
    block = extract_field(lambda p: torch.ones(len(p)), resolution=32, threshold=0.5).mesh
    assert len(np.unique(block.vertices, axis=0)) == len(block.vertices)
    small = simplify(block, 60)
    assert len(small.faces) <= 60
    assert volume(small) == pytest.approx(1.1**3, rel=1e-5)


@pytest.mark.parametrize("name", SHAPES)
def test_simplification_keeps_the_mesh_closed(name) -> None:
    mesh = extract_field(SHAPES[name], resolution=64).mesh
    small = simplify(mesh, 800)
    assert len(small.faces) <= 900
    assert is_closed(small.faces)
    assert volume(small) == pytest.approx(volume(mesh), rel=0.03)
    assert simplify(small, 10_000) is small


def test_closedness_is_told() -> None:
    closed = np.array([[0, 1, 2], [0, 2, 3], [0, 3, 1], [1, 3, 2]])
    assert is_closed(closed)
    assert not is_closed(closed[:3])
    flipped = closed.copy()
    flipped[0] = flipped[0, ::-1]
    assert not is_closed(flipped)


@pytest.mark.parametrize(
    ("options", "flag"),
    [({"resolution": 0}, "resolution"), ({"threshold": 0.0}, "threshold"), ({"threshold": 1.0}, "threshold"),
     ({"threshold": math.nan}, "threshold"), ({"resolution": 5000}, "resolution"), ({"simplify_to": 3}, "simplify")],
)  # fmt: skip
def test_bad_settings_name_the_flag(options, flag) -> None:
    with pytest.raises(ConfigError, match=f"--{flag}"):
        extract_field(fields.sphere(), **options)


class Picture(torch.nn.Module):
    """A model whose sphere has the radius that the picture's mean brightness tells."""

    def __init__(self, pose: str = "none") -> None:
        super().__init__()
        self.config = ModelConfig(pose=pose)
        self.dummy = torch.nn.Parameter(torch.zeros(1))
        self.modes: list[bool] = []

    def encode(self, images, pose=None, focal=None):
        self.modes.append(self.training)
        assert images.dtype == torch.float32
        assert images.shape[:2] == (1, 3)
        self.seen = images.shape, pose, focal
        return images.mean().view(1, 1)

    def fold(self, code, dtype=torch.float32):
        return fields.sphere(float(code) * 0.5)


def test_a_network_sees_the_picture_in_eval_mode() -> None:
    model = Picture().train()
    image = np.full((40, 40, 3), 153, np.uint8)  # 0.6
    mesh = extract_mesh(model, image, resolution=48, threshold=0.5, image_size=16)
    assert np.linalg.norm(mesh.vertices, axis=1) == pytest.approx(0.3, abs=2e-3)
    assert model.modes == [False]
    assert model.training
    assert model.seen[0] == (1, 3, 16, 16)
    back = extract_mesh(
        model, image, resolution=48, threshold=0.5, normalisation=Normalisation(np.array([1.0, 2, 3]), 10.0)
    )
    np.testing.assert_allclose(np.linalg.norm(back.vertices - [1, 2, 3], axis=1), 3, atol=2e-2)


def test_a_pose_is_asked_for_where_it_is_needed() -> None:
    image = np.zeros((8, 8, 3), np.uint8)
    with pytest.raises(InputError, match="pose"):
        extract_mesh(Picture("matrix"), image)
    with pytest.raises(InputError, match="pose"):
        extract_mesh(Picture("matrix"), image, pose=np.full((4, 4), np.nan, np.float32))
    with pytest.raises(InputError, match="focal"):
        extract_mesh(Picture("6d"), image, pose=np.eye(4, dtype=np.float32))
    model = Picture("6d")
    extract_mesh(model, image, resolution=32, pose=np.eye(4, dtype=np.float32), focal=1.5)
    assert model.seen[1].shape == (1, 4, 4)
    assert model.seen[2].item() == 1.5


@pytest.mark.parametrize(
    "image", [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 3), np.float32), np.zeros((0, 8, 3), np.uint8)]
)
def test_pictures_of_another_kind_are_refused(image) -> None:
    with pytest.raises(InputError, match="uint8"):
        extract_mesh(Picture(), image)


def test_unknown_precision() -> None:
    with pytest.raises(ConfigError, match="--precision"):
        extract_mesh(Picture(), np.zeros((8, 8, 3), np.uint8), precision="fp8")
