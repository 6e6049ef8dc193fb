"""One writer per folder, on file systems that lock folders, only files, or nothing."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.datasets import make_dataset

from pix3d_onet.errors import BusyError, InputError
from pix3d_onet.events import Event, Note
from pix3d_onet.locks import LOCK_FILE, UNSUPPORTED, locked

Flock = Callable[[int, int], None]
real_flock = fcntl.flock


def refusing(code: int, *, folders_only: bool = False) -> Flock:
    """A ``flock`` of a file system without locks, or (like NFS) without those of folders."""

    def flock(handle: int, operation: int) -> None:
        if folders_only and not stat.S_ISDIR(os.fstat(handle).st_mode):
            real_flock(handle, operation)
        else:
            raise OSError(code, os.strerror(code))

    return flock


def test_a_second_holder_is_refused_and_a_later_one_is_not(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(BusyError, match="another onet is writing to"), locked(tmp_path):
        pass
    with locked(tmp_path):
        assert not list(tmp_path.iterdir())


def test_folders_made_for_nothing_are_removed(tmp_path: Path) -> None:
    with locked(tmp_path / "a/b/c"):
        (tmp_path / "a/kept").touch()
        assert (tmp_path / "a/b/c").is_dir()
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["kept"]
    (tmp_path / "empty").mkdir()
    with locked(tmp_path / "empty"):
        pass
    assert (tmp_path / "empty").is_dir()  # it was there before
    with pytest.raises(ZeroDivisionError), locked(tmp_path / "new"):
        raise ZeroDivisionError
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("folders_only", [False, True])
def test_the_lock_is_not_that_of_a_folder_that_its_last_holder_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folders_only: bool
) -> None:
    """Between opening and locking, another process removes the folder and a third makes it anew."""
    calls: list[int] = []
    place = tmp_path / "out"

    def flock(handle: int, operation: int) -> None:
        if folders_only and stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EBADF, "not open to write")
        if not calls:
            (place / LOCK_FILE).unlink(missing_ok=True)
            place.rmdir()
            place.mkdir()
        calls.append(handle)
        real_flock(handle, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    with locked(place), pytest.raises(BusyError), locked(place):
        pass
    assert len(calls) == 3


def test_where_only_files_can_be_locked_a_file_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "flock", refusing(errno.EBADF, folders_only=True))
    events: list[Event] = []
    with locked(tmp_path / "out", events.append):
        assert [p.name for p in (tmp_path / "out").iterdir()] == [LOCK_FILE]
        with pytest.raises(BusyError), locked(tmp_path / "out"):
            pass
    assert not (tmp_path / "out").exists()
    assert not events


@pytest.mark.parametrize("code", sorted(UNSUPPORTED))
def test_where_nothing_can_be_locked_one_warning_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    monkeypatch.setattr(fcntl, "flock", refusing(code))
    events: list[Event] = []
    with locked(tmp_path / "out", events.append):
        (tmp_path / "out" / "made").touch()
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["made"]
    assert [(type(e), getattr(e, "level", "")) for e in events] == [(Note, "warning")]


def test_other_refusals_are_not_taken_for_missing_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "flock", refusing(errno.EIO))
    with pytest.raises(OSError, match="Input/output"), locked(tmp_path):
        pass


def test_a_place_that_cannot_be_a_folder_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere/at/all")
    for place in (tmp_path / "file", tmp_path / "file/below", tmp_path / "link", Path("/proc/nope/data")):
        with pytest.raises(InputError, match="cannot write to"), locked(place):
            pass


SHIM = """
#include <errno.h>
int flock(int handle, int operation) { errno = ENOLCK; return -1; }
"""
READ = """
import sys
from pix3d_onet.data.store.reader import Dataset
from pix3d_onet.inspection.checks import schema_problems
with Dataset(sys.argv[1]) as data:
    for entry in data.manifest.shapes:
        assert data.sample(entry).images
    first = data.manifest.shards[0].file
    assert not schema_problems(data.root / first, [s for s in data.manifest.shapes if s.shard == first], data.manifest)
"""
WRITE = """
import sys
from pathlib import Path
from helpers.datasets import make_dataset
make_dataset(Path(sys.argv[1]), shapes=6, points=64, image_size=32)
"""


def test_a_data_set_is_read_and_written_where_nothing_can_be_locked(tmp_path: Path) -> None:
    """In a process whose ``flock`` fails, for HDF5 as for us."""
    data = make_dataset(tmp_path / "data", shapes=6, points=64, image_size=32)
    (tmp_path / "shim.c").write_text(SHIM)
    library = tmp_path / "shim.so"
    try:
        subprocess.run(["cc", "-shared", "-fPIC", "-o", library, tmp_path / "shim.c"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no C compiler: flock cannot be replaced below HDF5")
    environment = {**os.environ, "LD_PRELOAD": str(library), "PYTHONPATH": os.pathsep.join(sys.path)}
    for code, place in ((READ, data), (WRITE, tmp_path / "again")):
        done = subprocess.run(
            [sys.executable, "-c", code, place], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    for path in data.iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()
