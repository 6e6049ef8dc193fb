"""One writer per folder: a lock that the system releases when its holder dies, however it dies."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pix3d_onet.errors import BusyError, InputError
from pix3d_onet.events import Emit, Note, ignore

LOCK_FILE = ".lock"
"""Locked in the folder's place where the file system locks files only (NFS)."""
HELD = {errno.EWOULDBLOCK, errno.EACCES}
"""What ``flock`` says when another process holds the lock."""
UNSUPPORTED = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL}
"""What it says where the file system has no locks."""
ATTEMPTS = 10
"""How often a folder is made that others remove at the same time."""


@contextmanager
def locked(folder: Path, emit: Emit = ignore) -> Iterator[None]:
    """Hold the exclusive lock of ``folder``, which is made when missing; folders made here that stay empty are removed.

    BusyError when another process holds it, InputError when the folder cannot be made. Where the file system has no
    locks, a warning says so and the work goes on.
    """
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    handle, place = _acquire(folder, emit)
    try:
        yield
    finally:
        if place != folder:
            place.unlink(missing_ok=True)
        with suppress(OSError):  # not empty
            for made in missing:
                made.rmdir()
        os.close(handle)


def _acquire(folder: Path, emit: Emit) -> tuple[int, Path]:
    """The open handle that holds the lock, and what is locked: the folder, or its lock file."""
    while True:
        handle = _open(folder)
        try:
            place = _lock(handle, folder, emit)
            if _is_open_at(handle, place):
                return handle, place
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)  # its last holder removed it after we had opened it: the lock of nothing


def _open(folder: Path, attempts: int = ATTEMPTS) -> int:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        if isinstance(error, FileNotFoundError) and attempts > 1:  # removed by its last holder just now
            return _open(folder, attempts - 1)
        hint = "Name another folder with `out`."
        raise InputError(f"cannot write to {folder}: {error.strerror}.", hint=hint) from None


def _lock(handle: int, folder: Path, emit: Emit) -> Path:
    """Lock the folder itself, or a file in it, whose lock ``handle`` then holds. Returns which it was."""
    if _try(handle, folder):
        return folder
    place = folder / LOCK_FILE
    file = os.open(place, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        if _try(file, folder):
            os.dup2(file, handle, inheritable=False)
            return place
    finally:
        os.close(file)
    place.unlink(missing_ok=True)
    emit(Note(f"the file system of {folder} has no locks: let only one process write to it.", "warning"))
    return folder


def _try(handle: int, folder: Path) -> bool:
    """Whether the lock was taken; False where there is no such lock. BusyError when another process holds it."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in HELD:
            hint = "Wait for it, or name another folder."
            raise BusyError(f"another onet is writing to {folder}.", hint=hint) from None
        if error.errno in UNSUPPORTED or error.errno == errno.EBADF:  # EBADF: NFS, for what is not open to write
            return False
        raise
    return True


def _is_open_at(handle: int, place: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), place.stat())
    except FileNotFoundError:
        return False
