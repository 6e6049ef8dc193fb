"""Where shapes and pictures come from: one line of :data:`SOURCES` and one small file each.

A source is a function ``list_x(root, config, *, split_files=()) -> SourceListing`` that reads an index or walks a
folder, opens no mesh and no picture (a header at most), and names every record that it cannot use. The command
``onet prepare NAME`` exists as soon as the line does.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pix3d_onet.config import PrepareConfig
from pix3d_onet.types import SourceListing


@dataclass(frozen=True, slots=True)
class Source:
    """A line of the table.

    ``function``: ``module:name`` of the listing function, imported when it is used. ``root`` is the default of
    ``--root`` (and ``env`` a variable that overrides it); empty makes the folder a required argument ``DIR``.
    ``takes``: which settings the source knows, by option name: ``category`` (with its ``default_category``),
    ``images-per-object``, ``flags``, ``require-pose``, and ``splits``, the names ``--split`` takes besides ``shape``.
    ``render_views`` is the default number of rendered views (for sources without photos). ``example`` follows
    ``onet prepare NAME`` in the command's help.
    """

    name: str
    summary: str
    function: str
    example: str
    root: str = ""
    env: str = ""
    takes: frozenset[str] = frozenset()
    default_category: str = "all"
    splits: tuple[str, ...] = ()
    render_views: int = 0

    def list(self, root: Path, config: PrepareConfig, *, split_files: Sequence[Path] = ()) -> SourceListing:
        """Read what the source holds under ``root``; raises InputError or ConfigError with one clear line."""
        module, name = self.function.split(":")
        listing: Callable[..., SourceListing] = getattr(importlib.import_module(module), name)
        return listing(root, config, split_files=split_files)


SOURCES: dict[str, Source] = {
    source.name: source
    for source in (
        Source(
            name="pix3d",
            summary="Pix3D: photos, masks, poses and CAD models in the release's layout.",
            function="pix3d_onet.data.pix3d:list_pix3d",
            example="--root data/pix3d --category chair --out data/prepared/pix3d-chair",
            root="data/pix3d",
            env="ONET_PIX3D_ROOT",
            takes=frozenset({"category", "images-per-object", "flags", "require-pose"}),
            default_category="chair",
            splits=("image", "s1", "s2"),
        ),
    )
}
"""Name → source, in the order of the help."""
