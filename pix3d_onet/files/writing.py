"""Write files atomically, and never through a symbolic link."""

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
"""Suffix of a file that is still being written; files left with it after a crash can be deleted."""

OF_A_PART = re.compile(r"^\.(.+)\.[0-9a-f]{8}" + re.escape(PART_SUFFIX) + "$")
"""Matches the name of such a file; group 1 is its final name."""

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
NO_ACCESS = (errno.EACCES, errno.EPERM)
IN_THE_WAY = (errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY)
REFUSALS = (*DISK_FULL, *NO_ACCESS, *IN_THE_WAY, errno.EROFS, errno.ENAMETOOLONG)
"""System errors that mean "this place cannot be written to (or read)", not a bug in the program."""


def refused(error: OSError) -> InputError | OSError:
    """An InputError that says which place cannot be used and why; any other OSError is returned unchanged."""
    if error.errno is None or error.errno not in REFUSALS:
        return error
    reason = os.strerror(error.errno)
    if error.filename is None:
        return InputError(f"{reason}.")
    path = Path(os.fsdecode(error.filename2 or error.filename))
    target = path.with_name(OF_A_PART.sub(r"\1", path.name))  # the final name, not the temporary one
    doing = "no access to" if error.errno in NO_ACCESS else "cannot write to"
    return InputError(f"{doing} {target}: {reason}.")


def check_writable(path: Path, *, file: bool = False) -> None:
    """InputError if ``path`` (a file or folder to be written later) is clearly not writable.

    A cheap check before long work: no parent is a file or read-only for this user, and a ``file`` is not a folder.
    """
    if file and path.is_dir():
        raise InputError(f"cannot write to {path}: it is a folder.", hint="Name a file.")
    whole = path.absolute()
    here = () if whole.is_symlink() and not whole.exists() else (whole,)  # a link to nothing is replaced
    above = next(p for p in (*here, *whole.parents) if os.path.lexists(p))
    if above != whole and not above.is_dir():
        raise InputError(f"cannot write to {path}: {above} is not a folder.", hint="Choose another place.")
    if not os.access(above, os.W_OK):
        raise InputError(f"cannot write to {path}: {above} is read-only here.", hint="Choose another place.")


def member(folder: Path, *names: str) -> Path:
    """The path of a file in an output folder; InputError if a subfolder on the way is a link or a file.

    ``folder`` itself may be a link, since the user named it; a link below it could lead writes to another place.
    """
    path = folder
    for name in names[:-1]:
        path = path / name
        if os.path.lexists(path) and not stat.S_ISDIR(path.lstat().st_mode):
            what = "a link" if path.is_symlink() else "not a folder"
            raise InputError(f"cannot write to {path}: it is {what}.", hint="Move it, or name another folder.")
    return path / names[-1]


@contextmanager
def disk_trouble(folder: Path, hint: str) -> Iterator[None]:
    """Turn a full disk, a quota or a lost permission of ``folder`` into one clear line; ``hint`` is for a full disk."""
    try:
        yield
    except (OSError, RuntimeError) as error:  # RuntimeError: HDF5
        code = getattr(error, "errno", None)
        if code in DISK_FULL or os.strerror(errno.ENOSPC) in str(error):
            raise InputError(f"no space left on the disk of {folder}.", hint=hint) from None
        if not isinstance(error, OSError):
            raise
        if error.filename is None:
            error.filename = str(folder)
        raise refused(error) from None


@contextmanager
def writing(path: Path, *, flush: bool = True) -> Iterator[Path]:
    """Yield a path beside ``path`` to write to; on success flush it to disk and rename it onto ``path``.

    ``flush`` False leaves flushing to the system: for many small files whose content a later call checks anyway.
    The file has the mode of any new file, whatever a library made of it. On any exception the temporary file is removed
    and ``path`` stays as it was; an OSError names ``path``. InputError for a folder that takes no new files, as in
    /proc. A link at ``path`` is replaced; its target is not changed.
    """
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}{PART_SUFFIX}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))
    except FileNotFoundError:  # of something that is being created: the file system has no such operation
        raise InputError(
            f"cannot write to {path}: no file can be made in {path.parent}.", hint="Choose another place."
        ) from None
    try:
        mode = stat.S_IMODE(part.stat().st_mode)
        yield part
        if flush:
            with part.open("rb") as handle:
                os.fsync(handle.fileno())
        if stat.S_IMODE(part.stat().st_mode) != mode:  # safetensors makes files that only their owner can read
            part.chmod(mode)
        part.replace(path)
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise
    finally:
        part.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` atomically."""
    with writing(path) as part:
        part.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` (UTF-8) to ``path`` atomically; lone surrogates as ``\\udXXX``, as in JSON."""
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def append_text(path: Path, text: str) -> None:
    """Append ``text`` (UTF-8) to the file ``path``, which is created if missing; InputError for a link or folder."""
    if os.path.lexists(path) and not stat.S_ISREG(path.lstat().st_mode):
        raise InputError(f"cannot write to {path}: it is {'a link' if path.is_symlink() else 'not a file'}.")
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    with os.fdopen(handle, "ab") as file:
        file.write(text.encode("utf-8", "backslashreplace"))


def remove(path: Path) -> None:
    """Remove a file, if it exists: a regular file, or a link in its place (never its target). A folder is kept."""
    with suppress(FileNotFoundError):
        if not stat.S_ISDIR(path.lstat().st_mode):
            path.unlink()


def remove_parts(folder: Path, names: Collection[str]) -> None:
    """Remove temporary files that a killed process left of the files ``names`` in ``folder``, and nothing else."""
    if folder.is_symlink() or not folder.is_dir():
        return
    for entry in sorted(folder.iterdir()):
        found = OF_A_PART.match(entry.name)
        if found and found[1] in names and not entry.is_symlink() and entry.is_file():
            entry.unlink(missing_ok=True)


def remove_empty(folder: Path) -> None:
    """Remove ``folder`` and its subfolders, unless they contain files or links."""
    if folder.is_symlink() or not folder.is_dir():
        return
    for entry in folder.iterdir():
        remove_empty(entry)
    with suppress(OSError):  # not empty
        folder.rmdir()


def to_json(value: Any) -> str:
    """JSON as all files of the project have it: indented, keys in the given order, no NaN (callers write null)."""
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as JSON to ``path`` atomically."""
    write_text(path, to_json(value))
