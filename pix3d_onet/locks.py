"""A lock per folder, so that one process writes to it; the system releases it if that process dies."""

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
"""File that is locked instead of the folder if the file system can lock only files (NFS)."""
HELD = {errno.EWOULDBLOCK, errno.EACCES}
"""Errors of ``flock`` if another process holds the lock."""
UNSUPPORTED = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL}
"""Errors of ``flock`` if the file system has no locks."""
ATTEMPTS = 10
"""Attempts to create a folder that other processes may remove at the same time."""


@contextmanager
def locked(folder: Path, emit: Emit = ignore) -> Iterator[None]:
    """Hold the exclusive lock of ``folder`` in this block. A missing folder is created, and removed if it stays empty.

    BusyError if another process holds the lock, InputError if the folder cannot be created. If the file system has no
    locks, a warning is emitted and the block runs without one.
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
    """The file descriptor that holds the lock, and the locked path: the folder or its lock file."""
    while True:
        handle = _open(folder)
        try:
            place = _lock(handle, folder, emit)
            if _is_open_at(handle, place):
                return handle, place
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)  # removed by its last holder after it was opened here, so that the lock protects nothing


def _open(folder: Path, attempts: int = ATTEMPTS) -> int:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        if isinstance(error, FileNotFoundError) and attempts > 1:  # removed by another process in between
            return _open(folder, attempts - 1)
        hint = "Name another folder with `out`."
        raise InputError(f"cannot write to {folder}: {error.strerror}.", hint=hint) from None


def _lock(handle: int, folder: Path, emit: Emit) -> Path:
    """Lock the folder, or else a file in it, with ``handle`` as the holder; return the locked path."""
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
    """Take the lock; False if the file system does not support it. BusyError if another process holds it."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in HELD:
            hint = "Wait for it, or name another folder."
            raise BusyError(f"another onet is writing to {folder}.", hint=hint) from None
        if error.errno in UNSUPPORTED or error.errno == errno.EBADF:  # EBADF: NFS, if it is not open for writing
            return False
        raise
    return True


def _is_open_at(handle: int, place: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), place.stat())
    except FileNotFoundError:
        return False
