from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.preparing import CONFIG, contents, run
from helpers.releases import box_geometry, write_box, write_index, write_release
from helpers.shared import real

from pix3d_onet.config import PrepareConfig
from pix3d_onet.data.sources.pix3d import list_pix3d
from pix3d_onet.data.sources.registry import terms_of
from pix3d_onet.data.store.card import Terms
from pix3d_onet.data.store.manifest import read_manifest
from pix3d_onet.data.store.reader import load_dataset
from pix3d_onet.data.store.rejects import read_rejects
from pix3d_onet.errors import BusyError, ConfigError, InputError
from pix3d_onet.events import Event, Note, Progress
from pix3d_onet.locks import locked
from pix3d_onet.preparation.assemble import listing_digest, record_counts
from pix3d_onet.preparation.job import Execution, PrepareResult, prepare
from pix3d_onet.preparation.staging import FileDigests, fingerprint
from pix3d_onet.types import Rejected


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("release")
    write_release(folder, 10)
    return folder


@pytest.fixture(scope="module")
def finished(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("prepared") / "data"
    run(root, out)
    return out


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "copy"))


def test_everything_listed_is_prepared_and_readable(root: Path, finished: Path) -> None:
    manifest = read_manifest(finished)
    assert manifest.counts["prepared"] == 10
    assert manifest.counts["shapes_by_split"] == {"train": 7, "val": 1, "test": 2}
    assert [s.shapes for s in manifest.shards] == [4, 4, 2]
    assert [s.object_id for s in manifest.shapes] == [f"chair-BOX_{i:03d}" for i in range(10)]
    sample = load_dataset(finished, None)[3]
    half = np.ptp(sample.mesh.bounds, axis=0) / 2
    assert (sample.occupancy == (np.abs(sample.points) <= half).all(axis=1)).all()
    assert sample.images[0].rgb.shape == (32, 32, 3)
    assert sample.images[0].record_id == "img/chair/0003.jpg"
    assert sorted(p.name for p in finished.iterdir()) == [
        "README.md",
        "manifest.json",
        "qc.csv",
        "rejects.jsonl",
        *(f"shard-0000{i}.h5" for i in range(3)),
        "timings.csv",
    ]


@pytest.mark.parametrize("jobs", [1, 2])
def test_bytes_do_not_depend_on_jobs(root: Path, finished: Path, tmp_path: Path, jobs: int) -> None:
    run(root, tmp_path / "out", backend="loky", jobs=jobs)
    assert contents(tmp_path / "out") == contents(finished)


def test_bytes_do_not_depend_on_the_order_of_the_index(root: Path, finished: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(root, tmp_path / "root"))
    write_index(other, json.loads((root / "pix3d.json").read_text())[::-1])
    run(other, tmp_path / "out")
    assert contents(tmp_path / "out") == contents(finished)


def test_a_second_call_does_nothing(root: Path, copy: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in copy.iterdir()}
    result = run(root, copy)
    assert result.up_to_date
    assert {p: p.stat().st_mtime_ns for p in copy.iterdir()} == before


def test_a_part_is_reused_only_for_the_same_content(root: Path, finished: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(root, tmp_path / "root"))
    out = tmp_path / "out"
    _interrupt_after(other, out, 6)
    assert len(list((out / ".parts").glob("[!.]*"))) == 6
    write_box(other / "model/chair/BOX_000/model.obj", (1.0, 0.5, 0.5))
    result = run(other, out)
    assert result.resumed == 5
    before, after = contents(finished), contents(out)
    assert after.keys() == before.keys()
    assert after["shard-00001.h5"] == before["shard-00001.h5"]
    assert after["shard-00000.h5"] != before["shard-00000.h5"]


class _StopError(Exception):
    pass


def _interrupt_after(root: Path, out: Path, shapes: int) -> None:
    def stop(event: Event) -> None:
        if isinstance(event, Progress) and event.done == shapes:
            raise _StopError

    listing = list_pix3d(root, CONFIG)
    with pytest.raises(_StopError):
        prepare(listing, CONFIG, out, Execution(backend="inline", geometry=box_geometry), emit=stop)


def test_a_damaged_part_is_made_again(root: Path, finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    _interrupt_after(root, out, 6)
    parts = sorted((out / ".parts").glob("[!.]*"))
    parts[0].write_bytes(parts[0].read_bytes()[:100])
    data = bytearray(parts[1].read_bytes())
    data[len(data) // 2] ^= 1
    parts[1].write_bytes(bytes(data))
    (out / ".parts" / ".half.npz.0123.part").write_bytes(b"x")
    with pytest.raises(InputError, match="cannot be read"):  # the flipped bit is found when the arrays are read
        run(root, out)
    result = run(root, out)
    assert result.resumed == 9
    assert contents(out) == contents(finished)


def test_other_settings_are_refused_unless_overwritten(root: Path, copy: Path, finished: Path) -> None:
    other = PrepareConfig(**{**CONFIG.to_json(), "points": 256, "categories": ("chair",), "fractions": (0.7, 0.1, 0.2)})
    with pytest.raises(InputError, match="points 512 instead of 256"):
        run(root, copy, other)
    assert contents(copy) == contents(finished)
    assert run(root, copy, other, overwrite=True).manifest.config["points"] == 256
    assert load_dataset(copy, None)[0].points.shape == (256, 3)


def test_a_changed_source_is_noticed(root: Path, copy: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(root, tmp_path / "root"))
    write_index(other, json.loads((root / "pix3d.json").read_text())[:-1])
    with pytest.raises(InputError, match="other records"):
        run(other, copy)


@pytest.mark.parametrize("changed", ["model", "img", "mask"])
def test_what_changed_in_the_source_is_done_again(root: Path, copy: Path, tmp_path: Path, changed: str) -> None:
    other = Path(shutil.copytree(root, tmp_path / "root"))
    files = {"model": "model/chair/BOX_005/model.obj", "img": "img/chair/0005.jpg", "mask": "mask/chair/0005.png"}
    if changed == "model":
        write_box(other / files["model"], (1.0, 0.5, 0.5))
    else:
        shutil.copy(other / files[changed].replace("0005", "0006"), other / files[changed])
    notes: list[Event] = []
    execution = Execution(backend="inline", geometry=box_geometry)
    result = prepare(list_pix3d(other, CONFIG), CONFIG, copy, execution, emit=notes.append)
    assert not result.up_to_date
    assert result.resumed == 9
    assert any("1 of 10 shapes (chair-BOX_005)" in str(n) for n in notes)
    run(other, tmp_path / "fresh")
    assert contents(copy) == contents(tmp_path / "fresh")
    assert run(other, copy).up_to_date


@pytest.mark.parametrize("what", ["source", "shard"])
def test_shapes_of_two_algorithms_are_never_mixed(root: Path, copy: Path, tmp_path: Path, what: str) -> None:
    document = json.loads((copy / "manifest.json").read_text())
    document["source"]["algorithm"] -= 1
    (copy / "manifest.json").write_text(json.dumps(document))
    assert run(root, copy).up_to_date  # what is whole stays what it is
    other = Path(shutil.copytree(root, tmp_path / "root"))
    if what == "source":
        write_box(other / "model/chair/BOX_005/model.obj", (1.0, 0.5, 0.5))
    else:
        (copy / document["shards"][0]["file"]).unlink()
    before = contents(copy)
    with pytest.raises(InputError, match="cannot be mixed"):
        run(other, copy)
    assert contents(copy) == before
    result = run(other, copy, overwrite=True)
    assert result.resumed == 0
    run(other, tmp_path / "fresh")
    assert contents(copy) == contents(tmp_path / "fresh")


def test_a_picture_that_was_not_needed_may_change(tmp_path: Path) -> None:
    root, out = tmp_path / "root", tmp_path / "out"
    write_release(root, 3, per_object=2)
    taken = run(root, out).manifest.shapes[0].record_ids
    assert taken == ("img/chair/0000.jpg",)
    shutil.copy(root / "img/chair/0002.jpg", root / "img/chair/0001.jpg")
    assert run(root, out).up_to_date


@pytest.mark.parametrize("change", [{"height": 100}, {"width": 100}, {"focal": 9.0}, {"centre": (1.0, 2.0)}])
def test_every_number_of_a_camera_counts(root: Path, change: dict[str, object]) -> None:
    listing = list_pix3d(root, CONFIG)
    shape = listing.shapes[0]
    camera = shape.views[0].camera
    assert camera is not None
    other = replace(shape, views=(replace(shape.views[0], camera=replace(camera, **change)),))
    assert listing_digest(listing, [other]) != listing_digest(listing, [shape])
    assert fingerprint(other, CONFIG, FileDigests(root)) != fingerprint(shape, CONFIG, FileDigests(root))


def test_one_writer_at_a_time(root: Path, tmp_path: Path) -> None:
    with locked(tmp_path / "out"), pytest.raises(BusyError, match="another onet"):
        run(root, tmp_path / "out")
    run(root, tmp_path / "out")


@pytest.mark.parametrize("damage", ["missing", "flipped", "truncated"])
def test_only_a_damaged_shard_is_made_again(root: Path, copy: Path, finished: Path, damage: str) -> None:
    shard = copy / "shard-00001.h5"
    data = bytearray(shard.read_bytes())
    data[5000] ^= 0xFF
    if damage == "missing":
        shard.unlink()
    else:
        shard.write_bytes(bytes(data) if damage == "flipped" else bytes(data[: len(data) // 2]))
    kept = (copy / "shard-00000.h5").stat().st_mtime_ns
    notes: list[Event] = []
    execution = Execution(backend="inline", geometry=box_geometry)
    result = prepare(list_pix3d(root, CONFIG), CONFIG, copy, execution, emit=notes.append)
    assert (result.up_to_date, result.restored) == (True, ("shard-00001.h5",))
    assert (copy / "shard-00000.h5").stat().st_mtime_ns == kept
    assert contents(copy) == contents(finished)


def test_rejects_are_remembered_and_retried(root: Path, finished: Path, tmp_path: Path) -> None:
    other, out = Path(shutil.copytree(root, tmp_path / "root")), tmp_path / "out"
    mesh = other / "model/chair/BOX_004/model.obj"
    good = mesh.read_text()
    flag = tmp_path / "flag"
    mesh.write_text(f"# die-unless {flag}\n" + good.partition("\n")[2])
    first = run(other, out, backend="loky", jobs=1)
    assert [(r.object_id, r.reason, r.stage) for r in first.rejected] == [("chair-BOX_004", "worker-died", "worker")]
    assert first.manifest.counts["prepared"] == 9
    assert run(other, out).up_to_date  # remembered, although it would succeed now
    again = run(other, out, retry_failed=True)
    assert not again.up_to_date
    assert again.resumed == 9
    assert again.manifest.counts["prepared"] == 10
    assert not again.rejected
    mine, theirs = contents(out), contents(finished)
    differing = {name for name in mine if mine[name] != theirs[name]}
    assert differing == {"manifest.json"}  # the digest of the mesh file with the note in it


def test_a_lost_picture_of_a_prepared_shape_is_retried(tmp_path: Path) -> None:
    root, out = tmp_path / "root", tmp_path / "out"
    records = write_release(root, 4, per_object=2)
    write_index(root, [*records, {**records[0], "img": "img/chair/none.jpg"}])  # lost before any shape is looked at
    everything = replace(CONFIG, images_per_object="all")
    picture = root / "img/chair/0003.jpg"
    whole = picture.read_bytes()
    run(root, tmp_path / "whole", everything)
    picture.write_bytes(b"")
    assert [r.record_id for r in run(root, out, everything).rejected] == ["img/chair/none.jpg", "img/chair/0003.jpg"]
    again = run(root, out, everything, retry_failed=True)  # as broken as before, but tried
    assert (again.up_to_date, again.resumed, len(again.rejected)) == (False, 3, 2)
    picture.write_bytes(whole)
    assert run(root, out, everything, retry_failed=True).resumed == 3
    assert contents(out) == contents(tmp_path / "whole")
    assert run(root, out, everything, retry_failed=True).up_to_date  # the lost record is read anew by every call


def test_a_reject_keeps_the_others_in_their_splits(root: Path, finished: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(root, tmp_path / "root"))
    write_box(other / "model/chair/BOX_000/model.obj", (1, 1, 1), "reject")
    run(other, tmp_path / "out")
    splits = {s.object_id: s.split for s in read_manifest(finished).shapes}
    for shape in read_manifest(tmp_path / "out").shapes:
        assert shape.split == splits[shape.object_id]


def test_the_next_picture_steps_in_for_an_unreadable_one(tmp_path: Path) -> None:
    root = tmp_path / "root"
    write_release(root, 3, per_object=3)
    (root / "img/chair/0000.jpg").write_bytes(b"not an image")
    (root / "mask/chair/0003.png").write_bytes((root / "mask/chair/0004.png").read_bytes()[:60])
    for number in (6, 7, 8):
        (root / f"img/chair/{number:04d}.jpg").write_bytes(b"")
    result = run(root, tmp_path / "one")
    assert [s.record_ids for s in result.manifest.shapes] == [("img/chair/0001.jpg",), ("img/chair/0004.jpg",)]
    rows = [(r.object_id, r.record_id, r.reason) for r in result.rejected]
    assert rows == [
        ("chair-BOX_000", "img/chair/0000.jpg", "bad-image"),
        ("chair-BOX_001", "img/chair/0003.jpg", "bad-mask"),
        *(("chair-BOX_002", f"img/chair/{n:04d}.jpg", "bad-image") for n in (6, 7, 8)),
    ]
    assert fates(result) == (9, 2, 5, {"same-shape": 2})
    everything = replace(CONFIG, images_per_object="all")
    write_box(root / "model/chair/BOX_001/model.obj", (1, 1, 1), "reject")
    result = run(root, tmp_path / "all", everything)
    assert [s.images for s in result.manifest.shapes] == [2]
    assert result.manifest.counts["rejected_by_reason"] == {"bad-image": 4, "empty-mesh": 1}
    assert fates(result) == (9, 2, 5, {"rejected-shape": 2})


def fates(result: PrepareResult) -> tuple[int, int, int, dict[str, int]]:
    """What became of the source's records."""
    counts = result.manifest.counts
    return counts["records"], counts["used"], counts["rejected_records"], counts["skipped"]


def test_where_records_are_shapes_a_rejected_picture_is_no_record(root: Path, finished: Path) -> None:
    listing = list_pix3d(root, CONFIG)
    lost = [Rejected("synset/none", "synset/none", "parse", "missing-model", "")]
    picture = Rejected(listing.shapes[0].object_id, "synset/a/07", "parse", "bad-pose", "")
    source = replace(listing, rejected=(*lost, picture), records=11, by_picture=False)
    entries = read_manifest(finished).shapes
    counts = record_counts(source, listing.shapes[:9], entries[:8], source.rejected)
    assert (counts["used"], counts["rejected_records"], counts["skipped"]) == (8, 2, {"limit": 1})


def test_what_a_user_writes_into_the_card_stays(root: Path, copy: Path) -> None:
    card = copy / "README.md"
    text = card.read_text()
    before = text.index("## Licence"), text.index("## Attribution")
    card.write_text(f"{text[: before[0]]}## Licence\n\nOurs.\n\n*All* rights.\n\n{text[before[1] :]}")
    assert run(root, copy).manifest.source["licence"] == "Ours.\n\n*All* rights."  # and no shape is prepared
    notes: list[Event] = []
    listing, other = list_pix3d(root, CONFIG), replace(CONFIG, seed=9)
    execution = Execution(backend="inline", geometry=box_geometry, overwrite=True)
    result = prepare(listing, other, copy, execution, emit=notes.append)
    assert "## Licence\n\nOurs.\n\n*All* rights.\n\n## Attribution\n\nSun et al." in card.read_text()
    assert result.manifest.source["licence"] == "Ours.\n\n*All* rights."
    assert "attribution" not in result.manifest.source
    assert any(isinstance(n, Note) and "keeps what was written there; `licence` would" in n.message for n in notes)
    result = prepare(listing, other, copy, execution, terms=Terms("CC0", "Nobody"))
    assert result.up_to_date
    assert "## Licence\n\nCC0\n\n## Attribution\n\nNobody\n\n## Content" in card.read_text()
    assert terms_of(read_manifest(copy)) == Terms("CC0", "Nobody")


def test_nothing_usable_is_one_clear_error(root: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(root, tmp_path / "root"))
    for image in (other / "img/chair").iterdir():
        image.write_bytes(b"")
    with pytest.raises(InputError, match=r"none of 10 shapes could be prepared: 10 bad-image\.") as raised:
        run(other, tmp_path / "out")
    assert str(tmp_path / "out/rejects.jsonl") in raised.value.hint
    assert {r.record_id for r in read_rejects(tmp_path / "out")} == {f"img/chair/{i:04d}.jpg" for i in range(10)}
    shutil.rmtree(other / "model")
    with pytest.raises(InputError, match="no usable record: 10 missing-model") as raised:
        run(other, tmp_path / "out2")
    assert str(tmp_path / "out2/rejects.jsonl") in raised.value.hint
    assert len(read_rejects(tmp_path / "out2")) == 10


def test_reasons_of_shapes_and_of_records_are_told_apart_and_all_named(tmp_path: Path) -> None:
    records = write_release(tmp_path / "root", 1)
    (tmp_path / "root" / records[0]["img"]).write_bytes(b"")
    broken = [
        {"img": "../../etc/passwd"},
        {"model": "model/chair/none.obj"},
        {"img": "img/chair/none.jpg"},
        {"mask": "mask/chair/none.png"},
        {"mask": "mask/chair/none.png"},
    ]
    write_index(tmp_path / "root", [*records, *({**records[0], **change} for change in broken)])
    with pytest.raises(InputError) as raised:
        run(tmp_path / "root", tmp_path / "out")
    assert raised.value.message == (
        "the only shape could not be prepared: 1 bad-image. Besides, 5 records of the source cannot be used: "
        "2 missing-mask, 1 unsafe-path, 1 missing-model, 1 missing-image."
    )


def test_a_finished_data_set_keeps_its_rejects_when_the_source_breaks(root: Path, copy: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(root, tmp_path / "root"))
    shutil.rmtree(other / "model")
    before = contents(copy)
    with pytest.raises(InputError, match="no usable record"):
        run(other, copy)
    assert contents(copy) == before


def test_a_folder_of_sources_is_no_output(root: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(root, tmp_path / "root"))
    before = sorted(other.iterdir())
    with pytest.raises(ConfigError, match="folder of sources"):
        run(root, other)
    (other / "pix3d.json").rename(tmp_path / "pix3d.json")
    listing = replace(list_pix3d(root, CONFIG), root=other)
    with pytest.raises(ConfigError, match="folder of sources"):
        prepare(listing, CONFIG, tmp_path / "elsewhere/../root", Execution(backend="inline", geometry=box_geometry))
    assert sorted(other.iterdir()) == [p for p in before if p.name != "pix3d.json"]


def test_limit_takes_the_first_shapes(root: Path, tmp_path: Path) -> None:
    config = replace(CONFIG, limit=3)
    result = run(root, tmp_path / "out", config)
    assert [s.object_id for s in result.manifest.shapes] == [f"chair-BOX_{i:03d}" for i in range(3)]
    assert {s.split for s in result.manifest.shapes} == {"train", "val", "test"}
    assert fates(result) == (10, 3, 0, {"limit": 7})


def test_an_image_split_splits_pictures(tmp_path: Path) -> None:
    write_release(tmp_path / "root", 5, per_object=6)
    config = replace(CONFIG, split="image", images_per_object="all", fractions=(0.6, 0.2, 0.2))
    manifest = run(tmp_path / "root", tmp_path / "out", config).manifest
    assert manifest.counts["images_by_split"] == {"train": 18, "val": 6, "test": 6}
    assert any(len(set(s.image_splits)) > 1 for s in manifest.shapes)


def test_prescribed_splits(tmp_path: Path) -> None:
    records = write_release(tmp_path / "root", 6, per_object=2)
    files = []
    for split, members in (("train", records[:8]), ("test", records[8:11])):
        files.append(tmp_path / f"pix3d_s2_{split}.json")
        files[-1].write_text(json.dumps({"images": [{"file_name": r["img"]} for r in members], "annotations": []}))
    config = replace(CONFIG, split="s2", images_per_object="all", fractions=(0.5, 0.25, 0.25))
    listing = list_pix3d(tmp_path / "root", config, split_files=files)
    assert listing.skipped == {"not-in-split": 1}
    manifest = prepare(listing, config, tmp_path / "out", Execution(backend="inline", geometry=box_geometry)).manifest
    assert manifest.counts["images_by_split"] == {"train": 6, "val": 2, "test": 3}
    assert [s.split for s in manifest.shapes][4:] == ["test", "test"]
    assert all(len(set(s.image_splits)) == 1 for s in manifest.shapes)


@pytest.mark.slow
@pytest.mark.realdata
def test_real_photos_down_the_road(tmp_path: Path) -> None:
    """Every record whose model and mask exist is taken, and the stored cameras draw the stored masks."""
    photos = real("pix3d-photos")
    from pix3d_onet.geometry.render.scene import Scene

    config = replace(CONFIG, categories=("all",), images_per_object="all", resolution=64, image_size=96, mesh_error=0)
    listing = list_pix3d(photos, config)
    result = prepare(listing, config, tmp_path / "out", Execution(jobs=2))
    assert not result.rejected
    assert result.manifest.counts["prepared"] == 36
    assert sum(result.manifest.counts["images_by_split"].values()) == 48
    split_of: dict[str, set[str]] = {}
    for entry in result.manifest.shapes:
        split_of.setdefault(entry.group, set()).add(entry.split)
    assert len(split_of) == 34
    assert all(len(splits) == 1 for splits in split_of.values())
    overlaps = []
    for sample in load_dataset(tmp_path / "out", None):
        for view in sample.images:
            if view.has_pose:
                drawn = Scene(sample.mesh).view(view.pose, view.intrinsics, config.image_size).mask
                overlaps.append((drawn & view.mask).sum() / (drawn | view.mask).sum())
    assert len(overlaps) == 29
    assert np.mean(overlaps) > 0.93  # thin legs at 64 voxels and 96 pixels; 0.97 at full size
    assert min(overlaps) > 0.7


@pytest.mark.parametrize(
    ("shapes", "fractions", "grouping", "said"),
    [
        (1, (0.7, 0.1, 0.2), "", ["1 group is too few for all splits: no shape is in val or test. Add shapes."]),
        (2, (0.7, 0.1, 0.2), "auto", ["2 groups are too few for all splits: no shape is in val. Change `group_by`"]),
        (3, (0.7, 0.1, 0.2), "", []),
        (2, (0.5, 0.0, 0.5), "", []),
    ],
)  # fmt: skip
def test_splits_without_a_shape_are_warned_of_with_the_setting_to_change(
    tmp_path: Path, shapes: int, fractions: tuple[float, ...], grouping: str, said: list[str]
) -> None:
    write_release(tmp_path / "root", shapes)
    config = replace(CONFIG, fractions=fractions)
    listing = replace(list_pix3d(tmp_path / "root", config), grouping=grouping)
    events: list[Event] = []
    execution = Execution(backend="inline", geometry=box_geometry)
    prepare(listing, config, tmp_path / "out", execution, emit=events.append)
    warned = [e.message for e in events if isinstance(e, Note) and e.level == "warning"]
    assert [text[: len(start)] for text, start in zip(warned, said, strict=True)] == said
