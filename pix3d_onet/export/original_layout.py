"""Export a data set in the layout of the original Occupancy Networks code; see ``data.sources.onet_layout``."""

from __future__ import annotations

import io
import itertools
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pix3d_onet.config import POINTS_HALF_SIDE, SPLITS, SplitName
from pix3d_onet.data.sources import onet_layout as layout
from pix3d_onet.data.sources.registry import terms_of
from pix3d_onet.data.store.card import export_card
from pix3d_onet.data.store.manifest import ShapeEntry
from pix3d_onet.data.store.reader import Dataset
from pix3d_onet.errors import InputError
from pix3d_onet.events import Emit, Progress, ignore
from pix3d_onet.export.claimed_folder import SUMS_FILE, claim, finish, plain_name
from pix3d_onet.files import is_own_file, member, remove, write_bytes, write_text
from pix3d_onet.geometry.mesh.inside.winding import contains
from pix3d_onet.geometry.mesh.writing import write_mesh
from pix3d_onet.types import Bool, Camera, Float32, Sample, UInt8, View

CHOY_SIDE = 137
"""Side of the original layout's pictures, pixels; some of the original models require it."""
JPEG_QUALITY = 95
PICTURE_FILES = ((layout.PICTURES, ".jpg"), (layout.MASKS, ".png"))
"""Folders of the files of a picture in a model's folder, and their suffixes; the name is its number."""
METADATA_FILE = "metadata.yaml"
"""Written last, when the export is complete."""
LARGEST_HALF = np.nextafter(np.float16(POINTS_HALF_SIDE), np.float16(0))
"""Largest float16 below 0.55: exported points stay in the original's cube."""


@dataclass(frozen=True, slots=True)
class ExportResult:
    """Counts of an export: models per class and split, pictures, labels that rounding to float16 changed."""

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
    :func:`relabelled`. The same call continues an interrupted export. InputError if ``out`` holds anything else, or
    if a shape has pictures in two splits (the layout splits models).
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
        what = {"data_hash": data.manifest.data_hash, "image_size": side}
        files = list(_files({names[e.object_id]: e.images for e in entries}))
        claim(out, what, [*files, METADATA_FILE], overwrite=overwrite, emit=emit)
        remove(out / METADATA_FILE)
        pictures = changed = points = 0
        for number, entry in enumerate(entries, 1):
            sample = data.sample(entry)
            changed += _write_model(out, names[entry.object_id], sample, side)
            pictures += len(sample.images)
            points += len(sample.points)
            emit(Progress("export", number, len(entries), item=entry.object_id))
    splits = _write_lists(out, entries, names)
    made = [file for file in files if is_own_file(out / file)]
    finish(out, made, export_card(data.manifest, terms_of(data.manifest), _sections(side)))
    write_text(out / METADATA_FILE, "".join(f"{c}:\n  id: {c}\n  name: {c}\n" for c in splits))
    return ExportResult(out, len(entries), pictures, splits, points, changed)


def model_names(entries: Sequence[ShapeEntry]) -> dict[str, str]:
    """Object id → ``class/model``: plain folder names, unique; the class is the category."""
    result: dict[str, str] = {}
    taken: set[str] = set()
    for entry in entries:
        category = plain_name(entry.category)
        model = plain_name(entry.object_id.removeprefix(f"{entry.category}/"))
        name, copy = f"{category}/{model}", 2
        while name.lower() in taken:  # some file systems ignore case
            name, copy = f"{category}/{model}~{copy}", copy + 1
        taken.add(name.lower())
        result[entry.object_id] = name
    return result


def relabelled(sample: Sample, rounded: NDArray[np.float16]) -> Bool:
    """(P,) bool: labels of the points after rounding to float16, which moves them by up to 2.4e-4.

    The stored labels were computed on the mesh before decimation, which is not stored. If the stored mesh gives the
    same label for the unrounded point, its label for the rounded point is used; else (within the decimation error of
    the surface) the stored label is kept.
    """
    before = contains(sample.mesh, sample.points)
    after = contains(sample.mesh, rounded.astype(np.float32))
    return np.where(before == sample.occupancy, after, sample.occupancy)


def camera_of(view: View, sample: Sample, side: int) -> Camera:
    """The view's camera in the model frame, for a picture of ``side`` pixels: X_cam = R·X + (scale·t - R·loc)."""
    zoom = side / view.mask.shape[1]
    rotation = view.pose[:3, :3].astype(np.float64)
    k = view.intrinsics.astype(np.float64)
    flip = -np.sign(k[0, 0])  # 1: axes left, up; -1: axes right, down
    turned = np.diag([flip, flip, 1.0]) @ rotation
    shift = np.diag([flip, flip, 1.0]) @ view.pose[:3, 3].astype(np.float64)
    centre = (float(k[0, 2] * zoom), float(k[1, 2] * zoom))
    return Camera(turned, sample.scale * shift - turned @ sample.loc, abs(float(k[0, 0])) * zoom, side, side, centre)


def _write_model(out: Path, name: str, sample: Sample, side: int) -> int:
    folder = member(out, *name.split("/"), layout.PICTURES, "000.jpg").parents[1]
    member(folder, layout.MASKS, "000.png")
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
    """Write the lists of all categories and splits; returns the number of models in each."""
    counts: dict[str, dict[str, int]] = defaultdict(dict)
    for (category, split), chosen in by_split(entries, names).items():
        models = sorted(names[e.object_id].split("/")[1] for e in chosen)
        # the original code splits at newlines: a trailing one would be a model without a name
        write_text(member(out, category, f"{split}.lst"), "\n".join(models))
        counts[category][split] = len(models)
    return {category: counts[category] for category in sorted(counts)}


def by_split(entries: Sequence[ShapeEntry], names: Mapping[str, str]) -> dict[tuple[str, SplitName], list[ShapeEntry]]:
    """(Category, split) → its shapes; every category has all splits."""
    found: dict[tuple[str, SplitName], list[ShapeEntry]] = defaultdict(list)
    for entry in entries:
        category = names[entry.object_id].split("/")[0]
        for split in SPLITS:
            found[category, split] += [entry] if split_of(entry) == split else []
    return found


def split_of(entry: ShapeEntry) -> str:
    """The split of a shape: that of its first picture, or, without pictures, its own."""
    return entry.image_splits[0] if entry.image_splits else entry.split


def _files(models: Mapping[str, int]) -> Iterator[str]:
    """Relative names of the files of an export of ``models`` (name → pictures); cameras where there are any."""
    for name, pictures in models.items():
        yield from (f"{name}/{file}" for file in (layout.POINTS, layout.CLOUD, layout.MESH))
        for number, (folder, ending) in itertools.product(range(pictures), PICTURE_FILES):
            yield f"{name}/{folder}/{number:03d}{ending}"
        yield f"{name}/{layout.PICTURES}/{layout.CAMERAS}"
    for category in sorted({name.split("/")[0] for name in models}):
        yield from (f"{category}/{split}.lst" for split in SPLITS)


def _sections(side: int) -> dict[str, str]:
    """Sections of the data card about the files of an export with pictures of ``side`` pixels."""
    files = f"""| file of `<category>/<model>/` | content |
| --- | --- |
| `{layout.POINTS}` | points (P, 3) float16, occupancies: their labels as packed bits; original = points · scale + loc |
| `{layout.CLOUD}` | points and normals (Q, 3) float16: samples of the surface |
| `{layout.MESH}` | the watertight mesh |
| `{layout.PICTURES}/000.jpg` … | pictures of {side}² pixels, the object on white |
| `{layout.PICTURES}/{layout.CAMERAS}` | camera_mat_0 (3, 3) · world_mat_0 (3, 4) …: from original points to pixels |
| `{layout.MASKS}/000.png` … | masks |

`<category>/train.lst`, `val.lst`, `test.lst` are the splits, `metadata.yaml` lists the categories."""
    load = f"""The loader of https://github.com/autonomousvision/occupancy_networks reads this folder as it is;
`onet prepare onet FOLDER` makes a data set of it. With NumPy alone:

```python
import numpy as np

model = np.load("FOLDER/CATEGORY/MODEL/{layout.POINTS}")
points = model["points"].astype(np.float32)  # (P, 3), normalised
inside = np.unpackbits(model["occupancies"])[: len(points)].astype(bool)  # (P,)
```"""
    return {"Files": files, "Load": load, "Checksums": f"`sha256sum -c {SUMS_FILE}` compares all files of the models."}


def _encoded(pixels: UInt8, side: int, form: str) -> bytes:
    picture = Image.fromarray(pixels)
    if picture.size != (side, side):
        picture = picture.resize((side, side), Image.Resampling.LANCZOS if form == "JPEG" else Image.Resampling.BOX)
    if form == "PNG":
        picture = picture.point([255 * (level >= 128) for level in range(256)])
    buffer = io.BytesIO()
    picture.save(buffer, form, quality=JPEG_QUALITY)  # PNG ignores the quality
    return buffer.getvalue()
