"""Draw a reconstruction: the photo as the network saw it, and the mesh from two sides."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from pix3d_onet.geometry.render import look
from pix3d_onet.geometry.render.cameras import look_at_pose
from pix3d_onet.geometry.render.scene import Scene
from pix3d_onet.types import Float64, Mesh, UInt8, View

SIDES = ((look.AZIMUTH, look.ELEVATION), (look.AZIMUTH + 180, look.ELEVATION))
"""Azimuth and elevation of the two views in degrees: as in a report's thumbnails, and from behind."""
UNIT_BOX = np.array([[-0.5, -0.5, -0.5], [0.5, 0.5, 0.5]])
"""Lowest and highest corner of the cube that contains every shape in the normalised frame."""
LINE = 208
"""Grey value of the lines between the entries of a contact sheet."""
GREY = (112, 112, 112)
"""Colour of text on a contact sheet."""
TEXT_SHARE = 0.045
"""Height of the text, as a fraction of a picture's side."""


def mesh_pictures(
    mesh: Mesh, size: int, box: Float64 | None = None, colour: tuple[float, float, float] = look.TRUTH_COLOUR
) -> list[UInt8]:
    """The mesh from the directions in :data:`SIDES`, (size, size, 3) uint8 each; white pictures for an empty mesh.

    ``box`` (2, 3): lowest and highest corner of the box that fills the picture; None: the mesh's bounding box.
    ``colour``: linear RGB.
    """
    if not len(mesh.faces):
        return [np.full((size, size, 3), 255, np.uint8) for _ in SIDES]
    low, high = mesh.bounds if box is None else box
    scene, distance = Scene(mesh, np.array(colour)), look.DISTANCE * float((high - low).max())
    pictures = []
    for azimuth, elevation in SIDES:
        pose = look_at_pose(math.radians(azimuth), math.radians(elevation), 0.0, distance, (low + high) / 2)
        pictures.append(scene.view(pose, look.intrinsics(size), size).rgb)
    return pictures


def preview(view: View, mesh: Mesh, size: int = 320) -> UInt8:
    """(size, 3·size, 3) uint8: the network's picture, then the mesh in the normalised frame from two sides.

    The unit box, not the mesh, fills the picture, so that a mesh with a wrong size or position is noticed.
    """
    photo = np.asarray(Image.fromarray(view.rgb).resize((size, size), Image.Resampling.BICUBIC))
    return np.concatenate([photo, *mesh_pictures(mesh, size, UNIT_BOX, look.PREDICTION_COLOUR)], axis=1)


def without_mesh(photo: UInt8 | None, words: str, size: int = 320) -> UInt8:
    """(size, 3·size, 3) uint8, as :func:`preview`: the whole photo (H, W, 3) uint8, and why it has no mesh.

    If ``photo`` is None, its place is white.
    """
    tile = Image.new("RGB", (3 * size, size), "white")
    if photo is not None:
        small = ImageOps.contain(Image.fromarray(photo), (size, size), Image.Resampling.BICUBIC)
        tile.paste(small, ((size - small.width) // 2, (size - small.height) // 2))
    draw, font = ImageDraw.Draw(tile), _font(size)
    lines = _wrapped(draw, words, font, int(1.8 * size))
    draw.multiline_text((2 * size, size // 2), lines, fill=GREY, font=font, anchor="mm", align="center")
    return np.asarray(tile)


def labelled(tile: UInt8, name: str) -> UInt8:
    """The tile (H, W, 3) uint8 with ``name`` in small grey letters at its bottom left."""
    picture = Image.fromarray(tile)
    draw, font = ImageDraw.Draw(picture), _font(picture.height)
    text = _wrapped(draw, name, font, picture.width - 12).partition("\n")[0]
    place = (6, picture.height - 4)
    left, top, right, bottom = draw.textbbox(place, text, font=font, anchor="ld")
    draw.rectangle((left - 3, top - 2, right + 3, bottom + 2), fill="white")  # a dark photo may be behind it
    draw.text(place, text, fill=GREY, font=font, anchor="ld")
    return np.asarray(picture)


def _font(size: int) -> Any:
    """The font for text on a tile ``size`` pixels high."""
    return ImageFont.load_default(max(8, round(TEXT_SHARE * size)))


def _wrapped(draw: ImageDraw.ImageDraw, text: str, font: Any, width: int) -> str:
    """``text`` in lines of at most ``width`` pixels; a longer word is broken anywhere."""
    lines = [""]
    for word in text.encode("utf-8", "replace").decode().split():
        if lines[-1] and draw.textlength(f"{lines[-1]} {word}", font=font) <= width:
            lines[-1] += f" {word}"
            continue
        lines += [""] if lines[-1] else []
        for letter in word:
            if lines[-1] and draw.textlength(lines[-1] + letter, font=font) > width:
                lines.append("")
            lines[-1] += letter
    return "\n".join(lines)


def contact_sheet(previews: Sequence[UInt8], columns: int = 2) -> UInt8:
    """Previews of one size, (H, W, 3) uint8 each, in a grid with ``columns`` columns; empty cells are white.

    A light grey line, 1 pixel wide, separates the entries; it is drawn on the first row or column of the later one.
    """
    height, width = previews[0].shape[:2]
    rows = -(-len(previews) // columns)
    columns = min(columns, len(previews))
    sheet = np.full((rows * height, columns * width, 3), 255, np.uint8)
    for i, picture in enumerate(previews):
        y, x = i // columns * height, i % columns * width
        sheet[y : y + height, x : x + width] = picture
    sheet[height::height] = LINE
    sheet[:, width::width] = LINE
    return sheet
