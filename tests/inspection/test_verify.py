from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from helpers import preparing
from helpers.command_line import onet
from helpers.releases import write_release

from pix3d_onet.config import PrepareConfig
from pix3d_onet.data.store.manifest import read_manifest
from pix3d_onet.errors import InputError
from pix3d_onet.files import file_digest
from pix3d_onet.inspection import checks
from pix3d_onet.inspection.checks import Check, Verification
from pix3d_onet.inspection.verify import verify
from pix3d_onet.preparation.job import Execution, prepare


@pytest.fixture
def data(prepared: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(prepared, tmp_path / "data"))


def named(result: Verification, name: str) -> Check:
    return next(c for c in result.checks if c.name == name)


def edit_manifest(root: Path, change: Callable[[dict[str, Any]], None]) -> None:
    document = json.loads((root / "manifest.json").read_text())
    change(document)
    (root / "manifest.json").write_text(json.dumps(document))


def edit_shard(root: Path, name: str, change: Callable[[h5py.File], None]) -> None:
    """Change a shard and its checksum, so that only the contents are wrong."""
    with h5py.File(root / name, "r+") as file:
        change(file)

    def refresh(document: dict[str, Any]) -> None:
        for shard in document["shards"]:
            if shard["file"] == name:
                shard["sha256"], shard["bytes"] = file_digest(root / name), (root / name).stat().st_size

    edit_manifest(root, refresh)


def test_a_prepared_data_set_is_sound(prepared: Path, release: Path) -> None:
    result = verify(prepared, source_root=release)
    assert result.ok
    assert [c.name for c in result.checks] == [
        "manifest",
        "shards",
        "leakage",
        "duplicates",
        "labels",
        "surface",
        "source labels",
        "cameras",
        "source",
    ]
    assert {c.status for c in result.checks} <= {"passed", "warning"}
    assert named(result, "labels").figures["agreement"] > 0.999
    assert named(result, "labels").figures["points"] == 6 * preparing.SMALL.points
    cameras = named(result, "cameras").figures
    assert cameras["mean_iou_rendered"] > 0.97
    assert cameras["mean_iou"] > 0.85


def test_looking_changes_nothing(prepared: Path) -> None:
    before = {p.name: p.read_bytes() for p in prepared.iterdir() if p.is_file()}
    verify(prepared, everything=True)
    assert {p.name: p.read_bytes() for p in prepared.iterdir() if p.is_file()} == before


@pytest.mark.parametrize("damage", ["flip", "cut", "gone", "other"])
def test_a_damaged_shard_is_named_with_the_command_that_mends_it(data: Path, damage: str) -> None:
    path = data / "shard-00001.h5"
    content = bytearray(path.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    elif damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "gone":
        path.unlink()
    else:
        path.write_bytes(b"not HDF5 at all")
    result = verify(data)
    assert not result.ok
    errors = [f for c in result.checks for f in c.findings if f.level == "error"]
    assert [f.subject for f in errors] == ["shard-00001.h5"]
    assert f"--out {data}" in errors[0].fix
    assert "onet prepare pix3d" in errors[0].fix
    assert named(result, "labels").checked == 3  # the other shards were looked at


def test_preparing_again_mends_the_shard_and_only_it(data: Path, prepared: Path, release: Path) -> None:
    other = (data / "shard-00000.h5").stat().st_mtime_ns
    (data / "shard-00001.h5").unlink()
    preparing.prepared(release, data)
    assert (data / "shard-00001.h5").read_bytes() == (prepared / "shard-00001.h5").read_bytes()
    assert (data / "shard-00000.h5").stat().st_mtime_ns == other
    assert verify(data).ok


def test_the_named_command_is_one_that_onet_takes(release: Path, tmp_path: Path) -> None:
    out = tmp_path / "data"
    config = PrepareConfig(points=256, surface_points=64, image_size=32, resolution=48, limit=3, seed=2)
    preparing.prepared(release, out, config)
    whole = (out / "shard-00000.h5").read_bytes()
    (out / "shard-00000.h5").write_bytes(whole[:-1])
    fix = next(f.fix for c in verify(out, source_root=release).checks for f in c.findings if f.level == "error")
    assert onet(*fix.split("onet ", 1)[1].split(), "--quiet", "--jobs", 1).status == 0
    assert (out / "shard-00000.h5").read_bytes() == whole


def test_wrong_labels_are_found_with_their_shape(data: Path) -> None:
    def invert_some(file: h5py.File) -> None:
        labels = file["occupancy"][1]
        labels[:20] ^= 0xFF  # 160 of 4096 labels
        file["occupancy"][1] = labels

    edit_shard(data, "shard-00000.h5", invert_some)
    result = verify(data)
    assert named(result, "shards").status == "passed"
    check = named(result, "labels")
    assert check.status == "failed"
    assert [f.subject for f in check.findings] == [read_manifest(data).shapes[1].object_id]
    assert check.figures["wrong"] == pytest.approx(160, abs=20)


def test_a_mirrored_pose_is_found(data: Path) -> None:
    def mirror(file: h5py.File) -> None:
        pose = file["images/pose"][:]
        file["images/pose"][:] = np.diag([-1, -1, 1, 1]).astype(np.float32) @ pose

    for shard in read_manifest(data).shards:
        edit_shard(data, shard.file, mirror)
    check = named(verify(data), "cameras")
    assert check.status == "failed"
    assert check.figures["outliers"] > 0


def test_pictures_without_pose_are_counted_not_judged(data: Path) -> None:
    def blind(file: h5py.File) -> None:
        file["images/pose"][:] = np.nan
        file["images/intrinsics"][:] = np.nan

    for shard in read_manifest(data).shards:
        edit_shard(data, shard.file, blind)
    check = named(verify(data), "cameras")
    assert check.status == "skipped"
    assert check.figures["without_pose"] == 12


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda f: f["points"].__setitem__((0, 0), 0) or f.__delitem__("scale"), "lacks scale"),
        (lambda f: f["scale"].__setitem__(0, -1.0), "loc or scale"),
        (lambda f: f["mesh/faces"].__setitem__((0, 0), 2**31), "out of range"),
        (lambda f: f["mesh/vertices"].__setitem__(slice(None), f["mesh/vertices"][:] * 2), "normalised frame"),
        (lambda f: f["mesh/vertex_offset"].__setitem__(1, -5), "offsets"),
        (lambda f: f["images/mask"].__setitem__(0, 0), "empty"),
        (lambda f: f["images/rgb"].__setitem__(0, 7), "background"),
        (lambda f: f["images/rgb"].__setitem__(1, f["images/rgb"][1][:, ::-1]), "not the one"),
        (lambda f: f["images/pose"].__setitem__((0, 0, 0), 3.0), "rigid"),
        (lambda f: f["images/pose"].__setitem__((0, 0, 0), np.nan), "incomplete"),
        (lambda f: f["images/shape"].__setitem__(0, 2), "images/shape"),
        (lambda f: f.attrs.__setitem__("version", 9), "version"),
        (lambda f: f.move("points", "dots"), "lacks points"),
    ],
)
def test_contents_that_break_the_schema_are_named(data: Path, change: Callable[[h5py.File], Any], text: str) -> None:
    edit_shard(data, "shard-00000.h5", change)
    messages = [f.message for f in named(verify(data), "shards").findings]
    assert any(text in m for m in messages), messages


def test_leaks_between_splits_are_errors(data: Path) -> None:
    def leak(document: dict[str, Any]) -> None:
        first, second = document["shapes"][0], document["shapes"][1]
        first["split"], second["split"] = "train", "test"
        first["image_splits"], second["image_splits"] = ["train"] * 2, ["test"] * 2
        second["group"] = first["group"]
        second["mesh_sha256"] = first["mesh_sha256"]
        second["image_sha256"][0] = first["image_sha256"][0]

    edit_manifest(data, leak)
    check = named(verify(data), "leakage")
    assert check.status == "failed"
    assert check.figures == {"groups_in_two_splits": 1, "meshes_in_two_splits": 1, "pictures_in_two_splits": 1}


def test_a_picture_under_two_ids_of_one_split_is_a_warning(data: Path) -> None:
    def double(document: dict[str, Any]) -> None:
        for shape in document["shapes"]:
            shape["split"], shape["image_splits"] = "train", ["train"] * 2
        document["shapes"][1]["image_sha256"][0] = document["shapes"][0]["image_sha256"][0]

    edit_manifest(data, double)
    result = verify(data)
    assert named(result, "leakage").status == "passed"
    check = named(result, "duplicates")
    assert check.status == "warning"
    ids = [s.record_ids[0] for s in read_manifest(data).shapes[:2]]
    assert all(name in check.findings[0].message for name in ids)


def test_a_split_by_image_shares_shapes_and_says_so(data: Path) -> None:
    def by_image(document: dict[str, Any]) -> None:
        document["config"]["split"] = "image"
        document["config_hash"] = PrepareConfig.from_json(document["config"]).hash()
        document["shapes"][0]["image_splits"] = ["train", "test"]

    edit_manifest(data, by_image)
    check = named(verify(data), "leakage")
    assert check.status == "warning"
    assert "split by image" in check.findings[0].message


def test_manifests_that_contradict_themselves_are_found(data: Path) -> None:
    def contradict(document: dict[str, Any]) -> None:
        document["config"]["seed"] = 99
        document["shapes"][1]["object_id"] = document["shapes"][0]["object_id"]
        document["shapes"][2]["split"] = "holdout"

    edit_manifest(data, contradict)
    text = " ".join(f"{f.subject} {f.message}" for f in named(verify(data), "manifest").findings)
    assert "config_hash" in text
    assert "more than once" in text
    assert "holdout" in text


@pytest.mark.parametrize("pictures_too", [False, True])
def test_a_split_that_was_edited_is_found(data: Path, pictures_too: bool) -> None:
    """Either edit would put a test shape into training: the one in part, the other under the old counts and hash."""

    def move(document: dict[str, Any]) -> None:
        shape = next(s for s in document["shapes"] if s["split"] != "train")
        shape["split"] = "train"
        if pictures_too:
            shape["image_splits"] = ["train"] * len(shape["image_splits"])

    edit_manifest(data, move)
    check = named(verify(data), "manifest")
    text = " ".join(f"{f.subject} {f.message}" for f in check.findings)
    assert check.status == "failed"
    assert f"data_hash does not match shards and splits, whose hash is {read_manifest(data).data_hash}." in text
    assert "shapes_by_split is not that of its shapes" in text
    assert ("images_by_split is not" in text) == pictures_too
    assert ("a picture of it in" in text) != pictures_too


def test_a_source_that_changed_is_found(prepared: Path, release: Path, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(release, tmp_path / "release"))
    first, second = (moved / s.source_mesh for s in read_manifest(prepared).shapes[:2])
    first.write_text(first.read_text() + "# changed\n")
    second.unlink()
    check = named(verify(prepared, source_root=moved), "source")
    assert [f.level for f in check.findings] == ["error", "warning"]


def test_sources_that_cannot_be_read_are_named(prepared: Path, release: Path, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(release, tmp_path / "release"))
    loop, far, large = (moved / s.source_mesh for s in read_manifest(prepared).shapes[:3])
    for path, target in ((loop, loop), (far, Path("/etc/hostname"))):
        path.unlink()
        path.symlink_to(target)
    os.truncate(large, 2 << 30)
    check = named(verify(prepared, source_root=moved), "source")
    assert [f.level for f in check.findings] == ["error", "error", "error"]
    for finding, text in zip(check.findings, ("cannot be read", "leads out", "has more than"), strict=True):
        assert text in finding.message


def test_the_folder_of_the_synsets_is_a_root_too(prepared: Path, release: Path) -> None:
    """As of ShapeNet with renderings beside it, whose listing begins in the parent folder."""
    shape = read_manifest(prepared).shapes[0]
    outer = dataclasses.replace(shape, source_mesh=f"{release.name}/{shape.source_mesh}")
    assert checks.source_file(outer, release) == release / shape.source_mesh


def test_a_folder_without_any_of_the_meshes_is_an_error(prepared: Path, tmp_path: Path) -> None:
    check = named(verify(prepared, source_root=tmp_path), "source")
    assert [f.level for f in check.findings] == ["error"]
    assert "none of the 6" in check.findings[0].message


def test_the_command_names_every_setting_that_is_not_the_default(data: Path) -> None:
    command = checks.prepare_command(read_manifest(data), data, Path("/src"))
    assert command.startswith("onet prepare pix3d --root /src ")
    for flag in ("--points 4096", "--image-size 96", "--resolution 64", "--render-views 1", "--seed 5"):
        assert flag in command
    assert "--mesh-error" not in command


def test_what_is_no_data_set_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not found"):
        verify(tmp_path / "nowhere")
    (tmp_path / "manifest.json").write_text("{]")
    with pytest.raises(InputError, match="JSON"):
        verify(tmp_path)


def test_the_command_line_exits_with_3_when_a_check_fails(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert onet("verify", data, "--quiet").status == 0
    assert "sound" in capsys.readouterr().out
    (data / "shard-00000.h5").unlink()
    assert onet("verify", data, "--json", "--quiet").status == 3
    document = json.loads(capsys.readouterr().out)
    assert document["ok"] is False
    shards = next(c for c in document["checks"] if c["name"] == "shards")
    assert shards["findings"][0]["subject"] == "shard-00000.h5"


def test_a_data_set_without_pictures_can_be_verified(release: Path, tmp_path: Path) -> None:
    from pix3d_onet.data.sources.mesh_folder import list_meshes

    config = PrepareConfig(categories=("all",), points=512, surface_points=64, image_size=32, resolution=48, limit=2)
    out = tmp_path / "bare"
    prepare(list_meshes(release / "model", config), config, out, Execution(backend="inline"))
    result = verify(out)
    assert result.ok
    assert named(result, "cameras").status == "skipped"


@pytest.mark.parametrize("value", [None, "", "abc", [1], {}, True, float("1e308")])
def test_a_setting_of_the_wrong_kind_is_a_finding(data: Path, release: Path, value: Any) -> None:
    def spoil(document: dict[str, Any]) -> None:
        document["config"] |= {"mesh_error": value, "resolution": value}
        document["shapes"][0]["qc"] |= {"grid_resolution": value, "stored_error": value}

    edit_manifest(data, spoil)
    assert named(verify(data, source_root=release), "manifest").status == "failed"


@pytest.mark.parametrize("name", ["a\0b", "a" * 4000, "", "..", "/etc/passwd", "model", "x/" * 2000])
def test_a_source_mesh_that_cannot_be_read_is_a_finding(data: Path, release: Path, name: str) -> None:
    edit_manifest(data, lambda document: document["shapes"][0].update(source_mesh=name))
    check = named(verify(data, source_root=release), "source")
    assert [f.subject for f in check.findings] == [read_manifest(data).shapes[0].object_id]


def test_a_shard_that_is_listed_twice_is_read_once(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edit_manifest(data, lambda document: document.update(shards=document["shards"] * 3))
    manifest, read = read_manifest(data), []
    monkeypatch.setattr(checks, "file_problem", lambda path, shard: read.append(shard.file) or "is odd")
    checks.check_shards(data, manifest, "again")
    assert sorted(read) == sorted({s.file for s in manifest.shards})


@pytest.fixture(scope="module")
def near_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("near")
    write_release(root / "release", 3)
    config = dataclasses.replace(preparing.SMALL, near_points=2048, sdf=True, render_views=0)
    return preparing.prepared(root / "release", root / "data", config)


def test_near_labels_and_signed_distances_are_checked(near_data: Path) -> None:
    result = verify(near_data)
    checks_ = [named(result, name) for name in ("manifest", "shards", "labels", "distances")]
    assert [c.status for c in checks_] == ["passed"] * 4, [f for c in checks_ for f in c.findings]
    assert checks_[2].figures["points"] == 3 * (preparing.SMALL.points + 2048)
    assert checks_[3].figures["points"] == 3 * 2 * 2048
    assert checks_[3].figures["wrong_signs"] == 0


def shrink(file: h5py.File) -> None:
    file["near/sdf"][0] = file["near/sdf"][0] // 2


def flip_signs(file: h5py.File) -> None:
    file["sdf"][0, :5] = ~file["sdf"][0, :5]


def flip_labels(file: h5py.File) -> None:
    file["near/occupancy"][1] = ~file["near/occupancy"][1]


def shift_one(file: h5py.File) -> None:
    file["sdf"][2, int(np.argmax(file["sdf"][2]))] = 100


@pytest.mark.parametrize(
    ("damage", "check", "message"),
    [
        (shift_one, "distances", "the worst by"),
        (shrink, "distances", "contradict the stored mesh"),
        (flip_signs, "distances", "signs of 5 signed distances"),
        (flip_labels, "labels", "contradict the stored mesh"),
    ],
)
def test_wrong_near_data_are_found(
    near_data: Path, tmp_path: Path, damage: Callable[[h5py.File], None], check: str, message: str
) -> None:
    data = Path(shutil.copytree(near_data, tmp_path / "data"))
    edit_shard(data, read_manifest(data).shards[0].file, damage)
    found = named(verify(data, everything=True), check)
    assert found.status == "failed"
    assert message in found.findings[0].message


def test_the_version_of_manifest_and_shard_must_fit_the_settings(near_data: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(near_data, tmp_path / "data"))
    edit_shard(data, read_manifest(data).shards[0].file, lambda file: file.attrs.modify("version", np.int64(1)))
    assert "version 2" in named(verify(data), "shards").findings[0].message
    edit_manifest(data, lambda document: document.update(version=1))
    with pytest.raises(InputError, match="does not fit its config"):
        verify(data)
