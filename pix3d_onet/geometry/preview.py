"""A picture of a reconstruction: the photo as the network saw it, and the mesh from two sides."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from pix3d_onet.geometry.render import Scene, frame, look_at_pose
from pix3d_onet.types import Mesh, UInt8, View

SIDES = ((-35.0, 20.0), (145.0, 20.0))
"""Azimuth and elevation of the two views in degrees: front left and back right, from above."""
DISTANCE = 2.6
"""Distance of the camera in units of the mesh's box diagonal."""
MARGIN = 0.06
"""White margin around the mesh, as a share of its longest side in the picture."""
LINE = 208
"""Grey value of the lines between the entries of a contact sheet."""


def mesh_pictures(mesh: Mesh, size: int) -> list[UInt8]:
    """The mesh from the sides of :data:`SIDES`, (size, size, 3) uint8 each; white pictures for an empty mesh."""
    if not len(mesh.faces):
        return [np.full((size, size, 3), 255, np.uint8) for _ in SIDES]
    scene = Scene(mesh)
    low, high = mesh.bounds
    distance = DISTANCE * float(np.linalg.norm(high - low))
    pictures = []
    for azimuth, elevation in SIDES:
        pose = look_at_pose(math.radians(azimuth), math.radians(elevation), 0.0, distance, (low + high) / 2)
        pictures.append(scene.view(pose, frame(mesh.vertices, pose, size, MARGIN), size).rgb)
    return pictures


def preview(view: View, mesh: Mesh, size: int = 320) -> UInt8:
    """(size, 3·size, 3) uint8: the network's picture, then the mesh in the normalised frame from two sides."""
    from PIL import Image

    photo = np.asarray(Image.fromarray(view.rgb).resize((size, size), Image.Resampling.BICUBIC))
    return np.concatenate([photo, *mesh_pictures(mesh, size)], axis=1)


def contact_sheet(previews: Sequence[UInt8], columns: int = 2) -> UInt8:
    """Previews of one size, (H, W, 3) uint8 each, side by side and below each other; what is left over is white.

    A light grey line, 1 pixel wide, parts the entries: it lies on the first row or column of the later one.
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
