"""A loose photo as a view, and where its camera comes from: a camera file, or its record in a Pix3D index."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from pix3d_onet.data.cutout import load_cutout
from pix3d_onet.data.pix3d import Pix3DRecord, parse_record
from pix3d_onet.errors import InputError, RejectError
from pix3d_onet.events import Emit, ignore
from pix3d_onet.files import read_json
from pix3d_onet.types import Float32, Normalisation, View

Normalise = Callable[[Path], Normalisation]
"""A mesh file → the normalisation that its box gives: handed in, since reading meshes is geometry's business."""


def read_photo(
    image: Path,
    mask: Path | str | None,
    record: Pix3DRecord | None,
    normalise: Normalise,
    *,
    size: int,
    margin: float,
    emit: Emit = ignore,
) -> View:
    """The picture cut out and cropped as the training pictures were, with its record's mask and camera if it has one.

    ``mask`` as for ``load_cutout`` (it comes before the record's); ``size`` pixels a side, ``margin`` as a share of
    the crop. Raises what ``load_cutout`` and ``normalise`` raise.
    """
    camera = record.camera if record is not None else None
    normalisation = normalise(record.model) if record is not None and camera is not None else None
    if mask is None and record is not None:
        mask = record.mask
    return load_cutout(image, mask, size=size, margin=margin, camera=camera, normalisation=normalisation, emit=emit)


def read_pose(path: Path) -> tuple[Float32, float | None]:
    """(4, 4) float32 pose (normalised frame → camera) and the focal length in image sides (None: the file has none).

    The file is JSON: the matrix, or ``{"pose": matrix, "focal": number}``. InputError when missing or malformed.
    """
    document = read_json(path, what="camera file")
    focal = document.get("focal") if isinstance(document, dict) else None
    try:
        pose = np.array(document["pose"] if isinstance(document, dict) else document, dtype=np.float32)
        if pose.shape != (4, 4) or not np.isfinite(pose).all():
            raise ValueError("not a 4×4 matrix of numbers")
        return pose, None if focal is None else float(focal)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is not a camera file ({error}).", hint="See `onet reconstruct --help`.") from None


def read_records(index: Path) -> dict[Path, Pix3DRecord]:
    """The usable records of a pix3d.json by their image's path. InputError when the file is missing or broken."""
    items = read_json(index, what="Pix3D index")
    if not isinstance(items, list):
        raise InputError(f"{index} is not a list of Pix3D records.")
    records = {}
    for item in items:
        try:
            record = parse_record(index.parent, item, str(item.get("img") if isinstance(item, dict) else ""))
        except RejectError:
            continue
        records[record.image.resolve()] = record
    return records
