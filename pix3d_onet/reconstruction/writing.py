"""Write the files beside the meshes: previews, interactive pages, and one sheet of all previews."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from pix3d_onet.data.images.decoding import read_rgb
from pix3d_onet.errors import RejectError
from pix3d_onet.files import write_text, writing
from pix3d_onet.geometry.render import preview
from pix3d_onet.pages.mesh_view import mesh_page
from pix3d_onet.reconstruction.outcome import Reconstruction
from pix3d_onet.types import Mesh, UInt8, View


def write_preview(path: Path, view: View, mesh: Mesh) -> None:
    """The picture as the network saw it, and two views of the mesh (in the normalised frame)."""
    write_png(path, preview.preview(view, mesh))


def write_page(path: Path, view: View, mesh: Mesh, *, title: str) -> None:
    """A page with the picture as the network saw it and the mesh, which can be rotated."""
    write_text(path, mesh_page({"Reconstruction": mesh}, title, picture=view.rgb))


def write_sheet(path: Path, made: Sequence[Reconstruction]) -> None:
    """All previews as one picture, two per row; for a picture without a mesh, the photo and the reason."""
    tiles = []
    for m in made:
        if m.preview is not None:
            tile = np.asarray(Image.open(m.preview).convert("RGB"))
        else:
            try:
                photo = read_rgb(Path(m.image), upright=True)[0]
            except RejectError:
                photo = None
            tile = preview.without_mesh(photo, "nothing found" if m.highest is not None else str(m.error))
        tiles.append(preview.labelled(tile, Path(m.image).name))
    write_png(path, preview.contact_sheet(tiles))


def write_png(path: Path, rgb: UInt8) -> None:
    """Write (H, W, 3) uint8 as PNG, atomically."""
    with writing(path) as part:
        Image.fromarray(rgb).save(part, "PNG", optimize=True)
