"""Draw a contact sheet of a data set as PNG: per shape a picture, the picture with its mask, and the stored mesh."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont, PngImagePlugin
from scipy import ndimage

from pix3d_onet.data.store.manifest import ShapeEntry
from pix3d_onet.data.store.reader import Dataset
from pix3d_onet.errors import InputError
from pix3d_onet.files import write_bytes
from pix3d_onet.geometry.render.cameras import MARGIN, frame, look_at_pose
from pix3d_onet.geometry.render.scene import Scene
from pix3d_onet.inspection.output import SOFTWARE
from pix3d_onet.inspection.summary import choose
from pix3d_onet.types import Sample, UInt8, View

CELL = 168
"""Side of a picture on the sheet, pixels."""
LABEL = 30
"""Height of the two lines of text below a shape, pixels."""
GAP = 10
COLUMNS = 3
"""Shapes per row."""
MASK_COLOUR = np.array([0, 114, 178])
"""Blue of Okabe and Ito (2008)."""
LEGEND = (
    "Of each shape: a picture, its mask in blue, and the stored mesh from the picture's camera;",
    "with “no camera”, or without a picture, the mesh is seen from a fixed direction.",
)
DEFAULT_VIEW = (math.radians(35), math.radians(20))
"""Azimuth and elevation for a mesh whose picture has no camera."""


def contact_sheet(
    root: Path, path: Path, *, shapes: int = 24, worst: bool = False, split: str | None = None, seed: int = 0
) -> tuple[str, ...]:
    """Write a PNG of ``shapes`` shapes to ``path`` and return their ids in its order.

    ``worst``: the shapes of lowest quality, with the reason below each; else a random choice from ``split``
    (None = all). InputError if the data set cannot be read or ``path`` cannot be written.
    """
    with Dataset(root) as dataset:
        chosen = choose(dataset.manifest, shapes, worst=worst, split=split, seed=seed)
        if not chosen:
            raise InputError(f"the {split} split of {root} has no shapes.")
        tiles = [_tile(dataset.sample(entry, split), entry, why) for entry, why in chosen]
    buffer = io.BytesIO()
    made_by = PngImagePlugin.PngInfo()
    made_by.add_text("Software", SOFTWARE)
    _grid(tiles).save(buffer, "PNG", optimize=True, pnginfo=made_by)
    try:
        write_bytes(path, buffer.getvalue())
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}.", hint="Name another file with `sheet`.") from None
    return tuple(entry.object_id for entry, _ in chosen)


def _tile(sample: Sample, entry: ShapeEntry, why: str) -> Image.Image:
    view = sample.images[0] if sample.images else None
    cells = [_blank(), _blank(), mesh_picture(sample, view, CELL)]
    if view is not None:
        cells[:2] = [_fit(view.rgb), _fit(overlay(view))]
    tile = Image.new("RGB", (3 * CELL, CELL + LABEL), "white")
    for k, cell in enumerate(cells):
        tile.paste(Image.fromarray(cell), (k * CELL, 0))
    draw, font = ImageDraw.Draw(tile), _font()
    extra = f"{entry.images} pictures" if entry.images != 1 else ""
    camera = "" if view is None or view.has_pose else "no camera"
    first = ", ".join(filter(None, [entry.object_id, entry.split, extra, camera]))
    for row, text in enumerate((first, why)):
        draw.text(
            (2, CELL + 2 + row * LABEL // 2), _shortened(draw, text, font, 3 * CELL - 4), fill=(60, 60, 60), font=font
        )
    return tile


def mesh_picture(sample: Sample, view: View | None, size: int) -> UInt8:
    """(size, size, 3) uint8: the stored mesh from ``view``'s camera, or from a default direction."""
    scene = Scene(sample.mesh)
    if view is not None and view.has_pose:
        zoom = np.diag([size / view.mask.shape[1], size / view.mask.shape[0], 1.0])
        return scene.view(view.pose, zoom @ view.intrinsics, size).rgb
    pose = look_at_pose(*DEFAULT_VIEW, 0.0, 2.5, sample.mesh.bounds.mean(axis=0))
    return scene.view(pose, frame(sample.mesh.vertices, pose, size, MARGIN), size).rgb


def overlay(view: View) -> UInt8:
    """(H, W, 3) uint8: the picture, faded, with the mask tinted and outlined."""
    faded = 255 - (255 - view.rgb.astype(np.float64)) * 0.6
    tinted = np.where(view.mask[..., None], 0.55 * faded + 0.45 * MASK_COLOUR, faded)
    outline = view.mask ^ ndimage.binary_erosion(view.mask, border_value=0)
    return np.where(outline[..., None], MASK_COLOUR, tinted).astype(np.uint8)


def _fit(picture: UInt8) -> UInt8:
    return np.asarray(Image.fromarray(picture).resize((CELL, CELL), Image.Resampling.LANCZOS))


def _blank() -> UInt8:
    return np.full((CELL, CELL, 3), 245, dtype=np.uint8)


def _font() -> Any:
    return ImageFont.load_default(11)


def _shortened(draw: ImageDraw.ImageDraw, text: str, font: Any, width: int) -> str:
    if draw.textlength(text, font=font) <= width:
        return text
    while text and draw.textlength(text + "…", font=font) > width:
        text = text[:-1]
    return text + "…"


def _grid(tiles: Sequence[Image.Image]) -> Image.Image:
    columns = min(COLUMNS, len(tiles))
    rows = -(-len(tiles) // columns)
    width, height = tiles[0].width + GAP, tiles[0].height + GAP
    top = GAP + LABEL
    sheet = Image.new("RGB", (columns * width + GAP, rows * height + top), "white")
    draw, font = ImageDraw.Draw(sheet), _font()
    for row, text in enumerate(LEGEND):
        draw.text((GAP + 2, GAP + row * LABEL // 2), text, fill=(60, 60, 60), font=font)
    for k, tile in enumerate(tiles):
        sheet.paste(tile, (GAP + (k % columns) * width, top + (k // columns) * height))
    return sheet
