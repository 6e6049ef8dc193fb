"""Read Pix3D: ``pix3d.json`` → shapes, pictures and cameras (Sun et al., CVPR 2018).

Facts about the release that its page does not mention:

- a shape is its *folder*: five chair folders hold stretched variants (``model_<a>_<b>.obj``) and no ``model.obj``;
- image and mask may have different extensions, and an extension may be wrong;
- flags are JSON booleans, though the page shows strings; both are read, null means "unknown";
- ``focal_length`` is in mm on a sensor 32 mm wide; ``X_cam = R·X + t``, ``u = W/2 - f·X/Z``, ``v = H/2 - f·Y/Z``.

A record's id is its ``img`` path, so that it can be found in the file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from pix3d_onet.config import PrepareConfig
from pix3d_onet.data.images.decoding import declared_size
from pix3d_onet.data.sources.split_files import carved, read_split_files
from pix3d_onet.errors import ConfigError, InputError, RejectError
from pix3d_onet.files import digest, inside, is_file, read_json
from pix3d_onet.rotations import rotation_problem
from pix3d_onet.types import (
    MANIFEST,
    PIX3D_INDEX,
    PIX3D_SENSOR_MM,
    Camera,
    Rejected,
    SourceListing,
    SourceShape,
    SourceView,
)

STAGE = "parse"
HOW_TO_GET = (
    "Get it with `onet download pix3d`, name the folder of an unpacked release with `root` or ONET_PIX3D_ROOT, or make "
    "a stand-in with `onet synth pix3d DIR`."
)


@dataclass(frozen=True, slots=True, eq=False)
class Pix3DRecord:
    """One valid record: its files exist inside the root. ``folder``: the shape's folder; ``clean``: the object is
    neither truncated nor occluded nor slightly occluded (None = the record does not say)."""

    record_id: str
    category: str
    image: Path
    mask: Path
    model: Path
    voxel: Path | None
    folder: str
    camera: Camera | None
    clean: bool | None


def list_pix3d(root: Path, config: PrepareConfig, *, split_files: Sequence[Path] = ()) -> SourceListing:
    """The records of ``root/pix3d.json`` that match the settings (category, flags, pose, images per object).

    With ``images_per_object`` ``one`` a folder is one shape: the model of its first usable record. Its other records
    with the same model are used, in the index's order, if the first picture cannot be read. With ``all`` every model
    file is a shape with all its records. Shapes are sorted by id. ``split_files``: the JSON files of a prescribed
    split (``config.split`` ``s1`` or ``s2``), see :mod:`pix3d_onet.data.sources.split_files`.

    Raises InputError for a missing root or a broken index, ConfigError for a category that the index does not have.
    """
    raw = read_index(root)
    if present := {c for c in map(category_of, raw) if c}:
        config.check_categories(present, "the index")
    prescribed = _prescribed(config, split_files)
    records: list[Pix3DRecord] = []
    rejected: list[Rejected] = []
    skipped: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    for index, item in enumerate(raw):
        record_id = record_id_of(item, index, seen)
        category = category_of(item)  # a record without one is rejected below
        if category is not None and not config.takes(category):
            skipped["category"] += 1
            continue
        if prescribed is not None and record_id not in prescribed:
            skipped["not-in-split"] += 1
            continue
        try:
            record = parse_record(root, item, record_id)
            if config.flags == "clean" and not record.clean:
                if record.clean is None:
                    raise RejectError("flags-unknown", "truncated/occluded flags are missing, so it may not be clean")
                skipped["flags"] += 1
                continue
            if config.require_pose and record.camera is None:
                raise RejectError("no-pose", "the record has no camera")
        except RejectError as error:
            rejected.append(Rejected("", record_id, error.stage or STAGE, error.reason, error.message))
            continue
        records.append(record)
    shapes = _shapes(records, config.images_per_object, skipped)
    fixed: dict[str, str] = {}
    if prescribed is not None:
        fixed = carved(prescribed, shapes, config)
    counts = dict(sorted(skipped.items()))
    return SourceListing("pix3d", root, shapes, tuple(rejected), len(raw), fixed, counts, by_picture=True)


def parse_record(root: Path, item: object, record_id: str) -> Pix3DRecord:
    """Check one record of the index; its files must exist inside ``root``.

    Raises RejectError: ``bad-record``, ``unsafe-path``, ``missing-image``, ``missing-mask``, ``missing-model``,
    ``bad-pose``; if the record lacks ``img_size``, also errors of reading the image's header.
    """
    if not isinstance(item, dict):
        raise RejectError("bad-record", f"a record must be an object, not {type(item).__name__}")
    category = item.get("category")
    if not isinstance(category, str) or not category.isprintable() or not category:
        raise RejectError("bad-record", f"category is {_show(category)}")
    image = _file(root, item, "img", "image")
    mask = _file(root, item, "mask", "mask")
    model = _file(root, item, "model", "model")
    voxel = inside(root, item["voxel"]) if item.get("voxel") is not None else None
    return Pix3DRecord(
        record_id=record_id,
        category=category,
        image=image,
        mask=mask,
        model=model,
        voxel=voxel if voxel is not None and is_file(voxel) else None,
        folder=PurePosixPath(item["model"]).parent.as_posix(),
        camera=_camera(item, image),
        clean=_clean(item),
    )


def read_index(root: Path) -> list[Any]:
    """The records of ``root/pix3d.json``, not yet checked; InputError if there are none."""
    if not root.is_dir():
        raise InputError(f"no Pix3D folder at {root}.", hint=HOW_TO_GET)
    try:
        path = inside(root, PIX3D_INDEX)
    except RejectError as error:
        raise InputError(f"{error.message}.", hint=HOW_TO_GET) from None
    if not path.exists() and (root / MANIFEST).exists():
        hint = "It is ready for `onet inspect`, `onet verify` and `onet train`."
        raise InputError(f"{root} is a prepared data set, not a Pix3D release.", hint=hint)
    raw = read_json(path, what="Pix3D index", hint=HOW_TO_GET)
    if not isinstance(raw, list):
        raise InputError(f"{path} must hold a list of records, not {type(raw).__name__}.", hint=HOW_TO_GET)
    if not raw:
        raise InputError(f"{path} holds no records.", hint=HOW_TO_GET)
    return raw


def category_of(item: object) -> str | None:
    """The category of a record; None if it has none."""
    value = item.get("category") if isinstance(item, dict) else None
    return value if isinstance(value, str) else None


def record_id_of(item: object, index: int, seen: Counter[str]) -> str:
    """A record's id; ``seen`` counts those given so far, since an index may name a picture twice."""
    name = item.get("img") if isinstance(item, dict) else None
    if not isinstance(name, str) or not name.isprintable() or not name:
        return f"record {index}"
    seen[name] += 1
    return name if seen[name] == 1 else f"{name}#{seen[name]}"


def _file(root: Path, item: Mapping[str, Any], key: str, what: str) -> Path:
    value = item.get(key)
    if value is None:
        raise RejectError(f"missing-{what}", f"the record has no {key}")
    path = inside(root, value)
    if not is_file(path):
        raise RejectError(f"missing-{what}", f"{_show(value)} does not exist")
    return path


def _flag(value: object) -> bool | None:
    if isinstance(value, str):
        return {"true": True, "false": False}.get(value.strip().lower())
    return bool(value) if isinstance(value, bool | int) else None


def _clean(item: Mapping[str, Any]) -> bool | None:
    flags = [_flag(item.get(key)) for key in ("truncated", "occluded", "slightly_occluded")]
    if True in flags:
        return False
    return None if None in flags else True


def _camera(item: Mapping[str, Any], image: Path) -> Camera | None:
    """The record's camera; None if it has none; RejectError ``bad-pose`` if it is not a valid one."""
    values = [item.get(key) for key in ("rot_mat", "trans_mat", "focal_length")]
    if any(v is None for v in values):
        return None
    rotation, translation = _numbers(values[0], (3, 3), "rot_mat"), _numbers(values[1], (3,), "trans_mat")
    focal_mm = float(_numbers(values[2], (), "focal_length"))
    if problem := rotation_problem(rotation):
        raise RejectError("bad-pose", f"rot_mat is not a rotation ({problem})")
    if focal_mm <= 0:
        raise RejectError("bad-pose", f"focal_length is {focal_mm:g} mm")
    width, height = _image_size(item.get("img_size"), image)
    return Camera(rotation, translation, focal_mm / PIX3D_SENSOR_MM * width, width, height)


def _image_size(value: object, image: Path) -> tuple[int, int]:
    if isinstance(value, list) and len(value) == 2:
        width, height = value
        if isinstance(width, int) and isinstance(height, int) and width > 0 and height > 0:
            return width, height
    return declared_size(image)


def _numbers(value: object, shape: tuple[int, ...], key: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        raise RejectError("bad-pose", f"{key} is {_show(value)}") from None
    if array.shape != shape or not np.isfinite(array).all() or isinstance(value, bool | str):
        raise RejectError("bad-pose", f"{key} is {_show(value)}")
    return array


def _show(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _shapes(records: Sequence[Pix3DRecord], per_object: str, skipped: Counter[str]) -> tuple[SourceShape, ...]:
    """Group records into shapes, by folder or by model file, sorted by object id."""
    first_model: dict[str, Path] = {}
    by_shape: dict[str, list[Pix3DRecord]] = {}
    for record in records:
        if per_object == "one":
            if record.model != first_model.setdefault(record.folder, record.model):
                skipped["same-shape"] += 1
                continue
            key = record.folder
        else:
            name = record.model.name
            key = record.folder if name == "model.obj" else f"{record.folder}/{name}"
        by_shape.setdefault(key, []).append(record)
    ids = object_ids(by_shape)
    shapes = [_shape(ids[key], members) for key, members in by_shape.items()]
    return tuple(sorted(shapes, key=lambda s: s.object_id))


def _shape(object_id: str, members: Sequence[Pix3DRecord]) -> SourceShape:
    head = members[0]
    views = tuple(SourceView(r.record_id, r.image, r.mask, r.camera) for r in members)
    return SourceShape(object_id, head.category, head.folder, head.model, views, head.voxel)


def object_ids(keys: Iterable[str]) -> dict[str, str]:
    """An id for every shape that is a valid file name: ``model/chair/IKEA_POANG`` → ``chair-IKEA_POANG``.

    It depends only on the key, not on other entries of the index: if this rule could give two keys one name, or an
    invalid one, a digest of the key is appended. So it is for all but ``model/<category>/<folder>`` and
    ``model/<folder>``.
    """
    result: dict[str, str] = {}
    for key in keys:
        parts = PurePosixPath(key.removesuffix(".obj")).parts
        usual = len(parts) in (2, 3) and parts[0] == "model" and not key.endswith(".obj")
        parts = parts[1:] if len(parts) > 1 and parts[0] == "model" else parts
        plain = "-".join(parts)  # empty for a model beside the index
        name = "".join(c if c.isascii() and (c.isalnum() or c in "-_.+") else "_" for c in plain)[:120]
        usual = usual and "-" not in parts[0]  # chair-X is the folder X of chair
        unambiguous = usual and name == plain and not name.startswith(".")
        result[key] = name if unambiguous else f"{name.lstrip('.') or 'shape'}-{digest(key.encode())[:8]}"
    return result


def _prescribed(config: PrepareConfig, split_files: Sequence[Path]) -> dict[str, str] | None:
    if config.split not in ("s1", "s2"):
        if split_files:
            raise ConfigError("`split_files` needs `split=s1` or `split=s2`.")
        return None
    if not split_files:
        raise ConfigError(
            f"`split={config.split}` needs `split_files` with the JSON of Mesh R-CNN (one file per split)."
        )
    return read_split_files(split_files)
