"""Decode, mask, crop and resize a picture, and adjust its intrinsics: the object on white, in a square.

The steps, in order:

1. The format is detected from the content, never from the name (Pix3D has a ``.tiff`` that holds JPEG). Only the
   raster formats in :data:`FORMATS` are opened; none of them runs a program or fetches a file.
2. The size in the header is checked before any pixel is decoded (:data:`MAX_PIXELS`).
3. EXIF orientation is ignored for records of a source, for the image and its mask, because masks and cameras refer to
   the stored pixels (Pillow always applies it to TIFF). With ``upright``, for a single photo, it is applied; to the
   mask by the mask's own tag.
4. A mask must have the size of its image (else ``mask-size``) and cover at least a pixel (else ``empty-mask``). The
   object is where it is at least :data:`MASK_THRESHOLD`; a mask with only 0 and 1 is boolean. If its alpha channel is
   not constant, that is the mask.
5. Everything outside the mask becomes white (the report's background of 1), transparent pixels likewise.
6. The crop is a square around the centre of the mask's box. Its side is the box's longest side plus the margin on
   both sides. Outside the picture it is white. Its corners are not rounded to pixels.
7. The square is resampled to ``size`` × ``size`` with a triangle filter over the footprint of a pixel (antialiased, no
   ringing at the silhouette); so is the mask, which is true if at least half a pixel is covered.
8. The intrinsics are adjusted exactly: ``u' = (u - left)·size/side``, ``v' = (v - top)·size/side``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pix3d_onet.data.images.decoding import BAND_PIXELS, MASK_THRESHOLD, STAGE, _not_white, read_mask, read_rgb
from pix3d_onet.errors import RejectError
from pix3d_onet.types import Bool, Camera, Float32, Normalisation, UInt8, View

OVERSAMPLING = 4
"""A crop larger than this multiple of the stored size is first averaged over blocks: same picture, less memory."""
ASPECT_TOLERANCE_PIXELS = 2.0
"""Allowed difference of a picture's size from its camera's after scaling; resizing rounds each side by ≤ 1 pixel."""


@dataclass(frozen=True, slots=True)
class Crop:
    """A square in continuous pixel coordinates of the original picture: top-left corner and side, in pixels."""

    left: float
    top: float
    side: float


def load_view(
    image: Path,
    mask: Path | None,
    camera: Camera | None,
    normalisation: Normalisation | None,
    *,
    record_id: str,
    size: int,
    margin: float,
    on_white: bool = False,
    upright: bool = False,
) -> View:
    """Read one picture by the steps of this module; ``upright``: see step 3.

    If ``mask`` is None, the mask is the picture's alpha channel, else what is not white (``on_white``), else the whole
    picture. ``camera`` is in the shape's model frame and may refer to another resolution of the same picture;
    ``normalisation`` maps it to the normalised frame (both None: no pose). Raises RejectError, stage ``image``:
    ``missing-image``, ``missing-mask``, ``bad-image``, ``bad-mask``, ``image-too-large``, ``mask-size``,
    ``empty-mask``, ``image-size``.
    """
    rgb, alpha = read_rgb(image, upright=upright)
    truth = read_mask(mask, upright=upright) if mask is not None else alpha
    if truth is None:
        truth = _not_white(rgb) if on_white else np.ones(rgb.shape[:2], dtype=np.bool_)
    return crop_view(rgb, truth, camera, normalisation, record_id=record_id, size=size, margin=margin)


def crop_view(
    rgb: UInt8,
    mask: Bool,
    camera: Camera | None = None,
    normalisation: Normalisation | None = None,
    *,
    record_id: str = "",
    size: int = 224,
    margin: float = 0.1,
) -> View:
    """Steps 4 to 8 of this module on arrays: ``rgb`` (H, W, 3) uint8 and ``mask`` (H, W) bool → View.

    Raises RejectError as :func:`load_view`.
    """
    height, width = mask.shape
    if rgb.shape[:2] != mask.shape:
        detail = f"the mask is {width}×{height} but its image {rgb.shape[1]}×{rgb.shape[0]} pixels"
        raise RejectError("mask-size", detail, STAGE)
    crop = square_around(mask, margin)
    white = Rows("RGB", width, height, lambda rows: np.where(mask[rows, :, None], rgb[rows], np.uint8(255)))
    stored = _resample(white, crop, size, fill=255)
    covered = Rows("L", width, height, lambda rows: mask[rows].astype(np.uint8) * np.uint8(255))
    coverage = np.asarray(_resample(covered, crop, size, fill=0))
    small = coverage >= MASK_THRESHOLD
    if not small.any():
        small = coverage > 0  # the object is thinner than half a stored pixel everywhere
    if not small.any():
        raise RejectError("empty-mask", f"the object is too thin to be seen in {size}×{size} pixels", STAGE)
    pose, intrinsics = _stored_camera(camera, normalisation, crop, (width, height), size)
    return View(np.array(stored), small, pose, intrinsics, record_id)


def square_around(mask: Bool, margin: float) -> Crop:
    """The square around the true pixels of ``mask`` (H, W); RejectError ``empty-mask`` if there are none."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        raise RejectError("empty-mask", "the mask covers no pixel", STAGE)
    top, bottom = float(rows[0]), float(rows[-1]) + 1
    left, right = float(columns[0]), float(columns[-1]) + 1
    side = max(right - left, bottom - top) * (1 + 2 * margin)
    return Crop((left + right - side) / 2, (top + bottom - side) / 2, side)


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """A picture of ``width`` × ``height`` pixels whose rows are computed on demand by ``pixels`` (slice of rows →
    (rows, W, …) uint8), to save memory for pictures with 100 million pixels."""

    mode: str
    width: int
    height: int
    pixels: Callable[[slice], UInt8]


def _resample(picture: Rows, crop: Crop, size: int, *, fill: int) -> Image.Image:
    """Cut ``crop`` out of ``picture``, padded with ``fill``, and scale it to ``size`` × ``size``.

    If the crop is large, blocks of k × k pixels, aligned to the crop's corner, are averaged first, some rows of blocks
    at a time. Only blocks inside the picture are computed, so that an extremely long picture does not need the memory
    of its whole square.
    """
    k = max(1, int(crop.side // (OVERSAMPLING * size)))
    left, top = int(np.floor(crop.left)), int(np.floor(crop.top))
    blocks = int(np.ceil((max(crop.left - left, crop.top - top) + crop.side) / k))
    # blocks [x0, x1) × [y0, y1) overlap the picture
    x0, y0 = max(0, -left // k), max(0, -top // k)
    x1 = min(blocks, -(-(picture.width - left) // k))
    y1 = min(blocks, -(-(picture.height - top) // k))
    colour: Any = (fill,) * 3 if picture.mode == "RGB" else fill
    canvas = Image.new(picture.mode, (blocks, blocks), colour)
    step = max(1, BAND_PIXELS // max((x1 - x0) * k * k, 1))
    for row in range(y0, y1, step):
        high = min(step, y1 - row)
        band = Image.new(picture.mode, ((x1 - x0) * k, high * k), colour)
        above = top + row * k
        rows = slice(max(above, 0), min(above + high * k, picture.height))
        band.paste(Image.fromarray(picture.pixels(rows)), (-left - x0 * k, rows.start - above))
        canvas.paste(band.reduce(k) if k > 1 else band, (x0, row))
    x, y, side = (crop.left - left) / k, (crop.top - top) / k, crop.side / k
    box = (x, y, min(x + side, blocks), min(y + side, blocks))
    return canvas.resize((size, size), Image.Resampling.BILINEAR, box=box)


def _stored_camera(
    camera: Camera | None, normalisation: Normalisation | None, crop: Crop, picture: tuple[int, int], size: int
) -> tuple[Float32, Float32]:
    """(4, 4) pose, rigid, normalised → camera in normalised units, and (3, 3) intrinsics of the stored square.

    X_cam = R·X + t with X = scale·X_n + loc gives X_cam/scale = R·X_n + (R·loc + t)/scale: the same rays.
    """
    if camera is None or normalisation is None:
        return np.full((4, 4), np.nan, np.float32), np.full((3, 3), np.nan, np.float32)
    sx, sy = picture[0] / camera.width, picture[1] / camera.height
    if abs(sx - sy) * max(camera.width, camera.height) > ASPECT_TOLERANCE_PIXELS:
        detail = f"the image is {picture[0]}×{picture[1]} but its camera {camera.width}×{camera.height} pixels"
        raise RejectError("image-size", detail, STAGE)
    pose = np.eye(4)
    pose[:3, :3] = camera.rotation
    pose[:3, 3] = (camera.rotation @ normalisation.loc + camera.translation) / normalisation.scale
    zoom = size / crop.side
    to_stored = np.array([[zoom, 0, -crop.left * zoom], [0, zoom, -crop.top * zoom], [0, 0, 1.0]])
    return pose.astype(np.float32), (to_stored @ np.diag([sx, sy, 1.0]) @ camera.intrinsics).astype(np.float32)
