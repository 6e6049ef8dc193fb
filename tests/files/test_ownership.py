"""Whose an output folder is: library calls into folders of other people's files, with links among them."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.preparing import CONFIG
from helpers.releases import box_geometry, write_release

from pix3d_onet.data.sources.pix3d import list_pix3d
from pix3d_onet.errors import InputError
from pix3d_onet.events import Event, Note
from pix3d_onet.files import MARKER, check_claim, mark, marker, member, remove_empty, remove_parts, writing
from pix3d_onet.preparation.job import Execution, prepare

NAMES = (
    *(f"shard-{i:05d}.h5" for i in range(4)), "shard-mine.h5", "manifest.json", "qc.csv", "rejects.jsonl",
    "timings.csv",
    ".lock", ".bench.lock", ".manifest.json.0123abcd.part", ".notes.0123abcd.part", "x.part", "config.json", "run.json",
    "history.csv", "examples.npz", "export.json", "metadata.yaml", "synth.json", "pix3d.json", "table1.md",
    "table1.csv", "table1.json", "table1.tex", "report.html", "figure1-curves.png", "contact-sheet.png", "notes.txt",
)  # fmt: skip
INNER = (
    ".parts/0123.npz", ".parts/a.json", "best/model.safetensors", "last/step-00000010.safetensors", "last/step-x.json",
    "tensorboard/events.out", "profile/trace.json", "report/report.html", "img/chair/0001.png", "mask/chair/0001.png",
    "model/chair/SYNTH_CHAIR_001/model.obj", "chair/BOX_000/points.npz", "chair/train.lst", "resnet18/0-abc/run.json",
)  # fmt: skip


def foreign(folder: Path, command: str, *, inner: bool = True) -> Path:
    """A folder of somebody else, every file with its own bytes; some of our names are links to files outside."""
    outside = folder.parent / "outside"
    outside.mkdir(parents=True)
    for name in (*NAMES, *(INNER if inner else ())):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"whose": name}))
    for name in ("qc.csv", "history.csv", "table1.md", "metadata.yaml"):
        (outside / name).write_text(f"outside {name}")
        (folder / name).unlink()
        (folder / name).symlink_to(outside / name)
    if command == "prepare":
        (folder / "pix3d.json").unlink()  # a folder of sources is refused for that
    return folder


def state(top: Path) -> dict[str, str]:
    """Relative path → content, or where a link leads, of everything below ``top``."""
    return {
        p.relative_to(top).as_posix(): str(p.readlink()) if p.is_symlink() else p.read_bytes().hex()
        for p in sorted(top.rglob("*"))
        if p.is_symlink() or p.is_file()
    }


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {name for name in before if after.get(name) != before[name]}


def call(name: str, out: Path, tmp: Path, overwrite: bool, emit: Callable[[Event], None]) -> None:
    if name == "prepare":
        write_release(tmp / "root", 3)
        execution = Execution(backend="inline", geometry=box_geometry, overwrite=overwrite)
        prepare(list_pix3d(tmp / "root", CONFIG), CONFIG, out, execution, emit=emit)
    elif name == "export":
        from helpers.datasets import make_dataset

        from pix3d_onet.export.original_layout import export_onet

        export_onet(make_dataset(tmp / "data", 3), out, overwrite=overwrite, emit=emit)
    elif name == "synth":
        from pix3d_onet.geometry.synth.release import synth_pix3d

        synth_pix3d(out, objects=1, overwrite=overwrite, emit=emit)
    elif name == "report":
        from helpers.stored_runs import make_run

        from pix3d_onet.report.build import read_report, write_report

        make_run(tmp / "runs", "resnet18")
        write_report(read_report(tmp / "runs"), out, figures=False, overwrite=overwrite, emit=emit)


COMMANDS = ("prepare", "export", "synth", "report")


@pytest.mark.parametrize("name", COMMANDS)
def test_a_strange_folder_is_left_as_it_is(name: str, tmp_path: Path) -> None:
    out = foreign(tmp_path / "theirs" / "out", name)
    before = state(tmp_path / "theirs")
    with pytest.raises(InputError, match=r"not empty.*it holds") as refusal:
        call(name, out, tmp_path, False, lambda event: None)
    assert "Name another folder" in str(refusal.value)
    assert state(tmp_path / "theirs") == before


@pytest.mark.parametrize("inner", [True, False])
@pytest.mark.parametrize("name", COMMANDS)
def test_overwrite_replaces_what_it_names_and_nothing_else(name: str, inner: bool, tmp_path: Path) -> None:
    out = foreign(tmp_path / "theirs" / "out", name, inner=inner)
    before = state(tmp_path / "theirs")
    said: list[str] = []
    blocked = inner and name != "report"
    if blocked:
        with pytest.raises(InputError, match="would have to be removed"):
            call(name, out, tmp_path, True, lambda event: None)
    else:
        call(name, out, tmp_path, True, lambda event: said.append(event.message) if isinstance(event, Note) else None)
    gone = changed(before, state(tmp_path / "theirs"))
    assert not blocked or not gone
    assert blocked or gone
    named = " ".join(said)
    assert all(path.removeprefix("out/") in named for path in gone)
    assert not any(path.startswith("outside/") for path in gone)
    assert "out/notes.txt" not in gone
    assert not {"out/.notes.0123abcd.part", "out/x.part", "out/shard-mine.h5"} & gone


def test_a_marker_of_another_kind_or_a_forged_one_gives_nothing_away(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("x")
    assert_refused(tmp_path)
    (tmp_path / MARKER).write_text('{"format": "onet-folder", "version": 1, "kind": "other"}')
    assert_refused(tmp_path)
    for text in ("", "[]", '{"format": "x", "version": 1, "kind": "thing"}', "[" * 100_000):
        (tmp_path / MARKER).write_text(text)
        assert not marker(tmp_path)
        assert_refused(tmp_path)
    (tmp_path / "elsewhere").write_text('{"format": "onet-folder", "version": 1, "kind": "thing"}')
    (tmp_path / MARKER).unlink()
    (tmp_path / MARKER).symlink_to(tmp_path / "elsewhere")
    assert_refused(tmp_path)


def assert_refused(folder: Path) -> None:
    with pytest.raises(InputError, match="Name another folder"):
        check_claim(folder, "thing", files=("a",))


def test_ours_empty_and_new_folders_are_free(tmp_path: Path) -> None:
    assert not check_claim(tmp_path / "new", "thing", files=("a",))
    assert not check_claim(tmp_path, "thing", files=("a",))
    (tmp_path / ".lock").touch()
    assert not check_claim(tmp_path, "thing", files=("a",))
    mark(tmp_path, "thing", more=[1])
    (tmp_path / "a").write_text("x")
    assert check_claim(tmp_path, "thing", files=("a",))
    assert marker(tmp_path)["more"] == [1]
    assert stat.S_ISREG((tmp_path / MARKER).lstat().st_mode)


def test_writes_and_removals_follow_no_link(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    ours.mkdir()
    theirs.mkdir()
    (theirs / "kept").write_text("kept")
    (theirs / ".kept.0123abcd.part").write_text("kept")
    (ours / "sub").symlink_to(theirs)
    (ours / "file").symlink_to(theirs / "kept")
    with pytest.raises(InputError, match="is a link"):
        member(ours, "sub", "kept")
    with writing(ours / "file") as part:
        part.write_text("new")
    remove_parts(ours / "sub", {"kept"})
    remove_empty(ours / "sub")
    assert (ours / "file").read_text() == "new"
    assert state(theirs) == {"kept": b"kept".hex(), ".kept.0123abcd.part": b"kept".hex()}


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no file system at hand that takes no new files")
@pytest.mark.parametrize("place", ["/proc/mesh.glb", "/proc/folder/mesh.glb"])
def test_a_place_that_takes_no_new_files_is_one_line(place: str) -> None:
    with pytest.raises(InputError, match=f"cannot write to {place}: no file can be made in"), writing(Path(place)):
        raise AssertionError("there is nothing to write to")
