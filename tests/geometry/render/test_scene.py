from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pix3d_onet.errors import RejectError
from pix3d_onet.geometry.render import cameras, scene
from pix3d_onet.geometry.synth.solids import assemble, box
from pix3d_onet.types import Mesh

SIZE = 96
HALF = np.array([0.5, 0.3, 0.4])


def crate() -> Mesh:
    return assemble([box((0, 0, 0), 2 * HALF, "wood")])[0]


def camera(azimuth: float, elevation: float, distance: float = 2.5, roll: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    pose = cameras.look_at_pose(azimuth, elevation, roll, distance, np.zeros(3))
    return pose, cameras.frame(crate().vertices, pose, SIZE, 0.1)


def box_depth(pose: np.ndarray, intrinsics: np.ndarray) -> np.ndarray:
    """(SIZE, SIZE): exact Z of the crate at every pixel's centre by the slab method; infinity where it is missed."""
    v, u = np.mgrid[:SIZE, :SIZE] + 0.5
    rays = np.stack([u, v, np.ones_like(u)], axis=-1) @ np.linalg.inv(intrinsics).T @ pose[:3, :3]
    eye = -pose[:3, :3].T @ pose[:3, 3]
    with np.errstate(divide="ignore"):
        near, far = (-np.sign(rays) * HALF - eye) / rays, (np.sign(rays) * HALF - eye) / rays
    first, last = near.max(axis=-1), far.min(axis=-1)
    return np.where(first <= last, first, np.inf)


@settings(max_examples=40, deadline=None)
@given(st.floats(-3.1, 3.1), st.floats(-1.4, 1.4), st.floats(1.2, 6.0), st.floats(-0.5, 0.5))
def test_depth_and_mask_are_those_of_exact_rays(azimuth: float, elevation: float, distance: float, roll: float) -> None:
    pose, intrinsics = camera(azimuth, elevation, distance, roll)
    picture = scene.Scene(crate()).view(pose, intrinsics, SIZE, supersample=1)
    exact = box_depth(pose, intrinsics)
    both = picture.mask & np.isfinite(exact)
    assert (picture.mask ^ np.isfinite(exact)).sum() <= 4  # rays that graze an edge
    assert np.isinf(picture.depth[~picture.mask]).all()
    interior = np.abs(picture.depth[both] - exact[both])
    assert np.quantile(interior, 0.99) < 1e-5 * distance


def test_identity_pose_looks_from_the_front_along_z() -> None:
    pose = cameras.look_at_pose(0, 0, 0, 3.0, np.zeros(3))
    np.testing.assert_allclose(pose[:3, :3], np.eye(3), atol=1e-15)
    # a marker on the model's +x (left) and +y (up) side shows left and up in the picture
    marker = assemble([box((0.4, 0.3, 0), (0.1, 0.1, 0.1), "wood")])[0]
    intrinsics = np.array([[-100.0, 0, 50], [0, -100.0, 50], [0, 0, 1]])
    rows, columns = np.nonzero(scene.Scene(marker).view(pose, intrinsics, 100).mask)
    assert columns.max() < 50
    assert rows.max() < 50


@settings(max_examples=20, deadline=None)
@given(st.floats(-3.1, 3.1), st.floats(-1.2, 1.2), st.floats(-0.5, 0.5))
def test_poses_are_rigid_and_see_their_centre_ahead(azimuth: float, elevation: float, roll: float) -> None:
    centre = np.array([0.1, -0.2, 0.3])
    pose = cameras.look_at_pose(azimuth, elevation, roll, 2.0, centre)
    np.testing.assert_allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3), atol=1e-12)
    assert np.linalg.det(pose[:3, :3]) == pytest.approx(1)
    np.testing.assert_allclose(pose[:3, :3] @ centre + pose[:3, 3], [0, 0, 2.0], atol=1e-12)
    eye = -pose[:3, :3].T @ pose[:3, 3] - centre
    assert math.asin(eye[1] / 2.0) == pytest.approx(elevation, abs=1e-9)


def test_a_camera_inside_a_closed_box_sees_walls_everywhere() -> None:
    pose = cameras.look_at_pose(0.3, 0.1, 0.0, 0.0, np.zeros(3))
    wide = np.array([[-30.0, 0, 48], [0, -30.0, 48], [0, 0, 1]])
    picture = scene.Scene(crate()).view(pose, wide, SIZE)
    assert picture.mask.all()
    assert picture.depth.max() < 1.0


def test_nothing_behind_the_camera_is_drawn() -> None:
    pose, intrinsics = camera(0, 0)
    pose[2, 3] = -2.5
    picture = scene.Scene(crate()).view(pose, intrinsics, SIZE)
    assert not picture.mask.any()
    assert (picture.rgb == 255).all()


def test_winding_and_split_vertices_change_no_pixel() -> None:
    pose, intrinsics = camera(0.7, 0.4)
    whole = crate()
    turned = Mesh(whole.vertices, np.where((np.arange(12) % 2 == 0)[:, None], whole.faces[:, ::-1], whole.faces))
    split = Mesh(whole.triangles.reshape(-1, 3), np.arange(36).reshape(-1, 3))
    expected = scene.Scene(whole).view(pose, intrinsics, SIZE)
    for other in (turned, split):
        got = scene.Scene(other).view(pose, intrinsics, SIZE)
        assert np.abs(got.rgb.astype(int) - expected.rgb).max() <= 1
        np.testing.assert_array_equal(got.mask, expected.mask)


def test_the_nearer_surface_hides_the_farther() -> None:
    near, far = box((0, 0, -1), (0.4, 0.4, 0.1), "wood"), box((0, 0, 1), (2, 2, 0.1), "wood")
    mesh, owner = assemble([far, near])
    colours = np.where(owner[:, None] == 0, [1.0, 0, 0], [0, 0, 1.0])
    pose = cameras.look_at_pose(0, 0, 0, 3.0, np.zeros(3))
    intrinsics = np.array([[-60.0, 0, 48], [0, -60.0, 48], [0, 0, 1]])
    rgb = scene.Scene(mesh, colours).view(pose, intrinsics, SIZE).rgb.astype(int)
    assert rgb[48, 48, 2] > rgb[48, 48, 0] + 50
    assert rgb[48, 36, 0] > rgb[48, 36, 2] + 50


def test_it_agrees_with_an_independent_ray_caster() -> None:
    o3d = pytest.importorskip("open3d")
    from pix3d_onet.geometry.synth.furniture import chair

    mesh = assemble(chair(np.random.default_rng(4)))[0]
    pose = cameras.random_pose(np.random.default_rng(1), mesh.bounds)
    intrinsics = cameras.frame(mesh.vertices, pose, 128, 0.1)
    picture = scene.Scene(mesh).view(pose, intrinsics, 128, supersample=1)
    rays = o3d.t.geometry.RaycastingScene()
    tensor = o3d.core.Tensor
    rays.add_triangles(tensor(mesh.vertices.astype(np.float32)), tensor(mesh.faces.astype(np.uint32)))
    v, u = np.mgrid[:128, :128] + 0.5
    directions = np.stack([u, v, np.ones_like(u)], axis=-1) @ np.linalg.inv(intrinsics).T @ pose[:3, :3]
    eye = np.broadcast_to(-pose[:3, :3].T @ pose[:3, 3], directions.shape)
    hits = rays.cast_rays(tensor(np.concatenate([eye, directions], axis=-1).astype(np.float32)))["t_hit"].numpy()
    assert (np.isfinite(hits) != picture.mask).mean() < 0.001
    both = np.isfinite(hits) & picture.mask
    assert np.quantile(np.abs(hits[both] - picture.depth[both]), 0.99) < 1e-3


def test_random_views_are_seeded_framed_and_on_white() -> None:
    views = scene.random_views(crate(), 4, 7, "crate", 64)
    again = scene.random_views(crate(), 2, 7, "crate", 64)
    for a, b in zip(views, again, strict=False):
        np.testing.assert_array_equal(a.rgb, b.rgb)
        np.testing.assert_array_equal(a.pose, b.pose)
    assert not np.array_equal(views[0].pose, scene.random_views(crate(), 1, 8, "crate", 64)[0].pose)
    assert not np.array_equal(views[0].pose, scene.random_views(crate(), 1, 7, "other", 64)[0].pose)
    for view in views:
        assert view.rendered
        assert view.has_pose
        rows, columns = np.flatnonzero(view.mask.any(axis=1)), np.flatnonzero(view.mask.any(axis=0))
        longest = max(np.ptp(rows), np.ptp(columns)) + 1
        assert abs(longest - 64 / 1.2) <= 2
        assert abs((rows[0] + rows[-1] + 1) / 2 - 32) <= 1
        outside = ~scene.Scene(crate()).view(view.pose, view.intrinsics, 64, supersample=8).mask
        grown = outside & ~np.pad(view.mask, 1)[2:, 1:-1] & ~np.pad(view.mask, 1)[:-2, 1:-1]
        grown &= ~np.pad(view.mask, 1)[1:-1, 2:] & ~np.pad(view.mask, 1)[1:-1, :-2]
        assert (view.rgb[grown] == 255).all()


def test_random_cameras_stay_in_the_documented_ranges() -> None:
    bounds = crate().bounds
    radius = np.linalg.norm(bounds[1] - bounds[0]) / 2
    rng = np.random.default_rng(0)
    for _ in range(200):
        pose = cameras.random_pose(rng, bounds)
        eye = -pose[:3, :3].T @ pose[:3, 3]
        distance = np.linalg.norm(eye)
        elevation = math.degrees(math.asin(eye[1] / distance))
        assert cameras.ELEVATION[0] - 1e-9 <= elevation <= cameras.ELEVATION[1] + 1e-9
        narrow, wide = (math.sin(math.radians(f) / 2) for f in cameras.FIELD_OF_VIEW)
        assert radius * cameras.CLOSENESS[0] / wide - 1e-9 <= distance <= radius * cameras.CLOSENESS[1] / narrow + 1e-9


def test_silhouette_is_the_mask_of_the_picture() -> None:
    pose, intrinsics = camera(1.1, 0.2)
    drawn = scene.Scene(crate())
    np.testing.assert_array_equal(drawn.silhouette(pose, intrinsics, SIZE), drawn.view(pose, intrinsics, SIZE).mask)


def test_smooth_and_sharp_edges_are_told_apart() -> None:
    normals = scene.Scene(crate()).normals
    lengths = np.linalg.norm(normals, axis=-1)
    np.testing.assert_allclose(lengths, 1, atol=1e-6)
    faces = np.cross(
        crate().triangles[:, 1] - crate().triangles[:, 0], crate().triangles[:, 2] - crate().triangles[:, 0]
    )
    faces /= np.linalg.norm(faces, axis=1, keepdims=True)
    np.testing.assert_allclose(np.abs(np.einsum("fkc,fc->fk", normals, faces)), 1, atol=1e-6)


def test_a_mesh_without_faces_is_a_reject() -> None:
    with pytest.raises(RejectError) as caught:
        scene.Scene(Mesh(np.zeros((3, 3)), np.zeros((0, 3))))
    assert caught.value.reason == "empty-mesh"
    assert scene.random_views(crate(), 0, 0, "x", 64) == ()
