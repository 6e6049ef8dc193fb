"""Pictures in: any honest image file and its mask → the object on white, in a square, with the camera moved along.

The policy, in order:

1. A file is taken for what its bytes are, never for its name (Pix3D has a ``.tiff`` that holds JPEG). Only the
   raster formats of :data:`FORMATS` are opened: no format that runs a helper program, none that fetches.
2. The size that the header declares is checked before a pixel is decoded (:data:`MAX_PIXELS`).
3. EXIF orientation is ignored for a release's records, for the image and for its mask alike: masks and cameras are
   drawn on the pixels as stored (Pillow turns a TIFF itself all the same). A loose photo is turned upright
   (``upright``), its mask by the mask's own tag.
4. A mask must have its image's size (``mask-size`` otherwise) and cover something (``empty-mask``); it is the object
   where it is at least :data:`MASK_THRESHOLD` (a mask that holds only 0 and 1 is taken as a truth value). A mask whose
   transparency varies is its transparency: its colours are those of the object.
5. Everything outside the mask becomes white (the report's background of 1), transparency likewise.
6. The crop is a square around the centre of the mask's box; its side is the box's longest side and the margin on both
   sides; what lies outside the picture is white. The crop's corners are real numbers: nothing is rounded.
7. The square is resampled to ``size`` × ``size`` with a triangle filter over the footprint of a pixel (antialiased, no
   ringing at the silhouette); the mask in the same way, true where at least half a pixel is covered.
8. The intrinsics follow exactly: ``u' = (u - left)·size/side``, ``v' = (v - top)·size/side``.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from pix3d_onet.errors import RejectError
from pix3d_onet.types import Bool, Camera, Float32, Normalisation, UInt8, View

FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "BMP", "GIF", "PPM", "TGA", "JPEG2000", "AVIF")
"""Pillow's names of the formats that are opened, where the installed Pillow has them (AVIF: from 11.3 on)."""
ORIENTATION = 0x0112
"""The EXIF tag that says how stored pixels lie; 1 is upright."""
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What brings each orientation upright; as ``ImageOps.exif_transpose``, which also rewrites the metadata and so fails
where only they are damaged."""
SIDEWAYS = 5
"""From this orientation on, width and height change places."""
MAX_PIXELS = 100_000_000
"""Largest declared number of pixels; Pix3D's largest picture has 12 million."""
MASK_THRESHOLD = 128
"""Masks of the release hold 0 and 255; the middle is where resized or JPEG-compressed ones are cut."""
WHITE = 248
"""In a picture on white, a pixel is background when no channel is below this (JPEG leaves ripples around an edge)."""
OVERSAMPLING = 4
"""A crop larger than this many stored sizes is first averaged over whole blocks: same picture, less memory."""
ASPECT_TOLERANCE_PIXELS = 2.0
"""How far a picture's size may be from its camera's, after scaling: a resized picture rounds each side by ≤ 1 pixel."""
STAGE = "image"


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
    """Read one picture by the module's policy; ``upright`` for a loose photo, see its point 3.

    ``mask`` None takes the picture's own alpha channel; where it has none, what is not white (``on_white``), or the
    whole picture. ``camera`` is in
    the shape's model frame and may be stated for another resolution of the same picture; ``normalisation`` takes it
    to the normalised frame (both None: no pose). Raises RejectError, stage ``image``: ``missing-image``,
    ``missing-mask``, ``bad-image``, ``bad-mask``, ``image-too-large``, ``mask-size``, ``empty-mask``, ``image-size``.
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
    """Steps 4 to 8 of the module's policy on arrays: ``rgb`` (H, W, 3) uint8 and ``mask`` (H, W) bool → View.

    Raises RejectError as :func:`load_view`.
    """
    height, width = mask.shape
    if rgb.shape[:2] != mask.shape:
        detail = f"the mask is {width}×{height} but its image {rgb.shape[1]}×{rgb.shape[0]} pixels"
        raise RejectError("mask-size", detail, STAGE)
    crop = square_around(mask, margin)
    white = np.where(mask[..., None], rgb, np.uint8(255))
    stored = _resample(Image.fromarray(white), crop, size, fill=255)
    coverage = np.asarray(_resample(Image.fromarray(mask.astype(np.uint8) * np.uint8(255)), crop, size, fill=0))
    small = coverage >= MASK_THRESHOLD
    if not small.any():
        small = coverage > 0  # an object thinner than half a stored pixel everywhere
    if not small.any():
        raise RejectError("empty-mask", f"the object is too thin to be seen in {size}×{size} pixels", STAGE)
    pose, intrinsics = _stored_camera(camera, normalisation, crop, (width, height), size)
    return View(np.array(stored), small, pose, intrinsics, record_id)


def square_around(mask: Bool, margin: float) -> Crop:
    """The square around the true pixels of ``mask`` (H, W); RejectError ``empty-mask`` when there are none."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        raise RejectError("empty-mask", "the mask covers no pixel", STAGE)
    top, bottom = float(rows[0]), float(rows[-1]) + 1
    left, right = float(columns[0]), float(columns[-1]) + 1
    side = max(right - left, bottom - top) * (1 + 2 * margin)
    return Crop((left + right - side) / 2, (top + bottom - side) / 2, side)


def _resample(image: Image.Image, crop: Crop, size: int, *, fill: int) -> Image.Image:
    """Cut ``crop`` out of ``image``, padded with ``fill``, and scale it to ``size`` × ``size``.

    Where the crop is large, whole blocks of k × k pixels, aligned to the crop's own corner, are averaged first, and
    only where the picture is: an extremely long picture costs no square of its longest side.
    """
    k = max(1, int(crop.side // (OVERSAMPLING * size)))
    left, top = int(np.floor(crop.left)), int(np.floor(crop.top))
    blocks = int(np.ceil((max(crop.left - left, crop.top - top) + crop.side) / k))
    # blocks [x0, x1) × [y0, y1) are those that the picture touches
    x0, y0 = max(0, -left // k), max(0, -top // k)
    x1 = min(blocks, -(-(image.width - left) // k))
    y1 = min(blocks, -(-(image.height - top) // k))
    colour: Any = (fill,) * 3 if image.mode == "RGB" else fill
    patch = Image.new(image.mode, ((x1 - x0) * k, (y1 - y0) * k), colour)
    origin = (left + x0 * k, top + y0 * k)
    patch.paste(image, (-origin[0], -origin[1]))
    canvas = Image.new(image.mode, (blocks, blocks), colour)
    canvas.paste(patch.reduce(k) if k > 1 else patch, (x0, y0))
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


def read_rgb(path: Path, *, upright: bool = False) -> tuple[UInt8, Bool | None]:
    """(H, W, 3) uint8 colours, transparency over white, and (H, W) bool of its alpha (None: it has none).

    ``upright`` turns the pixels as the EXIF orientation says. Raises RejectError ``missing-image``, ``bad-image`` or
    ``image-too-large``.
    """
    with _opened(path, "image", upright=upright) as picture:
        if picture.mode.startswith("I;16") or picture.mode in ("I", "F"):
            return np.repeat(_eight_bits(picture)[..., None], 3, axis=2), None
        if not picture.has_transparency_data:
            return np.asarray(picture.convert("RGB")), None
        rgba = picture.convert("RGBA")
        alpha = np.asarray(rgba)[..., 3] >= MASK_THRESHOLD
        white = Image.alpha_composite(Image.new("RGBA", rgba.size, (255, 255, 255, 255)), rgba)
        return np.asarray(white.convert("RGB")), alpha


def read_mask(path: Path, *, upright: bool = False) -> Bool:
    """(H, W) bool, true on the object; ``upright`` as for :func:`read_rgb`.

    Raises RejectError ``missing-mask``, ``bad-mask`` or ``image-too-large``.
    """
    with _opened(path, "mask", upright=upright) as picture:
        values = _alpha_of_a_mask(picture)
        if values is None:
            deep = picture.mode.startswith("I;16") or picture.mode in ("I", "F")
            values = np.asarray(picture if deep else picture.convert("L"))
    values = np.nan_to_num(values)
    highest = values.max(initial=0)
    # the scale is told by the highest value, since files of 16 bits hold 0 and 1, or 0 and 255, too
    threshold = 0.5 if highest <= 1 else MASK_THRESHOLD if highest <= 255 else MASK_THRESHOLD * 257
    result: Bool = np.asarray(values >= threshold, dtype=np.bool_)
    return result


def declared_size(path: Path, what: str = "image", *, upright: bool = False) -> tuple[int, int]:
    """(width, height) in pixels from the header alone, ``upright`` as for :func:`read_rgb`.

    Raises RejectError as :func:`read_rgb`, with ``what`` in the reason.
    """
    with _opened(path, what, load=False) as picture:
        width, height = picture.size
        # the size of a TIFF is that of the upright picture already: Pillow itself turns it when it is loaded
        sideways = upright and picture.format != "TIFF" and _orientation(picture) >= SIDEWAYS
        return (height, width) if sideways else (width, height)


def _alpha_of_a_mask(picture: Image.Image) -> UInt8 | None:
    """(H, W) uint8 transparency of a mask; None where it has none, or one that is the same everywhere."""
    if "A" not in picture.getbands() and not (picture.mode == "P" and "transparency" in picture.info):
        return None
    alpha = np.asarray(picture.convert("RGBA"))[..., 3]
    return alpha if alpha.size and alpha.min() < alpha.max() else None


def _orientation(picture: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 where there is none or it cannot be read: damaged metadata lose no picture."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = picture.getexif().get(ORIENTATION)
    except Exception:  # noqa: BLE001 — parsers raise almost anything on broken bytes
        return 1
    return value if isinstance(value, int) and value in UPRIGHT else 1


def _not_white(rgb: UInt8) -> Bool:
    """(H, W) bool: what differs from white."""
    return np.asarray(rgb.min(axis=-1) < WHITE)


def _eight_bits(picture: Image.Image) -> UInt8:
    """Deeper grey → 8 bits: 16-bit samples by their high byte, others as they are, clipped."""
    values = np.asarray(picture).astype(np.float64)
    if picture.mode.startswith("I;16") or values.max(initial=0) > 255:
        values = values / 257
    return np.clip(np.nan_to_num(values), 0, 255).astype(np.uint8)


class _opened:  # noqa: N801 — reads as a verb
    """Open (and decode) an image safely; everything that can go wrong with its bytes becomes a RejectError."""

    def __init__(self, path: Path, what: str, *, load: bool = True, upright: bool = False) -> None:
        self.path, self.what, self.load, self.upright = path, what, load, upright
        self.name = path.name if what == "image" else f"{what} {path.name}"  # a mask often has its picture's name
        self.picture: Image.Image | None = None

    def __enter__(self) -> Image.Image:
        try:
            if not self.path.is_file():
                raise RejectError(f"missing-{self.what}", f"{self.name} does not exist", STAGE)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Pillow warns of odd metadata; the pixels decide
                Image.init()  # registers the formats; free after the first call
                self.picture = Image.open(self.path, formats=[f for f in FORMATS if f in Image.OPEN])
                self._check_size(*self.picture.size)
                if self.load:
                    self.picture.load()
                if self.upright and (orientation := _orientation(self.picture)) in UPRIGHT:
                    self.picture = self.picture.transpose(UPRIGHT[orientation])
        except RejectError:
            self.close()
            raise
        except Image.DecompressionBombError as error:
            raise RejectError("image-too-large", f"{self.name}: {error}", STAGE) from None
        except UnidentifiedImageError:  # its own words would name the file once more
            detail = f"{self.name} cannot be read: its content is no picture of a known format"
            raise RejectError(f"bad-{self.what}", detail, STAGE) from None
        except Exception as error:  # noqa: BLE001 — decoders raise almost anything on broken bytes
            self.close()
            text = " ".join(str(error).replace(str(self.path), self.path.name).split()) or type(error).__name__
            raise RejectError(f"bad-{self.what}", f"{self.name} cannot be read: {text}", STAGE) from None
        return self.picture

    def _check_size(self, width: int, height: int) -> None:
        if width * height > MAX_PIXELS:
            detail = f"{self.name} declares {width}×{height} pixels, more than {MAX_PIXELS:,}"
            raise RejectError("image-too-large", detail, STAGE)

    def close(self) -> None:
        if self.picture is not None:
            self.picture.close()

    def __exit__(self, *exc: object) -> None:
        self.close()
