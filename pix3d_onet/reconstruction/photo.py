"""Read a photo as a view; its camera comes from a camera file or from its record in a Pix3D index."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from pix3d_onet.config import MaskRule
from pix3d_onet.data.images.cutout import PhotoView, load_cutout
from pix3d_onet.data.images.decoding import declared_size
from pix3d_onet.data.sources.pix3d import Pix3DRecord, parse_record
from pix3d_onet.errors import InputError, RejectError
from pix3d_onet.events import Emit, ignore
from pix3d_onet.files import inside, read_json
from pix3d_onet.rotations import pose_problem
from pix3d_onet.types import Bool, Camera, Float32, Normalisation, UInt8

Normalise = Callable[[Path], Normalisation]
"""Mesh file → normalisation from its bounding box. A parameter, so that this module needs no geometry library."""
RECORD = "record"
"""``PhotoView.mask_from`` if the mask is that of the picture's record."""
CAMERA_FILE = (
    'It is JSON: a 4×4 matrix, or {"pose": …, "focal": …} with the focal length divided by the photo\'s width.'
)
"""Hint for a file that is not a camera file."""


@dataclass(frozen=True, slots=True, eq=False)
class CameraFile:
    """Content of a camera file: ``pose`` (4, 4) float32, normalised frame → camera frame, and ``focal``, the focal
    length in pixels divided by the width of the whole photo; NaN if the file has none."""

    pose: Float32
    focal: float = math.nan

    def camera(self, width: int, height: int) -> Camera:
        """The camera of a photo of ``width`` × ``height`` pixels, in the normalised frame."""
        pose = self.pose.astype(np.float64)
        return Camera(pose[:3, :3], pose[:3, 3], self.focal * width, width, height)


@dataclass(frozen=True, slots=True, eq=False)
class PhotoRecord:
    """The index's record of one picture. ``mask``: its mask file, which may not exist (None: it names none inside the
    root); ``checked``: the whole record, None if it cannot be used, and then ``reason`` says why."""

    mask: Path | None
    checked: Pix3DRecord | None
    reason: str = ""


def read_photo(
    image: Path | UInt8,
    mask: Path | Bool | MaskRule | None,
    record: PhotoRecord | None,
    normalise: Normalise,
    *,
    size: int,
    margin: float,
    camera: CameraFile | None = None,
    need_camera: bool = False,
    emit: Emit = ignore,
) -> PhotoView:
    """Cut out and crop a picture as for training, with the given ``camera`` or that of its record.

    ``mask`` as for ``load_cutout``; it takes precedence over the record's. ``size``: pixels per side; ``margin``: as a
    fraction of the object's longest side. EXIF orientation is applied, except for a picture with a record, whose mask
    and camera refer to the stored pixels. The record's camera is used, and ``normalise`` is called on its model, only
    with ``need_camera`` and without ``camera``: other networks need no CAD model.

    Raises what ``load_cutout`` and ``normalise`` raise; RejectError ``bad-record`` if the record's mask is needed but
    missing.
    """
    upright = record is None
    stated, normalisation = None, None
    if camera is not None:
        stated = camera.camera(*size_of(image, upright=upright))
        normalisation = Normalisation(np.zeros(3), 1.0)  # its pose is already from the normalised frame
    elif need_camera and record is not None and record.checked is not None:
        stated = record.checked.camera
        normalisation = normalise(record.checked.model) if stated is not None else None
    from_record = mask is None and record is not None
    if mask is None and record is not None:
        mask = record.mask
        if mask is None:
            raise RejectError("bad-record", f"its record names no mask that can be used: {record.reason}", "parse")
    view = load_cutout(
        image,
        mask,
        size=size,
        margin=margin,
        camera=stated,
        normalisation=normalisation,
        upright=upright,
        emit=emit,
    )
    return replace(view, mask_from=RECORD) if from_record else view


def size_of(image: Path | UInt8, *, upright: bool) -> tuple[int, int]:
    """(width, height) in pixels; ``upright`` as for ``read_rgb``."""
    return declared_size(image, upright=upright) if isinstance(image, Path) else (image.shape[1], image.shape[0])


def read_pose(path: Path) -> CameraFile:
    """The camera in a JSON file: the 4×4 matrix, or ``{"pose": matrix, "focal": number}``.

    ``focal`` is divided by the width of the whole, upright photo. InputError if the file is missing or malformed.
    """
    document = read_json(path, what="camera file")
    try:
        if isinstance(document, dict):
            return checked_camera(document["pose"], document.get("focal"))
        return checked_camera(document)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{path} is not a camera file ({error}).", hint=CAMERA_FILE) from None


def checked_camera(pose: ArrayLike, focal: float | None = None) -> CameraFile:
    """The camera of a pose (4, 4), normalised frame → camera frame, and a focal length divided by the photo's width.

    ValueError (or TypeError) if one of them is invalid.
    """
    matrix = np.array(pose, dtype=np.float32)
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
        raise ValueError("not a 4×4 matrix of numbers")
    if problem := pose_problem(matrix.astype(np.float64)):
        raise ValueError(f"not a pose: {problem}")
    if focal is None:
        return CameraFile(matrix)
    if isinstance(focal, bool):
        raise TypeError(f"focal is {focal}, not a number")
    if not (math.isfinite(float(focal)) and float(focal) > 0):
        raise ValueError(f"focal is {focal}, not a positive number")
    return CameraFile(matrix, float(focal))


def read_records(index: Path) -> dict[Path, PhotoRecord]:
    """The records of a pix3d.json, usable or not, by the picture's resolved path.

    If a picture has several records, a usable one is kept. Records without an image inside the root are skipped: no
    picture refers to them. InputError if the file is missing or broken.
    """
    items = read_json(index, what="Pix3D index")
    if not isinstance(items, list):
        raise InputError(f"{index} is not a list of Pix3D records.")
    records: dict[Path, PhotoRecord] = {}
    for item in items:
        if not isinstance(item, dict):
            continue
        try:
            image = inside(index.parent, item.get("img")).resolve()
        except RejectError:
            continue
        if image in records and records[image].checked is not None:
            continue
        records[image] = _photo_record(index.parent, item)
    return records


def _photo_record(root: Path, item: dict[str, object]) -> PhotoRecord:
    """One record whose image is inside ``root``, with the reason if it cannot be used."""
    try:
        record = parse_record(root, item, str(item["img"]))
        return PhotoRecord(record.mask, record)
    except RejectError as error:
        reason = error.message
    try:
        return PhotoRecord(inside(root, item.get("mask")), None, reason)
    except RejectError:
        return PhotoRecord(None, None, reason)
