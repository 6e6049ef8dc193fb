from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pix3d_onet.config import PrepareConfig
from pix3d_onet.data.sources.shapenet import SYNSETS, choy_camera, list_shapenet
from pix3d_onet.data.store.manifest import read_manifest
from pix3d_onet.data.store.reader import load_dataset
from pix3d_onet.errors import ConfigError, InputError
from pix3d_onet.geometry.render.scene import Scene
from pix3d_onet.inspection.verify import verify
from pix3d_onet.preparation.job import Execution, prepare
from pix3d_onet.types import Mesh

CHAIR, TABLE = "03001627", "04379243"
CUBE = "".join(f"v {x} {y} {z}\n" for x in (-0.2, 0.2) for y in (-0.4, 0.4) for z in (-0.1, 0.3)) + "".join(
    f"f {a} {b} {c} {d}\n"
    for a, b, c, d in [(1, 2, 4, 3), (5, 7, 8, 6), (1, 5, 6, 2), (3, 4, 8, 7), (1, 3, 7, 5), (2, 6, 8, 4)]
)
BOX = Mesh(
    [[x, y, z] for x in (-0.2, 0.2) for y in (-0.4, 0.4) for z in (-0.1, 0.3)],
    [[0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1],
     [2, 3, 7], [2, 7, 6], [0, 2, 6], [0, 6, 4], [1, 5, 7], [1, 7, 3]],
)  # fmt: skip


def model(root: Path, core: str, synset: str, name: str, file: str) -> None:
    path = root / core / synset / name / file
    path.parent.mkdir(parents=True)
    path.write_text(CUBE)


def test_both_versions_are_found_where_they_are_usually_kept(tmp_path: Path) -> None:
    for number, (core, file) in enumerate(
        [("ShapeNetCore.v2", "models/model_normalized.obj"), ("ShapeNetCore.v1", "model.obj"), (".", "model.obj")]
    ):
        root = tmp_path / str(number)
        model(root, core, CHAIR, "b", file)
        model(root, core, CHAIR, "a", file)
        model(root, core, TABLE, "c", file)
        listing = list_shapenet(root, PrepareConfig(categories=("chair",)))
        assert [s.object_id for s in listing.shapes] == [f"{CHAIR}/a", f"{CHAIR}/b"]
        assert {s.category for s in listing.shapes} == {"chair"}
        assert (listing.records, listing.skipped) == (3, {"category": 1})
        assert len(list_shapenet(root, PrepareConfig(categories=("all",))).shapes) == 3
        assert len(list_shapenet(root, PrepareConfig(categories=(TABLE,))).shapes) == 1


def test_models_without_a_mesh_are_rejects(tmp_path: Path) -> None:
    model(tmp_path, ".", CHAIR, "a", "model.obj")
    (tmp_path / CHAIR / "empty").mkdir()
    outside = tmp_path.parent / "outside.obj"
    outside.write_text(CUBE)
    (tmp_path / CHAIR / "link").mkdir()
    (tmp_path / CHAIR / "link" / "model.obj").symlink_to(outside)
    listing = list_shapenet(tmp_path, PrepareConfig(categories=("chair",)))
    assert len(listing.shapes) == 1
    assert {(r.object_id, r.reason) for r in listing.rejected} == {
        (f"{CHAIR}/empty", "missing-model"),
        (f"{CHAIR}/link", "unsafe-path"),
    }
    assert listing.records == 3


def test_wrong_input_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no ShapeNet folder"):
        list_shapenet(tmp_path / "x", PrepareConfig())
    with pytest.raises(InputError, match="no ShapeNet synset"):
        list_shapenet(tmp_path, PrepareConfig())
    model(tmp_path, ".", CHAIR, "a", "model.obj")
    for unknown in ("boat", "table", "04379243"):  # no category, and one that is not here
        with pytest.raises(ConfigError, match="the source has only chair"):
            list_shapenet(tmp_path, PrepareConfig(categories=(unknown,)))


def test_renderings_lie_beside_the_folder_that_is_named(tmp_path: Path) -> None:
    model(tmp_path, "ShapeNetCore.v1", CHAIR, "a", "model.obj")
    folder = tmp_path / "ShapeNetRendering" / CHAIR / "a" / "rendering"
    folder.mkdir(parents=True)
    (folder / "rendering_metadata.txt").write_text("30 25 0 0.8 25\n")
    (folder / "00.png").touch()
    above = list_shapenet(tmp_path, PrepareConfig())
    beside = list_shapenet(tmp_path / "ShapeNetCore.v1", PrepareConfig())
    assert [v.record_id for s in beside.shapes for v in s.views] == [f"{CHAIR}/a/00"]
    assert beside.root.resolve() == above.root.resolve() == tmp_path.resolve()
    assert [s.object_id for s in beside.shapes] == [s.object_id for s in above.shapes]


def test_there_are_55_categories() -> None:
    assert len(SYNSETS) == 55
    assert len(set(SYNSETS.values())) == 55
    assert all(len(key) == 8 and key.isdigit() for key in SYNSETS)


@pytest.mark.parametrize(
    ("azimuth", "elevation", "distance"), [(0, 0, 1), (30, 25, 0.8), (200, 28, 0.9), (330, -10, 0.7)]
)
def test_the_camera_stands_where_the_renderer_put_it(azimuth: float, elevation: float, distance: float) -> None:
    """3D-R2N2's renderer: the camera on Blender's +x, its parent turned by Euler (0, -elevation, -azimuth)."""
    camera = choy_camera(azimuth, elevation, distance)
    b, c = math.radians(-elevation), math.radians(-azimuth)
    about_y = np.array([[math.cos(b), 0, math.sin(b)], [0, 1, 0], [-math.sin(b), 0, math.cos(b)]])
    about_z = np.array([[math.cos(c), -math.sin(c), 0], [math.sin(c), math.cos(c), 0], [0, 0, 1]])
    blender = about_z @ about_y @ np.array([1.75 * distance, 0, 0])
    eye = np.array([blender[0], blender[2], -blender[1]])  # the OBJ importer: (x, y, z) → (x, -z, y)
    np.testing.assert_allclose(-camera.rotation.T @ camera.translation, eye, atol=1e-12)
    np.testing.assert_allclose(camera.rotation @ camera.rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(camera.rotation) == pytest.approx(1)
    assert camera.focal == pytest.approx(149.84375)  # the focal length in the original's cameras.npz
    above = np.array([[0.0, 0.1, 0.0]]) @ camera.rotation.T + camera.translation
    assert (above @ camera.intrinsics.T)[0, 1] / above[0, 2] < 68.5  # up is up in the picture


@pytest.fixture
def rendered(tmp_path: Path) -> Path:
    """A ShapeNet folder with renderings made by our renderer through Choy's camera."""
    model(tmp_path, "ShapeNetCore.v1", CHAIR, "a", "model.obj")
    folder = tmp_path / "ShapeNetRendering" / CHAIR / "a" / "rendering"
    folder.mkdir(parents=True)
    lines = []
    for number, (azimuth, elevation, distance) in enumerate([(40.0, 27.0, 0.8), (210.0, 26.0, 0.75)]):
        camera = choy_camera(azimuth, elevation, distance)
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = camera.rotation, camera.translation
        picture = Scene(BOX).view(pose, camera.intrinsics, 137)
        alpha = picture.mask.astype(np.uint8)[..., None] * 255
        Image.fromarray(np.concatenate([picture.rgb, alpha], axis=-1)).save(folder / f"{number:02d}.png")
        lines.append(f"{azimuth} {elevation} 0 {distance} 25\n")
    (folder / "rendering_metadata.txt").write_text("".join([*lines, "nonsense\n", "1 2 0 nan 25\n"]))
    return tmp_path


def test_renderings_come_with_mask_and_camera(rendered: Path, tmp_path: Path) -> None:
    config = PrepareConfig(
        categories=("chair",), images_per_object="all", points=512, surface_points=64, image_size=96, resolution=64
    )
    listing = list_shapenet(rendered, config)
    assert [r.reason for r in listing.rejected] == ["bad-pose", "bad-pose"]
    prepare(listing, config, tmp_path / "out", Execution(backend="inline"))
    sample = load_dataset(tmp_path / "out", None)[0]
    assert len(sample.images) == 2
    assert read_manifest(tmp_path / "out").shapes[0].record_ids == (f"{CHAIR}/a/00", f"{CHAIR}/a/01")
    cameras = next(c for c in verify(tmp_path / "out").checks if c.name == "cameras")
    assert cameras.figures["mean_iou"] > 0.97


def test_no_rendering_is_left_out_in_silence_and_a_blank_line_moves_no_camera(rendered: Path) -> None:
    config = PrepareConfig(categories=("chair",), images_per_object="all")
    metadata = rendered / "ShapeNetRendering" / CHAIR / "a" / "rendering" / "rendering_metadata.txt"
    first, second = metadata.read_text().splitlines()[:2]
    metadata.write_text(f"{first}\n\n{second}\n")
    listing = list_shapenet(rendered, config)
    assert [v.record_id for v in listing.shapes[0].views] == [f"{CHAIR}/a/00"]  # the camera of 02, which has no picture
    assert [(r.record_id, r.reason) for r in listing.rejected] == [(f"{CHAIR}/a/02", "missing-image")]
    metadata.write_bytes(b"\xff\n")
    listing = list_shapenet(rendered, config)
    assert [(r.record_id, r.reason) for r in listing.rejected] == [(f"{CHAIR}/a/rendering_metadata.txt", "bad-cameras")]
    metadata.unlink()
    assert [r.reason for r in list_shapenet(rendered, config).rejected] == ["bad-cameras"]
