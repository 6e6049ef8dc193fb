"""Decide whether a command may write to an output folder: it must be empty, or made by onet.

A folder made by onet has a document that describes it (a manifest, a run's configuration); until that is written, it
has the marker ``.onet.json``, which is written first. To any other folder that is not empty, nothing is written unless
``overwrite`` is given: then only files that onet writes are replaced, and each is named first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from pix3d_onet.errors import InputError
from pix3d_onet.events import Emit, Note, ignore
from pix3d_onet.files.reading import is_own_file, own_json, printable
from pix3d_onet.files.writing import OF_A_PART, remove, write_json

MARKER = ".onet.json"
FORMAT, VERSION = "onet-folder", 1
MAX_MARKER_BYTES = 16 << 20
SHOWN = 8
"""Most entries of others that an error names; files that would be replaced are all named."""
LOCK_FILES = (".lock", ".bench.lock")
"""A folder with only these files counts as empty, see ``locks``."""


def marker(folder: Path) -> Mapping[str, Any]:
    """Content of the marker of ``folder`` (``kind`` and more); empty if there is none by onet."""
    found = own_json(folder / MARKER, limit=MAX_MARKER_BYTES)
    good = (found.get("format"), found.get("version")) == (FORMAT, VERSION)
    return found if good and isinstance(found.get("kind"), str) else {}


def mark(folder: Path, kind: str, **more: Any) -> None:
    """Write the marker of ``folder``, unless it already has this content."""
    wanted = {"format": FORMAT, "version": VERSION, "kind": kind, **more}
    if marker(folder) != wanted:
        write_json(folder / MARKER, wanted)


def unmark(folder: Path) -> None:
    """Remove the marker of a finished folder; from now on its own document, written last, identifies it."""
    if marker(folder):
        remove(folder / MARKER)


def check_claim(
    folder: Path,
    kind: str,
    *,
    files: Iterable[str],
    folders: Iterable[str] = (),
    known: Callable[[Path], bool] = lambda folder: False,
    overwrite: bool = False,
    emit: Emit = ignore,
) -> bool:
    """True if ``folder`` was made by onet, False if it may be claimed with :func:`mark`. Writes nothing.

    ``files`` and ``folders``: names that will be written. ``known`` recognises a folder made by onet without a marker.
    InputError if ``folder`` is not a folder or has other content; with ``overwrite`` only if a link or folder blocks a
    file that will be written. A warning names the files that will be replaced.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file.", hint="Name a folder.")
    entries = _entries(folder)
    if not entries:
        return False
    found = marker(folder).get("kind")
    if found == kind or (found is None and known(folder)):
        return True
    replaced, blocked = in_the_way(folder, files, folders)
    if blocked:
        raise InputError(
            f"{_taken(folder, kind, found, entries)} {_listed(blocked)} would have to be removed.",
            hint="Name another folder.",
        )
    if not overwrite:
        does = f"replaces {_listed(replaced)}" if replaced else "adds to it"
        hint = f"Name another folder; `overwrite=True` {does} and leaves the rest as it is."
        raise InputError(_taken(folder, kind, found, entries), hint=hint)
    if replaced:
        emit(Note(f"{folder} is not {_a(kind)} of onet; replacing in it {_listed(replaced)}.", "warning"))
    return False


def in_the_way(folder: Path, files: Iterable[str], folders: Iterable[str] = ()) -> tuple[list[str], list[str]]:
    """Entries of ``folder`` with names that onet would write: those that can be replaced, and those that cannot.

    A file or link is replaced by a file, and temporary files of onet are removed. A folder is never replaced, and a
    folder replaces only an empty folder.
    """
    replaced: list[str] = []
    blocked: list[str] = []
    names = {*files, MARKER}
    strays = {n for n in _entries(folder) if (part := OF_A_PART.match(n)) and part[1] in names}
    for name in sorted(names | strays):
        path = folder / name
        if path.is_symlink() or path.exists():
            (blocked if path.is_dir() and not path.is_symlink() else replaced).append(name)
    for name in sorted(set(folders)):
        path = folder / name
        if (path.is_symlink() or path.exists()) and (path.is_symlink() or not path.is_dir() or any(path.iterdir())):
            blocked.append(f"{name}/")
    return replaced, blocked


def _entries(folder: Path) -> list[str]:
    try:
        found = sorted(folder.iterdir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise InputError(f"cannot write to {folder}: {error.strerror}.", hint="Name another folder.") from None
    return [p.name for p in found if not (p.name in LOCK_FILES and is_own_file(p) and p.stat().st_size == 0)]


def _taken(folder: Path, kind: str, found: str | None, entries: list[str]) -> str:
    more = f" and {len(entries) - SHOWN} more" if len(entries) > SHOWN else ""
    what = f"{_a(found)} of onet, not {_a(kind)}" if found else f"not empty, and not {_a(kind)} of onet"
    return f"{folder} is {what}: it holds {_listed(entries[:SHOWN])}{more}."


def _a(kind: str) -> str:
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(printable, names))
