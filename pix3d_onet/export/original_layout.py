"""A prepared data set in the layout of the original Occupancy Networks code; see ``data.sources.onet_layout``."""

from __future__ import annotations

import io
import re
import shutil
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pix3d_onet.config import POINTS_HALF_SIDE, SPLITS
from pix3d_onet.data.sources import onet_layout as layout
from pix3d_onet.data.store.manifest import ShapeEntry
from pix3d_onet.data.store.reader import Dataset
from pix3d_onet.errors import InputError
from pix3d_onet.events import Emit, Progress, ignore
from pix3d_onet.files import read_json, write_bytes, write_json, write_text
from pix3d_onet.geometry.mesh.sampling import contains
from pix3d_onet.geometry.mesh.writing import write_mesh
from pix3d_onet.types import Bool, Camera, Float32, Sample, UInt8, View

CHOY_SIDE = 137
"""Side of the original layout's pictures, pixels; some of its models rely on it."""
JPEG_QUALITY = 95
CLAIM_FILE = "export.json"
"""Written first: what is being exported here. ``metadata.yaml`` is written last: the export is whole."""
METADATA_FILE = "metadata.yaml"
LARGEST_HALF = np.nextafter(np.float16(POINTS_HALF_SIDE), np.float16(0))
"""Largest float16 below 0.55: exported points stay in the original's cube."""


@dataclass(frozen=True, slots=True)
class ExportResult:
    """What ``export_onet`` wrote: models a class and split, pictures, labels that rounding to float16 changed."""

    out: Path
    models: int
    pictures: int
    splits: dict[str, dict[str, int]]
    points: int
    relabelled: int


def export_onet(
    dataset: Path, out: Path, *, image_size: int = CHOY_SIDE, overwrite: bool = False, emit: Emit = ignore
) -> ExportResult:
    """Write ``dataset`` to ``out`` so that the original repository's loader reads it unchanged.

    ``image_size``: side of the pictures (0 = as stored). Labels are those of the rounded points, see
    :func:`relabelled`. An interrupted export is continued by the same call. InputError when ``out`` holds anything
    else, or when one shape has pictures in two splits (the layout splits models).
    """
    with Dataset(dataset) as data:
        entries = data.entries()
        torn = [e.object_id for e in entries if len(set(e.image_splits)) > 1]
        if torn:
            raise InputError(
                f"{torn[0]} has pictures in two splits; the layout splits models.", hint="Use `split='shape'`."
            )
        names = model_names(entries)
        side = image_size or int(data.manifest.config["image_size"])
        _claim(out, {"data_hash": data.manifest.data_hash, "image_size": side}, overwrite)
        pictures = changed = points = 0
        for number, entry in enumerate(entries, 1):
            sample = data.sample(entry)
            changed += _write_model(out / names[entry.object_id], sample, side)
            pictures += len(sample.images)
            points += len(sample.points)
            emit(Progress("export", number, len(entries), item=entry.object_id))
    splits = _write_lists(out, entries, names)
    write_text(out / METADATA_FILE, "".join(f"{c}:\n  id: {c}\n  name: {c}\n" for c in splits))
    return ExportResult(out, len(entries), pictures, splits, points, changed)


def model_names(entries: Sequence[ShapeEntry]) -> dict[str, str]:
    """Object id → ``class/model``: plain folder names, unique; the class is the category."""
    result: dict[str, str] = {}
    taken: set[str] = set()
    for entry in entries:
        category = _plain(entry.category)
        model = _plain(entry.object_id.removeprefix(f"{entry.category}/"))
        name, copy = f"{category}/{model}", 2
        while name.lower() in taken:  # some file systems do not tell A from a
            name, copy = f"{category}/{model}~{copy}", copy + 1
        taken.add(name.lower())
        result[entry.object_id] = name
    return result


def relabelled(sample: Sample, rounded: NDArray[np.float16]) -> Bool:
    """(P,) bool: labels of the points as rounded to float16 (they move by up to 2.4e-4).

    The labels were made on the surface before its decimation, which is not stored. Where the stored mesh agrees with
    the label before rounding, it is believed after it; where it does not (within the decimation error of the
    surface), the label stays.
    """
    before = contains(sample.mesh, sample.points)
    after = contains(sample.mesh, rounded.astype(np.float32))
    return np.where(before == sample.occupancy, after, sample.occupancy)


def camera_of(view: View, sample: Sample, side: int) -> Camera:
    """The view's camera in the original frame, for a picture of ``side``: X_cam = R·X + (scale·t - R·loc)."""
    zoom = side / view.mask.shape[1]
    rotation = view.pose[:3, :3].astype(np.float64)
    k = view.intrinsics.astype(np.float64)
    flip = -np.sign(k[0, 0])  # 1: axes left, up; -1: axes right, down
    turned = np.diag([flip, flip, 1.0]) @ rotation
    shift = np.diag([flip, flip, 1.0]) @ view.pose[:3, 3].astype(np.float64)
    centre = (float(k[0, 2] * zoom), float(k[1, 2] * zoom))
    return Camera(turned, sample.scale * shift - turned @ sample.loc, abs(float(k[0, 0])) * zoom, side, side, centre)


def _write_model(folder: Path, sample: Sample, side: int) -> int:
    place: dict[str, NDArray[Any]] = {"loc": sample.loc, "scale": np.array(sample.scale)}
    rounded = np.clip(sample.points.astype(np.float16), -LARGEST_HALF, LARGEST_HALF)
    labels = relabelled(sample, rounded)
    cloud: dict[str, NDArray[Any]] = {
        "points": sample.surface_points.astype(np.float16),
        "normals": sample.surface_normals.astype(np.float16),
    }
    layout.write_npz(folder / layout.POINTS, {"points": rounded, "occupancies": np.packbits(labels), **place})
    layout.write_npz(folder / layout.CLOUD, {**cloud, **place})
    write_mesh(folder / layout.MESH, sample.mesh)
    cameras: dict[str, Float32] = {}
    for number, view in enumerate(sample.images):
        write_bytes(folder / layout.PICTURES / f"{number:03d}.jpg", _encoded(view.rgb, side, "JPEG"))
        mask = _encoded(view.mask.astype(np.uint8) * np.uint8(255), side, "PNG")
        write_bytes(folder / layout.MASKS / f"{number:03d}.png", mask)
        k, world = np.full((3, 3), np.nan), np.full((3, 4), np.nan)
        if view.has_pose:
            k, world = layout.matrices(camera_of(view, sample, side))
        cameras[f"camera_mat_{number}"] = k.astype(np.float32)
        cameras[f"world_mat_{number}"] = world.astype(np.float32)
    if any(view.has_pose for view in sample.images):
        layout.write_npz(folder / layout.PICTURES / layout.CAMERAS, cameras)
    return int((labels != sample.occupancy).sum())


def _write_lists(out: Path, entries: Sequence[ShapeEntry], names: dict[str, str]) -> dict[str, dict[str, int]]:
    lists: dict[str, dict[str, list[str]]] = defaultdict(lambda: {split: [] for split in SPLITS})
    for entry in entries:
        category, model = names[entry.object_id].split("/")
        lists[category][entry.image_splits[0] if entry.image_splits else entry.split].append(model)
    for category, splits in lists.items():
        for split, models in splits.items():
            # the original splits the text at newlines: one at the end would be a model without a name
            write_text(out / category / f"{split}.lst", "\n".join(sorted(models)))
    return {c: {split: len(models) for split, models in lists[c].items()} for c in sorted(lists)}


def _claim(out: Path, what: dict[str, object], overwrite: bool) -> None:
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file.", hint="Give a folder.")
    try:
        found = read_json(out / CLAIM_FILE) if (out / CLAIM_FILE).exists() else None
        if found is None and out.is_dir() and any(out.iterdir()):
            raise InputError(f"{out} is not empty.", hint="Give a new folder.")
        if found is not None and found != what:
            if not overwrite:
                raise InputError(f"{out} holds another export.", hint="Give another folder, or `overwrite=True`.")
            for path in sorted(out.iterdir()):
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        write_json(out / CLAIM_FILE, what)
    except OSError as error:
        raise InputError(f"cannot write to {out}: {error.strerror}.") from None


def _encoded(pixels: UInt8, side: int, form: str) -> bytes:
    picture = Image.fromarray(pixels)
    if picture.size != (side, side):
        picture = picture.resize((side, side), Image.Resampling.LANCZOS if form == "JPEG" else Image.Resampling.BOX)
    if form == "PNG":
        picture = picture.point([255 * (level >= 128) for level in range(256)])
    buffer = io.BytesIO()
    picture.save(buffer, form, quality=JPEG_QUALITY)  # PNG knows no quality and ignores it
    return buffer.getvalue()


def _plain(name: str) -> str:
    """A folder name that every file system takes."""
    return re.sub(r"[^\w.~+-]+", "-", name).strip(".-") or "unnamed"


def to_json(result: ExportResult) -> dict[str, object]:
    """The JSON document of an export."""
    return asdict(result) | {"out": str(result.out)}
