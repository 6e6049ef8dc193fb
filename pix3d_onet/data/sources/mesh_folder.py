"""Any folder of meshes as a source: one shape per file, no photos (``render_views`` makes pictures)."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from pix3d_onet.config import PrepareConfig
from pix3d_onet.data.sources.grouping import category_of, group_of
from pix3d_onet.errors import ConfigError, InputError, RejectError
from pix3d_onet.files import inside, printable
from pix3d_onet.types import Rejected, SourceListing, SourceShape

SUFFIXES = (".obj", ".off", ".ply", ".stl", ".glb", ".gltf")
"""Endings that are taken for meshes, in any case."""


def list_meshes(root: Path, config: PrepareConfig, *, split_files: Sequence[Path] = ()) -> SourceListing:
    """Every mesh file below ``root`` that fits ``config.pattern``, in the order of their relative paths.

    The object's id is the path without its ending (with it, where two files differ in nothing else). What a split keeps
    together is told by ``config.group_by``, the category by the first folder, see
    :mod:`~pix3d_onet.data.sources.grouping`. Links are followed for files, never for folders, and only inside ``root``:
    others are rejects, and so are names that are not UTF-8. Hidden files and folders are left out.

    Raises InputError when ``root`` is no folder or holds no mesh, ConfigError for a category that it has not.
    """
    if not root.is_dir():
        raise InputError(f"no folder at {root}.", hint="Name a folder of meshes.")
    every = sorted(path.relative_to(root).as_posix() for path in _walk(root))
    if not every:
        raise InputError(f"{root} holds no mesh file.", hint=f"Looked for {', '.join(SUFFIXES)}.")
    found = [name for name in every if _fits(name, config.pattern)]
    if not found:
        raise InputError(f"none of {len(every)} mesh files in {root} fits `pattern={config.pattern!r}`.")
    groups = group_of(found, config.group_by)
    categories = category_of(groups)
    _check_categories(root, set(categories.values()), config.categories)
    stems = Counter(map(_stem, found))
    shapes, rejected, skipped = [], [], Counter({"pattern": len(every) - len(found)})
    for name in found:
        object_id = _stem(name) if stems[_stem(name)] == 1 else name
        if "all" not in config.categories and categories[name] not in config.categories:
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
        len(every),
        skipped={key: count for key, count in skipped.items() if count},
        grouping=config.group_by,
    )


def _fits(name: str, pattern: str) -> bool:
    """Whether a path fits a pattern of ``*``, ``?`` and ``[]``; one without ``/`` is for the file's name alone."""
    return not pattern or fnmatchcase(name if "/" in pattern else name.rpartition("/")[2], pattern)


def _check_categories(root: Path, have: set[str], wanted: Sequence[str]) -> None:
    unknown = [c for c in wanted if c != "all" and c not in have]
    if unknown:
        listed = ", ".join(printable(c) for c in sorted(have))
        raise ConfigError(f"`categories={unknown[0]}`: {root} has only {listed} (or all).")


def _stem(name: str) -> str:
    return name[: -len(Path(name).suffix)]


def _walk(root: Path) -> Iterator[Path]:
    for folder, names, files in os.walk(root):
        names[:] = [n for n in names if not n.startswith(".")]
        for name in files:
            path = Path(folder, name)
            if not name.startswith(".") and path.suffix.lower() in SUFFIXES:
                yield path
