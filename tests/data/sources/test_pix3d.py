from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.releases import write_box, write_index, write_record, write_release
from helpers.shared import real

from pix3d_onet.config import PrepareConfig
from pix3d_onet.data.sources.pix3d import list_pix3d
from pix3d_onet.data.sources.registry import SOURCES
from pix3d_onet.errors import ConfigError, InputError
from pix3d_onet.types import SourceListing

CHAIRS = PrepareConfig()


def changed(root: Path, index: int, **fields: Any) -> SourceListing:
    """The listing after fields of one record were replaced (``...`` removes one)."""
    records = json.loads((root / "pix3d.json").read_text())
    records[index].update(fields)
    records[index] = {k: v for k, v in records[index].items() if v is not ...}
    write_index(root, records)
    return list_pix3d(root, CHAIRS)


def test_a_sound_release(root: Path) -> None:
    listing = list_pix3d(root, CHAIRS)
    assert (len(listing.shapes), listing.records, listing.rejected) == (4, 4, ())
    shape = listing.shapes[1]
    assert (shape.object_id, shape.category, shape.group) == ("chair-BOX_001", "chair", "model/chair/BOX_001")
    assert shape.mesh == root / "model/chair/BOX_001/model.obj"
    assert shape.voxel is None  # named by the record, absent on disk: it serves quality control only
    camera = shape.views[0].camera
    assert camera is not None
    assert camera.focal == pytest.approx(40 / 32 * 64)
    # the page's formula: X_cam = R X + t, u = W/2 - f X/Z
    point = np.array([0.1, 0.2, 0.3])
    x, y, z = camera.rotation @ point + camera.translation
    u, v, w = camera.intrinsics @ (x, y, z)
    assert (u / w, v / w) == pytest.approx((32 - camera.focal * x / z, 24 - camera.focal * y / z))


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"img": "../x.png"}, "unsafe-path"),
        ({"mask": "/etc/passwd"}, "unsafe-path"),
        ({"model": "model/../../../x.obj"}, "unsafe-path"),
        ({"voxel": "../voxel.mat"}, "unsafe-path"),
        ({"model": 7}, "unsafe-path"),
        ({"img": "img/none.png"}, "missing-image"),
        ({"img": "img\0x"}, "unsafe-path"),
        ({"img": "a" * 5000}, "missing-image"),
        ({"img": "img/chair"}, "missing-image"),
        ({"mask": None}, "missing-mask"),
        ({"mask": ...}, "missing-mask"),
        ({"model": "model/none.obj"}, "missing-model"),
        ({"category": None}, "bad-record"),
        ({"category": ["chair"]}, "bad-record"),
        ({"rot_mat": [[1, 0, 0], [0, 1, 0]]}, "bad-pose"),
        ({"rot_mat": "eye"}, "bad-pose"),
        ({"rot_mat": [[2, 0, 0], [0, 2, 0], [0, 0, 2]]}, "bad-pose"),
        ({"rot_mat": [[1, 0, 0], [0, 1, 0], [0, 0, -1]]}, "bad-pose"),
        ({"rot_mat": [[1, 0, 0], [0, "x", 0], [0, 0, 1]]}, "bad-pose"),
        ({"trans_mat": [0, math.nan, 1]}, "bad-pose"),
        ({"trans_mat": [[0], [0, 1]]}, "bad-pose"),
        ({"trans_mat": 10**400}, "bad-pose"),
        ({"focal_length": -3}, "bad-pose"),
        ({"focal_length": math.inf}, "bad-pose"),
        ({"focal_length": "35"}, "bad-pose"),
        ({"focal_length": {}}, "bad-pose"),
    ],
)
def test_a_bad_record_is_one_reject(root: Path, fields: dict[str, Any], reason: str) -> None:
    listing = changed(root, 2, **fields)
    assert [r.reason for r in listing.rejected] == [reason]
    assert listing.rejected[0].stage == "parse"
    assert "\n" not in listing.rejected[0].detail
    assert len(listing.rejected[0].detail) < 6000
    assert len(listing.shapes) == 3


@pytest.mark.parametrize("item", [None, 3, "x", [], True])
def test_a_record_that_is_no_object(root: Path, item: Any) -> None:
    records = json.loads((root / "pix3d.json").read_text())
    write_index(root, [*records, item])
    listing = list_pix3d(root, CHAIRS)
    assert [(r.record_id, r.reason) for r in listing.rejected] == [("record 4", "bad-record")]


def test_a_prepared_data_set_is_no_release(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(InputError, match=r"is a prepared data set, not a Pix3D release. It is ready for"):
        list_pix3d(tmp_path, PrepareConfig())


def test_a_link_out_of_the_root_is_refused(root: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(b"x")
    (root / "img/chair/link.png").symlink_to(tmp_path / "secret.png")
    assert [r.reason for r in changed(root, 0, img="img/chair/link.png").rejected] == ["unsafe-path"]
    (root / "img/chair/within.png").symlink_to(root / "img/chair/0001.jpg")
    assert not changed(root, 0, img="img/chair/within.png").rejected


@pytest.mark.parametrize("missing", ["rot_mat", "trans_mat", "focal_length"])
@pytest.mark.parametrize("value", [None, ...])
def test_a_record_without_pose_is_used_without(root: Path, missing: str, value: Any) -> None:
    listing = changed(root, 0, **{missing: value})
    assert not listing.rejected
    assert listing.shapes[0].views[0].camera is None
    strict = list_pix3d(root, replace(CHAIRS, require_pose=True))
    assert [r.reason for r in strict.rejected] == ["no-pose"]


def test_size_comes_from_the_picture_where_the_record_lacks_it(root: Path) -> None:
    for value in (None, ..., [0, 5], ["a", "b"], [1], {"w": 1}):
        camera = changed(root, 0, img_size=value).shapes[0].views[0].camera
        assert camera is not None
        assert (camera.width, camera.height) == (64, 48)


def test_flags_are_booleans_or_strings(root: Path) -> None:
    clean = replace(CHAIRS, flags="clean")
    for value, skipped, rejected in (
        (True, 1, 0),
        ("true", 1, 0),
        ("False", 0, 0),
        (False, 0, 0),
        (None, 0, 1),
        (..., 0, 1),
    ):
        changed(root, 0, slightly_occluded=value)
        listing = list_pix3d(root, clean)
        assert listing.skipped.get("flags", 0) == skipped
        assert [r.reason for r in listing.rejected] == ["flags-unknown"] * rejected
        write_release(root, 4)


def test_a_true_flag_decides_whatever_the_others_are(root: Path) -> None:
    changed(root, 0, truncated=True, occluded=None)
    listing = list_pix3d(root, replace(CHAIRS, flags="clean"))
    assert (listing.skipped, listing.rejected) == ({"flags": 1}, ())


def variants(root: Path) -> None:
    """The release's odd folders: stretched variants, each with its own file, and no model.obj."""
    records = json.loads((root / "pix3d.json").read_text())
    for number, name in enumerate(("model_-0.65_0.045", "model_-0.65_0.045", "model_0.2_-0.1")):
        write_box(root / f"model/chair/JULES_1/{name}.obj", (1, 1, 1 + number))
        record = write_record(root, "chair", "JULES_1", 90 + number, np.random.default_rng(number))
        records.append({**record, "model": f"model/chair/JULES_1/{name}.obj"})
    write_index(root, records)


def test_a_folder_is_a_shape(root: Path) -> None:
    variants(root)
    listing = list_pix3d(root, CHAIRS)
    assert [s.object_id for s in listing.shapes if "JULES" in s.object_id] == ["chair-JULES_1"]
    assert [v.record_id for v in listing.shapes[-1].views] == ["img/chair/0090.jpg", "img/chair/0091.jpg"]
    assert listing.records == sum(len(s.views) for s in listing.shapes) + listing.skipped.get("same-shape", 0)


def test_every_model_file_with_all_images(root: Path) -> None:
    variants(root)
    listing = list_pix3d(root, replace(CHAIRS, images_per_object="all"))
    odd = [s for s in listing.shapes if "JULES" in s.object_id]
    names = ["chair-JULES_1-model_-0.65_0.045-fb2ac256", "chair-JULES_1-model_0.2_-0.1-9e201f95"]
    assert [s.object_id for s in odd] == names  # with a digest: they could also be folders of those names
    assert {s.group for s in odd} == {"model/chair/JULES_1"}
    assert [len(s.views) for s in odd] == [2, 1]
    assert sum(len(s.views) for s in listing.shapes) == listing.records


def test_ids_are_unique_names_of_files(root: Path) -> None:
    records = json.loads((root / "pix3d.json").read_text())
    for folder in ("model/a-b/c", "model/a/b-c", "model/a/ü ?", "model/a/.x", "odd", "model/a/" + "n" * 200):
        write_box(root / folder / "model.obj", (1, 1, 1))
        records.append({**records[0], "model": f"{folder}/model.obj"})
    write_index(root, records)
    listing = list_pix3d(root, CHAIRS)
    names = [s.object_id for s in listing.shapes]
    assert len(set(names)) == len(names) == 10
    assert all("/" not in n and n.isascii() and not n.startswith(".") and len(n) < 140 for n in names)


def test_a_picture_named_twice_gives_two_records(root: Path) -> None:
    records = json.loads((root / "pix3d.json").read_text())
    write_index(root, [*records, records[0]])
    listing = list_pix3d(root, replace(CHAIRS, images_per_object="all"))
    assert [v.record_id for v in listing.shapes[0].views] == ["img/chair/0000.jpg", "img/chair/0000.jpg#2"]


def test_categories(root: Path) -> None:
    changed(root, 0, category="table")
    assert list_pix3d(root, CHAIRS).skipped == {"category": 1}
    assert len(list_pix3d(root, replace(CHAIRS, categories=("all",))).shapes) == 4
    with pytest.raises(ConfigError, match=r"sofa.*only chair, table"):
        list_pix3d(root, replace(CHAIRS, categories=("sofa",)))


def test_broken_roots_are_one_clear_line(root: Path, tmp_path: Path) -> None:
    for text, expected in (
        ("{", "not valid JSON"),
        ("{}", "must hold a list"),
        ("[]", "no records"),
        ("\xff", "not valid JSON"),
        ("[" * 100_000, "nested too deeply"),
    ):
        (root / "pix3d.json").write_text(text, encoding="latin-1")
        with pytest.raises(InputError, match=expected) as caught:
            list_pix3d(root, CHAIRS)
        assert "\n" not in str(caught.value)
        assert "onet synth pix3d" in str(caught.value)
    (root / "pix3d.json").unlink()
    with pytest.raises(InputError, match="index not found"):
        list_pix3d(root, CHAIRS)
    with pytest.raises(InputError, match="no Pix3D folder"):
        list_pix3d(tmp_path / "none", CHAIRS)


def test_split_files(root: Path, tmp_path: Path) -> None:
    s1 = replace(CHAIRS, split="s1")
    with pytest.raises(ConfigError, match="split_files"):
        list_pix3d(root, s1)
    with pytest.raises(ConfigError, match="split=s1"):
        list_pix3d(root, CHAIRS, split_files=[tmp_path / "x.json"])
    names = [f"img/chair/{i:04d}.jpg" for i in range(4)]
    plain = tmp_path / "plain.json"
    plain.write_text(json.dumps({"train": names[:2], "val": [names[2]], "test": [names[3]]}))
    fixed = list_pix3d(root, s1, split_files=[plain]).fixed_splits
    assert fixed == dict(zip(names, ("train", "train", "val", "test"), strict=True))
    for document, expected in (
        ([], "not a split file"),
        ({"images": []}, "must contain train, val or test"),
        ({"train": [3]}, "without a picture"),
        ({"train": [names[0]], "test": [names[0]]}, "is in train and in test"),
        ({"train": []}, "names no pictures"),
    ):
        plain.write_text(json.dumps(document))
        with pytest.raises(InputError, match=expected):
            list_pix3d(root, s1, split_files=[plain])


@pytest.mark.realdata
def test_real_records() -> None:
    listing = list_pix3d(real("pix3d-photos"), replace(CHAIRS, categories=("all",), images_per_object="all"))
    assert listing.records == 48
    assert sum(len(s.views) for s in listing.shapes) == 48
    assert len(listing.shapes) == 36
    assert len({s.group for s in listing.shapes}) == 34
    assert sum(v.camera is None for s in listing.shapes for v in s.views) == 19
    strict = list_pix3d(real("pix3d-photos"), replace(CHAIRS, categories=("all",), require_pose=True))
    assert [r.reason for r in strict.rejected] == ["no-pose"] * 19


def test_every_source_has_its_function() -> None:
    assert "pix3d" in SOURCES
    assert all(name == source.name and ":" in source.function for name, source in SOURCES.items())


def test_the_index_is_only_read(root: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(root, tmp_path / "copy")
    list_pix3d(root, CHAIRS)
    assert sorted(p.relative_to(root) for p in root.rglob("*")) == sorted(p.relative_to(copy) for p in copy.rglob("*"))
