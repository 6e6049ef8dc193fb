"""The folder of an export: claimed first, so that the same call continues it and another one can replace it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from pix3d_onet.data.store.card import card_files, write_card
from pix3d_onet.errors import InputError
from pix3d_onet.events import Emit
from pix3d_onet.files import (
    check_claim,
    digest,
    file_digest,
    member,
    own_json,
    remove,
    remove_empty,
    write_json,
    write_text,
)

KIND = "export"
CLAIM_FILE = "export.json"
"""Written first, with the settings and the names of all files."""
LONGEST_NAME = 200
"""Bytes; file systems allow 255, and writing needs a few more."""
SUMS_FILE = "SHA256SUMS"
"""Checksums for ``sha256sum -c``; written last, when the export is complete."""


def plain_name(name: str) -> str:
    """``name`` as a folder name that is valid on every file system; a long one is cut, with its digest."""
    plain = re.sub(r"[^\w.~+-]+", "-", name).strip(".-") or "unnamed"
    if len(plain.encode()) <= LONGEST_NAME:
        return plain
    return plain.encode()[: LONGEST_NAME - 9].decode(errors="ignore") + "~" + digest(name.encode())[:8]


def unique_names(names: Mapping[str, str]) -> dict[str, str]:
    """Id → relative file name, where equal names (but for case) get ``~2``, ``~3``, … before their suffix."""
    result: dict[str, str] = {}
    taken: set[str] = set()
    for key, wanted in names.items():
        path, name, copy = PurePosixPath(wanted), wanted, 2
        while name.lower() in taken:
            name, copy = path.with_stem(f"{path.stem}~{copy}").as_posix(), copy + 1
        taken.add(name.lower())
        result[key] = name
    return result


def claim(out: Path, what: dict[str, Any], files: Sequence[str], *, overwrite: bool, emit: Emit) -> None:
    """Check that ``out`` may be written and holds this export or none, and write its claim.

    ``what``: settings; an export with others is replaced only with ``overwrite``, else InputError. ``files``: relative
    names of what will be written.
    """
    ours = check_claim(
        out,
        KIND,
        files=(CLAIM_FILE, SUMS_FILE, *card_files(out), *(f for f in files if "/" not in f)),
        folders={f.split("/")[0] for f in files if "/" in f},
        known=lambda folder: bool(_claimed(folder)),
        overwrite=overwrite,
        emit=emit,
    )
    before = _claimed(out) if ours else {}
    try:
        if before and before["what"] != what:
            if not overwrite:
                raise InputError(f"{out} holds another export.", hint="Give another folder, or `overwrite=True`.")
            _remove(out, before["files"])
        remove(out / SUMS_FILE)
        write_json(out / CLAIM_FILE, {"what": what, "files": list(files)})
    except OSError as error:
        raise InputError(f"cannot write to {out}: {error.strerror}.") from None


def finish(out: Path, files: Sequence[str], card: str) -> None:
    """Write card and checksums of a complete export."""
    write_card(out, card)
    write_text(out / SUMS_FILE, "".join(f"{file_digest(out / file, follow=False)}  {file}\n" for file in files))


def _claimed(out: Path) -> dict[str, Any]:
    """The claim in ``out``; empty if it is missing or not written by :func:`claim`."""
    found = own_json(out / CLAIM_FILE)
    return found if isinstance(found.get("what"), dict) and isinstance(found.get("files"), list) else {}


def _remove(out: Path, files: list[Any]) -> None:
    """Remove the files of an earlier export by name, and then empty folders."""
    parts = [file.split("/") for file in files if isinstance(file, str)]
    if len(parts) < len(files) or any(plain_name(part) != part for names in parts for part in names):
        raise InputError(f"{out} is an export without a list of its files.", hint="Remove it yourself.")
    for names in parts:
        remove(member(out, *names))
    for folder in sorted({names[0] for names in parts if len(names) > 1}):
        remove_empty(out / folder)
