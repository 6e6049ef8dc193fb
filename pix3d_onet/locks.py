"""One writer a folder: a lock that the system releases when its holder dies, however it dies."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pix3d_onet.errors import BusyError, InputError

LOCK_FILE = ".lock"
"""Used only where the file system does not lock folders (NFS)."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the exclusive lock of ``folder`` (made when missing); BusyError when another process holds it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise InputError(
            f"cannot write to {folder}: {error.strerror}.", hint="Name another folder with `out`."
        ) from None
    try:
        _lock(handle, folder)
        yield
    finally:
        os.close(handle)


def _lock(handle: int, folder: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            raise BusyError(
                f"another onet is writing to {folder}.", hint="Wait for it, or name another folder."
            ) from None
        if error.errno not in (errno.EBADF, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL):
            raise
        _lock_file(handle, folder)


def _lock_file(handle: int, folder: Path) -> None:
    file = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(file)
        raise BusyError(f"another onet is writing to {folder}.", hint="Wait for it, or name another folder.") from None
    os.dup2(file, handle, inheritable=False)  # closing the folder's handle now releases the file's lock
    os.close(file)
