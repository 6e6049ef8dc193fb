from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from helpers.shared import real

from pix3d_onet.config import PrepareConfig
from pix3d_onet.data.sources.mesh_folder import list_meshes
from pix3d_onet.data.store.manifest import read_manifest
from pix3d_onet.data.store.reader import load_dataset
from pix3d_onet.errors import ConfigError, InputError
from pix3d_onet.inspection.verify import verify
from pix3d_onet.preparation.job import Execution, prepare

ALL = PrepareConfig(categories=("all",), points=512, surface_points=64, image_size=48, resolution=48, render_views=2)
TETRAHEDRON = "v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\nf 1 3 2\nf 1 2 4\nf 1 4 3\nf 2 3 4\n"


def write(path: Path, text: str = TETRAHEDRON) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_ids_follow_paths_and_categories_folders(tmp_path: Path) -> None:
    left_out = (".hidden/no.obj", "a/.no.obj", "a/readme.txt")
    for name in ("b/one.OBJ", "a/x/two.obj", "top.off", "a/x/two.ply", "a/three.stl", *left_out):
        write(tmp_path / name)
    listing = list_meshes(tmp_path, ALL)
    found = [(s.object_id, s.category, s.group) for s in listing.shapes]
    assert found == [
        ("a/three", "a", "a/three"),
        ("a/x/two.obj", "a", "a/x/two"),
        ("a/x/two.ply", "a", "a/x/two"),
        ("b/one", "mesh", "b/one"),
        ("top", "mesh", "top"),
    ]
    only = list_meshes(tmp_path, PrepareConfig(categories=("a",)))
    assert [s.object_id for s in only.shapes] == ["a/three", "a/x/two.obj", "a/x/two.ply"]
    assert only.skipped == {"category": 2}
    with pytest.raises(ConfigError, match=r"has only a, mesh"):
        list_meshes(tmp_path, PrepareConfig(categories=("lamp",)))


def test_a_pattern_takes_one_of_the_variants(tmp_path: Path) -> None:
    for name in ("u1/raw_model.obj", "u1/normalized_model.obj", "u2/raw_model.obj", "u2/normalized_model.obj"):
        write(tmp_path / name)
    for pattern in ("normalized_model.obj", "*/norm*.obj"):
        listing = list_meshes(tmp_path, PrepareConfig(categories=("all",), pattern=pattern))
        assert [s.object_id for s in listing.shapes] == ["u1/normalized_model", "u2/normalized_model"]
        assert listing.skipped == {"pattern": 2}
    with pytest.raises(InputError, match="none of 4"):
        list_meshes(tmp_path, PrepareConfig(categories=("all",), pattern="x"))


def test_names_that_are_not_utf8_are_rejects_that_can_be_read(tmp_path: Path) -> None:
    write(tmp_path / "in" / "good.obj")
    try:
        write(tmp_path / "in" / os.fsdecode(b"caf\xe9.obj"))
    except OSError:
        pytest.skip("this file system takes UTF-8 only")
    out = tmp_path / os.fsdecode(b"o\xfft")
    result = prepare(list_meshes(tmp_path / "in", ALL), ALL, out, Execution(backend="inline"))
    assert [(r.object_id, r.reason) for r in result.rejected] == [("caf\\xe9", "bad-name")]
    assert [s.object_id for s in load_dataset(out, None)] == ["good"]


def test_links_lead_nowhere_outside(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    write(root / "a.obj")
    write(outside / "secret.obj")
    (root / "link.obj").symlink_to(outside / "secret.obj")
    (root / "folder").symlink_to(outside)
    (root / "loop").symlink_to(root)
    listing = list_meshes(root, ALL)
    assert [s.object_id for s in listing.shapes] == ["a"]
    assert sorted((r.record_id, r.reason) for r in listing.rejected) == [
        ("folder", "linked-folder"),
        ("link.obj", "unsafe-path"),
        ("loop", "linked-folder"),
    ]
    assert listing.records == 4
    (root / "a.obj").unlink()
    (root / "link.obj").unlink()
    with pytest.raises(InputError, match=r"no mesh file\. Not read: the folder folder is a link, which is"):
        list_meshes(root, ALL)


def test_a_folder_that_cannot_be_read_is_a_reject(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root can read every folder, so the system's answer is made up."""
    write(tmp_path / "a.obj")
    write(tmp_path / "closed" / "b.obj")
    scandir = os.scandir

    def refusing(path: str) -> object:
        if Path(path).name == "closed":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    listing = list_meshes(tmp_path, ALL)
    monkeypatch.undo()
    assert [s.object_id for s in listing.shapes] == ["a"]
    assert [(r.record_id, r.reason, r.detail) for r in listing.rejected] == [
        ("closed", "unreadable-folder", "the folder closed: Permission denied")
    ]
    assert listing.records == 2
    prepare(listing, ALL, tmp_path / "out", Execution(backend="inline"))
    counts = read_manifest(tmp_path / "out").counts
    assert (counts["records"], counts["used"], counts["rejected_records"]) == (2, 1, 1)


def test_nothing_to_read_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no folder"):
        list_meshes(tmp_path / "x", ALL)
    with pytest.raises(InputError, match="no mesh"):
        list_meshes(tmp_path, ALL)


def test_meshes_become_a_sound_data_set_with_rendered_pictures(tmp_path: Path) -> None:
    write(tmp_path / "in" / "kind" / "t.obj")
    write(tmp_path / "in" / "broken.obj", "v nan 0 0\nf 1 1 1\n")
    prepare(list_meshes(tmp_path / "in", ALL), ALL, tmp_path / "out", Execution(backend="inline"))
    manifest = read_manifest(tmp_path / "out")
    assert [s.object_id for s in manifest.shapes] == ["kind/t"]
    assert manifest.counts["rejected"] == 1
    sample = load_dataset(tmp_path / "out", None)[0]
    assert len(sample.images) == 2
    assert all(v.rendered and v.has_pose for v in sample.images)
    assert verify(tmp_path / "out").ok


@pytest.mark.realdata
@pytest.mark.slow
def test_every_public_test_mesh_ends_as_a_shape_or_a_reason(tmp_path: Path) -> None:
    meshes = real("meshes/pix3d")
    listing = list_meshes(meshes, ALL)
    prepare(listing, ALL, tmp_path / "out", Execution(backend="inline"))
    counts = read_manifest(tmp_path / "out").counts
    assert counts["prepared"] + counts["rejected"] == len(listing.shapes)
    assert counts["rejected"] == 0
