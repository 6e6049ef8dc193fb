"""One photo to a surface: cut out, given its camera, encoded, extracted. The same for one picture and for many."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from numpy.typing import ArrayLike

from pix3d_onet.config import ExtractionConfig, MaskRule, PrepareConfig
from pix3d_onet.data.images.cutout import PhotoView
from pix3d_onet.errors import ConfigError, InputError
from pix3d_onet.events import Emit, ignore
from pix3d_onet.learning.device import choose_device
from pix3d_onet.learning.extraction.extract import Extraction
from pix3d_onet.learning.extraction.predictor import NetworkPredictor, network_predictor
from pix3d_onet.learning.torch_threads import Threads
from pix3d_onet.reconstruction.photo import CameraFile, PhotoRecord, checked_camera, read_photo, read_pose
from pix3d_onet.reconstruction.plan import rule_of
from pix3d_onet.types import Bool, Mesh, Normalisation, UInt8

STORED_SIDE = PrepareConfig().image_size
"""Least side of the cut-out picture in pixels: that of a data set's pictures; the network's input is made from it."""
MOST_DECIMALS = 6
"""Of a probability that is shown to a person."""
GIVE_CAMERA = "Give its camera by `poses`."


@dataclass(frozen=True, slots=True, eq=False)
class Surface:
    """What a network sees in a photo: the picture as it was given to it, and the surface, maybe without a face."""

    view: PhotoView
    extraction: Extraction


def reconstruct(
    run: str | Path,
    image: str | Path | UInt8,
    *,
    mask: str | Path | Bool | None = None,
    pose: str | Path | ArrayLike | None = None,
    focal: float | None = None,
    extraction: ExtractionConfig,
    device: str = "auto",
    emit: Emit = ignore,
) -> Mesh:
    """``pix3d_onet.reconstruct``, with its settings of extraction as one record."""
    photo = Path(image) if isinstance(image, str) else image
    cut = (rule_of(mask) or Path(mask)) if isinstance(mask, str) else mask
    camera = given_camera(pose, focal)
    where = choose_device(device)
    with Threads(device=where) as threads:
        network = network_predictor(Path(run), extraction, device=where, threads=threads)
        found = surface(network, photo, cut, extraction, camera=camera, emit=emit)
    if not len(found.extraction.mesh.faces):
        raise InputError(nothing_seen(found.extraction.highest, network.threshold))
    return found.extraction.mesh


def given_camera(pose: str | Path | ArrayLike | None, focal: float | None) -> CameraFile | None:
    """The camera of a file, or of a (4, 4) pose and its focal length; ConfigError for what is none."""
    if isinstance(pose, str | Path):
        if focal is not None:
            raise ConfigError("focal goes with a matrix: a camera file has its own.")
        return read_pose(Path(pose))
    if pose is None:
        return None
    try:
        return checked_camera(pose, focal)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"pose is no camera: {error}.") from None


def surface(
    network: NetworkPredictor,
    photo: Path | UInt8,
    mask: Path | Bool | MaskRule | None,
    extraction: ExtractionConfig,
    *,
    record: PhotoRecord | None = None,
    camera: CameraFile | None = None,
    emit: Emit = ignore,
) -> Surface:
    """What ``network`` sees in a photo, in the normalised frame; ``mask``, ``record`` and ``camera`` as ``read_photo``.

    The camera is looked at only where the network takes one. Raises RejectError where the photo cannot be used, and
    InputError where its camera is missing.
    """
    wanted = network.model.config.pose
    if wanted == "6d" and camera is not None and math.isnan(camera.focal):
        hint = 'Give "focal", in widths of the whole photo.'
        raise InputError("the network needs the focal length, too, and its camera has none.", hint=hint)
    view = read_photo(
        photo,
        mask,
        record,
        normalise,
        size=max(STORED_SIDE, network.image_size or 0),
        margin=network.crop_margin,
        camera=camera if wanted != "none" else None,
        need_camera=wanted != "none",
        emit=emit,
    )
    with network.field(view) as (field, where):
        found = network.extract(field, where, refine=extraction.refine, simplify_to=extraction.simplify, emit=emit)
    return Surface(view, found)


def nothing_seen(highest: float, threshold: float) -> str:
    """Why there is no surface: how far below the threshold the field stays."""
    level = f"{threshold:.2f}" if round(threshold, 2) == threshold else f"{threshold:g}"
    seen = f"highest occupancy {probability(highest, threshold)}, threshold {level}"
    return f"the network sees nothing in it: {seen}. Try a lower `threshold`."


def probability(value: float, threshold: float) -> str:
    """``value``, below ``threshold``, with as few decimals, from two on, as part it from zero and the threshold."""
    for decimals in range(2, MOST_DECIMALS + 1):
        text = f"{value:.{decimals}f}"
        if 0 < float(text) < threshold:
            return text
    return f"below 1e-{MOST_DECIMALS}" if value < 10**-MOST_DECIMALS else f"{value!r}"


def check_camera(record: PhotoRecord | None, index: Path | None) -> None:
    """InputError unless the picture's record in ``index`` has a camera: it says what is missing."""
    if record is None:
        raise InputError(f"{index} has no record of it, so no camera.", hint=GIVE_CAMERA)
    if record.checked is None:
        raise InputError(f"its record in {index} cannot be used: {record.reason}.", hint=GIVE_CAMERA)
    if record.checked.camera is None:
        raise InputError(f"its record in {index} has no camera.", hint="Give one by `poses`.")


def frame_of(record: PhotoRecord | None, index: Path | None) -> Normalisation:
    """What takes the mesh to the frame of its record's model, to the tolerance of :func:`normalise`.

    InputError where the picture has no record in ``index``, or one that cannot be used, so no model.
    """
    if record is None:
        raise InputError(f"{index} has no record of it, so no frame of a model.")
    if record.checked is None:
        raise InputError(f"its record in {index} cannot be used, so no frame of a model: {record.reason}.")
    return normalise(record.checked.model)


def normalise(model: Path) -> Normalisation:
    """The normalisation of a training shape, from the box of its mesh as it lies in the file.

    A prepared data set takes the box of the watertight mesh. The two boxes differ by up to 0.4 % of the longest side
    with the method ``tight``, and so do the frame and the pose that are made here: watertighting a model for every
    photo would take longer than reconstructing it.
    """
    from pix3d_onet.geometry.mesh.cleaning import box_normalisation
    from pix3d_onet.geometry.mesh.reading import load_mesh

    return box_normalisation(load_mesh(model))
