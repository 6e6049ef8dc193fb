"""Writing files so that nothing is ever half-written, and never through a link that somebody has put there."""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
import stat
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pix3d_onet.errors import InputError

PART_SUFFIX = ".part"
"""Ending of a file that is still being written; whatever carries it after a crash is rubbish."""

OF_A_PART = re.compile(r"^\.(.+)\.[0-9a-f]{8}" + re.escape(PART_SUFFIX) + "$")
"""The name of such a file, and in it the name that it will have."""

REFUSALS = {
    getattr(errno, name)
    for name in (
        "EACCES",
        "EPERM",
        "EROFS",
        "ENOSPC",
        "EDQUOT",
        "EFBIG",
        "ENOTDIR",
        "EISDIR",
        "EEXIST",
        "ENOTEMPTY",
        "ENAMETOOLONG",
    )
}
"""Errors of the system that say that a place cannot be written to (or read), not that the program is wrong."""


def refused(error: OSError) -> InputError | OSError:
    """The InputError that says in one line which place the system refuses and why; other errors as they are."""
    if error.errno is None or error.errno not in REFUSALS:
        return error
    reason = os.strerror(error.errno)
    if error.filename is None:
        return InputError(f"{reason}: {error}.")
    path = Path(os.fsdecode(error.filename2 or error.filename))
    target = path.with_name(OF_A_PART.sub(r"\1", path.name))  # the name that was meant, not the one written aside
    doing = "no access to" if error.errno in (errno.EACCES, errno.EPERM) else "cannot write to"
    return InputError(f"{doing} {target}: {reason}.")


def check_writable(path: Path, *, file: bool = False) -> None:
    """InputError where ``path`` (a file or folder yet to be written) can be seen to be out of reach.

    A cheap look before long work: no folder above it that exists is a file, read-only or another user's, and where a
    ``file`` is to stand there is no folder.
    """
    if file and path.is_dir():
        raise InputError(f"cannot write to {path}: it is a folder.", hint="Name a file.")
    above = next(p for p in (path.absolute(), *path.absolute().parents) if os.path.lexists(p))
    if above != path.absolute() and not above.is_dir():
        raise InputError(f"cannot write to {path}: {above} is not a folder.", hint="Choose another place.")
    if not os.access(above, os.W_OK):
        raise InputError(f"cannot write to {path}: {above} is read-only here.", hint="Choose another place.")


def member(folder: Path, *names: str) -> Path:
    """The path of a member of our folder, in subfolders of ours: InputError where one of these is a link or a file.

    ``folder`` itself may be a link (its user named it); below it, a link would lead our writes somewhere else.
    """
    path = folder
    for name in names[:-1]:
        path = path / name
        if os.path.lexists(path) and not stat.S_ISDIR(path.lstat().st_mode):
            what = "a link" if path.is_symlink() else "not a folder"
            raise InputError(f"cannot write to {path}: it is {what}.", hint="Move it, or name another folder.")
    return path / names[-1]


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """Yield a path beside ``path`` to write to; on success flush it to disk and rename it onto ``path``.

    On any exception the partial file is removed and ``path`` stays as it was. A link at ``path`` is replaced, what it
    leads to is left alone.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}{PART_SUFFIX}")
    os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))
    try:
        yield part
        with part.open("rb") as handle:
            os.fsync(handle.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` atomically."""
    with writing(path) as part:
        part.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` (UTF-8) to ``path`` atomically; half a surrogate pair as ``\\udXXX``, which is what JSON means."""
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def append_text(path: Path, text: str) -> None:
    """Append ``text`` (UTF-8) to the file at ``path``, made when missing; InputError where it is a link or no file."""
    if os.path.lexists(path) and not stat.S_ISREG(path.lstat().st_mode):
        raise InputError(f"cannot write to {path}: it is {'a link' if path.is_symlink() else 'not a file'}.")
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    with os.fdopen(handle, "ab") as file:
        file.write(text.encode("utf-8", "backslashreplace"))


def remove(path: Path) -> None:
    """Remove a file of ours, if it is there: a regular file, or the link that stands in its place (never its target).

    A folder of that name is not ours and stays.
    """
    with suppress(FileNotFoundError):
        if not stat.S_ISDIR(path.lstat().st_mode):
            path.unlink()


def remove_parts(folder: Path, names: Collection[str]) -> None:
    """Remove what a kill has left half-written of the files ``names`` in ``folder``, and nothing else."""
    if folder.is_symlink() or not folder.is_dir():
        return
    for entry in sorted(folder.iterdir()):
        found = OF_A_PART.match(entry.name)
        if found and found[1] in names and not entry.is_symlink() and entry.is_file():
            entry.unlink(missing_ok=True)


def remove_empty(folder: Path) -> None:
    """Remove ``folder`` and the folders in it as far as they hold no file; a link is no folder and stays."""
    if folder.is_symlink() or not folder.is_dir():
        return
    for entry in folder.iterdir():
        remove_empty(entry)
    with suppress(OSError):  # not empty
        folder.rmdir()


def to_json(value: Any) -> str:
    """The one JSON spelling of the project: indented, keys as given, no NaN (a NaN is written as null upstream)."""
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as JSON to ``path`` atomically."""
    write_text(path, to_json(value))
