"""Turn one photo into a surface: cut out, add the camera, encode, extract."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from pix3d_onet.config import DecoderPrecision, ExtractionConfig, MaskRule, PrepareConfig
from pix3d_onet.data.images.cutout import PhotoView
from pix3d_onet.data.images.decoding import array_of
from pix3d_onet.errors import ConfigError, InputError
from pix3d_onet.events import Emit, Note, ignore
from pix3d_onet.learning.device import choose_device
from pix3d_onet.learning.extraction.extract import Extraction
from pix3d_onet.learning.extraction.predictor import NetworkPredictor, network_predictor
from pix3d_onet.learning.torch_threads import Threads
from pix3d_onet.reconstruction.photo import CameraFile, PhotoRecord, checked_camera, read_photo, read_pose
from pix3d_onet.reconstruction.plan import rule_of
from pix3d_onet.types import Bool, Mesh, Normalisation, UInt8

STORED_SIDE = PrepareConfig().image_size
"""Smallest side of the cut-out picture, pixels: that of pictures in a data set. It is then resized for the network.

Where a data set has smaller pictures, the mask is finer than in training and evaluation, whose masks are binary at
their size. That is kept because it is better: of three networks with pixel features on 112² pictures, IoU over 44
unseen chairs was 0.007 to 0.011 higher."""
UNIT_CUBE = 0.5
MOST_DECIMALS = 6
"""Most decimals of a probability in a message."""
GIVE_CAMERA = "Give its camera with `poses`."


@dataclass(frozen=True, slots=True, eq=False)
class Surface:
    """A network's result for a photo: the picture as the network saw it, and the surface, which may have no face."""

    view: PhotoView
    extraction: Extraction


def reconstruct(
    run: str | Path,
    image: str | Path | UInt8,
    *,
    mask: str | Path | Bool | None = None,
    pose: str | Path | ArrayLike | None = None,
    focal: float | None = None,
    resolution: int = 128,
    coarse: int = 32,
    threshold: float | Literal["val"] | None = None,
    refine: bool = False,
    simplify: int | None = None,
    precision: DecoderPrecision = "fp32",
    device: str = "auto",
    emit: Emit = ignore,
) -> Mesh:
    """The closed mesh that a run's network predicts from a raw photo, as ``onet reconstruct`` writes it.

    The mesh is in the normalised frame: y up, centred at the origin, the longest side of a training shape 1.

    ``run``: a run's folder, or a network's ``.safetensors`` file. ``image``: a picture file (its EXIF orientation is
    applied), pixels (H, W, 3) RGB or (H, W, 4) RGBA uint8, or a picture of Pillow. ``mask``: a mask file, (H, W) bool
    of the photo's size (or numbers, read as in a file: from half of the scale on they are the object), ``auto`` (keeps
    what differs from the colours along the border), ``rembg``, or None: the picture's alpha channel or white
    background, else the whole picture. ``pose``, only for networks with a pose input: a camera file, or
    (4, 4), normalised frame → camera frame (which looks along +z). ``focal``, only with a matrix: the focal length
    divided by the photo's width.

    ``resolution`` cells span the cube's side of 1.1. The search starts on ``coarse`` cells; thinner parts can be
    missed. ``threshold``: occupancy probability at the surface (None: the run's, ``val``: the best on its validation
    pictures). ``refine`` moves vertices onto the level set. ``simplify``: wanted number of faces. ``precision``: of
    the decoder's matrix products. ``device``: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``. ``emit`` receives warnings
    about the mask.

    The network is loaded at every call; for many photos open a job (``pix3d_onet.reconstruction.job``). Raises
    ConfigError for a wrong setting; InputError for an unusable run or camera, arrays of a wrong shape, or an empty
    prediction; RejectError for an unusable picture or mask.
    """
    extraction = ExtractionConfig(resolution, coarse, threshold, refine, simplify, precision)
    photo = Path(image) if isinstance(image, str | Path) else array_of(image, "a picture")
    cut = (rule_of(mask) or Path(mask)) if isinstance(mask, str) else mask
    camera = given_camera(pose, focal)
    where = choose_device(device)
    with Threads(device=where) as threads:
        network = network_predictor(Path(run), extraction, device=where, threads=threads)
        found = surface(network, photo, cut, extraction, camera=camera, emit=emit)
    if not len(found.extraction.mesh.faces):
        raise InputError(empty_message(found.extraction.highest, network.threshold))
    return found.extraction.mesh


def given_camera(pose: str | Path | ArrayLike | None, focal: float | None) -> CameraFile | None:
    """The camera of a file, or of a (4, 4) pose and its focal length; ConfigError if it is invalid."""
    if isinstance(pose, str | Path):
        if focal is not None:
            raise ConfigError("give focal only with a matrix; a camera file has its own.")
        return read_pose(Path(pose))
    if pose is None:
        if focal is not None:
            raise ConfigError("focal needs the camera's matrix, `pose`.")
        return None
    try:
        return checked_camera(pose, focal)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"pose is not a camera: {error}.") from None


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
    """The surface that ``network`` predicts, normalised frame; ``mask``, ``record``, ``camera`` as for ``read_photo``.

    The camera is used only if the network takes one; some networks predict a missing one. Raises RejectError if the
    photo cannot be used, and InputError if its camera is missing.
    """
    needs = network.model.config
    if (needs.needs_intrinsics or needs.predicts_camera) and camera is not None and math.isnan(camera.focal):
        hint = 'Give "focal", the focal length divided by the photo\'s width.'
        raise InputError("the network also needs the focal length, and the camera has none.", hint=hint)
    view = read_photo(
        photo,
        mask,
        record,
        normalise,
        size=max(STORED_SIDE, network.image_size or 0),
        margin=network.crop_margin,
        camera=camera if needs.takes_camera else None,
        need_camera=needs.takes_camera,
        emit=emit,
    )
    with network.field(view, known=True) as (field, where):
        found = network.extract(field, where, refine=extraction.refine, simplify_to=extraction.simplify, emit=emit)
    if fills_the_box(found.mesh):
        text = f"{view.record_id}: the network finds every point inside, so the mesh is a box, no shape"
        emit(Note(f"{text}. Try a higher `threshold`, or train it longer.", "warning"))
    return Surface(view, found)


def fills_the_box(mesh: Mesh) -> bool:
    """Whether a mesh in the normalised frame has no vertex in the unit cube, in which every shape lies."""
    return len(mesh.vertices) > 0 and float(np.abs(mesh.vertices).max(axis=1).min()) > UNIT_CUBE


def empty_message(highest: float, threshold: float) -> str:
    """Message for an empty surface: the highest occupancy and the threshold."""
    level = f"{threshold:.2f}" if round(threshold, 2) == threshold else f"{threshold:g}"
    seen = f"highest occupancy {probability(highest, threshold)}, threshold {level}"
    return f"the network sees nothing in it: {seen}. Try a lower `threshold`."


def probability(value: float, threshold: float) -> str:
    """``value`` (< ``threshold``) with the fewest decimals, at least two, that distinguish it from 0 and from it."""
    for decimals in range(2, MOST_DECIMALS + 1):
        text = f"{value:.{decimals}f}"
        if 0 < float(text) < threshold:
            return text
    return f"below 1e-{MOST_DECIMALS}" if value < 10**-MOST_DECIMALS else f"{value!r}"


def check_camera(record: PhotoRecord | None, index: Path | None) -> None:
    """InputError unless the picture has a record with a camera in ``index``."""
    if record is None:
        raise InputError(f"{index} has no record of it, so no camera.", hint=GIVE_CAMERA)
    if record.checked is None:
        raise InputError(f"its record in {index} cannot be used: {record.reason}.", hint=GIVE_CAMERA)
    if record.checked.camera is None:
        raise InputError(f"its record in {index} has no camera.", hint="Give one with `poses`.")


def frame_of(record: PhotoRecord | None, index: Path | None) -> Normalisation:
    """The normalisation of the CAD model in the picture's record; its inverse moves the mesh to the model's frame.

    Its accuracy is that of :func:`normalise`. InputError if the picture has no usable record in ``index``.
    """
    if record is None:
        raise InputError(f"{index} has no record of it, so the model's frame is unknown.")
    if record.checked is None:
        raise InputError(f"its record in {index} cannot be used, so the model's frame is unknown: {record.reason}.")
    return normalise(record.checked.model)


def normalise(model: Path) -> Normalisation:
    """The normalisation of a training shape, from the bounding box of its source mesh.

    A prepared data set uses the box of the watertight mesh. With the method ``tight`` the boxes differ by up to 0.4 %
    of the longest side; so do the resulting frame and pose. The source mesh is used because making it watertight for
    every photo would take longer than the reconstruction.
    """
    from pix3d_onet.geometry.mesh.cleaning import box_normalisation
    from pix3d_onet.geometry.mesh.reading import load_mesh

    return box_normalisation(load_mesh(model))
