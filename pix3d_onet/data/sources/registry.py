"""The table of sources: each is one entry of :data:`SOURCES` and one small file.

A source is a function ``list_x(root, config, *, split_files=()) -> SourceListing`` that reads an index or walks a
folder. It opens no mesh and no picture (a header at most), and lists every record that it cannot use. Each entry gives
a command ``onet prepare NAME``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from pix3d_onet.config import PrepareConfig
from pix3d_onet.data.store.card import UNKNOWN_TERMS, Terms, written_terms
from pix3d_onet.data.store.manifest import Manifest
from pix3d_onet.types import SYNTHETIC_PREFIX, SourceListing


@dataclass(frozen=True, slots=True)
class Source:
    """One entry of the table.

    ``function``: ``module:name`` of the listing function, imported when it is used. ``root``: default folder
    (``env``: environment variable that overrides it); if empty, the folder is a required argument ``DIR``.
    ``takes``: options of the source: ``category`` (with its ``default_category``), ``images-per-object``, ``flags``,
    ``require-pose``, ``group-by`` (with ``pattern``). ``splits``: the splits besides ``shape``; ``default_split``: the
    default. ``render_views``: default number of rendered views (for sources without photos). ``geometry``:
    ``module:name`` of a ``preparation.worker.Geometry``, for sources that have labels instead of meshes. ``terms``:
    licence and attribution, for the data card. ``example``: a folder for the command's help.
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
    terms: Terms = UNKNOWN_TERMS

    def list(self, root: Path, config: PrepareConfig, *, split_files: Sequence[Path] = ()) -> SourceListing:
        """List the source in ``root``; raises InputError or ConfigError."""
        listing: Callable[..., SourceListing] = resolve_name(self.function)
        return listing(root, config, split_files=split_files)

    @property
    def defaults(self) -> dict[str, Any]:
        """The source's own defaults for settings of ``PrepareConfig``, as JSON."""
        return {
            "categories": [self.default_category],
            "images_per_object": "one" if "images-per-object" in self.takes else "all",
            "render_views": self.render_views,
            "split": self.default_split,
        }

    def load_geometry(self) -> Callable[..., Any] | None:
        """Import the function named by ``geometry``; None for sources with meshes."""
        function: Callable[..., Any] | None = resolve_name(self.geometry) if self.geometry else None
        return function


PIX3D_TERMS = Terms(
    "Pix3D is © its authors, [CC BY 4.0](https://creativecommons.org/licenses/by/4.0/): it may be passed on, also "
    "changed, if its authors are named. Changed here: pictures are cropped, meshes made watertight and normalised.",
    "Sun et al., *Pix3D: Dataset and Methods for Single-Image 3D Shape Modeling*, CVPR 2018, http://pix3d.csail.mit.edu",
)
SHAPENET_TERMS = Terms(
    "ShapeNet's own [terms of use](https://shapenet.org/terms): non-commercial research and education. They do not "
    "allow the shapes to be passed on; ask its authors.",
    "Chang et al., *ShapeNet: An Information-Rich 3D Model Repository*, arXiv:1512.03012, 2015",
)
SYNTHETIC_TERMS = Terms(
    "Procedural shapes and pictures of `onet synth`: no rights of others, free for any use (CC0).",
    "None needed.",
)


def terms_of(manifest: Manifest) -> Terms:
    """Licence and attribution of a data set: those that its user gave, else those of what it was made from.

    A release by ``onet synth`` is not its model's.
    """
    if manifest.shapes and all(SYNTHETIC_PREFIX in shape.object_id for shape in manifest.shapes):
        known = SYNTHETIC_TERMS
    else:
        source = SOURCES.get(str(manifest.source.get("kind")))
        known = UNKNOWN_TERMS if source is None else source.terms
    return Terms(*(str(manifest.source.get(name, "")) for name in Terms.__slots__)).or_else(known)


def own_terms(folder: Path) -> Terms:
    """What a user wrote into the card of ``folder``: its terms, unless they are those of a source."""
    known = {text for terms in (SYNTHETIC_TERMS, *(s.terms for s in SOURCES.values())) for text in astuple(terms)}
    return Terms(*("" if text in known else text for text in astuple(written_terms(folder))))


SOURCES: dict[str, Source] = {
    source.name: source
    for source in (
        Source(
            name="pix3d",
            summary="Pix3D: photos, masks, poses and CAD models.",
            function="pix3d_onet.data.sources.pix3d:list_pix3d",
            example="data/pix3d",
            root="data/pix3d",
            env="ONET_PIX3D_ROOT",
            takes=frozenset({"category", "images-per-object", "flags", "require-pose"}),
            default_category="chair",
            splits=("image", "s1", "s2"),
            terms=PIX3D_TERMS,
        ),
        Source(
            name="shapenet",
            summary="ShapeNetCore v1 or v2. Pictures: Choy's renderings if they are beside it, and rendered views.",
            function="pix3d_onet.data.sources.shapenet:list_shapenet",
            example="data/ShapeNet",
            takes=frozenset({"category"}),
            default_category="chair",
            render_views=24,
            terms=SHAPENET_TERMS,
        ),
        Source(
            name="meshes",
            summary="A folder of meshes (OBJ, OFF, PLY, STL, GLB). Pictures are rendered.",
            function="pix3d_onet.data.sources.mesh_folder:list_meshes",
            example="models/",
            takes=frozenset({"category", "group-by"}),
            render_views=24,
        ),
        Source(
            name="onet",
            summary="The original Occupancy Networks layout. Reads points.npz, pointcloud.npz, img_choy2016/, *.lst.",
            function="pix3d_onet.data.sources.onet_layout:list_onet",
            example="ShapeNet/",
            takes=frozenset({"category"}),
            splits=("lst",),
            default_split="lst",
            geometry="pix3d_onet.preparation.from_labels:given_geometry",
        ),
    )
}
"""Name → source."""
