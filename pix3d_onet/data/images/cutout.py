"""Cut the object out of a single photo and crop it like a training picture.

The photo's EXIF orientation is applied, because photos are displayed, and masks drawn, that way. The mask is given; or
found by ``auto``, a simple rule without a learned model (:func:`auto_cut`); or by ``rembg``'s network, if that package
is installed. Without a mask, the picture's alpha channel is used; else, if its border is white, what is not white; else
the whole picture, with a warning.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from scipy.cluster.vq import kmeans2

from pix3d_onet.config import MaskRule
from pix3d_onet.data.images.crop import crop_view
from pix3d_onet.data.images.decoding import array_mask, array_rgb, read_mask, read_rgb
from pix3d_onet.errors import MissingDependencyError, RejectError
from pix3d_onet.events import Emit, Note, ignore
from pix3d_onet.types import Bool, Camera, Normalisation, UInt8, View

AUTO: MaskRule = "auto"
REMBG: MaskRule = "rembg"
IN_MEMORY = "picture"
"""Name in messages of a photo that is not a file."""
FILE, ALPHA, WHITE_BORDER_CUT, WHOLE = "file", "alpha", "white-border", "whole"
"""Together with the mask rules, the possible origins of a mask: see :class:`PhotoView`."""
WORK_SIDE = 320
"""Longest side of the reduced picture on which the automatic mask is computed, pixels."""
BORDER_SHARE = 0.03
"""Width of the picture's frame, which is assumed to be background, as a fraction of the shorter side."""
BACKGROUND_COLOURS = 4
"""Number of colours that describe the frame (k-means)."""
KMEANS_ROUNDS = 8
"""Iterations of k-means; the colours of a frame converge in fewer."""
GROUP_SHARE = 0.06
"""Fraction of the frame from which on a colour counts as background."""
HISTOGRAM_BINS = 64
"""Bins of Otsu's threshold on the distance from the background's colours."""
LEAST_DISTANCE = 4.0
"""Colour distance (CIE Lab units; 2.3 is just noticeable) below which a pixel is always background."""
PLAIN_FACTOR, PLAIN_PERCENTILE = 1.5, 95
"""A pixel farther than the factor times this percentile of the frame's distances is not background."""
HOLE_SHARE = 0.003
"""Background enclosed by the object is a hole if it covers at least this fraction of the picture; else it is filled."""
LEAST_SHARE, MOST_SHARE = 0.005, 0.95
"""An automatic mask that covers a smaller or larger fraction of the picture is rejected."""
COMPANION_SHARE = 0.1
"""Components with at least this fraction of the largest one's pixels also belong to the object."""
FRAME_SPREAD = 6.0
"""If the frame's colour distance (at :data:`PLAIN_PERCENTILE`) from the background's colours is larger, the background
is not plain. This value and the next were chosen on 48 photos of Pix3D (counts in ``docs/reconstruct.md``); any value
from 5.2 to 6 gives the same result."""
BORDER_TOUCH = 0.02
"""Fraction of the picture's border that an object may cover; more is probably background or a truncated object."""
WHITE = 250
"""A border pixel is white if all channels have at least this value."""
WHITE_BORDER = 0.98
"""If at least this fraction of the border pixels is white, the picture is assumed to be cut out."""


@dataclass(frozen=True, slots=True, eq=False)
class AutoCut:
    """Result of the automatic rule: ``mask`` (H, W) bool, and the reasons why it may be wrong, as text."""

    mask: Bool
    doubts: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class PhotoView(View):
    """A view of a single photo. ``mask_from``: origin of its mask: ``file``, ``alpha``, ``auto``, ``rembg``,
    ``white-border``, ``whole`` (no mask), or ``record`` (the mask of its record in an index)."""

    mask_from: str = FILE


def load_cutout(
    image: Path | UInt8,
    mask: Path | Bool | MaskRule | None,
    *,
    size: int,
    margin: float,
    camera: Camera | None = None,
    normalisation: Normalisation | None = None,
    upright: bool = True,
    emit: Emit = ignore,
) -> PhotoView:
    """Cut the object out of a photo: a file, or pixels (H, W, 3) RGB or (H, W, 4) RGBA uint8.

    ``mask`` is a file, (H, W) bool (or numbers, as in a file), ``auto``, ``rembg`` or None (see the module). ``size``:
    pixels per side; ``margin``: as a fraction of the object's longest side. ``upright`` False: ignore EXIF orientation,
    as for sources.

    Crop, resampling and camera: see ``data.images.crop``. Raises RejectError as ``load_view`` does, and ``no-object``
    if the automatic mask fails; a doubtful mask is only a warning. InputError for arrays of a wrong shape.
    """
    name = image.name if isinstance(image, Path) else IN_MEMORY
    if isinstance(mask, Path) and not mask.is_file():
        raise RejectError("missing-mask", f"its mask {mask} does not exist", "image")  # the path: names are equal
    rgb, alpha = read_rgb(image, upright=upright) if isinstance(image, Path) else array_rgb(image)
    if isinstance(mask, Path):
        found, source = read_mask(mask, upright=upright), FILE
    elif mask is not None and not isinstance(mask, str):
        found, source = array_mask(mask), FILE
    elif mask == AUTO:
        cut = auto_cut(rgb)
        found, source = cut.mask, AUTO
        if cut.doubts:
            doubts = "; ".join(cut.doubts)
            emit(Note(f"{name}: the automatic mask may be wrong ({doubts}). Look at the preview.", "warning"))
    elif mask == REMBG:
        found, source = rembg_mask(rgb), REMBG
    elif alpha is not None and not alpha.all():
        found, source = alpha, ALPHA
    elif (border := white_border_mask(rgb)) is not None:
        found, source = border, WHITE_BORDER_CUT
    else:
        found, source = np.ones(rgb.shape[:2], dtype=np.bool_), WHOLE
        text = f"{name}: no mask and no alpha channel; the whole picture is used."
        emit(Note(f"{text} Give one with `mask`; `mask='auto'` only guesses.", "warning"))
    if source == FILE and found.size and found[[0, 0, -1, -1], [0, -1, 0, -1]].all():
        emit(Note(f"{name}: its mask covers all four corners of the picture; is it inverted?", "warning"))
    view = crop_view(rgb, found, camera, normalisation, record_id=name, size=size, margin=margin)
    return PhotoView(view.rgb, view.mask, view.pose, view.intrinsics, view.record_id, mask_from=source)


def white_border_mask(rgb: UInt8) -> Bool | None:
    """(H, W) bool: everything but the white region connected to the border; None if the border is not white."""
    white: Bool = np.asarray((rgb >= WHITE).all(axis=2), dtype=np.bool_)
    frame = np.concatenate([white[0], white[-1], white[:, 0], white[:, -1]])
    if frame.mean() < WHITE_BORDER:
        return None
    found: Bool = ~_touching_border(white)
    return found if found.any() else None


def auto_cut(rgb: UInt8) -> AutoCut:
    """(H, W, 3) uint8 → the object's mask (H, W), and the reasons why it may be wrong.

    The picture's frame is assumed to be background; k-means summarises its colours (CIE Lab). Each pixel's distance to
    the nearest of them is cut at Otsu's threshold, or just above the frame's own spread if that is less. Close pixels
    are background if they are connected to the border or form a large hole. The object is the rest: its largest
    component and those of similar size.

    The rule assumes a plain background and one object that is completely in the picture; a doubt is reported if one of
    these seems wrong. RejectError ``no-object`` if nearly nothing or nearly everything is left.
    """
    height, width = rgb.shape[:2]
    zoom = min(1.0, WORK_SIDE / max(height, width))
    side = (max(1, round(width * zoom)), max(1, round(height * zoom)))
    lab = srgb_to_lab(np.asarray(Image.fromarray(rgb).resize(side, Image.Resampling.BOX)))
    frame = max(1, round(BORDER_SHARE * min(lab.shape[:2])))
    edge = np.ones(lab.shape[:2], dtype=np.bool_)
    edge[frame:-frame, frame:-frame] = False
    centres = main_colours(lab[edge], BACKGROUND_COLOURS)
    distance = np.sqrt(((lab[:, :, None] - centres) ** 2).sum(axis=-1)).min(axis=-1)  # (h, w)
    spread = float(np.percentile(distance[edge], PLAIN_PERCENTILE))
    near = distance <= max(LEAST_DISTANCE, min(PLAIN_FACTOR * spread, otsu(distance)))
    found = ndimage.binary_closing(np.pad(~_touching_border(near), 2))[2:-2, 2:-2]
    found = ndimage.binary_fill_holes(found) & ~_larger_than(near, HOLE_SHARE * near.size)
    _, sizes = _components(found)
    found = _larger_than(found, COMPANION_SHARE * sizes.max(initial=0))
    share = float(np.mean(found))
    if not LEAST_SHARE <= share <= MOST_SHARE:
        detail = f"the automatic mask covers {share:.1%} of the picture: give `mask=FILE`, or use a plain background"
        raise RejectError("no-object", detail, "image")
    whole = Image.fromarray(found).resize((width, height), Image.Resampling.NEAREST)
    return AutoCut(np.asarray(whole, dtype=np.bool_), _doubts(found, spread))


def _doubts(found: Bool, spread: float) -> tuple[str, ...]:
    """The rule's assumptions that seem wrong for the mask ``found`` (h, w); ``spread``: of the frame's colours."""
    border = np.concatenate([found[0], found[-1], found[1:-1, 0], found[1:-1, -1]])
    parts = int(np.count_nonzero(_components(found)[1]))
    doubts = {
        "the background is not plain": spread > FRAME_SPREAD,
        "it touches the picture's border": border.mean() > BORDER_TOUCH,
        f"it is in {parts} parts": parts > 1,
    }
    return tuple(words for words, doubtful in doubts.items() if doubtful)


def rembg_mask(rgb: UInt8) -> Bool:
    """The mask of rembg's network (H, W) bool. MissingDependencyError without the package, RejectError if it fails."""
    try:
        import rembg
    except ImportError:
        raise MissingDependencyError(
            "`mask='rembg'` needs the package rembg.", hint="Run `pip install 'rembg[cpu]'`, or use `mask='auto'`."
        ) from None
    try:
        alpha = np.asarray(rembg.remove(Image.fromarray(rgb), only_mask=True))
    except Exception as error:  # noqa: BLE001 — loading weights and running a network can raise anything
        raise RejectError("no-object", f"rembg failed: {str(error).splitlines()[0][:200]}", "image") from None
    found: Bool = alpha >= 128
    return found


def main_colours(colours: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """At most ``count`` centres (K, 3) of ``colours`` (N, 3), by deterministic k-means (farthest-point initialisation).

    Small groups are dropped: if the object touches the frame, its colours must not count as background.
    """
    centres = np.median(colours, axis=0, keepdims=True)
    while len(centres) < count:
        distance = ((colours[:, None] - centres) ** 2).sum(axis=-1).min(axis=1)
        if distance.max() <= LEAST_DISTANCE**2:
            break
        centres = np.vstack([centres, colours[int(np.argmax(distance))]])
    centres, nearest = kmeans2(colours, centres, iter=KMEANS_ROUNDS, minit="matrix")
    sizes = np.bincount(nearest, minlength=len(centres))
    kept: NDArray[np.float64] = centres[sizes >= min(GROUP_SHARE * len(colours), sizes.max())]
    return kept


def otsu(values: NDArray[np.floating[Any]]) -> float:
    """Otsu's threshold (1979): upper edge of the last bin of the lower class; scikit-image returns that bin's centre.

    If all values are equal, that value.
    """
    with _scikit_image():
        from skimage.filters import threshold_otsu
    half_a_bin = float(np.ptp(values)) / (2 * HISTOGRAM_BINS)
    return float(threshold_otsu(values, nbins=HISTOGRAM_BINS)) + half_a_bin  # type: ignore[no-untyped-call]


def srgb_to_lab(rgb: UInt8) -> NDArray[np.float64]:
    """(..., 3) sRGB uint8 → CIE L*a*b* under D65."""
    with _scikit_image():
        from skimage.color import rgb2lab
    lab: NDArray[np.float64] = rgb2lab(rgb)
    return lab


@contextmanager
def _scikit_image() -> Iterator[None]:
    """MissingDependencyError if an import in the block fails."""
    try:
        yield
    except ImportError:
        raise MissingDependencyError(
            "`mask=auto` needs the library scikit-image.", hint="pip install 'pix3d-onet[train]', or give a mask."
        ) from None


def _components(region: Bool) -> tuple[NDArray[np.integer[Any]], NDArray[np.integer[Any]]]:
    """Labels (H, W) of the connected components of ``region``, and the pixels of each (0 for label 0, the rest)."""
    labels, count = ndimage.label(region)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    sizes[0] = 0
    return labels, sizes


def _larger_than(region: Bool, pixels: float) -> Bool:
    """The connected components of ``region`` with at least ``pixels`` pixels (and at least one)."""
    labels, sizes = _components(region)
    result: Bool = (sizes >= max(pixels, 1))[labels]
    return result


def _touching_border(region: Bool) -> Bool:
    """The part of ``region`` (H, W) that is connected to the picture's border."""
    labels, count = ndimage.label(region)
    touching = np.zeros(count + 1, dtype=np.bool_)
    for border in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        touching[border] = True
    touching[0] = False  # what is not in the region
    result = np.empty(region.shape, dtype=np.bool_)
    for found, row in zip(result, labels, strict=True):  # at once, NumPy would copy the labels to 64 bits
        found[:] = touching[row]
    return result
