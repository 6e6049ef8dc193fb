"""Any folder of meshes as a source: one shape a file, no photos (``render_views`` makes pictures)."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from pix3d_onet.config import PrepareConfig
from pix3d_onet.errors import InputError, RejectError
from pix3d_onet.files import inside
from pix3d_onet.types import MESH_SUFFIXES, Rejected, SourceListing, SourceShape

CATEGORY = "mesh"
"""Category of the files that lie in no subfolder; others are of their first subfolder's."""


def list_meshes(root: Path, config: PrepareConfig, *, split_files: Sequence[Path] = ()) -> SourceListing:
    """Every mesh file below ``root``, in the order of their relative paths.

    The object's id is the path without its ending (with it, where two files differ in nothing else); a shape is its own
    group. Links are followed for files, never for folders, and only inside ``root``: others are rejects. Hidden files
    and folders are left out. Raises InputError when ``root`` is no folder or holds no mesh.
    """
    if not root.is_dir():
        raise InputError(f"no folder at {root}.", hint="Name a folder of meshes.")
    found = sorted(path.relative_to(root).as_posix() for path in _walk(root))
    stems = [name[: -len(Path(name).suffix)] for name in found]
    shapes, rejected = [], []
    for name, stem in zip(found, stems, strict=True):
        object_id = stem if stems.count(stem) == 1 else name
        category = name.split("/")[0] if "/" in name else CATEGORY
        if "all" not in config.categories and category not in config.categories:
            continue
        try:
            path = inside(root, name)
        except RejectError as error:
            rejected.append(Rejected(object_id, name, "parse", error.reason, error.message))
            continue
        shapes.append(SourceShape(object_id, category, object_id, path, ()))
    if not found:
        raise InputError(f"{root} holds no mesh file.", hint=f"Looked for {', '.join(MESH_SUFFIXES)}.")
    return SourceListing("meshes", root, tuple(shapes), tuple(rejected), len(shapes) + len(rejected))


def _walk(root: Path) -> Iterator[Path]:
    for folder, names, files in os.walk(root):
        names[:] = [n for n in names if not n.startswith(".")]
        for name in files:
            path = Path(folder, name)
            if not name.startswith(".") and path.suffix.lower() in MESH_SUFFIXES:
                yield path
