"""A loose photo → the object on white, cropped as the training pictures are: which pixels are the object?

A photo is turned upright as its EXIF orientation says, for that is how it is shown and masks are drawn.

What is asked for: a mask that is given; ``auto``, a simple rule without any learned model (:func:`auto_mask`); or
``rembg``'s network where that package is installed. Otherwise the picture's own transparency; a white border, which
means that the picture is cut out already; else the whole picture, with a warning.
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
"""Name of a photo that is no file, in messages."""
FILE, ALPHA, WHITE_BORDER_CUT, WHOLE = "file", "alpha", "white-border", "whole"
"""With the two words above, what can have cut a picture out: see :class:`PhotoView`."""
WORK_SIDE = 320
"""Longest side on which the automatic mask is found, pixels."""
BORDER_SHARE = 0.03
"""Width of the frame that is taken to show background, as a share of the shorter side."""
BACKGROUND_COLOURS = 4
"""Colours that describe the frame (k-means)."""
KMEANS_ROUNDS = 8
"""Rounds of k-means; colours of a frame settle in fewer."""
GROUP_SHARE = 0.06
"""Share of the frame from which a colour is background."""
HISTOGRAM_BINS = 64
"""Bins of Otsu's threshold on the distance from the background's colours."""
LEAST_DISTANCE = 4.0
"""Colour distance (CIE Lab units; 2.3 is just noticeable) below which a pixel is background whatever else is said."""
PLAIN_FACTOR, PLAIN_PERCENTILE = 1.5, 95
"""A pixel this many times farther than this percentile of the frame's own pixels is not background."""
HOLE_SHARE = 0.003
"""Background colour enclosed by the object is seen through it from this share of the picture on; less is filled."""
LEAST_SHARE, MOST_SHARE = 0.005, 0.95
"""An automatic mask that covers less or more of the picture than this is a failure, not an answer."""
COMPANION_SHARE = 0.1
"""Components of at least this share of the largest one belong to the object, too."""
FRAME_SPREAD = 6.0
"""Colour distance of the frame's pixels (at :data:`PLAIN_PERCENTILE`) from the background's colours above which the
ground is not plain. This and the next were chosen on 48 photos of Pix3D (``docs/reconstruct.md`` has the counts),
where anything from 5.2 to 6 gives the same."""
BORDER_TOUCH = 0.02
"""Share of the picture's border that an object may cover: more is likely ground, or an object that is cut off."""
WHITE = 250
"""A channel value from which a border pixel counts as white."""
WHITE_BORDER = 0.98
"""Share of white border pixels from which a picture counts as cut out already."""


@dataclass(frozen=True, slots=True, eq=False)
class AutoCut:
    """What the automatic rule found: ``mask`` (H, W) bool, and in words each reason to doubt it."""

    mask: Bool
    doubts: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class PhotoView(View):
    """A view of a loose photo. ``mask_from`` says what cut it out: ``file``, ``alpha``, ``auto``, ``rembg``,
    ``white-border``, ``whole`` (nothing did), or ``record`` (the mask of its record in an index)."""

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

    ``mask`` is a file, (H, W) bool, ``auto``, ``rembg`` or None (see the module). ``size`` in pixels a side, ``margin``
    as a share of the object's longest side. ``upright`` False takes the pixels as stored: for pictures of a release.
    The crop, resampling and camera are those of ``data.images.crop``. Raises RejectError as ``load_view`` does, and
    ``no-object`` where the automatic mask fails; a doubtful mask is a warning.
    InputError for arrays of another shape.
    """
    name = image.name if isinstance(image, Path) else IN_MEMORY
    if isinstance(mask, Path) and not mask.is_file():
        raise RejectError("missing-mask", f"its mask {mask} does not exist", "image")  # the path: names are equal
    rgb, alpha = read_rgb(image, upright=upright) if isinstance(image, Path) else array_rgb(image)
    if isinstance(mask, Path):
        found, source = read_mask(mask, upright=upright), FILE
    elif isinstance(mask, np.ndarray):
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
        emit(Note(f"{name}: no mask and no transparency; the whole picture is taken. Try `mask='auto'`.", "warning"))
    view = crop_view(rgb, found, camera, normalisation, record_id=name, size=size, margin=margin)
    return PhotoView(view.rgb, view.mask, view.pose, view.intrinsics, view.record_id, mask_from=source)


def white_border_mask(rgb: UInt8) -> Bool | None:
    """(H, W) bool of what is not the white connected to the border; None where the border is not white."""
    white: Bool = np.asarray((rgb >= WHITE).all(axis=2), dtype=np.bool_)
    frame = np.concatenate([white[0], white[-1], white[:, 0], white[:, -1]])
    if frame.mean() < WHITE_BORDER:
        return None
    found: Bool = ~_touching_border(white)
    return found if found.any() else None


def auto_mask(rgb: UInt8) -> Bool:
    """(H, W, 3) uint8 → (H, W) bool: the object, as :func:`auto_cut` finds it. RejectError ``no-object``."""
    return auto_cut(rgb).mask


def auto_cut(rgb: UInt8) -> AutoCut:
    """(H, W, 3) uint8 → the object's mask (H, W), by a rule that can be told in four sentences, and its doubts.

    The frame of the picture shows background: its colours (CIE Lab) are summarised by k-means. A pixel's distance to
    the nearest of them is cut by Otsu's threshold, or just above the frame's own spread where that is less. What
    is close and connected to the border, and any large patch of it seen through the object, is background. The rest is
    the object: its largest component and those that come near it in size.
    It works before a plain ground and on one object, whole in the picture: where one of these seems not to hold, a
    doubt says so. RejectError ``no-object`` when nearly nothing or nearly everything is left.
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
        detail = (
            f"the automatic mask covers {share:.1%} of the picture: give `mask=FILE`, or a picture on a plain ground"
        )
        raise RejectError("no-object", detail, "image")
    whole = Image.fromarray(found).resize((width, height), Image.Resampling.NEAREST)
    return AutoCut(np.asarray(whole, dtype=np.bool_), _doubts(found, spread))


def _doubts(found: Bool, spread: float) -> tuple[str, ...]:
    """Which of the rule's conditions seem not to hold for the mask ``found`` (h, w) before a frame of ``spread``."""
    border = np.concatenate([found[0], found[-1], found[1:-1, 0], found[1:-1, -1]])
    parts = int(np.count_nonzero(_components(found)[1]))
    doubts = {
        "the ground is not plain": spread > FRAME_SPREAD,
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
            "`mask='rembg'` needs the package rembg.", hint="Install it, or use `mask='auto'`."
        ) from None
    try:
        alpha = np.asarray(rembg.remove(Image.fromarray(rgb), only_mask=True))
    except Exception as error:  # noqa: BLE001 — it loads weights, runs a network, and raises what these raise
        raise RejectError("no-object", f"rembg failed: {str(error).splitlines()[0][:200]}", "image") from None
    found: Bool = alpha >= 128
    return found


def main_colours(colours: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """At most ``count`` centres (K, 3) of ``colours`` (N, 3): k-means from the farthest points, so always the same.

    Small groups are left out: where the object touches the frame, its colours must not count as background.
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
    """The upper edge of the lower of Otsu's (1979) two classes of ``values``; scikit-image gives its bin's centre.

    Where all values are equal, that value.
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
    """MissingDependencyError where an import in the block fails."""
    try:
        yield
    except ImportError:
        raise MissingDependencyError(
            "`mask=auto` needs the library scikit-image.", hint="pip install 'pix3d-onet[train]', or give a mask."
        ) from None


def _components(region: Bool) -> tuple[NDArray[np.integer[Any]], NDArray[np.integer[Any]]]:
    """Labels (H, W) of the connected parts of ``region`` and the pixels of each, that of the rest (label 0) being 0."""
    labels, count = ndimage.label(region)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    sizes[0] = 0
    return labels, sizes


def _larger_than(region: Bool, pixels: float) -> Bool:
    """The connected parts of ``region`` of at least ``pixels`` (and at least one)."""
    labels, sizes = _components(region)
    result: Bool = (sizes >= max(pixels, 1))[labels]
    return result


def _touching_border(region: Bool) -> Bool:
    """The part of ``region`` (H, W) that is connected to the picture's border."""
    labels, _ = ndimage.label(region)
    touching = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    result: Bool = np.isin(labels, touching[touching > 0])
    return result
