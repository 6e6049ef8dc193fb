"""``rejects.jsonl``: all records and shapes that could not be used, one JSON object per line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

from pix3d_onet.errors import InputError
from pix3d_onet.files import MAX_JSON_BYTES, read_bytes, write_text
from pix3d_onet.types import Rejected

REJECTS_FILE = "rejects.jsonl"


def write_rejects(folder: Path, rejected: Iterable[Rejected]) -> list[Rejected]:
    """Write ``rejects.jsonl`` to ``folder``; returns the rows in the order of the file."""
    rows = sorted(rejected, key=lambda r: (r.object_id, r.record_id, r.stage, r.reason, r.detail))
    text = "".join(json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in rows)
    write_text(folder / REJECTS_FILE, text)
    return rows


def scan_rejects(folder: Path) -> Iterator[Rejected | None]:
    """Yield the rows of ``folder``'s ``rejects.jsonl``, None for an unreadable row; nothing if it does not exist."""
    path = folder / REJECTS_FILE
    if not path.is_file():
        return
    try:
        data = read_bytes(path, limit=MAX_JSON_BYTES, follow=False)
    except OSError:  # a link, or too large
        yield None
        return
    for line in filter(str.strip, data.decode("utf-8", "replace").split("\n")):
        try:
            yield Rejected(**json.loads(line))
        except (ValueError, TypeError, RecursionError):
            yield None


def read_rejects(folder: Path) -> tuple[Rejected, ...]:
    """The rows of ``folder``'s ``rejects.jsonl``; empty if it does not exist. InputError if it is damaged."""
    rows = tuple(scan_rejects(folder))
    sound = tuple(row for row in rows if row is not None)
    if len(sound) < len(rows):
        damage = f"line {rows.index(None) + 1} is not a reject"
        raise InputError(f"{folder / REJECTS_FILE} is damaged ({damage}).", hint="Prepare again with `overwrite=True`.")
    return sound
