from __future__ import annotations

import glob
import json
import random
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import preparing
from helpers.command_line import onet
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pix3d_onet.config import PrepareConfig
from pix3d_onet.data.sources import onet_layout as layout
from pix3d_onet.data.store.manifest import ShapeEntry, read_manifest
from pix3d_onet.data.store.reader import Dataset, load_dataset
from pix3d_onet.errors import ConfigError, InputError, RejectError
from pix3d_onet.export.original_layout import ExportResult, export_onet, model_names, relabelled
from pix3d_onet.geometry.render.cameras import look_at_pose
from pix3d_onet.geometry.synth.solids import assemble, box
from pix3d_onet.inspection.verify import verify
from pix3d_onet.preparation.from_labels import given_geometry
from pix3d_onet.preparation.job import Execution, prepare
from pix3d_onet.seeding import generator
from pix3d_onet.types import Camera, Sample

CONFIG = PrepareConfig(points=4096, surface_points=20000, image_size=96, resolution=64, render_views=2, seed=4, limit=5)


@pytest.fixture(scope="module")
def source(release: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return preparing.prepared(release, tmp_path_factory.mktemp("prepared") / "data", CONFIG)


@pytest.fixture(scope="module")
def exported(source: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ExportResult]:
    out = tmp_path_factory.mktemp("exported") / "onet"
    return out, export_onet(source, out, image_size=96)


def back_config(**changes: Any) -> PrepareConfig:
    base = {"categories": ("all",), "points": 4096, "surface_points": 20000, "image_size": 96, "split": "lst"}
    return PrepareConfig(**{**base, "images_per_object": "all", **changes})


def prepared_back(root: Path, out: Path, **changes: Any) -> Path:
    config = back_config(**changes)
    execution = Execution(backend="inline", geometry=given_geometry)
    prepare(layout.list_onet(root, config), config, out, execution)
    return out


def original_points(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """What the original's PointsField does with ``points.npz``, without its random noise."""
    points_dict = np.load(folder / "points.npz")
    points = points_dict["points"].astype(np.float32)
    return points, np.unpackbits(points_dict["occupancies"])[: points.shape[0]].astype(np.float32)


def shuffled(object_id: str, what: str, count: int) -> np.ndarray:
    """The order in which a data set with the seed 0 stores the rows of a file."""
    return generator(0, what, object_id).permutation(count)


def test_files_have_the_originals_names_types_and_shapes(source: Path, exported: tuple[Path, ExportResult]) -> None:
    root, result = exported
    assert result.models == 5
    assert (root / "metadata.yaml").read_text() == "chair:\n  id: chair\n  name: chair\n"
    listed = []
    for split in ("train", "val", "test"):
        text = (root / "chair" / f"{split}.lst").read_text()
        assert not text.endswith("\n")  # the original would take the empty last line for a model
        listed += text.split("\n")
    assert len(listed) == len(set(listed)) == 5
    for model in listed:
        folder = root / "chair" / model
        points, cloud = np.load(folder / "points.npz"), np.load(folder / "pointcloud.npz")
        assert sorted(points.files) == ["loc", "occupancies", "points", "scale"]
        assert (points["points"].dtype, points["points"].shape) == (np.float16, (4096, 3))
        assert (points["occupancies"].dtype, points["occupancies"].shape) == (np.uint8, (512,))
        assert points["loc"].shape == (3,)
        assert points["scale"].shape == ()
        assert (cloud["points"].dtype, cloud["normals"].dtype) == (np.float16, np.float16)
        assert cloud["points"].shape == cloud["normals"].shape == (20000, 3)
        assert np.abs(points["points"].astype(np.float64)).max() <= 0.55
        pictures = sorted(p.name for p in (folder / "img_choy2016").iterdir())
        assert pictures == ["000.jpg", "001.jpg", "002.jpg", "cameras.npz"]
        cameras = np.load(folder / "img_choy2016" / "cameras.npz")
        for k in range(3):
            assert cameras[f"world_mat_{k}"].shape == (3, 4)
            assert cameras[f"camera_mat_{k}"].shape == (3, 3)
        with Image.open(folder / "img_choy2016" / "000.jpg") as image:
            assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (96, 96))


def test_the_default_pictures_are_137_pixels(source: Path, tmp_path: Path) -> None:
    export_onet(source, tmp_path / "x")
    picture = next((tmp_path / "x").rglob("000.jpg"))
    assert Image.open(picture).size == (137, 137)


def test_the_originals_way_of_reading_gives_right_batches(source: Path, exported: tuple[Path, ExportResult]) -> None:
    """Shapes3dDataset, PointsField, PointCloudField and ImagesField, step by step as the original does them."""
    root, _ = exported
    manifest = {e.object_id: e for e in read_manifest(source).shapes}
    by_split = {s: {e.object_id for e in manifest.values() if e.split == s} for s in ("train", "val", "test")}
    for split, ids in by_split.items():
        models = (root / "chair" / f"{split}.lst").read_text().split("\n")
        assert set(models) == ids if ids else models == [""]
        for model in filter(None, models):
            folder = root / "chair" / model
            points, occupancies = original_points(folder)
            assert points.shape == (4096, 3)
            assert set(np.unique(occupancies)) <= {0.0, 1.0}
            assert 0 < occupancies.mean() < 0.5
            files = glob.glob(str(folder / "img_choy2016" / "*.jpg"))  # noqa: PTH207 - as the original does
            image = Image.open(files[random.randint(0, len(files) - 1)]).convert("RGB")
            assert np.asarray(image).shape == (96, 96, 3)


def test_labels_come_back_without_one_difference(
    source: Path, exported: tuple[Path, ExportResult], tmp_path: Path
) -> None:
    root, result = exported
    back = prepared_back(root, tmp_path / "back")
    before = {e.object_id: s for e, s in zip(read_manifest(source).shapes, load_dataset(source, None), strict=True)}
    changed = 0
    for entry, sample in zip(read_manifest(back).shapes, load_dataset(back, None), strict=True):
        model = entry.object_id.removeprefix("chair/")
        points, occupancies = original_points(root / "chair" / model)
        order = shuffled(entry.object_id, "points", len(points))
        points, occupancies = points[order], occupancies[order]
        np.testing.assert_array_equal(sample.occupancy, occupancies.astype(bool))
        assert np.abs(sample.points - points).max() < 1.0e-5
        first = before[model]
        assert entry.split == next(e.split for e in read_manifest(source).shapes if e.object_id == model)
        np.testing.assert_allclose(sample.loc, first.loc)
        assert sample.scale == first.scale
        np.testing.assert_allclose(sample.mesh.bounds, first.mesh.bounds, atol=1e-6)
        surface = first.surface_points[shuffled(entry.object_id, "surface-points", len(first.surface_points))]
        assert np.abs(sample.surface_points - surface).max() < 4e-4
        changed += int((sample.occupancy != first.occupancy[order]).sum())
        assert len(sample.images) == 3
        assert all(v.has_pose for v in sample.images)
    assert changed == result.relabelled
    checked = verify(back, everything=True)
    assert checked.ok
    assert next(c for c in checked.checks if c.name == "cameras").figures["mean_iou"] > 0.85


def test_exporting_twice_gives_the_same_bytes(
    source: Path, exported: tuple[Path, ExportResult], tmp_path: Path
) -> None:
    export_onet(source, tmp_path / "again", image_size=96)

    def contents(root: Path) -> dict[str, bytes]:
        return {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}

    assert contents(tmp_path / "again") == contents(exported[0])


def test_exported_cameras_see_what_the_stored_ones_see(source: Path, exported: tuple[Path, ExportResult]) -> None:
    root, _ = exported
    for entry, sample in zip(read_manifest(source).shapes, load_dataset(source, None), strict=True):
        cameras = np.load(root / "chair" / entry.object_id / "img_choy2016" / "cameras.npz")
        original = sample.mesh.vertices * sample.scale + sample.loc
        for k, view in enumerate(sample.images):
            stored = (sample.mesh.vertices @ view.pose[:3, :3].T + view.pose[:3, 3]) @ view.intrinsics.T
            world, matrix = cameras[f"world_mat_{k}"], cameras[f"camera_mat_{k}"]
            assert matrix[0, 0] > 0
            assert np.linalg.det(world[:, :3]) == pytest.approx(1, abs=1e-5)
            given = (original @ world[:, :3].T + world[:, 3]) @ matrix.T
            np.testing.assert_allclose(given[:, :2] / given[:, 2:], stored[:, :2] / stored[:, 2:], atol=2e-2)


def test_labels_are_those_of_the_rounded_points() -> None:
    half = np.array([0.5, 0.25, 0.3])
    mesh, _ = assemble([box((0, 0, 0), 2 * half, "wood")])
    rng = np.random.default_rng(0)
    # points a hair inside and outside the face x = 0.5 and y = 0.25, where float16 steps are 2.4e-4 and 1.2e-4
    points = rng.uniform(-0.2, 0.2, (4000, 3))
    points[:2000, 0] = 0.5 + rng.uniform(-3e-4, 3e-4, 2000)
    points[2000:, 1] = 0.25 + rng.uniform(-3e-4, 3e-4, 2000)
    points = points.astype(np.float32)
    occupancy = (np.abs(points) < half).all(axis=1)
    sample = Sample("b", "c", points, occupancy, points, points, mesh, (), np.zeros(3), 1.0)
    rounded = points.astype(np.float16)
    exact = (np.abs(rounded.astype(np.float64)) < half).all(axis=1)
    labels = relabelled(sample, rounded)
    on_the_surface = (np.abs(np.abs(rounded.astype(np.float64)) - half) < 1e-7).any(axis=1)
    np.testing.assert_array_equal(labels[~on_the_surface], exact[~on_the_surface])
    assert (labels != occupancy).sum() > 50  # rounding does move points through the surface


@settings(max_examples=50, deadline=None)
@given(st.floats(-3, 3), st.floats(-1.3, 1.3), st.floats(0.5, 4), st.floats(20, 500), st.floats(-40, 180))
def test_cameras_survive_the_layout(azimuth: float, elevation: float, distance: float, focal: float, u: float) -> None:
    pose = look_at_pose(azimuth, elevation, 0.1, distance, np.array([0.1, 0.2, 0.3]))
    camera = Camera(pose[:3, :3], pose[:3, 3], focal, 137, 137, (u, 60.0))
    back = layout.camera_from(*layout.matrices(camera), (137, 137))
    np.testing.assert_allclose(back.rotation, camera.rotation, atol=1e-12)
    np.testing.assert_allclose(back.translation, camera.translation, atol=1e-12)
    np.testing.assert_allclose(back.intrinsics, camera.intrinsics, atol=1e-9)


@pytest.mark.parametrize(
    ("k", "world"),
    [
        (np.eye(3), np.ones((3, 4))),
        (np.diag([1.0, 2.0, 1.0]), np.eye(3, 4)),
        (np.diag([-1.0, -1.0, 1.0]), np.eye(3, 4)),
        (np.eye(4), np.eye(3, 4)),
        (np.full((3, 3), np.inf), np.eye(3, 4)),
    ],
)
def test_what_is_no_camera_is_a_reject(k: np.ndarray, world: np.ndarray) -> None:
    with pytest.raises(RejectError) as caught:
        layout.camera_from(k, world, (10, 10))
    assert caught.value.reason == "bad-pose"


@pytest.fixture
def copy(exported: tuple[Path, ExportResult], tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported[0], tmp_path / "copy"))


def test_a_layout_without_our_extras_comes_in_as_well(copy: Path, tmp_path: Path) -> None:
    for extra in copy.rglob("mesh.off"):
        extra.unlink()
    for folder in list(copy.rglob("img_choy2016_mask")):
        shutil.rmtree(folder)
    (copy / "metadata.yaml").unlink()
    (copy / "export.json").unlink()
    for model in sorted((copy / "chair").glob("*/"))[2:]:
        shutil.rmtree(model)
    back = prepared_back(copy, tmp_path / "back", split="shape")
    with Dataset(back) as data:
        for entry in data.entries():
            sample = data.sample(entry)
            _, occupancies = original_points(copy / entry.object_id)
            order = shuffled(entry.object_id, "points", len(occupancies))
            np.testing.assert_array_equal(sample.occupancy, occupancies.astype(bool)[order])
            assert entry.qc["mesh"] == "poisson"
            assert entry.qc["label_agreement"] > 0.99
            assert all(0.01 < v.mask.mean() < 0.9 for v in sample.images)
    result = verify(back, everything=True)
    assert next(c for c in result.checks if c.name == "shards").status == "passed"


def test_fewer_points_than_wanted_are_a_reject_that_says_what_to_do(copy: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="too-few-points"):
        prepared_back(copy, tmp_path / "many", points=8192)
    fewer = prepared_back(copy, tmp_path / "fewer", points=1024, surface_points=100)
    _, whole = original_points(copy / read_manifest(fewer).shapes[0].object_id)
    part = load_dataset(fewer, None)[0]
    assert part.points.shape == (1024, 3)
    assert part.occupancy.mean() == pytest.approx(whole.mean(), abs=0.05)


DAMAGE: dict[str, Any] = {
    "bad-points": lambda f: f.write_bytes(b"PK\x03\x04 no zip"),
    "missing-points": lambda f: f.unlink(),
    "bad-pointcloud": lambda f: np.savez(f.with_name("pointcloud.npz"), points=np.zeros((5, 3))),
    "missing-pointcloud": lambda f: f.with_name("pointcloud.npz").unlink(),
}


@pytest.mark.parametrize("reason", list(DAMAGE))
def test_damaged_models_are_counted_rejects(copy: Path, tmp_path: Path, reason: str) -> None:
    model = sorted((copy / "chair").glob("*/points.npz"))[0]
    DAMAGE[reason](model)
    back = prepared_back(copy, tmp_path / "back")
    assert read_manifest(back).counts["prepared"] == 4
    rows = [json.loads(line) for line in (back / "rejects.jsonl").read_text().splitlines()]
    assert [row["reason"] for row in rows] == [reason]
    assert rows[0]["object_id"] == f"chair/{model.parent.name}"


@pytest.mark.parametrize(
    "arrays",
    [
        {"points": np.zeros((8, 3), np.float16), "occupancies": np.zeros(3, np.uint8)},
        {"points": np.zeros((8, 2), np.float16), "occupancies": np.zeros(1, np.uint8)},
        {"points": np.full((8, 3), np.nan, np.float16), "occupancies": np.zeros(1, np.uint8)},
        {"points": np.zeros((8, 3), np.float16), "occupancies": np.zeros(1, np.uint8), "scale": np.array(0.0)},
        {"points": np.array([{"code": 1}], dtype=object), "occupancies": np.zeros(1, np.uint8)},
        {"occupancies": np.zeros(1, np.uint8)},
        {"points": np.zeros((4, 3)), "occupancies": np.array([-2.5, 3.0, 1.0, 0.0])},  # logits
        {"points": np.zeros((4, 3)), "occupancies": np.array([-1, 1, 1, -1], np.int8)},
        {"points": np.zeros((4, 3)), "occupancies": np.array([np.nan, 1.0, 1.0, 0.0])},
        {"points": np.full((4, 3), 0.9), "occupancies": np.array([0, 0, 0, 1], np.int8)},  # another frame
    ],
)
def test_arrays_that_make_no_sense_are_rejects_and_no_pickle_is_opened(
    tmp_path: Path, arrays: dict[str, np.ndarray]
) -> None:
    np.savez(tmp_path / "points.npz", **arrays)
    with pytest.raises(RejectError) as caught:
        layout.read_points(tmp_path / "points.npz")
    assert caught.value.reason == "bad-points"


def test_a_zip_that_declares_too_much_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pix3d_onet.files.npz.MAX_NPZ_BYTES", 1000)
    with zipfile.ZipFile(tmp_path / "points.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("points.npy", b"\0" * 100_000)
    with pytest.raises(RejectError) as caught:
        layout.read_points(tmp_path / "points.npz")
    assert caught.value.reason == "npz-too-large"


def test_plain_labels_are_read_like_packed_ones(tmp_path: Path) -> None:
    labels = np.random.default_rng(0).random(20) < 0.5
    points = np.zeros((20, 3), np.float32)
    np.savez(tmp_path / "packed.npz", points=points, occupancies=np.packbits(labels))
    np.savez(tmp_path / "plain.npz", points=points, occupancies=labels)
    for name in ("packed", "plain"):
        np.testing.assert_array_equal(layout.read_points(tmp_path / f"{name}.npz").occupancy, labels)


def test_lists_rule_the_split_and_name_what_is_missing(copy: Path) -> None:
    models = sorted(p.parent.name for p in (copy / "chair").glob("*/points.npz"))
    (copy / "chair" / "train.lst").write_text("\n".join([models[0], "gone", "../../escape"]) + "\n")
    (copy / "chair" / "val.lst").write_text(models[1])
    (copy / "chair" / "test.lst").unlink()
    listing = layout.list_onet(copy, back_config())
    assert [s.object_id for s in listing.shapes] == [f"chair/{m}" for m in models[:2]]
    assert {r.reason for r in listing.rejected} == {"missing-points", "unsafe-path"}
    assert listing.fixed_splits[f"chair/{models[1]}"] == "val"
    everything = layout.list_onet(copy, back_config(split="shape"))
    assert len(everything.shapes) == 5


def test_wrong_folders_and_classes_are_clear_errors(copy: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no folder"):
        layout.list_onet(tmp_path / "nowhere", back_config())
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no"):
        layout.list_onet(tmp_path / "empty", back_config())
    with pytest.raises(ConfigError, match="boat"):
        layout.list_onet(copy, back_config(categories=("boat",)))


def test_exports_never_overwrite_what_is_not_theirs(source: Path, copy: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("x")
    with pytest.raises(InputError, match="not empty"):
        export_onet(source, tmp_path / "full")
    export_onet(source, tmp_path / "full", overwrite=True)
    assert (tmp_path / "full" / "mine.txt").read_text() == "x"
    with pytest.raises(InputError, match="another export"):
        export_onet(source, copy, image_size=64)
    export_onet(source, copy, image_size=96)  # the same again: continued
    (copy / "mine.txt").write_text("x")
    export_onet(source, copy, image_size=64, overwrite=True)
    assert (copy / "mine.txt").read_text() == "x"
    assert Image.open(next(copy.rglob("000.jpg"))).size == (64, 64)


def test_a_split_by_image_is_refused(source: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(source, tmp_path / "data"))
    document = json.loads((data / "manifest.json").read_text())
    document["shapes"][0]["image_splits"][0] = "train"
    document["shapes"][0]["image_splits"][1] = "test"
    (data / "manifest.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match="two splits"):
        export_onet(data, tmp_path / "out")


def entry(object_id: str, category: str = "chair") -> ShapeEntry:
    return ShapeEntry(object_id, category, "", "train", "s", 0, 0, "", "", (), (), ())


def test_model_names_are_plain_unique_and_stay_in_the_folder() -> None:
    ids = ["chair/a", "a", "A", "../../etc/passwd", "b c\n", "...", "", "é/ü"]
    names = model_names([entry(i) for i in ids])
    values = [names[i] for i in ids]
    assert len({v.lower() for v in values}) == len(ids)
    for value in values:
        category, model = value.split("/")
        assert category == "chair"
        assert model not in ("", ".", "..")
        assert "\n" not in model
    assert names["chair/a"] == "chair/a"


def test_commands_there_and_back(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert onet("export", "onet", source, tmp_path / "e", "--json", "--quiet").status == 0
    assert json.loads(capsys.readouterr().out)["models"] == 5
    said = onet("export", "onet", source, tmp_path / "again").out.splitlines()[-1]
    program, *command = said.removeprefix("Next: ").split()  # with as many points as the files have
    assert program == "onet"
    capsys.readouterr()
    fast = ["--image-size", "48", "--jobs", "1"]
    assert onet(*command, "--out", tmp_path / "b", "--json", "--quiet", *fast).status == 0
    assert json.loads(capsys.readouterr().out)["shapes"] == 5
    assert onet("export", "onet", source, tmp_path / "silent", "--quiet").status == 0
    assert capsys.readouterr() == ("", "")


def test_a_file_that_is_sorted_by_label_is_shuffled(copy: Path, tmp_path: Path) -> None:
    model = sorted((copy / "chair").glob("*/points.npz"))[0]
    points, occupancies = original_points(model.parent)
    order = np.argsort(-occupancies, kind="stable")
    given = np.load(model)
    np.savez(
        model, points=points[order].astype(np.float16), occupancies=np.packbits(occupancies[order].astype(bool)),
        loc=given["loc"], scale=given["scale"],
    )  # fmt: skip
    back = prepared_back(copy, tmp_path / "back")
    sample = next(
        s
        for e, s in zip(read_manifest(back).shapes, load_dataset(back, None), strict=True)
        if e.object_id == f"chair/{model.parent.name}"
    )
    assert sample.occupancy[:512].mean() == pytest.approx(occupancies.mean(), abs=0.06)
    assert sample.occupancy.mean() == pytest.approx(occupancies.mean())


@pytest.mark.parametrize("changed", [lambda bits: ~bits, np.zeros_like], ids=["inverted", "all outside"])
def test_labels_of_something_else_are_a_reject(copy: Path, tmp_path: Path, changed: Any) -> None:
    model = sorted((copy / "chair").glob("*/points.npz"))[0]
    given = dict(np.load(model))
    np.savez(model, **{**given, "occupancies": changed(given["occupancies"])})
    back = prepared_back(copy, tmp_path / "back")
    (row,) = (json.loads(line) for line in (back / "rejects.jsonl").read_text().splitlines())
    assert (row["reason"], row["object_id"]) == ("label-disagreement", f"chair/{model.parent.name}")


def test_another_surface_is_another_shape(copy: Path, tmp_path: Path) -> None:
    """``mesh.off`` is part of the digest of a shape, and no link out of the root is followed."""
    model = sorted((copy / "chair").glob("*/"))[0]
    before = {s.object_id: s.further_files for s in layout.list_onet(copy, back_config()).shapes}
    assert before[f"chair/{model.name}"][-1].name == "mesh.off"
    back = prepared_back(copy, tmp_path / "back")
    digests = {e.object_id: e.source_sha256 for e in read_manifest(back).shapes}
    with (model / "mesh.off").open("a") as file:
        file.write("# edited\n")
    prepared_back(copy, back)
    after = {e.object_id: e.source_sha256 for e in read_manifest(back).shapes}
    assert {name for name in digests if digests[name] != after[name]} == {f"chair/{model.name}"}
    (model / "mesh.off").unlink()
    with pytest.raises(InputError, match="other records now"):
        prepared_back(copy, back)
    (tmp_path / "else.off").write_text("OFF\n0 0 0\n")
    (model / "mesh.off").symlink_to(tmp_path / "else.off")
    listing = layout.list_onet(copy, back_config())
    assert [r.object_id for r in listing.rejected] == [f"chair/{model.name}"]


def test_what_is_not_taken_is_counted(copy: Path, tmp_path: Path) -> None:
    shutil.copytree(sorted((copy / "chair").glob("*/"))[0], copy / "chair" / "unlisted")
    listing = layout.list_onet(copy, back_config())
    assert listing.skipped == {"not-in-split": 1}
    assert listing.records == len(listing.shapes) + 1
    shutil.copytree(copy / "chair" / "unlisted", copy / "table" / "one")
    chairs = layout.list_onet(copy, back_config(categories=("chair",)))
    assert chairs.skipped == {"category": 1, "not-in-split": 1}
    with pytest.raises(InputError, match=r"table has no train\.lst, val\.lst or test\.lst"):
        layout.list_onet(copy, back_config())


def test_two_pictures_of_one_name_are_not_two_pictures(copy: Path) -> None:
    folder = sorted((copy / "chair").glob("*/img_choy2016"))[0]
    first = sorted(folder.glob("000.*"))[0]
    shutil.copy(first, folder / "000.jpeg")
    (row,) = layout.list_onet(copy, back_config()).rejected
    assert row.reason == "same-name"
