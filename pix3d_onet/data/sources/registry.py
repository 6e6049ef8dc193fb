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
from typing import Any

from pix3d_onet.config import PrepareConfig
from pix3d_onet.types import SourceListing


@dataclass(frozen=True, slots=True)
class Source:
    """A line of the table.

    ``function``: ``module:name`` of the listing function, imported when it is used. ``root`` is the default of
    the root (and ``env`` a variable that overrides it); empty makes the folder a required argument ``DIR``.
    ``takes``: which settings the source knows, by option name: ``category`` (with its ``default_category``),
    ``images-per-object``, ``flags``, ``require-pose``, ``group-by`` (with ``pattern``), and ``splits``, the splits
    besides ``shape``. ``default_split`` is its default. ``render_views`` is the default number of rendered views (for
    sources without photos). ``geometry``: ``module:name`` of what replaces ``preparation.from_mesh.shape_geometry``
    where the source has labels instead of meshes. ``example`` is a folder for the command's help.
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
    default_split: str = "shape"
    render_views: int = 0
    geometry: str = ""

    def list(self, root: Path, config: PrepareConfig, *, split_files: Sequence[Path] = ()) -> SourceListing:
        """Read what the source holds under ``root``; raises InputError or ConfigError with one clear line."""
        module, name = self.function.split(":")
        listing: Callable[..., SourceListing] = getattr(importlib.import_module(module), name)
        return listing(root, config, split_files=split_files)

    @property
    def defaults(self) -> dict[str, Any]:
        """The settings of ``PrepareConfig`` (as JSON) that are other than its own defaults for this source."""
        return {
            "categories": [self.default_category],
            "images_per_object": "one" if "images-per-object" in self.takes else "all",
            "render_views": self.render_views,
            "split": self.default_split,
        }

    def load_geometry(self) -> Callable[..., Any] | None:
        """The function that ``geometry`` names, imported; None for sources of meshes."""
        if not self.geometry:
            return None
        module, name = self.geometry.split(":")
        function: Callable[..., Any] = getattr(importlib.import_module(module), name)
        return function


SOURCES: dict[str, Source] = {
    source.name: source
    for source in (
        Source(
            name="pix3d",
            summary="Pix3D: photos, masks, poses and CAD models in the release's layout.",
            function="pix3d_onet.data.sources.pix3d:list_pix3d",
            example="data/pix3d",
            root="data/pix3d",
            env="ONET_PIX3D_ROOT",
            takes=frozenset({"category", "images-per-object", "flags", "require-pose"}),
            default_category="chair",
            splits=("image", "s1", "s2"),
        ),
        Source(
            name="shapenet",
            summary="ShapeNetCore v1 or v2, with Choy's renderings where they lie beside it, or rendered views.",
            function="pix3d_onet.data.sources.shapenet:list_shapenet",
            example="data/ShapeNet",
            takes=frozenset({"category"}),
            default_category="chair",
            render_views=24,
        ),
        Source(
            name="meshes",
            summary="Any folder of meshes (OBJ, OFF, PLY, STL, GLB); pictures are rendered.",
            function="pix3d_onet.data.sources.mesh_folder:list_meshes",
            example="models/",
            takes=frozenset({"category", "group-by"}),
            render_views=24,
        ),
        Source(
            name="onet",
            summary="The original Occupancy Networks layout: points.npz, pointcloud.npz, img_choy2016/, *.lst.",
            function="pix3d_onet.data.sources.onet_layout:list_onet",
            example="ShapeNet/",
            takes=frozenset({"category"}),
            splits=("lst",),
            default_split="lst",
            geometry="pix3d_onet.preparation.from_labels:given_geometry",
        ),
    )
}
"""Name → source, in the order of the help."""
