"""Reading and writing files so that nothing is ever half-written and nothing is read from outside its root."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pix3d_onet.errors import InputError, RejectError

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

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

NOT_IN_A_PATH = re.compile("[\x00-\x1f\ud800-\udfff]")
"""Characters that fit no table, no log and no UTF-8."""


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
def writing(path: Path) -> Iterator[Path]:
    """Yield a path beside ``path`` to write to; on success flush it to disk and rename it onto ``path``.

    The file has the mode of any new file, whatever a library made of it. On any exception the partial file is removed
    and ``path`` stays as it was; an OSError names ``path``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}{PART_SUFFIX}")
    try:
        part.touch()
        mode = stat.S_IMODE(part.stat().st_mode)
        yield part
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
    """Write ``text`` (UTF-8) to ``path`` atomically."""
    write_bytes(path, text.encode())


def to_json(value: Any) -> str:
    """The one JSON spelling of the project: indented, keys as given, no NaN (a NaN is written as null upstream)."""
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as JSON to ``path`` atomically."""
    write_text(path, to_json(value))


def read_json(path: Path, *, what: str = "file", hint: str = "") -> Any:
    """Parse the JSON in ``path``; InputError with one clear line when it is missing, not text or not JSON."""
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise InputError(f"{what} not found: {path}.", hint=hint) from None
    except OSError as error:
        raise InputError(f"cannot read {what} {path}: {error.strerror}.", hint=hint) from None
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise InputError(f"{what} {path} is not valid JSON ({error}).", hint=hint) from None


def digest(data: bytes | memoryview) -> str:
    """SHA-256 of ``data`` in hex."""
    return hashlib.sha256(data).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of the file's bytes in hex."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def inside(root: Path, relative: object) -> Path:
    """The existing or missing path ``root / relative``, guaranteed to resolve inside ``root``.

    Raises RejectError ``unsafe-path`` for anything absolute, with ``..`` or a symbolic link that leads out.
    """
    if not isinstance(relative, str) or not relative or NOT_IN_A_PATH.search(relative):
        raise RejectError("unsafe-path", f"not a path: {relative!r:.80}")
    if relative.startswith("/") or ".." in relative.split("/"):
        raise RejectError("unsafe-path", f"{relative} leaves the data set's root")
    path = root / relative
    try:  # plain strings: an index of ten thousand records asks this forty thousand times
        resolved, base = os.path.realpath(path), os.path.realpath(root)
    except (OSError, ValueError) as error:
        raise RejectError("unsafe-path", f"{relative}: {error}") from None
    if resolved != base and not resolved.startswith(base.rstrip("/") + "/"):
        raise RejectError("unsafe-path", f"{relative} leads out of the data set's root through a link")
    return path
