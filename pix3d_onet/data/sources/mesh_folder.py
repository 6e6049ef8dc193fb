"""Any folder of meshes as a source: one shape per file, no photos (``render_views`` makes pictures)."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from pix3d_onet.config import PrepareConfig
from pix3d_onet.data.sources.grouping import category_of, group_of, stem
from pix3d_onet.errors import InputError, RejectError
from pix3d_onet.files import inside, printable
from pix3d_onet.types import MESH_SUFFIXES, Rejected, SourceListing, SourceShape

SHOWN = 3
"""Most folders that were not read in an error without any mesh."""


def list_meshes(root: Path, config: PrepareConfig, *, split_files: Sequence[Path] = ()) -> SourceListing:
    """Every mesh file below ``root`` that matches ``config.pattern``, in the order of their relative paths.

    The object's id is the path without its extension (with it, if two files differ only in that, or if what remains is
    another file's name: ``x.obj.stl`` beside ``x.obj``). ``config.group_by``
    gives the group, and the first folder the category, see :mod:`~pix3d_onet.data.sources.grouping`. Links to files
    inside ``root`` are followed; links that lead out, and names that are not UTF-8, are rejects. So are links to
    folders, which are not followed (``linked-folder``), and folders that cannot be read (``unreadable-folder``): each
    counts as one record, since what it holds is not known. Hidden files and hidden folders are skipped.

    Raises InputError if ``root`` is not a folder or holds no mesh, ConfigError for an unknown category.
    """
    if not root.is_dir():
        raise InputError(f"no folder at {root}.", hint="Name a folder of meshes.")
    unread: dict[str, OSError | None] = {}
    every = sorted(path.relative_to(root).as_posix() for path in mesh_files(root, unread))
    closed = [_unread(name, error) for name, error in sorted(unread.items())]
    if not every:
        more = f" Not read: {'; '.join(r.detail for r in closed[:SHOWN])}." if closed else ""
        raise InputError(f"{root} holds no mesh file.{more}", hint=f"Looked for {', '.join(MESH_SUFFIXES)}.")
    found = [name for name in every if _fits(name, config.pattern)]
    if not found:
        raise InputError(f"none of {len(every)} mesh files in {root} matches `pattern={config.pattern!r}`.")
    groups = group_of(found, config.group_by)
    categories = category_of(groups)
    config.check_categories(map(printable, set(categories.values())), str(root))
    stems, names = Counter(map(stem, found)), frozenset(found)
    shapes, rejected, skipped = [], closed, Counter({"pattern": len(every) - len(found)})
    for name in found:
        object_id = stem(name) if stems[stem(name)] == 1 and stem(name) not in names else name
        if not config.takes(categories[name]):
            skipped["category"] += 1
            continue
        try:
            if printable(name) != name:
                raise RejectError("bad-name", f"the file's name is not UTF-8: {printable(name)}")
            path = inside(root, name)
        except RejectError as error:
            rejected.append(Rejected(printable(object_id), printable(name), "parse", error.reason, error.message))
            continue
        shapes.append(SourceShape(object_id, categories[name], groups[name], path, ()))
    return SourceListing(
        "meshes",
        root,
        tuple(shapes),
        tuple(rejected),
        len(every) + len(unread),
        skipped={key: count for key, count in skipped.items() if count},
        grouping=config.group_by,
    )


def _fits(name: str, pattern: str) -> bool:
    """Whether a path matches a pattern with ``*``, ``?``, ``[]``; without ``/`` it applies only to the file's name."""
    return not pattern or fnmatchcase(name if "/" in pattern else name.rpartition("/")[2], pattern)


def _unread(name: str, error: OSError | None) -> Rejected:
    shown = printable(name)
    if error is None:
        message = f"the folder {shown} is a link, which is not followed: copy what it points to, or prepare that"
        return Rejected(shown, shown, "parse", "linked-folder", message)
    return Rejected(shown, shown, "parse", "unreadable-folder", f"the folder {shown}: {error.strerror}")


def mesh_files(root: Path, unread: dict[str, OSError | None] | None = None) -> Iterator[Path]:
    """The mesh files in a folder, in any order; hidden files and hidden folders are skipped.

    ``unread`` gets the folders below ``root`` that were not read, by relative path: links (None), and those that cannot
    be listed, with the error.
    """
    unread = {} if unread is None else unread

    def failed(error: OSError) -> None:
        unread[os.path.relpath(error.filename or root, root).replace(os.sep, "/")] = error

    for folder, names, files in os.walk(root, onerror=failed):
        names[:] = [n for n in names if not n.startswith(".")]
        links = [path for n in names if (path := Path(folder, n)).is_symlink()]
        unread.update((path.relative_to(root).as_posix(), None) for path in links)
        for name in files:
            path = Path(folder, name)
            if not name.startswith(".") and path.suffix.lower() in MESH_SUFFIXES:
                yield path
