"""Read untrusted files: regular files only, size checked first, nothing from outside a root."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import re
import stat
import sys
from pathlib import Path
from typing import Any

from pix3d_onet.errors import InputError, RejectError

MAX_JSON_BYTES = 1 << 30
"""Largest JSON or text file that is read; a manifest takes about 1.3 kB per shape."""
MAX_JSON_DEPTH = 64
"""Deepest nesting of a JSON document (ours have 7 levels); deeper ones break code that copies them recursively."""

LARGEST = {int: 2**63, float: sys.float_info.max}
"""Largest numbers of a JSON document that can be written again."""
NOT_IN_A_PATH = re.compile("[\x00-\x1f\ud800-\udfff]")
"""Control characters and surrogates: they break tables and logs, or cannot be encoded as UTF-8."""


def printable(name: str) -> str:
    """``name`` with bytes that are not UTF-8 written as ``\\xe9``; other names unchanged."""
    return os.fsencode(name).decode("utf-8", "backslashreplace") if NOT_IN_A_PATH.search(name) else name


def open_regular(path: Path, *, limit: int | None = None, follow: bool = True) -> io.BufferedReader:
    """Open a regular file for reading; OSError if it is missing or must not be read.

    Pipes, devices and folders are refused without blocking; so are files of more than ``limit`` bytes and, without
    ``follow``, symbolic links, which folders made by onet never contain.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    try:
        handle = os.open(path, flags)
    except OSError as error:
        if error.errno == errno.ELOOP and not follow:
            raise OSError(errno.EINVAL, "is a link, not a file", str(path)) from None
        if error.errno == errno.ENXIO:  # a socket
            raise OSError(errno.EINVAL, "is not a regular file", str(path)) from None
        raise
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "is not a regular file", str(path))
        if limit is not None and found.st_size > limit:
            raise OSError(errno.EINVAL, f"has more than {limit >> 20} MiB", str(path))
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def check_regular(path: Path, *, limit: int | None = None, follow: bool = True) -> int:
    """Size in bytes of a file that a library will open by its name; OSError as :func:`open_regular`."""
    with open_regular(path, limit=limit, follow=follow) as file:
        return os.fstat(file.fileno()).st_size


def is_own_file(path: Path) -> bool:
    """Whether ``path`` itself is a regular file, not a link to one."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def is_file(path: Path) -> bool:
    """Whether ``path`` is a file or leads to one; False also for names that no file system accepts."""
    return os.path.isfile(path)  # noqa: PTH113 - Path.is_file raises for some of these


def read_bytes(path: Path, *, limit: int, follow: bool = True) -> bytes:
    """The bytes of a regular file of at most ``limit``; OSError as :func:`open_regular`, and if the file grows."""
    with open_regular(path, limit=limit, follow=follow) as file:
        size = os.fstat(file.fileno()).st_size
        data = file.read(size + 1)
    if len(data) > size:  # it is being written, or is a /proc file, which states no size
        raise OSError(errno.EINVAL, "changes while it is read", str(path))
    return data


def read_text(path: Path, *, limit: int = MAX_JSON_BYTES, follow: bool = True) -> str:
    """The UTF-8 text of a file, without a byte order mark. OSError as :func:`read_bytes`, or UnicodeDecodeError."""
    return read_bytes(path, limit=limit, follow=follow).decode("utf-8-sig")


def read_json(
    path: Path, *, what: str = "file", hint: str = "", follow: bool = True, limit: int = MAX_JSON_BYTES
) -> Any:
    """Parse the JSON file ``path``; InputError if it is missing, not a file, too large, too deep, not text or not
    JSON."""
    try:
        document = json.loads(read_bytes(path, limit=limit, follow=follow))
    except FileNotFoundError:
        raise InputError(f"{what} not found: {path}.", hint=hint) from None
    except OSError as error:
        raise InputError(f"cannot read {what} {path}: {error.strerror}.", hint=hint) from None
    except RecursionError:
        raise InputError(f"{what} {path} is nested too deeply.", hint=hint) from None
    except ValueError as error:  # not UTF-8, not JSON, or a number with thousands of digits
        raise InputError(f"{what} {path} is not valid JSON ({error}).", hint=hint) from None
    if too_deep(document):
        raise InputError(f"{what} {path} is nested more than {MAX_JSON_DEPTH} levels deep.", hint=hint)
    return document


def own_json(path: Path, *, limit: int = MAX_JSON_BYTES) -> dict[str, Any]:
    """The JSON object in ``path``; empty if that is missing, a link, damaged, or no object: then onet did not write
    it."""
    try:
        document = read_json(path, follow=False, limit=limit)
    except InputError:
        return {}
    return document if isinstance(document, dict) else {}


def too_deep(document: Any) -> bool:
    """Whether lists and objects are nested more than ``MAX_JSON_DEPTH`` deep; without recursion."""
    level = [document]
    for _ in range(MAX_JSON_DEPTH):
        level = [
            child
            for item in level
            if type(item) in (dict, list)
            for child in (item.values() if type(item) is dict else item)
            if type(child) in (dict, list)
        ]
        if not level:
            return False
    return True


def is_finite(document: Any) -> bool:
    """Whether every number in a JSON document can be written again: no NaN, no infinity, no integer beyond 2**63."""
    waiting = [document]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            waiting += item.values()
        elif isinstance(item, list):
            waiting += item
        elif type(item) in LARGEST and not abs(item) <= LARGEST[type(item)]:
            return False
    return True


def digest(data: bytes | memoryview) -> str:
    """SHA-256 of ``data`` in hex."""
    return hashlib.sha256(data).hexdigest()


def file_digest(path: Path, *, limit: int | None = None, follow: bool = True) -> str:
    """SHA-256 of the bytes of a regular file in hex; OSError as :func:`open_regular`."""
    with open_regular(path, limit=limit, follow=follow) as handle:
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
