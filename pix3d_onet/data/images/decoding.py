"""Image files and masks to arrays; steps 1 to 3 of the policy in ``data.images.crop``. Nothing is trusted."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from pix3d_onet.errors import InputError, RejectError
from pix3d_onet.types import Bool, UInt8

FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "BMP", "GIF", "PPM", "TGA", "JPEG2000", "AVIF", "HEIF")
"""Pillow's names of the formats that are opened, where the installed Pillow has them (AVIF: from 11.3 on; HEIF: with
the package pillow-heif)."""
HEIC_BRANDS = rb"....ftyp(?:hei[cxms]|hev[cxms]|mif1|msf1)"
UNREAD: tuple[tuple[bytes, str], ...] = (
    (HEIC_BRANDS, "HEIC: install pillow-heif, or convert it to JPEG or PNG"),
    (rb"....ftypavi[fs]", "AVIF, which this Pillow does not read: convert it to PNG, or install Pillow 11.3 or newer"),
    (rb"\xff\x0a|....JXL ", "JPEG XL: convert it to JPEG or PNG"),
    (
        rb"II\*\x00|MM\x00\*",
        "a TIFF of a kind that Pillow does not read, as several channels of floats: convert it to PNG",
    ),
    (rb"%PDF", "a PDF: export its picture as PNG"),
    (rb"\s*(?:<\?xml[^>]*>)?\s*(?:<!--.*?-->\s*)*<svg", "an SVG drawing: export it as PNG"),
    (rb"\s*<(?:!doctype html|html)", "an HTML page: download the picture itself"),
    (rb"version https://git-lfs", "a Git LFS pointer: fetch what it points to (git lfs pull)"),
)
"""First bytes of what cannot be opened → what it is and what to do."""
HEAD_BYTES = 512
"""Beginning of a file from which its kind is told."""
UNIT_FLOAT = 2.0
"""Floating-point samples are taken to be in [0, 1] up to this highest value: resampling overshoots 1, and of 0 to 255
a picture without a sample above it would be black anyhow."""
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
STAGE = "image"


def read_rgb(path: Path, *, upright: bool = False) -> tuple[UInt8, Bool | None]:
    """(H, W, 3) uint8 colours, transparency over white, and (H, W) bool of its alpha (None: it has none).

    ``upright`` turns the pixels as the EXIF orientation says. Raises RejectError ``missing-image``, ``bad-image`` or
    ``image-too-large``.
    """
    with _opened(path, "image", upright=upright) as picture:
        if picture.mode.startswith("I;16") or picture.mode in ("I", "F"):
            return np.repeat(_eight_bits(picture)[..., None], 3, axis=2), None
        return _on_white(picture)


def array_rgb(pixels: UInt8) -> tuple[UInt8, Bool | None]:
    """A picture in memory as :func:`read_rgb` gives it: ``pixels`` (H, W, 3) RGB or (H, W, 4) RGBA, uint8.

    InputError for any other array.
    """
    if pixels.ndim != 3 or pixels.shape[2] not in (3, 4) or pixels.dtype != np.uint8 or 0 in pixels.shape:
        raise InputError(f"a picture must be (H, W, 3) or (H, W, 4) uint8, not {pixels.shape} {pixels.dtype}.")
    return _on_white(Image.fromarray(pixels))


def _on_white(picture: Image.Image) -> tuple[UInt8, Bool | None]:
    """(H, W, 3) uint8 with transparency over white, and (H, W) bool of the alpha, None without one."""
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
    return array_mask(values)


def array_mask(values: NDArray[Any]) -> Bool:
    """(H, W) of a mask's values → (H, W) bool, as :func:`read_mask` takes them; InputError for another shape."""
    if values.ndim != 2:
        raise InputError(f"a mask must be (H, W), not {values.shape}.")
    values = np.nan_to_num(values)
    highest = values.max(initial=0)
    unit = UNIT_FLOAT if values.dtype.kind == "f" else 1
    # the scale is told by the highest value, since files of 16 bits hold 0 and 1, or 0 and 255, too
    threshold = 0.5 if highest <= unit else MASK_THRESHOLD if highest <= 255 else MASK_THRESHOLD * 257
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
    """Deeper grey → 8 bits: floats in [0, 1] times 255, 16 bits by their high byte, others as they are, clipped."""
    values = np.asarray(picture).astype(np.float64)
    highest = values[np.isfinite(values)].max(initial=0)
    if picture.mode == "F" and highest <= UNIT_FLOAT:
        values = np.rint(values * 255)
    elif picture.mode.startswith("I;16") or highest > 255:
        values = values / 257
    return np.clip(np.nan_to_num(values), 0, 255).astype(np.uint8)


def no_file(path: Path) -> str:
    """Why there is no file ``path``, in words that follow its name."""
    text = str(path)
    if text in ("-", "/dev/stdin"):
        return "is standard input, which is not read: give the name of a file"
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", text):
        return "is an address, which is not fetched: download the picture, and give the file"
    return "does not exist"


def _unread(path: Path) -> str:
    """What a file is that Pillow cannot open, as far as its first bytes tell."""
    with path.open("rb") as handle:
        head = handle.read(HEAD_BYTES)
    if not head:
        return "it is empty"
    found = next((words for pattern, words in UNREAD if re.match(pattern, head, re.DOTALL | re.IGNORECASE)), "")
    return f"it is {found}" if found else "its content is no picture of a known format"


def _register_heif(path: Path) -> None:
    """Let Pillow open HEIC where ``path`` is such a picture and pillow-heif is installed."""
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


class _opened:  # noqa: N801 — reads as a verb
    """Open (and decode) an image safely; everything that can go wrong with its bytes becomes a RejectError."""

    def __init__(self, path: Path, what: str, *, load: bool = True, upright: bool = False) -> None:
        self.path, self.what, self.load, self.upright = path, what, load, upright
        self.name = path.name if what == "image" else f"{what} {path.name}"  # a mask often has its picture's name
        self.picture: Image.Image | None = None

    def __enter__(self) -> Image.Image:
        try:
            if not self.path.is_file():
                raise RejectError(f"missing-{self.what}", self._missing(), STAGE)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Pillow warns of odd metadata; the pixels decide
                Image.init()  # registers the formats; free after the first call
                _register_heif(self.path)
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
            detail = f"{self.name} cannot be read: {_unread(self.path)}"
            raise RejectError(f"bad-{self.what}", detail, STAGE) from None
        except Exception as error:  # noqa: BLE001 — decoders raise almost anything on broken bytes
            self.close()
            text = " ".join(str(error).replace(str(self.path), self.path.name).split()) or type(error).__name__
            raise RejectError(f"bad-{self.what}", f"{self.name} cannot be read: {text}", STAGE) from None
        return self.picture

    def _missing(self) -> str:
        why = no_file(self.path)
        return f"{self.name if why == 'does not exist' else self.path} {why}"

    def _check_size(self, width: int, height: int) -> None:
        if width * height > MAX_PIXELS:
            detail = f"{self.name} declares {width}×{height} pixels, more than {MAX_PIXELS:,}"
            raise RejectError("image-too-large", detail, STAGE)

    def close(self) -> None:
        if self.picture is not None:
            self.picture.close()

    def __exit__(self, *exc: object) -> None:
        self.close()
