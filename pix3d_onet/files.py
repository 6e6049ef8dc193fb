"""File access: writes are atomic, and no path leaves its root."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pix3d_onet.errors import InputError, RejectError

PART_SUFFIX = ".part"
"""Suffix of a file that is still being written; files left with it after a crash can be deleted."""

OF_A_PART = re.compile(r"^\.(.+)\.[0-9a-f]{8}" + re.escape(PART_SUFFIX) + "$")
"""Matches the name of such a file; group 1 is its final name."""

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
"""System errors that mean "this place cannot be written to (or read)", not a bug in the program."""

NOT_IN_A_PATH = re.compile("[\x00-\x1f\ud800-\udfff]")
"""Control characters and surrogates: they break tables and logs, or cannot be encoded as UTF-8."""


def refused(error: OSError) -> InputError | OSError:
    """An InputError that says which place cannot be used and why; any other OSError is returned unchanged."""
    if error.errno is None or error.errno not in REFUSALS:
        return error
    reason = os.strerror(error.errno)
    if error.filename is None:
        return InputError(f"{reason}: {error}.")
    path = Path(os.fsdecode(error.filename2 or error.filename))
    target = path.with_name(OF_A_PART.sub(r"\1", path.name))  # the final name, not the temporary one
    doing = "no access to" if error.errno in (errno.EACCES, errno.EPERM) else "cannot write to"
    return InputError(f"{doing} {target}: {reason}.")


def check_writable(path: Path, *, file: bool = False) -> None:
    """InputError if ``path`` (a file or folder to be written later) is clearly not writable.

    A cheap check before long work: no parent is a file or read-only for this user, and a ``file`` is not a folder.
    """
    if file and path.is_dir():
        raise InputError(f"cannot write to {path}: it is a folder.", hint="Name a file.")
    above = next(p for p in (path.absolute(), *path.absolute().parents) if os.path.lexists(p))
    if above != path.absolute() and not above.is_dir():
        raise InputError(f"cannot write to {path}: {above} is not a folder.", hint="Choose another place.")
    if not os.access(above, os.W_OK):
        raise InputError(f"cannot write to {path}: {above} is read-only here.", hint="Choose another place.")


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success flush the file to disk and rename it to ``path``.

    On any exception the temporary file is removed and ``path`` stays as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}{PART_SUFFIX}")
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
    """Write ``text`` (UTF-8) to ``path`` atomically."""
    write_bytes(path, text.encode())


def to_json(value: Any) -> str:
    """JSON as all files of the project have it: indented, keys in the given order, no NaN (callers write null)."""
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as JSON to ``path`` atomically."""
    write_text(path, to_json(value))


def read_json(path: Path, *, what: str = "file", hint: str = "") -> Any:
    """Parse the JSON file ``path``; InputError if it is missing, not text or not JSON."""
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
    """The path ``root / relative``, which may not exist; it is guaranteed to resolve inside ``root``.

    Raises RejectError ``unsafe-path`` for an absolute path, for ``..``, and for a symbolic link that leads out.
    """
    if not isinstance(relative, str) or not relative or NOT_IN_A_PATH.search(relative):
        raise RejectError("unsafe-path", f"not a path: {relative!r:.80}")
    if relative.startswith("/") or ".." in relative.split("/"):
        raise RejectError("unsafe-path", f"{relative} leaves the data set's root")
    path = root / relative
    try:  # strings instead of Path: faster, and an index of 10,000 records calls this 40,000 times
        resolved, base = os.path.realpath(path), os.path.realpath(root)
    except (OSError, ValueError) as error:
        raise RejectError("unsafe-path", f"{relative}: {error}") from None
    if resolved != base and not resolved.startswith(base.rstrip("/") + "/"):
        raise RejectError("unsafe-path", f"{relative} leads out of the data set's root through a link")
    return path
