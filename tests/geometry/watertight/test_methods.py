"""Watertighting on shapes whose inside is known, and on ones made to break it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

# ruff: noqa: E402 - the geometry libraries are an extra
trimesh = pytest.importorskip("trimesh")
pytest.importorskip("numba")

from pix3d_onet import Mesh, make_watertight
from pix3d_onet.errors import ConfigError, RejectError
from pix3d_onet.geometry.mesh.inside.winding import contains
from pix3d_onet.geometry.mesh.topology import component_labels, edge_counts, is_watertight, volume
from pix3d_onet.geometry.watertight import depth_fusion as fusion_module
from pix3d_onet.geometry.watertight.kernels import depth_fusion, marching_cubes
from pix3d_onet.geometry.watertight.methods import watertight

RESOLUTION = 64


def mesh_of(body: trimesh.Trimesh) -> Mesh:
    return Mesh(body.vertices, body.faces)


def joined(*bodies: trimesh.Trimesh) -> Mesh:
    return mesh_of(trimesh.util.concatenate(bodies))


def box(extents: tuple[float, float, float], at: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> trimesh.Trimesh:
    body = trimesh.creation.box(extents)
    body.apply_translation(at)
    return body


def distances(points: np.ndarray, mesh: Mesh) -> np.ndarray:
    import open3d as o3d

    scene = o3d.t.geometry.RaycastingScene()
    scene.add_triangles(mesh.vertices.astype(np.float32), mesh.faces.astype(np.uint32))
    return scene.compute_distance(points.astype(np.float32)).numpy()


def is_sound(mesh: Mesh) -> bool:
    return is_watertight(mesh) and volume(mesh) > 0


def test_the_cubes_table_closes_every_pair_of_random_neighbours() -> None:
    """Random signs are the hardest input for a table: every case, every shared face."""
    random = np.random.default_rng(0)
    slots = np.full((3, 3, 3), -1, dtype=np.int32)
    slots[1, 1, 1] = 0
    from pix3d_onet.geometry.watertight.kernels import neighbours

    table = neighbours.neighbour_table(slots, 1)
    for _ in range(20):
        inside = np.zeros((1, 8, 8, 8), dtype=np.uint8)
        inside[0, 1:7, 1:7, 1:7] = random.random((6, 6, 6)) < 0.5
        fractions = random.uniform(0.1, 0.9, (1, 3, 512)).astype(np.float32)
        origin = np.full((1, 3), 8, dtype=np.int32)
        cubes = marching_cubes.extract(inside.reshape(1, 512), np.zeros(27, dtype=np.uint8), table, origin, fractions)
        vertices, faces = cubes.vertices, marching_cubes.connected(cubes, table)
        counts = edge_counts(Mesh(vertices, faces))
        assert counts["boundary"] == counts["nonmanifold"] == counts["clashes"] == 0
        assert volume(Mesh(vertices, faces)) > 0


@pytest.mark.parametrize(
    ("body", "exact"),
    [
        (trimesh.creation.icosphere(subdivisions=4), None),
        (trimesh.creation.box((1, 0.6, 0.3)), 0.18),
        (trimesh.creation.torus(1.0, 0.3, 128, 64), None),
        (trimesh.creation.cylinder(0.3, 1.0, sections=64), None),
    ],
    ids=["sphere", "box", "torus", "cylinder"],
)
def test_tight_leaves_solids_where_they_are(body: trimesh.Trimesh, exact: float | None) -> None:
    result = make_watertight(mesh_of(body), method="tight", resolution=128)
    assert is_sound(result)
    assert component_labels(result)[0] == 1
    assert volume(result) == pytest.approx(exact or body.volume, rel=0.01)
    distance = distances(result.vertices[::97], mesh_of(body))
    voxel = np.ptp(body.bounds, axis=0).max() / (0.9 * 128)
    assert np.quantile(distance, 0.95) < 0.01 * voxel  # vertices lie on the surface
    assert distance.max() < voxel


def test_tight_unites_overlapping_parts_and_does_not_mind_winding() -> None:
    seat, back = box((1, 0.2, 1)), box((1, 1, 0.2), (0, 0.5, -0.4))
    back.invert()
    result = make_watertight(joined(seat, back, seat.copy()), resolution=128)
    exact = 0.2 + 0.2 - 1.0 * 0.1 * 0.2
    assert is_sound(result)
    assert component_labels(result)[0] == 1
    assert volume(result) == pytest.approx(exact, rel=0.01)


def test_tight_fills_sealed_cavities() -> None:
    outer, inner = box((1, 1, 1)), box((0.5, 0.5, 0.5))
    inner.invert()
    assert volume(make_watertight(joined(outer, inner), resolution=RESOLUTION)) == pytest.approx(1.0, rel=0.02)


def test_tight_gives_an_open_sheet_one_voxel() -> None:
    sheet = Mesh([[0, 0, 0], [1, 0, 0], [1, 0.7, 0.2], [0, 0.7, 0.2]], [[0, 1, 2], [0, 2, 3]])
    result = watertight(sheet, resolution=64)
    assert is_sound(result.mesh)
    assert component_labels(result.mesh)[0] == 1
    area = np.hypot(0.7, 0.2)
    # A voxel, a little more at the rim; thin shapes are done at twice the resolution, so of that finer grid.
    assert result.voxel == pytest.approx(1 / (0.9 * 128))
    thickness = volume(result.mesh) / area
    assert 0.98 * result.voxel < thickness < 1.15 * result.voxel


def test_tight_closes_gaps_under_two_voxels_and_not_wide_ones() -> None:
    def with_slot(width: float) -> Mesh:
        """A hollow box whose lid leaves a slot."""
        walls = [
            box((1, 0.01, 1), (0, -0.5, 0)),
            box((0.01, 1, 1), (-0.5, 0, 0)),
            box((0.01, 1, 1), (0.5, 0, 0)),
            box((1, 1, 0.01), (0, 0, -0.5)),
            box((1, 1, 0.01), (0, 0, 0.5)),
            box((1 - width, 0.01, 1), (-width / 2, 0.5, 0)),
        ]
        return joined(*walls)

    voxel = 1.0 / (0.9 * 128)
    closed = make_watertight(with_slot(1.2 * voxel), resolution=128)
    leaking = make_watertight(with_slot(4 * voxel), resolution=128)
    assert volume(closed) > 0.9
    assert volume(leaking) < 0.2


@pytest.mark.parametrize("radius", [0.2, 0.4, 0.6, 1.0])
def test_tight_keeps_a_slanted_rod_in_one_piece(radius: float) -> None:
    voxel = 1.0 / (0.9 * RESOLUTION)
    plate = box((0.2, 0.2, 0.2), (-0.4, -0.4, -0.1))
    rod = trimesh.creation.cylinder(radius * voxel, segment=[(-0.4, -0.4, -0.1), (0.45, 0.4, 0.13)], sections=16)
    result = make_watertight(joined(plate, rod), resolution=RESOLUTION)
    assert is_sound(result)
    assert component_labels(result)[0] == 1
    assert np.allclose(result.bounds[1], [0.45, 0.4, 0.13], atol=2 * voxel)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    faces=st.integers(1, 60),
    flat=st.booleans(),
    scale=st.floats(1e-20, 1e20),
    shift=st.floats(-3, 3),
)
def test_tight_closes_any_triangle_soup(seed: int, faces: int, flat: bool, scale: float, shift: float) -> None:
    random = np.random.default_rng(seed)
    corners = random.normal(size=(faces * 3, 3)) * (1, 1, 0 if flat else 1)
    soup = Mesh((corners + shift) * scale, np.arange(faces * 3).reshape(-1, 3))
    result = make_watertight(soup, resolution=32)
    assert is_sound(result)
    slack = 2 * np.ptp(soup.bounds, axis=0).max() / 28
    assert (result.bounds[0] > soup.bounds[0] - slack).all()
    assert (result.bounds[1] < soup.bounds[1] + slack).all()


def test_fusion_has_the_signs_of_a_dense_evaluation() -> None:
    body = joined(box((1, 0.1, 0.8)), box((1, 0.9, 0.08), (0, 0.4, -0.35)), trimesh.creation.icosphere(radius=0.2))
    resolution = 64
    grid = fusion_module.fusion(body, resolution)
    rotations = fusion_module.fibonacci_rotations()
    frame = fusion_module.fusion_frame(body, resolution)
    depth = fusion_module.depth_maps(body, frame, resolution, rotations)
    every = np.argwhere(np.ones(np.array(frame.dims) - 2, dtype=bool)).astype(np.int32) * 8
    dense = depth_fusion.fuse_bricks(every, resolution, depth, rotations, fusion_module.FOCAL, 10.0 / resolution)
    nodes = (every[:, None] + np.argwhere(np.ones((8, 8, 8), dtype=bool))[None]).reshape(-1, 3).astype(np.float64)
    labels = contains(grid.mesh(), frame.from_grid(nodes + 8))  # a brick of air lies around the cube
    grid_box = frame.to_grid(body.bounds)
    free = ((nodes + 8 < grid_box[0] - fusion_module.AIR) | (nodes + 8 > grid_box[1] + fusion_module.AIR)).any(axis=1)
    assert np.array_equal(labels, (dense <= 0).ravel() & ~free)
    assert labels.sum() > 1000
    assert is_sound(grid.mesh())


def test_fusion_moves_flat_faces_out_by_less_than_its_offset() -> None:
    result = watertight(mesh_of(box((1, 0.8, 0.6))), method="fusion", resolution=128)
    assert is_sound(result.mesh)
    half = np.array([0.5, 0.4, 0.3])
    for axis in range(3):
        others = [a for a in range(3) if a != axis]
        middle = (np.abs(result.mesh.vertices[:, others]) < half[others] / 2).all(axis=1)
        drift = (np.median(np.abs(result.mesh.vertices[middle, axis])) - half[axis]) / result.voxel
        # 1.5 voxels in views from straight ahead; on broad faces, slanted views take most of it away again.
        assert 0.1 < drift < 1.6


def test_meshfix_mends_a_hole_and_falls_back_when_it_would_lose_parts() -> None:
    pytest.importorskip("pymeshfix")
    body = trimesh.creation.icosphere(subdivisions=3)
    holed = watertight(Mesh(body.vertices, body.faces[3:]), method="meshfix", resolution=RESOLUTION)
    assert is_sound(holed.mesh)
    assert volume(holed.mesh) == pytest.approx(body.volume, rel=0.02)
    sheets = Mesh([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 1], [0, 1, 1]], [[0, 1, 2], [3, 4, 5]])
    fallen = watertight(sheets, method="meshfix", resolution=RESOLUTION)
    assert fallen.info["fallback"]
    assert is_sound(fallen.mesh)


def test_none_takes_closed_meshes_and_names_what_is_open() -> None:
    body = trimesh.creation.box()
    body.invert()
    assert volume(make_watertight(mesh_of(body), method="none")) == pytest.approx(1.0)
    with pytest.raises(RejectError, match="open") as caught:
        make_watertight(Mesh(body.vertices, body.faces[1:]), method="none")
    assert caught.value.reason == "not-watertight"


def test_none_labels_overlapping_solids_by_the_winding_number() -> None:
    first, second, third = box((1, 1, 1)), box((1, 1, 1), (0.4, 0.3, 0.2)), box((0.5, 0.5, 0.5), (1.5, 0, 0))
    second.invert()  # overlaps the first, so it is no cavity
    third.invert()
    result = make_watertight(joined(first, second, third), method="none")
    points = np.random.default_rng(0).uniform(-0.7, 2.0, (50_000, 3))
    parts = (((0, 0, 0), 0.5), ((0.4, 0.3, 0.2), 0.5), ((1.5, 0, 0), 0.25))
    exact = np.any([(np.abs(points - at) < half).all(axis=1) for at, half in parts], axis=0)
    assert np.array_equal(contains(result, points), exact)
    assert volume(result) == pytest.approx(2.125)


def test_none_keeps_cavities_and_takes_solids_that_share_an_edge() -> None:
    outer, inner = box((1, 1, 1)), box((0.5, 0.5, 0.5))
    inner.invert()
    hollow = make_watertight(joined(outer, inner), method="none")
    assert volume(hollow) == pytest.approx(0.875)
    assert contains(hollow, np.array([[0.0, 0.01, 0.02], [0.35, 0.01, 0.02]])).tolist() == [False, True]
    touching = make_watertight(joined(box((1, 1, 1)), box((1, 1, 1), (1, 1, 0))), method="none")
    assert edge_counts(touching)["nonmanifold"] == 1
    inside = contains(touching, np.array([[0.1, 0.2, 0.3], [1.1, 1.2, 0.3], [1.1, 0.1, 0.3]]))
    assert inside.tolist() == [True, True, False]


def test_none_names_one_face_wound_the_wrong_way() -> None:
    body = trimesh.creation.box()
    faces = body.faces.copy()
    faces[0] = faces[0][::-1]
    with pytest.raises(RejectError, match="0 edges are open and 3 are wound inconsistently"):
        make_watertight(Mesh(body.vertices, faces), method="none")


def test_an_unknown_method_is_named() -> None:
    with pytest.raises(ConfigError, match=r"tight.*'magic'"):
        make_watertight(mesh_of(trimesh.creation.box()), method="magic")


@pytest.mark.parametrize(
    "mesh",
    [
        Mesh(np.zeros((0, 3)), np.zeros((0, 3))),
        Mesh(np.zeros((3, 3)), [[0, 1, 2]]),
        Mesh([[0, 0, 0], [1, 0, 0], [0, 1, np.nan]], [[0, 1, 2]]),
        Mesh([[0, 0, 0], [1, 0, 0], [0, 1, np.inf]], [[0, 1, 2]]),
        Mesh([[0, 0, 0], [1, 0, 0], [0, 1, 0]], [[0, 1, 7]]),
        Mesh([[0, 0, 0], [1, 0, 0], [0, 1, 0]], [[0, 1, -1]]),
        Mesh([[1e200, 0, 0], [0, 1e200, 0], [0, 0, 1e200]], [[0, 1, 2]]),
        Mesh([[1e9, 0, 0], [1e9 + 1e-6, 0, 0], [1e9, 1e-6, 0]], [[0, 1, 2]]),
    ],
    ids=["empty", "point", "nan", "inf", "index", "negative-index", "huge", "lost-to-rounding"],
)
def test_meshes_without_a_surface_are_rejected_by_name(mesh: Mesh) -> None:
    with pytest.raises(RejectError) as caught:
        make_watertight(mesh)
    assert caught.value.reason in ("empty-mesh", "bad-extent")
    assert caught.value.stage == "mesh"


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e38])
def test_scale_does_not_matter(scale: float) -> None:
    body = trimesh.creation.icosphere(subdivisions=2)
    result = make_watertight(Mesh(body.vertices * scale, body.faces), resolution=32)
    assert volume(Mesh(result.vertices / scale, result.faces)) == pytest.approx(body.volume, rel=0.02)


def test_faces_that_are_not_indices_are_refused() -> None:
    corners, faces = trimesh.creation.box().vertices, trimesh.creation.box().faces
    with pytest.raises(RejectError, match="bad-index"):
        make_watertight(Mesh(corners, faces + 1), resolution=32)  # counted from 1, as in an OBJ file
    with pytest.raises(ValueError, match="whole numbers"):
        Mesh(corners, faces + 0.5)
    with pytest.raises(ValueError, match="whole numbers"):
        Mesh(faces, corners)  # the arguments in the wrong order
    assert Mesh(corners, faces.astype(np.float64)).faces.dtype == np.int64
