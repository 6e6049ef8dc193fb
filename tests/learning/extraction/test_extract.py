"""Extraction: the dense lattice's mesh for fewer queries, closed, in place; NaN, empty, full and border fields."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from helpers import fields
from hypothesis import given, settings
from hypothesis import strategies as st

from pix3d_onet.config import ModelConfig
from pix3d_onet.errors import ConfigError, InputError
from pix3d_onet.events import Note
from pix3d_onet.geometry.mesh.simplification import is_closed, simplify
from pix3d_onet.learning.extraction.extract import extract_field, extract_mesh, image_tensor, logit, march
from pix3d_onet.learning.extraction.refine import value_and_gradient
from pix3d_onet.learning.extraction.surface_sampling import coarse_steps, sample_surface
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


def test_the_highest_occupancy_is_told() -> None:
    faint = lambda p: fields.sphere(0.3)(p).clamp(max=logit(0.13))  # noqa: E731
    result = extract_field(faint)
    assert not len(result.mesh.faces)
    assert result.highest == pytest.approx(0.13)
    assert extract_field(fields.sphere(0.4), threshold=0.5).highest > 0.99
    assert extract_field(lambda p: torch.full((len(p),), -torch.inf), resolution=32).highest < 1e-300


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


COARSE_CELL = 1.1 / 32
MIDDLE = 1.5 * COARSE_CELL
"""The middle of a coarse cell."""


def hollow_cube():
    outer, inner = fields.box((0, 0, 0), (0.34,) * 3), fields.box((0, 0, 0), (0.314,) * 3)
    return lambda points: torch.minimum(outer(points), -inner(points))


THIN = {
    "board": fields.box((0, MIDDLE, 0), (0.45, 0.013, 0.45)),
    "board off the middle": fields.box((0, MIDDLE - 0.22 * COARSE_CELL, 0), (0.45, 0.006, 0.45)),
    "rod": fields.box((0, MIDDLE, MIDDLE), (0.45, 0.013, 0.013)),
    "hollow cube": hollow_cube(),
    "ball": fields.union(
        fields.box((-0.3, 0, 0), (0.1, 0.1, 0.1)), fields.sphere(0.4 * COARSE_CELL, (MIDDLE, MIDDLE, MIDDLE))
    ),
}
"""Nothing of these meets the coarse lattice's points, or not all of it."""


@pytest.mark.parametrize("name", THIN)
def test_parts_thinner_than_a_coarse_cell_are_found_where_the_field_tells_of_them(name) -> None:
    result = extract_field(THIN[name], threshold=0.5)
    expected = dense(THIN[name], 128, threshold=0.5)
    assert len(expected.faces)
    assert_same(result.mesh, expected)
    if name != "hollow cube":  # two surfaces in a third of the box
        assert 15 * result.queries <= 129**3


def test_a_thin_slit_is_found() -> None:
    block = fields.box((0, 0, 0), (0.4,) * 3)
    slit = fields.box((0, MIDDLE, 0), (0.3, 0.013, 0.3))
    both = lambda points: torch.minimum(block(points), -slit(points))  # noqa: E731
    assert_same(extract_field(both, threshold=0.5).mesh, dense(both, 128, threshold=0.5))


def test_a_part_of_which_no_coarse_point_tells_is_missed_whole_and_found_when_it_touches() -> None:
    """A field that jumps: what lies between the coarse points is left out, whole; the rest is the dense mesh."""

    def jumping(field):
        return lambda points: torch.where(field(points) > 0, 5.0, -5.0)

    large = fields.box((-0.3, 0, 0), (0.1, 0.1, 0.1))
    board = fields.box((0.2, MIDDLE, 0), (0.2, 0.013, 0.45))
    both = jumping(fields.union(large, board))
    assert len(extract_field(both, threshold=0.5).mesh.faces) < len(dense(both, 128, threshold=0.5).faces)
    assert_same(extract_field(both, threshold=0.5).mesh, dense(jumping(large), 128, threshold=0.5))
    assert_same(extract_field(both, threshold=0.5, coarse=64).mesh, dense(both, 128, threshold=0.5))
    rod = fields.box((0.05, MIDDLE, MIDDLE), (0.3, 0.006, 0.006))
    joined = jumping(fields.union(large, rod))
    assert_same(extract_field(joined, threshold=0.5).mesh, dense(joined, 128, threshold=0.5))


def test_the_dense_mesh_is_marching_cubes_on_the_whole_lattice() -> None:
    """The reference of these tests, made without this package: all points asked, the box padded, one plain call."""
    from skimage.measure import marching_cubes

    axis = torch.linspace(-0.55, 0.55, 65)
    values = fields.chair()(torch.cartesian_prod(axis, axis, axis)).view(65, 65, 65).numpy()
    vertices, faces, _, _ = marching_cubes(np.pad(values, 1, constant_values=-1e6), 0.0)
    ours = extract_field(fields.chair(), resolution=64, threshold=0.5).mesh
    assert len(ours.faces) == len(faces)
    theirs = (vertices - 1) / 64 * 1.1 - 0.55
    rows = [np.lexsort(np.round(v, 5).T) for v in (ours.vertices, theirs)]
    np.testing.assert_allclose(ours.vertices[rows[0]], theirs[rows[1]], atol=2e-5)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([24, 36, 49]), st.sampled_from([8, 12]))
def test_random_smooth_fields(seed, resolution, coarse) -> None:
    """What is extracted is components of the dense lattice's, among them all that cross a coarse edge."""
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
    steps = coarse_steps(resolution, coarse).numpy() + 1
    inside = (every.values > 0).numpy()
    for axis in range(3):
        lines = np.moveaxis(inside, axis, 0)[:, steps][:, :, steps]  # along coarse lines, (R + 3, n, n)
        for low, high in itertools.pairwise(steps):
            for i, j in np.argwhere(lines[low] != lines[high]):
                crossed = low + np.flatnonzero(lines[low:high, i, j] != lines[low + 1 : high + 1, i, j])
                for place in crossed:
                    assert tuple(np.insert([steps[i], steps[j]], axis, place)) in cells
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
    value, slope = value_and_gradient(fields.sphere(), points, 1e-3)
    plain, differences = value_and_gradient(lambda p: fields.sphere()(p).detach(), points, 1e-3)
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


def test_a_simplified_mesh_is_refined_where_it_ends_up() -> None:
    """Simplification moves vertices off the level set: it comes first."""
    field = fields.sphere(0.4)
    both = extract_field(field, resolution=64, threshold=0.5, refine=True, simplify_to=600)
    alone = extract_field(field, resolution=64, threshold=0.5, simplify_to=600)
    assert len(both.mesh.faces) == len(alone.mesh.faces) <= 600
    off = [np.abs(np.linalg.norm(m.vertices, axis=1) - 0.4).max() for m in (both.mesh, alone.mesh)]
    assert off[0] < 1e-5 < off[1]
    assert both.normals.shape == both.mesh.vertices.shape
    assert is_closed(both.mesh.faces)


def test_a_cap_faces_out_of_the_box() -> None:
    result = extract_field(fields.sphere(0.7), resolution=32, threshold=0.5, refine=True)
    top = result.mesh.vertices[:, 2] > 0.55 - 1e-9
    middle = top & (np.abs(result.mesh.vertices[:, :2]).max(axis=1) < 0.4)
    assert middle.any()
    np.testing.assert_allclose(result.normals[middle], [[0, 0, 1]] * middle.sum(), atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(result.normals, axis=1), 1, atol=1e-6)


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
     ({"threshold": math.nan}, "threshold"), ({"coarse": 0}, "coarse"), ({"resolution": 5000}, "resolution"),
     ({"simplify_to": 3}, "simplify")],
)  # fmt: skip
def test_bad_settings_are_named(options, flag) -> None:
    with pytest.raises(ConfigError, match=f"`{flag}` must be"):
        extract_field(fields.sphere(), **options)


class Picture(torch.nn.Module):
    """A model whose sphere has the radius that the picture's mean brightness tells."""

    def __init__(self, pose: str = "none") -> None:
        super().__init__()
        self.config = ModelConfig(pose=pose)
        self.dummy = torch.nn.Parameter(torch.zeros(1))
        self.modes: list[bool] = []

    def encode(self, images, pose=None, intrinsics=None):
        self.modes.append(self.training)
        assert images.dtype == torch.float32
        assert images.shape[:2] == (1, 3)
        self.seen = images.shape, pose, intrinsics
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
    intrinsics = np.diag([1.5, 1.5, 1]).astype(np.float32)
    pose = np.eye(4, dtype=np.float32)
    pose[2, 3] = 2
    extract_mesh(model, image, resolution=32, pose=pose, intrinsics=intrinsics)
    assert model.seen[1].shape == (1, 4, 4)
    assert model.seen[2][0, 0, 0].item() == 1.5


def test_a_camera_that_cannot_see_the_object_is_refused() -> None:
    image, relative = np.zeros((32, 32, 3), np.uint8), np.array([[1.5, 0, 0.5], [0, 1.5, 0.5], [0, 0, 1]])
    pose = np.eye(4)
    pose[:3, 3] = 0.1, 0, 2
    extract_mesh(Picture("6d"), image, resolution=32, pose=pose, intrinsics=relative)
    scaled = pose @ np.diag([2.0, 2, 2, 1])
    extract_mesh(Picture("6d"), image, resolution=32, pose=scaled, intrinsics=relative)  # a scale is allowed
    with pytest.raises(InputError, match="units of the picture's side"):
        extract_mesh(Picture("6d"), image, pose=pose, intrinsics=np.diag([32, 32, 1]) @ relative)
    rotation = np.diag([1.0, 1, -1, 1])
    for wrong, says in (
        (pose.T, "last row is not 0 0 0 1"),
        (np.diag([0.0, 0, 0, 1]), "upper left part is zero"),
        (pose @ rotation, "it is a reflection"),
        (pose @ np.diag([1.0, 1, 3, 1]), "not a rotation times a scale"),
    ):
        with pytest.raises(InputError, match=says):
            extract_mesh(Picture("matrix"), image, pose=wrong)


def test_the_threshold_is_the_models_unless_it_is_given() -> None:
    image, model = np.full((32, 32, 3), 153, np.uint8), Picture()
    usual = extract_mesh(model, image, resolution=32)
    model.threshold = 0.7
    strict = extract_mesh(model, image, resolution=32)
    assert np.ptp(strict.vertices) < np.ptp(usual.vertices)
    given = extract_mesh(model, image, resolution=32, threshold=np.float32(0.7))
    assert np.abs(given.vertices - strict.vertices).max() < 1e-6
    for wrong in (1.5, "val"):
        with pytest.raises(ConfigError, match="threshold"):
            extract_mesh(model, image, threshold=wrong)


def test_a_picture_that_is_not_square_or_a_mask_that_is_not_bool_is_refused() -> None:
    with pytest.raises(InputError, match="must be square, the object in its middle on white, not 112×60"):
        extract_mesh(Picture(), np.zeros((60, 112, 3), np.uint8))
    with pytest.raises(InputError, match="must be bool, true on the object, not float64"):
        image_tensor(np.zeros((8, 8, 3), np.uint8), mask=np.full((8, 8), 0.01))


@pytest.mark.parametrize(
    "image", [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 3), np.float32), np.zeros((0, 8, 3), np.uint8)]
)
def test_pictures_of_another_kind_are_refused(image) -> None:
    with pytest.raises(InputError, match="uint8"):
        extract_mesh(Picture(), image)


def test_unknown_precision() -> None:
    with pytest.raises(ConfigError, match="precision"):
        extract_mesh(Picture(), np.zeros((8, 8, 3), np.uint8), precision="fp8")
