"""Decode image files and masks to arrays, with all checks; steps 1 to 3 of ``data.images.crop``."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, UnidentifiedImageError

from pix3d_onet.data.images.jpeg import MAX_PAINTED, MAX_SCANS, count_scans
from pix3d_onet.errors import InputError, RejectError
from pix3d_onet.types import Bool, UInt8

FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "BMP", "GIF", "PPM", "TGA", "JPEG2000", "AVIF", "HEIF")
"""Pillow's names of the allowed formats, if the installed Pillow has them (AVIF: from 11.3 on; HEIF: with the package
pillow-heif)."""
HEIC_BRANDS = rb"....ftyp(?:hei[cxms]|hev[cxms]|mif1|msf1)"
UNREAD: tuple[tuple[bytes, str], ...] = (
    (HEIC_BRANDS, "HEIC: install pillow-heif, or convert it to JPEG or PNG"),
    (rb"....ftypavi[fs]", "AVIF, which this Pillow does not read: convert it to PNG, or install Pillow 11.3 or newer"),
    (rb"\xff\x0a|....JXL ", "JPEG XL: convert it to JPEG or PNG"),
    (
        rb"II\*\x00|MM\x00\*",
        "a TIFF of a kind that Pillow does not read, such as several float channels: convert it to PNG",
    ),
    (rb"%PDF", "a PDF: export its picture as PNG"),
    (rb"\s*(?:<\?xml[^>]*>)?\s*(?:<!--.*?-->\s*)*<svg", "an SVG drawing: export it as PNG"),
    (rb"\s*<(?:!doctype html|html)", "an HTML page: download the picture itself"),
    (rb"version https://git-lfs", "a Git LFS pointer: fetch what it points to (git lfs pull)"),
)
"""First bytes of a file that cannot be opened → what it is and what to do."""
AGAIN = "get the file again"
BYTES_LEFT = re.compile(r" \(\d+ bytes not processed\)")
"""Part of Pillow's message about an incomplete file; the number is that of its last block only."""
HEAD_BYTES = 512
"""Number of first bytes that are compared with ``UNREAD``."""
UNIT_FLOAT = 2.0
"""If no floating-point sample exceeds this, the range is [0, 1] (resampling may overshoot 1), else [0, 255]."""
ORIENTATION = 0x0112
"""The EXIF tag for the orientation of the stored pixels; 1 is upright."""
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""Orientation → operation that makes the picture upright. ``ImageOps.exif_transpose`` also rewrites the metadata, and
fails if they are damaged."""
SIDEWAYS = 5
"""From this orientation on, width and height are swapped."""
MAX_PIXELS = 100_000_000
"""Largest declared number of pixels; Pix3D's largest picture has 12 million."""
MAX_SIDE = 65_535
"""Longest declared side, JPEG's own limit: the square around a longer picture takes gigabytes to average."""
MAX_PIXELS_TWICE = 50_000_000
"""Largest declared number of pixels of the formats in ``KEPT_TWICE``."""
KEPT_TWICE = ("WEBP", "JPEG2000", "AVIF", "HEIF")
"""Formats whose decoders unpack a whole picture before Pillow copies it."""
MASK_THRESHOLD = 128
"""Masks of the release hold 0 and 255; this is the middle, for resized or JPEG-compressed masks."""
WHITE = 248
"""In a picture on white, a pixel is background if no channel is below this (JPEG causes ripples near edges)."""
STAGE = "image"
BAND_PIXELS = 4_000_000
"""Pixels per band, for conversions in bands of rows."""
DEEPER = 8
"""Grey with more than 8 bits has bands smaller by this factor, since its values are converted to float64."""


def read_rgb(path: Path, *, upright: bool = False) -> tuple[UInt8, Bool | None]:
    """(H, W, 3) uint8 colours, blended onto white, and (H, W) bool of the alpha channel (None: it has none).

    ``upright`` applies the EXIF orientation. Raises RejectError ``missing-image``, ``bad-image`` or
    ``image-too-large``.
    """
    with _opened(path, "image", upright=upright) as picture:
        if _is_deep(picture):
            return np.repeat(_eight_bits(picture)[..., None], 3, axis=2), None
        return _on_white(picture)


def array_rgb(picture: ArrayLike) -> tuple[UInt8, Bool | None]:
    """As :func:`read_rgb`, for a ``picture`` in memory: (H, W, 3) RGB or (H, W, 4) RGBA, uint8, as an array or
    what NumPy makes one of, such as a picture of Pillow.

    InputError for anything else.
    """
    pixels = array_of(picture, "a picture")
    if pixels.ndim != 3 or pixels.shape[2] not in (3, 4) or pixels.dtype != np.uint8 or 0 in pixels.shape:
        raise InputError(f"a picture must be (H, W, 3) or (H, W, 4) uint8, not {pixels.shape} {pixels.dtype}.")
    return _on_white(Image.fromarray(pixels))


def _on_white(picture: Image.Image) -> tuple[UInt8, Bool | None]:
    """(H, W, 3) uint8 blended onto white, and (H, W) bool of the alpha channel; None if it has none."""
    rgb = np.empty((picture.height, picture.width, 3), dtype=np.uint8)
    if not picture.has_transparency_data:
        for rows, band in _bands(picture):
            rgb[rows] = np.asarray(band.convert("RGB"))
        return rgb, None
    alpha = np.empty(rgb.shape[:2], dtype=np.bool_)
    for rows, band in _bands(picture):
        rgba = band.convert("RGBA")
        alpha[rows] = np.asarray(rgba)[..., 3] >= MASK_THRESHOLD
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        rgb[rows] = np.asarray(Image.alpha_composite(white, rgba).convert("RGB"))
    return rgb, alpha


def _bands(picture: Image.Image, pixels: int | None = None) -> Iterator[tuple[slice, Image.Image]]:
    """The picture in bands of rows, so that no temporary copy has its full size."""
    height = max(1, (BAND_PIXELS if pixels is None else pixels) // max(picture.width, 1))
    for top in range(0, picture.height, height):
        bottom = min(top + height, picture.height)
        whole = height >= picture.height
        yield slice(top, bottom), picture if whole else picture.crop((0, top, picture.width, bottom))


def read_mask(path: Path, *, upright: bool = False) -> Bool:
    """(H, W) bool, true on the object; ``upright`` as for :func:`read_rgb`.

    Raises RejectError ``missing-mask``, ``bad-mask``, ``image-too-large``, or ``empty-mask`` if something is drawn but
    too dark to be the object, such as the numbers of labels.
    """
    with _opened(path, "mask", upright=upright) as picture:
        if _is_deep(picture):
            highest = max((np.nan_to_num(values).max(initial=0) for _, values in _deep_bands(picture)), default=0)
            threshold = _mask_threshold(highest, floats=picture.mode == "F")
            mask = np.empty((picture.height, picture.width), dtype=np.bool_)
            for rows, values in _deep_bands(picture):
                mask[rows] = np.nan_to_num(values) >= threshold
        else:
            alpha = _alpha_of_a_mask(picture)
            grey = np.asarray(picture.convert("L")) if alpha is None else alpha
            highest, mask = grey.max(initial=0), array_mask(grey)
    if highest > 0 and not mask.any():
        scale = 65535 if highest > 255 else 255 if highest >= 1 else 1
        detail = f"no pixel of the mask is white: the brightest has {highest:g} of {scale}; make the object white"
        raise RejectError("empty-mask", detail, "image")
    return mask


def array_of(values: ArrayLike, what: str) -> NDArray[Any]:
    """``values`` as an array; InputError, which names ``what`` it is, if NumPy makes no array of numbers of it.

    Pictures of Pillow with a palette give their colours, not the indices of these.
    """
    if isinstance(values, Image.Image) and values.mode in ("P", "PA"):
        values = values.convert("RGBA" if values.has_transparency_data else "RGB")
    try:
        array = np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as error:  # RuntimeError: tensors with a gradient
        raise InputError(f"{what} must be an array: {str(error).splitlines()[0]}") from None
    if array.dtype.kind not in "buif":
        raise InputError(f"{what} must be an array of numbers, not of {array.dtype}.")
    return array


def array_mask(mask: ArrayLike) -> Bool:
    """(H, W) mask values → (H, W) bool, as in :func:`read_mask`; InputError for another shape, or no numbers."""
    if isinstance(mask, Image.Image) and mask.mode in ("P", "PA"):
        mask = mask.convert("L")
    values = array_of(mask, "a mask")
    if values.ndim != 2:
        raise InputError(f"a mask must be (H, W), not {values.shape}.")
    values = np.nan_to_num(values)
    threshold = _mask_threshold(values.max(initial=0), floats=values.dtype.kind == "f")
    result: Bool = np.asarray(values >= threshold, dtype=np.bool_)
    return result


def _mask_threshold(highest: float, *, floats: bool) -> float:
    """The value from which on a pixel is on the object. The highest value gives the scale: 16-bit files may also hold
    only 0 and 1, or 0 and 255."""
    if highest <= (UNIT_FLOAT if floats else 1):
        return 0.5
    return MASK_THRESHOLD if highest <= 255 else MASK_THRESHOLD * 257


def declared_size(path: Path, what: str = "image", *, upright: bool = False) -> tuple[int, int]:
    """(width, height) in pixels from the header alone, ``upright`` as for :func:`read_rgb`.

    Raises RejectError as :func:`read_rgb`, with ``what`` in the reason.
    """
    with _opened(path, what, load=False) as picture:
        width, height = picture.size
        # the size of a TIFF is already that of the upright picture: Pillow rotates it while loading
        sideways = upright and picture.format != "TIFF" and _orientation(picture) >= SIDEWAYS
        return (height, width) if sideways else (width, height)


def _alpha_of_a_mask(picture: Image.Image) -> UInt8 | None:
    """(H, W) uint8 alpha channel of a mask; None if it has none, or a constant one."""
    if "A" not in picture.getbands() and not (picture.mode == "P" and "transparency" in picture.info):
        return None
    alpha = np.empty((picture.height, picture.width), dtype=np.uint8)
    for rows, band in _bands(picture):
        alpha[rows] = np.asarray(band.convert("RGBA").getchannel("A"))
    return alpha if alpha.size and alpha.min() < alpha.max() else None


def _orientation(picture: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 if there is none or it is damaged, since the pixels can still be used."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = picture.getexif().get(ORIENTATION)
    except Exception:  # noqa: BLE001 — parsers raise almost anything on broken bytes
        return 1
    return value if isinstance(value, int) and value in UPRIGHT else 1


def _not_white(rgb: UInt8) -> Bool:
    """(H, W) bool: pixels that are not white."""
    return np.asarray(rgb.min(axis=-1) < WHITE)


def _eight_bits(picture: Image.Image) -> UInt8:
    """Grey with more than 8 bits → 8 bits: floats in [0, 1] × 255, the high byte of 16 bits, others clipped."""
    highest = max((values[np.isfinite(values)].max(initial=0) for _, values in _deep_bands(picture)), default=0)
    unit = picture.mode == "F" and highest <= UNIT_FLOAT
    deep = picture.mode.startswith("I;16") or highest > 255
    result = np.empty((picture.height, picture.width), dtype=np.uint8)
    for rows, band in _deep_bands(picture):
        values = band.astype(np.float64)
        values = np.rint(values * 255) if unit else values / 257 if deep else values
        result[rows] = np.clip(np.nan_to_num(values), 0, 255)
    return result


def _is_deep(picture: Image.Image) -> bool:
    """Whether it is grey with more than 8 bits."""
    return picture.mode.startswith("I;16") or picture.mode in ("I", "F")


def _deep_bands(picture: Image.Image) -> Iterator[tuple[slice, NDArray[Any]]]:
    """As :func:`_bands`, the values of some rows: an array of the whole picture would be its second copy."""
    for rows, band in _bands(picture, BAND_PIXELS // DEEPER):
        yield rows, np.asarray(band)


def no_file(path: Path) -> str:
    """Why the file ``path`` cannot be found, as text to follow its name."""
    text = str(path)
    if text in ("-", "/dev/stdin"):
        return "is standard input, which is not supported: give the name of a file"
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", text):
        return "is a URL: download the picture, and give the file"
    return "does not exist"


def _unread(path: Path) -> str:
    """What kind of file it is, judged by its first bytes, if Pillow cannot open it."""
    with path.open("rb") as handle:
        head = handle.read(HEAD_BYTES)
    if not head:
        return f"it is empty: {AGAIN}"
    found = next((words for pattern, words in UNREAD if re.match(pattern, head, re.DOTALL | re.IGNORECASE)), "")
    return f"it is {found}" if found else f"it is not a picture in a known format ({', '.join(FORMATS)})"


def _register_heif(path: Path) -> None:
    """Enable HEIC in Pillow if ``path`` is such a picture and pillow-heif is installed."""
    if "HEIF" in Image.OPEN:
        return
    with path.open("rb") as handle:
        if not re.match(HEIC_BRANDS, handle.read(HEAD_BYTES), re.DOTALL):
            return
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return
    register_heif_opener()


def _opened(path: Path, what: str, *, load: bool = True, upright: bool = False) -> Image.Image:
    """Open (and decode) an image safely; every error in its content becomes a RejectError."""
    name = path.name if what == "image" else f"{what} {path.name}"  # a mask often has the same name as its picture
    picture: Image.Image | None = None
    try:
        if not path.is_file():
            why = no_file(path)
            detail = f"{name if why == 'does not exist' else path} {why}"
            raise RejectError(f"missing-{what}", detail, STAGE)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns about unusual metadata, which do not matter
            Image.init()  # registers the formats; does nothing after the first call
            _register_heif(path)
            picture = Image.open(path, formats=[f for f in FORMATS if f in Image.OPEN])
            _check_size(picture, name)
            if load:
                _check_scans(picture, name, path)
                picture.load()
            if upright and (orientation := _orientation(picture)) in UPRIGHT:
                return picture.transpose(UPRIGHT[orientation])
            return picture
    except Exception as error:  # decoders raise almost anything on broken bytes
        if picture is not None:
            picture.close()
        if isinstance(error, RejectError):
            raise
        if isinstance(error, Image.DecompressionBombError):
            detail = f"{name} has more than {MAX_PIXELS:,} pixels; scale it down"
            raise RejectError("image-too-large", detail, STAGE) from None
        raise RejectError(f"bad-{what}", f"{name} cannot be read: {_why_unread(error, path)}", STAGE) from None


def _why_unread(error: Exception, path: Path) -> str:
    if isinstance(error, UnidentifiedImageError):  # its message would repeat the file's name
        return _unread(path)
    if isinstance(error, OSError) and error.errno is not None:  # the file system's error, not a decoder's
        return str(error.strerror)
    text = " ".join(str(error).replace(str(path), path.name).split()) or type(error).__name__
    return f"it is damaged or incomplete ({BYTES_LEFT.sub('', text)}): {AGAIN}"


def _check_size(picture: Image.Image, name: str) -> None:
    width, height = picture.size
    most = MAX_PIXELS_TWICE if picture.format in KEPT_TWICE else MAX_PIXELS
    problem = f"more than {most:,}" if width * height > most else ""
    if max(width, height) > MAX_SIDE:
        problem = f"a side of more than {MAX_SIDE:,}"
    if problem:
        raise RejectError(
            "image-too-large", f"{name} declares {width}×{height} pixels, {problem}; scale it down", STAGE
        )


def _check_scans(picture: Image.Image, name: str, path: Path) -> None:
    if picture.format not in ("JPEG", "MPO"):
        return
    scans, pixels = count_scans(path), picture.width * picture.height
    if scans > MAX_SCANS or scans * pixels > MAX_PAINTED:
        number = f"{scans}" if scans <= MAX_SCANS else f"more than {MAX_SCANS}"
        detail = f"{name} is a progressive JPEG with {number} scans of {pixels:,} pixels"
        raise RejectError("image-too-large", detail, STAGE)
