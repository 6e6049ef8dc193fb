"""A folder that is no data set is named for what it is, with what to do."""

from __future__ import annotations

from pathlib import Path

import pytest
from onet_cli.app import cli
from onet_cli.flags import in_flags

from pix3d_onet.data.store.manifest import read_manifest
from pix3d_onet.errors import InputError


def said(root: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_manifest(root)
    return in_flags(str(caught.value), cli)


def fill(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (
            ("pix3d.json",),
            "{0} is a Pix3D release, not a prepared data set. Prepare it: onet prepare pix3d --root {0}",
        ),
        (
            ("metadata.yaml",),
            "{0} is in the layout of the original code, not a prepared data set.",
        ),
        (("chair/train.lst",), "{0} is in the layout of the original code"),
        (
            ("taxonomy.json",),
            "{0} is a ShapeNet release, not a prepared data set. Prepare it: onet prepare shapenet",
        ),
        (
            ("a.OBJ",),
            "{0} is a folder of meshes, not a prepared data set. Prepare it: onet prepare meshes",
        ),
        (
            (".parts/a.npz", ".parts/b.json", ".parts/.onet.json", ".parts/x.part"),
            "data set {0} is unfinished: it has no manifest; 1 shape is finished. ",
        ),
        (("a/manifest.json", "b/manifest.json"), "{0} is a folder of data sets. Name one of these: {0}/a, {0}/b."),
        (("notes.txt",), "data set manifest not found: {0}/manifest.json. Make a data set with `onet prepare`."),
    ],
)
def test_each_kind_of_folder(tmp_path: Path, names: tuple[str, ...], says: str) -> None:
    root = fill(tmp_path / "it", *names)
    assert said(root).startswith(says.format(root))


def test_the_command_names_where_the_data_set_shall_stand(tmp_path: Path) -> None:
    assert said(fill(tmp_path / "raw", "pix3d.json")).endswith("--out data/prepared/raw")


def test_what_is_not_there_or_no_folder_is_not_found(tmp_path: Path) -> None:
    for name in ("nowhere", "file"):
        (tmp_path / "file").touch()
        assert said(tmp_path / name).startswith(f"data set not found: {tmp_path / name}.")


def test_data_sets_beside_a_missing_one_are_named(tmp_path: Path) -> None:
    fill(tmp_path, "chairs/manifest.json", "photos/manifest.json", "cheese/notes")
    assert said(tmp_path / "Chair").endswith(f"Did you mean {tmp_path / 'chairs'}?")
    assert said(tmp_path / "xyz").endswith(f"Name one of these: {tmp_path / 'chairs'}, {tmp_path / 'photos'}.")
    assert said(tmp_path / "none/xyz").endswith("Make a data set with `onet prepare`.")
