"""No two shapes of a source have one id, and a reject moves no other shape between the splits."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from pix3d_onet.config import PrepareConfig
from pix3d_onet.data.sources.mesh_folder import list_meshes
from pix3d_onet.data.sources.pix3d import object_ids
from pix3d_onet.data.sources.split_files import read_split_files
from pix3d_onet.data.sources.splits import Splitter
from pix3d_onet.data.store.manifest import ShapeEntry
from pix3d_onet.errors import InputError
from pix3d_onet.preparation.job import prepare
from pix3d_onet.types import SourceListing, SourceShape, SourceView

MESHES = PrepareConfig(categories=("all",), render_views=1, group_by="file")


def test_a_name_without_its_extension_may_be_another_files_name(tmp_path: Path) -> None:
    for name in ("x.obj", "x.ply", "x.obj.stl", "y.obj", "z.obj.stl"):
        (tmp_path / name).write_text("")
    ids = [s.object_id for s in list_meshes(tmp_path, MESHES).shapes]
    assert sorted(ids) == ["x.obj", "x.obj.stl", "x.ply", "y", "z.obj"]


def test_pix3ds_keys_have_ids_of_their_own() -> None:
    keys = [
        "model/chair/X", "chair/X", "model/chair-X", "chair-X", "model/chair/X.obj", "model/chair/X-a", "model/X",
        "model/chair/X/a.obj", "model/chair-X/a", "model/chair/X/a", "X", "model",
    ]  # fmt: skip
    ids = object_ids(keys)
    assert (ids["model/chair/X"], ids["model/chair/X-a"], ids["model/X"]) == ("chair-X", "chair-X-a", "X")
    assert max(Counter(ids.values()).values()) == 1


def test_a_listing_with_one_id_twice_is_refused(tmp_path: Path) -> None:
    shape = SourceShape("a", "chair", "a", tmp_path / "a.obj", ())
    listing = SourceListing("meshes", tmp_path, (shape, replace(shape, group="b")), (), 2)
    with pytest.raises(InputError, match=r"two shapes of .* have the id a"):
        prepare(listing, MESHES, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def entry(shape: SourceShape, content: str) -> ShapeEntry:
    return ShapeEntry(
        object_id=shape.object_id, category="chair", group=shape.group, source_mesh="", mesh_sha256=content,
        source_sha256="", split="", shard="", row=0, images=1, record_ids=(f"{shape.object_id}.jpg",),
        image_sha256=(f"picture of {shape.object_id}",), image_splits=(), qc={},
    )  # fmt: skip


@pytest.mark.parametrize("lost", range(12))
def test_a_reject_of_one_of_two_equal_models_moves_no_other(tmp_path: Path, lost: int) -> None:
    shapes = [SourceShape(f"s{i:02d}", "chair", f"s{i:02d}", tmp_path / "m", ()) for i in range(12)]
    listing = SourceListing("pix3d", tmp_path, tuple(shapes), (), 12)
    splitter = Splitter(listing, shapes, PrepareConfig())
    entries = [entry(s, "equal" if i in (2, 7) else str(i)) for i, s in enumerate(shapes)]

    def dealt(rows: list[ShapeEntry]) -> dict[str, str]:
        return {e.object_id: e.split for e in splitter.split(rows, [e.mesh_sha256 for e in rows])}

    whole, fewer = dealt(entries), dealt([e for i, e in enumerate(entries) if i != lost])
    assert whole["s02"] == whole["s07"]
    twin = {2: "s07", 7: "s02"}.get(lost)
    assert all(fewer[name] == whole[name] for name in fewer if name != twin)


def test_pictures_that_are_not_stored_do_not_count_in_the_split_by_picture(tmp_path: Path) -> None:
    shapes = [
        SourceShape(
            f"s{i}", "chair", f"s{i}", tmp_path, tuple(SourceView(f"s{i}-{k}", tmp_path, None, None) for k in range(4))
        )
        for i in range(20)
    ]
    listing = SourceListing("pix3d", tmp_path, tuple(shapes), (), 80)
    splitter = Splitter(listing, shapes, PrepareConfig(split="image"))
    stored = [replace(entry(s, s.object_id), record_ids=(s.views[i % 2].record_id,)) for i, s in enumerate(shapes)]
    found = Counter(e.image_splits[0] for e in splitter.split(stored, [e.object_id for e in stored]))
    assert found == {"train": 14, "val": 2, "test": 4}


def test_a_split_that_is_misspelt_is_named(tmp_path: Path) -> None:
    path = tmp_path / "split.json"
    path.write_text(json.dumps({"train": ["img/a.png"], "validation": ["img/b.png"], "test": ["img/c.png"]}))
    with pytest.raises(InputError, match="the key 'validation', which is no split"):
        read_split_files([path])
