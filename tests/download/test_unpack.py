"""Unpacking: only what is wanted, never outside of the folder, nothing twice, whatever the archive says."""

from __future__ import annotations

import shutil
import stat
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from helpers.hostile import mutated

from pix3d_onet.download import unpack as module
from pix3d_onet.download.unpack import Unpacked, unpack
from pix3d_onet.errors import ConfigError, InputError, OnetError
from pix3d_onet.events import Event, Progress, ignore

GOOD = {
    "pix3d.json": b"[]",
    "img/chair/0001.png": b"picture" * 50,
    "mask/chair/0001.png": b"mask",
    "model/chair/A/model.obj": b"v 0 0 0\n" * 100,
    "img/sofa/0001.jpg": b"sofa",
}


def write_archive(path: Path, files: dict[Any, bytes], above: str = "") -> Path:
    """A zip of ``files``: name or ZipInfo → content; an ``above`` of ``x/`` puts them into a folder."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(above + name if isinstance(name, str) else name, content)
    return path


def unpacked(tmp_path: Path, files: dict[Any, bytes], *categories: str) -> tuple[Unpacked, dict[str, bytes]]:
    root = tmp_path / "root"
    root.mkdir(exist_ok=True)
    archive = write_archive(tmp_path / "pix3d.zip", files)
    result = unpack(archive, root, categories or ("all",), emit=ignore)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["pix3d.zip", "root"], "something was written outside"
    return result, contents(root)


def contents(root: Path) -> dict[str, bytes]:
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def info(name: str, mode: int = 0) -> zipfile.ZipInfo:
    made = zipfile.ZipInfo(name)
    made.external_attr = mode << 16
    return made


def test_the_wanted_categories_and_the_index_are_unpacked(tmp_path: Path) -> None:
    result, found = unpacked(tmp_path, {**GOOD, "README.txt": b"x", "__MACOSX/img/chair/._1": b"x"}, "chair")
    assert found == {name: content for name, content in GOOD.items() if "sofa" not in name}
    assert (result.written, result.kept, result.rejected) == (4, 0, ())
    assert result.bytes == sum(map(len, found.values()))


@pytest.mark.parametrize("above", ["", "pix3d/", "a/b/"])
def test_the_release_may_be_in_a_folder(tmp_path: Path, above: str) -> None:
    archive = write_archive(tmp_path / "x.zip", {**GOOD, "z/z/z/z/pix3d.json": b"another"}, above)
    (tmp_path / "root").mkdir()
    unpack(archive, tmp_path / "root", ("all",), emit=ignore)
    assert contents(tmp_path / "root") == GOOD


def test_an_unknown_category_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"chiar.*has only chair, sofa"):
        unpacked(tmp_path, GOOD, "chiar")


def test_what_is_there_is_kept_and_what_differs_is_replaced(tmp_path: Path) -> None:
    unpacked(tmp_path, GOOD, "chair")
    root = tmp_path / "root"
    (root / "mask/chair/0001.png").write_bytes(b"MASK")  # the same size
    (root / "img/chair/0001.png").unlink()
    (root / "img/chair/.0001.png.0123abcd.part").write_bytes(b"half")
    before = (root / "model/chair/A/model.obj").stat().st_mtime_ns
    result, found = unpacked(tmp_path, GOOD)
    assert found == GOOD
    assert (result.written, result.kept) == (3, 2)
    assert (root / "model/chair/A/model.obj").stat().st_mtime_ns == before


def test_interrupted_anywhere_it_continues_and_the_index_comes_last(tmp_path: Path) -> None:
    archive, root = write_archive(tmp_path / "x.zip", GOOD), tmp_path / "root"
    root.mkdir()
    for stop in range(1, len(GOOD)):

        def interrupt(event: Event, left: list[int] = [stop]) -> None:  # noqa: B006 - a counter per call
            left[0] -= 1
            if not left[0]:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            unpack(archive, root, ("all",), emit=interrupt)
        assert not (root / "pix3d.json").exists()
        assert len(contents(root)) == stop
    result = unpack(archive, root, ("all",), emit=ignore)
    assert (result.written, result.kept) == (1, len(GOOD) - 1)


UNSAFE = ("../evil", "img/chair/../../../evil", "/tmp/evil", "img/chair/a\x01b", "img/chair/..\\evil", "C:/evil",
          "img/chair/con.png", "img//chair/x", "img/./chair/x", "img/chair/" + "x" * 256)  # fmt: skip


@pytest.mark.parametrize("name", UNSAFE)
def test_unsafe_names_are_left_out_and_counted(tmp_path: Path, name: str) -> None:
    result, found = unpacked(tmp_path, {**GOOD, name: b"evil"})
    assert found == GOOD
    assert [(r.record_id, r.reason) for r in result.rejected] == [(name, "unsafe-path")]
    assert not Path("/tmp/evil").exists()


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO, stat.S_IFSOCK])
def test_links_and_devices_are_left_out(tmp_path: Path, kind: int) -> None:
    result, found = unpacked(tmp_path, {**GOOD, info("img/chair/x.png", kind | 0o777): b"/etc/passwd"})
    assert found == GOOD
    assert [r.reason for r in result.rejected] == ["not-a-file"]


@pytest.mark.parametrize(
    "name",
    ["img/chair/0001.PNG", "IMG/chair/0001.png", "img/chair/0001.png/x", "img/chair"],
)
def test_of_names_that_are_the_same_somewhere_the_first_is_taken(tmp_path: Path, name: str) -> None:
    result, found = unpacked(tmp_path, {**GOOD, name: b"second"})
    assert found == GOOD
    assert [(r.record_id, r.reason) for r in result.rejected] == [(name, "same-name")]


def test_links_in_the_folder_are_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "root" / "outside"
    outside.mkdir(parents=True)
    (tmp_path / "root/img").symlink_to(outside)
    with pytest.raises(OnetError, match="link"):
        unpacked(tmp_path, GOOD)
    assert list(outside.iterdir()) == []


def with_directory(path: Path, change: Any) -> Path:
    """Rewrite the archive's directory with changed entries; ``change`` gets each ZipInfo."""
    with zipfile.ZipFile(path, "a") as archive:
        for entry in archive.infolist():
            change(entry)
        archive.comment = b"so that it is written again"
    return path


@pytest.mark.parametrize(("size", "reason"), [(10, "damaged-file"), (351, "damaged-file"), (5 << 30, "too-large")])
def test_a_size_that_is_a_lie_is_a_damaged_file(tmp_path: Path, size: int, reason: str) -> None:
    archive = write_archive(tmp_path / "x.zip", GOOD)
    (tmp_path / "root").mkdir()

    def lie(entry: zipfile.ZipInfo) -> None:
        if entry.filename == "img/chair/0001.png":
            entry.file_size = size

    result = unpack(with_directory(archive, lie), tmp_path / "root", ("all",), emit=ignore)
    assert [(r.record_id, r.reason) for r in result.rejected] == [("img/chair/0001.png", reason)]
    assert "img/chair/0001.png" not in contents(tmp_path / "root")


def test_a_bomb_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_UNPACKED_BYTES", 1000)
    with pytest.raises(InputError, match="unpacks to more than"):
        unpacked(tmp_path, GOOD)
    monkeypatch.undo()
    monkeypatch.setattr(module, "MAX_MEMBERS", 3)
    with pytest.raises(InputError, match="more than 3"):
        unpacked(tmp_path, GOOD)
    monkeypatch.undo()
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=1000))
    with pytest.raises(InputError, match="too small"):
        unpacked(tmp_path, GOOD)
    assert contents(tmp_path / "root") == {}


def test_files_that_overlap_are_refused(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).bytes(9999)
    archive = write_archive(tmp_path / "x.zip", {"pix3d.json": b"[]", "img/chair/a": noise})
    with zipfile.ZipFile(archive, "a") as opened:
        first = opened.infolist()[1]
        for number in range(3):
            copy = info(f"img/chair/{number}")
            for name in ("header_offset", "compress_size", "file_size", "CRC", "compress_type"):
                setattr(copy, name, getattr(first, name))
            opened.filelist.append(copy)
        opened.comment = b"so that it is written again"
    with pytest.raises(InputError, match="overlap"):
        unpack(archive, tmp_path, ("all",), emit=ignore)


def test_what_is_no_archive_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    write_archive(path, GOOD)
    whole = path.read_bytes()
    for data in (b"", b"<html>", whole[:-30], whole[: len(whole) // 2]):
        path.write_bytes(data)
        with pytest.raises(InputError, match="not a whole zip archive"):
            unpack(path, tmp_path, ("all",), emit=ignore)
    with pytest.raises(InputError, match=r"holds no pix3d\.json"):
        unpacked(tmp_path / "", {"a": b"x"})


def test_a_missing_archive_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read"):
        unpack(tmp_path / "none.zip", tmp_path, ("all",), emit=ignore)


def test_damaged_archives_write_only_what_the_directory_promises(tmp_path: Path) -> None:
    good, rng = write_archive(tmp_path / "x.zip", GOOD).read_bytes(), np.random.default_rng(0)
    for number in range(100):
        path, root = tmp_path / "y.zip", tmp_path / str(number)
        path.write_bytes(mutated(good, rng))
        root.mkdir()
        try:
            result = unpack(path, root, ("all",), emit=ignore)
        except (InputError, ConfigError):
            continue
        assert sum(map(len, contents(root).values())) == result.bytes
        for name, content in contents(root).items():
            assert content == GOOD.get(name, content)


def test_progress_is_in_bytes(tmp_path: Path) -> None:
    events: list[Event] = []
    unpack(write_archive(tmp_path / "x.zip", GOOD), tmp_path, ("all",), emit=events.append)
    total = sum(map(len, GOOD.values()))
    assert events[-1] == Progress("unpack", total, total, unit="B")
