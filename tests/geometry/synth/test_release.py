from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from helpers.command_line import onet
from PIL import Image

from pix3d_onet.config import PrepareConfig
from pix3d_onet.data.sources.pix3d import list_pix3d
from pix3d_onet.errors import ConfigError, InputError
from pix3d_onet.geometry.mesh.reading import load_mesh
from pix3d_onet.geometry.mesh.topology import volume
from pix3d_onet.geometry.render.scene import Scene
from pix3d_onet.geometry.synth import release
from pix3d_onet.geometry.synth.furniture import DESIGNS
from pix3d_onet.geometry.synth.solids import DEFECTS, assemble, box, spoil
from pix3d_onet.types import Camera

KEYS = [
    "img", "category", "img_size", "2d_keypoints", "mask", "img_source", "model", "model_raw", "model_source",
    "3d_keypoints", "voxel", "rot_mat", "trans_mat", "focal_length", "cam_position", "inplane_rotation",
    "truncated", "occluded", "slightly_occluded", "bbox",
]  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("synth") / "pix3d"
    release.synth_pix3d(out, category=("chair", "bookcase"), objects=2, images_per_object=2, seed=1)
    return out


@pytest.fixture(scope="module")
def records(root: Path) -> list[dict]:
    return json.loads((root / "pix3d.json").read_text())


def contents(root: Path) -> dict[str, bytes]:
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def test_records_have_the_releases_keys_in_order_and_their_files(root: Path, records: list[dict]) -> None:
    assert len(records) == 2 * 2 * 2
    for record in records:
        assert list(record) == KEYS
        for key in ("img", "mask", "model", "3d_keypoints", "voxel"):
            assert (root / record[key]).is_file()
        assert isinstance(record["truncated"], bool)
        with Image.open(root / record["img"]) as image, Image.open(root / record["mask"]) as mask:
            assert list(image.size) == record["img_size"] == list(mask.size)
            assert mask.mode == "L"
            pixels = np.asarray(mask)
            photo = np.asarray(image)
        assert set(np.unique(pixels)) == {0, 255}
        rows, columns = np.nonzero(pixels)
        assert record["bbox"] == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert (photo[pixels == 0] < 250).any(axis=-1).mean() > 0.95  # forgetting the mask must show


def test_every_record_is_taken_by_the_pix3d_source(root: Path) -> None:
    listing = list_pix3d(root, PrepareConfig(categories=("all",), images_per_object="all", require_pose=True))
    assert not listing.rejected
    assert len(listing.shapes) == 4
    assert sum(len(s.views) for s in listing.shapes) == 8


def test_the_pose_projects_the_model_onto_the_mask(root: Path, records: list[dict]) -> None:
    for record in records:
        width, height = record["img_size"]
        rotation, translation = np.array(record["rot_mat"]), np.array(record["trans_mat"])
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-9)
        np.testing.assert_allclose(-rotation.T @ translation, record["cam_position"], atol=1e-9)
        camera = Camera(rotation, translation, record["focal_length"] / 32 * width, width, height)
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = rotation, translation
        drawn = Scene(load_mesh(root / record["model"])).silhouette(pose, camera.intrinsics, (width, height))
        mask = np.asarray(Image.open(root / record["mask"])) > 0
        if not record["slightly_occluded"]:
            assert (drawn & mask).sum() / (drawn | mask).sum() > 0.999
        assert (mask & ~drawn).sum() <= 2


def test_key_points_lie_on_the_picture_where_the_annotators_say(root: Path, records: list[dict]) -> None:
    for record in records:
        points = np.loadtxt(root / record["3d_keypoints"])
        marks = np.array(record["2d_keypoints"])
        assert marks.shape == (release.ANNOTATORS, len(points), 2)
        width, height = record["img_size"]
        local = points @ np.array(record["rot_mat"]).T + np.array(record["trans_mat"])
        focal = record["focal_length"] / 32 * width
        pixels = np.array([width, height]) / 2 - focal * local[:, :2] / local[:, 2:]
        seen = marks[0, :, 0] >= -0.5
        assert np.abs(marks[:, seen] - pixels[seen]).max(initial=0) < 6
        assert (marks[:, ~seen] == -1).all()


def test_voxels_follow_the_releases_convention() -> None:
    # a long block along z with a knob on the -z end's +x side
    parts = [box((0, 0, 0), (0.2, 0.2, 1.0), "wood"), box((0.2, 0, -0.45), (0.2, 0.2, 0.1), "wood")]
    mesh, _ = assemble(parts)
    grid = release.voxels(parts, mesh)
    middle = mesh.bounds.mean(axis=0)

    def at(point: tuple[float, float, float]) -> int:
        x, y, z = np.array(point) - middle
        i, j, k = (int(np.floor(value / 1.0 * 128 + 64)) for value in (x, -z, y))
        return int(grid[i, j, k])

    assert grid.shape == (128, 128, 128)
    assert grid.dtype == np.uint8
    assert at((0, 0, 0.4)) == 1
    assert at((0.25, 0, -0.45)) == 1
    assert at((0.25, 0, 0.45)) == 0
    assert at((-0.25, 0, -0.45)) == 0
    filled = grid.mean()
    true = 0.2 * 0.2 * 1.0 + 0.2 * 0.2 * 0.1 - 0.1 * 0.2 * 0.1
    assert filled == pytest.approx(true, rel=0.15)  # surfaces thicken by up to a cell


def test_voxel_files_are_read_as_matlab(root: Path, records: list[dict]) -> None:
    grid = scipy.io.loadmat(root / records[0]["voxel"])["voxel"]
    assert grid.shape == (128, 128, 128)
    assert 0.001 < grid.mean() < 0.9


def test_same_seed_same_bytes_and_another_seed_others(root: Path, tmp_path: Path) -> None:
    how = {"category": ("chair", "bookcase"), "objects": 2, "images_per_object": 2}
    release.synth_pix3d(tmp_path / "again", **how, seed=1)
    assert contents(tmp_path / "again") == contents(root)
    release.synth_pix3d(tmp_path / "other", category="chair", objects=1, seed=2)
    name = "model/chair/SYNTH_CHAIR_001/model.obj"
    assert (tmp_path / "other" / name).read_bytes() != (root / name).read_bytes()


def test_an_object_does_not_depend_on_how_many_there_are(root: Path, tmp_path: Path) -> None:
    release.synth_pix3d(tmp_path / "few", category="chair", objects=1, seed=1)
    name = "model/chair/SYNTH_CHAIR_001/model.obj"
    assert (tmp_path / "few" / name).read_bytes() == (root / name).read_bytes()


def test_a_finished_folder_is_left_alone_and_an_interrupted_one_is_continued(tmp_path: Path) -> None:
    out = tmp_path / "data"
    assert release.synth_pix3d(out, objects=2).written
    before = contents(out)
    result = release.synth_pix3d(out, objects=2)
    assert not result.written
    assert result.records == 2
    (out / "pix3d.json").unlink()
    (out / "model/chair/SYNTH_CHAIR_002/model.obj").unlink()
    assert release.synth_pix3d(out, objects=2).written
    assert contents(out) == before


def test_foreign_folders_are_never_touched(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(InputError, match="not empty"):
        release.synth_pix3d(tmp_path, objects=1)
    assert [p.name for p in tmp_path.iterdir()] == ["precious.txt"]
    for seed in (0, 1):
        assert release.synth_pix3d(tmp_path, objects=1, seed=seed, overwrite=True).written
        assert (tmp_path / "precious.txt").read_text() == "mine"
    file = tmp_path / "precious.txt"
    with pytest.raises(InputError, match="is a file"):
        release.synth_pix3d(file, objects=1)


def test_another_synthetic_set_gives_way_only_when_told(tmp_path: Path) -> None:
    out = tmp_path / "data"
    release.synth_pix3d(out, objects=2)
    with pytest.raises(InputError, match="overwrite"):
        release.synth_pix3d(out, objects=1)
    release.synth_pix3d(out, objects=1, overwrite=True)
    assert len(list((out / "model/chair").iterdir())) == 1


@pytest.mark.parametrize(
    ("setting", "flag"),
    [({"category": "boat"}, "categories"), ({"objects": 0}, "objects"), ({"images_per_object": 0}, "images_per"),
     ({"seed": -1}, "seed"), ({"category": ("chair", "chair")}, "categories"), ({"category": ()}, "categories")],
)  # fmt: skip
def test_wrong_settings_name_their_flag(tmp_path: Path, setting: dict, flag: str) -> None:
    with pytest.raises(ConfigError, match=flag):
        release.synth_pix3d(tmp_path / "x", **setting)


@pytest.mark.parametrize("category", list(DESIGNS))
def test_designs_are_furniture_of_closed_outward_solids(category: str) -> None:
    for seed in range(20):
        parts = DESIGNS[category](np.random.default_rng(seed))
        mesh, owner = assemble(parts)
        assert len(owner) == len(mesh.faces)
        low, high = mesh.bounds
        assert -0.05 < low[1] < 0.2  # it stands on the floor
        assert 0.3 < high[1] < 2.4
        for part in parts:
            if part.solid:
                alone, _ = assemble([part])
                assert volume(alone) > 0
                assert part.holds(part.vertices.mean(axis=0)[None]).all()
                assert not part.holds(part.vertices.max(axis=0)[None] + 0.01).any()
                edges = np.sort(
                    np.concatenate([alone.faces[:, [0, 1]], alone.faces[:, [1, 2]], alone.faces[:, [2, 0]]])
                )
                assert (np.unique(edges, axis=0, return_counts=True)[1] == 2).all()


def test_defects_do_what_they_are_called() -> None:
    part, rng = box((0, 0, 0), (1, 1, 1), "wood"), np.random.default_rng(0)
    made = {name: assemble([defect(part, rng)])[0] for name, defect in DEFECTS.items()}
    whole, _ = assemble([part])
    assert volume(made["inverted-winding"]) == pytest.approx(-volume(whole))
    assert len(made["doubled-faces"].faces) == 2 * len(whole.faces)
    assert len(made["open-solid"].faces) == len(whole.faces) - 2
    assert abs(volume(made["mixed-winding"])) < 0.99
    assert len(made["unmerged-vertices"].vertices) == 24
    spoiled = [spoil([part] * 6, np.random.default_rng(k))[1] for k in range(40)]
    assert any(not kinds for kinds in spoiled)
    assert {kind for kinds in spoiled for kind in kinds} == set(DEFECTS)


def test_command_prints_one_document(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert onet("synth", "pix3d", tmp_path / "out", "--objects", "1", "--json").status == 0
    found = json.loads(capsys.readouterr().out)
    assert found["records"] == 1
    assert found["categories"] == ["chair"]
    assert onet("synth", "pix3d", tmp_path / "out", "--objects", "2").status == 3
    assert "--overwrite" in capsys.readouterr().err
    assert onet("synth", "pix3d", tmp_path / "out", "--objects", "1").status == 0
    assert capsys.readouterr().out.startswith("1 shape (chair), 1 picture already there in ")
    assert onet("synth", "pix3d", tmp_path / "out", "--objects", "1", "--quiet").status == 0
    assert capsys.readouterr() == ("", "")
