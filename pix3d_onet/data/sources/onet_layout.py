"""Read and write the folder layout of the original Occupancy Networks code (Mescheder et al., CVPR 2019).

::

    metadata.yaml                       class folder → id and name
    <class>/{train,val,test}.lst        model names, one per line, no newline at the end
    <class>/<model>/points.npz          points (P, 3) float16, occupancies (P/8,) uint8 packed, loc (3,), scale ()
    <class>/<model>/pointcloud.npz      points (Q, 3) float16, normals (Q, 3) float16, loc (3,), scale ()
    <class>/<model>/img_choy2016/000.jpg ...  and cameras.npz: camera_mat_<i> (3, 3), world_mat_<i> (3, 4)

Points are in the normalised frame, ``(original - loc) / scale``. ``world_mat`` maps the *original* frame to a camera
with axes right, down, forward; ``camera_mat`` maps that to pixels of the stored picture. Two additional files, which
the original code ignores, make an exported data set complete when it is read again: ``mesh.off`` (normalised frame)
and ``img_choy2016_mask/000.png``.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pix3d_onet.config import POINTS_HALF_SIDE, SPLITS, PrepareConfig
from pix3d_onet.data.images.decoding import declared_size
from pix3d_onet.errors import ConfigError, InputError, RejectError
from pix3d_onet.files import inside, read_text, write_bytes
from pix3d_onet.files.npz import TooLargeError, read_arrays
from pix3d_onet.rotations import rotation_problem
from pix3d_onet.types import Bool, Camera, Float64, Rejected, SourceListing, SourceShape, SourceView

POINTS, CLOUD, MESH = "points.npz", "pointcloud.npz", "mesh.off"
PICTURES, MASKS, CAMERAS = "img_choy2016", "img_choy2016_mask", "cameras.npz"
PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png")
FOCAL_TOLERANCE = 1e-3
"""Largest skew, and largest difference of the two focal lengths, relative to the focal length, for square pixels."""
FLOAT16_ROUNDING = 5e-4
"""Most that float16 moves a coordinate near the border of the cube."""
FLIP = np.diag([-1.0, -1.0, 1.0])
"""Camera axes right, down, forward ↔ left, up, forward."""
STAGE = "parse"


@dataclass(frozen=True, slots=True, eq=False)
class GivenPoints:
    """``points.npz``: ``points`` (P, 3) float64 normalised, ``occupancy`` (P,) bool, ``loc`` (3,), ``scale``."""

    points: Float64
    occupancy: Bool
    loc: Float64
    scale: float


def list_onet(root: Path, config: PrepareConfig, *, split_files: Sequence[Path] = ()) -> SourceListing:
    """Every model of the chosen classes that has ``points.npz``, sorted; the ``*.lst`` files give its split.

    The object's id is ``class/model``. A model that is in a list but has no files is a reject. With the split
    ``lst`` only models in a list are used. InputError if ``root`` holds no class folder, ConfigError for a class that
    it does not have, and for settings that need the surface from which the labels were computed.
    """
    if config.near_points or config.sdf:
        name = "sdf" if config.sdf else "near_points"
        hint = "Prepare the models themselves: `onet prepare meshes`."
        raise ConfigError(f"`{name}` needs a mesh, and this layout has only labelled points.", hint=hint)
    if not root.is_dir():
        raise InputError(f"no folder at {root}.", hint="Name the folder that holds <class>/<model>/points.npz.")
    classes = sorted(p.name for p in root.iterdir() if p.is_dir() and not p.name.startswith(".") and _is_class(p))
    if not classes:
        raise InputError(f"{root} holds no <class>/<model>/{POINTS}.", hint="Name the folder above the class folders.")
    config.check_categories(classes, str(root))
    shapes: list[SourceShape] = []
    rejected: list[Rejected] = []
    fixed: dict[str, str] = {}
    skipped: Counter[str] = Counter()
    for name in classes:
        folders = {f"{name}/{p.name}" for p in (root / name).iterdir() if (p / POINTS).is_file()}
        if not config.takes(name):
            skipped["category"] += len(folders)
            continue
        listed = _read_lists(root / name, name)
        fixed |= listed
        if config.split == "lst" and not listed and len(classes) > 1:
            hint = "Give `split=shape`, or leave the class out with `categories`."
            raise InputError(
                f"{root / name} has no train.lst, val.lst or test.lst, which `split=lst` needs.", hint=hint
            )
        taken = set(listed) if listed and config.split == "lst" else folders | set(listed)
        skipped["not-in-split"] += len(folders - taken)
        for object_id in sorted(taken):
            _add(root, object_id, shapes, rejected)
    records = len(shapes) + sum(r.record_id == r.object_id for r in rejected) + skipped.total()
    unused = {cause: count for cause, count in skipped.items() if count}
    return SourceListing("onet", root, tuple(shapes), tuple(rejected), records, fixed, skipped=unused)


def read_points(path: Path) -> GivenPoints:
    """Read ``points.npz`` with packed or plain labels.

    RejectError, stage ``labels``, if it is damaged, if a plain label is neither 0 nor 1, or if a point labelled inside
    is outside the cube of the normalised frame.
    """
    data = read_npz(path, ("points", "occupancies"), ("loc", "scale"))
    points, labels = _points(data["points"], path), data["occupancies"].ravel()
    if labels.dtype == np.uint8 and labels.size == -(-len(points) // 8):
        labels = np.unpackbits(labels)[: len(points)]
    if labels.shape != (len(points),):
        raise RejectError("bad-points", f"{path.name}: {labels.size} labels for {len(points)} points", "labels")
    if not np.isin(labels, (0, 1)).all():  # also for NaN; logits and -1 would all be read as inside
        raise RejectError("bad-points", f"{path.name}: labels must be 0 or 1, or packed bits", "labels")
    labels = labels.astype(np.bool_)
    if beyond := int((np.abs(points[labels]) > POINTS_HALF_SIDE + FLOAT16_ROUNDING).any(axis=1).sum()):
        detail = f"{beyond} points labelled inside lie outside [-{POINTS_HALF_SIDE}, {POINTS_HALF_SIDE}]³"
        raise RejectError("bad-points", f"{path.name}: {detail}: they are not in the normalised frame", "labels")
    loc, scale = _placement(data, path)
    return GivenPoints(points, labels, loc, scale)


def read_cloud(path: Path) -> tuple[Float64, Float64]:
    """``pointcloud.npz``: points (Q, 3) and unit normals (Q, 3) float64.

    RejectError ``missing-pointcloud`` or ``bad-pointcloud``, stage ``surface``.
    """
    data = read_npz(path, ("points", "normals"), stage="surface")
    points, normals = _points(data["points"], path), _points(data["normals"], path)
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    if points.shape != normals.shape or not (length > 0).any():
        raise RejectError("bad-pointcloud", f"{path.name}: points and normals do not fit", "surface")
    return points, normals / np.maximum(length, np.finfo(np.float64).tiny)


def read_npz(
    path: Path, names: Sequence[str], more: Collection[str] = (), *, stage: str = "labels"
) -> dict[str, NDArray[Any]]:
    """The arrays ``names`` of an .npz, and those of ``more`` that it has. RejectError if it is damaged or unpacks to
    more than ``npz.MAX_NPZ_BYTES``."""
    try:
        data = read_arrays(path, {*names, *more})
    except TooLargeError as error:
        raise RejectError("npz-too-large", f"{path.name} {error}", stage) from None
    except FileNotFoundError:
        raise RejectError(f"missing-{path.stem}", f"{path.name} does not exist", stage) from None
    except Exception as error:  # noqa: BLE001 - zip and npy readers raise almost anything on damaged bytes
        text = " ".join(str(error).split())[:160] or type(error).__name__
        raise RejectError(f"bad-{path.stem}", f"{path.name} cannot be read: {text}", stage) from None
    lacking = [name for name in names if name not in data]
    if lacking:
        raise RejectError(f"bad-{path.stem}", f"{path.name} has no {lacking[0]}", stage)
    return data


def write_npz(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write an uncompressed .npz atomically, as ``numpy.savez`` does; same arrays, same bytes."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    write_bytes(path, buffer.getvalue())


def matrices(camera: Camera) -> tuple[Float64, Float64]:
    """``camera_mat`` (3, 3) and ``world_mat`` (3, 4) of a camera: axes right, down, forward, positive focal length."""
    world = np.column_stack([camera.rotation, camera.translation])
    return camera.intrinsics @ FLIP, FLIP @ world


def camera_from(camera_mat: NDArray[Any], world_mat: NDArray[Any], size: tuple[int, int]) -> Camera:
    """The inverse of :func:`matrices`. RejectError ``bad-pose`` unless it is a camera with square pixels."""
    k, world = np.asarray(camera_mat, dtype=np.float64), np.asarray(world_mat, dtype=np.float64)
    if k.shape != (3, 3) or world.shape != (3, 4) or not (np.isfinite(k).all() and np.isfinite(world).all()):
        raise RejectError("bad-pose", "camera_mat or world_mat is not a finite 3×3 and 3×4 matrix", STAGE)
    rotation, focal = world[:, :3], float(k[0, 0])
    if problem := rotation_problem(rotation):
        raise RejectError("bad-pose", f"world_mat is not rigid: {problem}", STAGE)
    uneven = max(abs(focal - k[1, 1]), abs(k[0, 1]), abs(k[1, 0]))
    if not focal > 0 or uneven > FOCAL_TOLERANCE * focal or tuple(k[2]) != (0, 0, 1):
        raise RejectError("bad-pose", "camera_mat has no square pixels", STAGE)
    centre = (float(k[0, 2]), float(k[1, 2]))
    return Camera(FLIP @ rotation, FLIP @ world[:, 3], focal, *size, centre=centre)


def _is_class(folder: Path) -> bool:
    if any((folder / f"{split}.lst").is_file() for split in SPLITS):
        return True
    return any((p / POINTS).is_file() for p in folder.iterdir() if p.is_dir())


def _read_lists(folder: Path, name: str) -> dict[str, str]:
    """Object id → split, from the three lists; if a model is in two lists, train comes before val, val before test."""
    result: dict[str, str] = {}
    for split in SPLITS:
        path = folder / f"{split}.lst"
        try:
            lines = read_text(path).split("\n") if path.exists() else []
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"cannot read {path}: {error}.") from None
        for line in lines:
            if line.strip():
                result.setdefault(f"{name}/{line.strip()}", split)
    return result


def _add(root: Path, object_id: str, shapes: list[SourceShape], rejected: list[Rejected]) -> None:
    try:
        points = inside(root, f"{object_id}/{POINTS}")
        cloud, mesh = (inside(root, f"{object_id}/{name}") for name in (CLOUD, MESH))
        if not points.is_file():
            raise RejectError("missing-points", f"{object_id}/{POINTS} does not exist", STAGE)
    except RejectError as error:
        rejected.append(Rejected(object_id, object_id, STAGE, error.reason, error.message))
        return
    views, lost = _views(root, object_id)
    rejected += lost
    category = object_id.split("/", maxsplit=1)[0]
    shapes.append(
        SourceShape(
            object_id, category, object_id, points, views, cloud=cloud, given_mesh=mesh if mesh.is_file() else None
        )
    )


def _views(root: Path, object_id: str) -> tuple[tuple[SourceView, ...], list[Rejected]]:
    views: list[SourceView] = []
    rejected: list[Rejected] = []
    folder = root / object_id / PICTURES
    files = sorted(p for p in folder.glob("*") if p.suffix.lower() in PICTURE_SUFFIXES) if folder.is_dir() else []
    try:
        path = inside(root, f"{object_id}/{PICTURES}/{CAMERAS}")
        numbers = [int(p.stem) for p in files if p.stem.isdecimal()]
        wanted = {f"{name}_{number}" for number in numbers for name in ("camera_mat", "world_mat")}
        cameras = read_npz(path, (), wanted) if files else {}
    except RejectError as error:
        cameras = {}
        if not error.reason.startswith("missing"):
            rejected.append(Rejected(object_id, f"{object_id}/{CAMERAS}", STAGE, error.reason, error.message))
    for path in files:
        record = f"{object_id}/{path.stem}"
        if any(view.record_id == record for view in views):
            detail = f"{PICTURES} has two pictures named {path.stem}; {path.name} is left out"
            rejected.append(Rejected(object_id, f"{object_id}/{path.name}", STAGE, "same-name", detail))
            continue
        try:
            image = inside(root, path.relative_to(root).as_posix())
            mask = inside(root, f"{object_id}/{MASKS}/{path.stem}.png")
            camera = _camera(cameras, path)
            views.append(SourceView(record, image, mask if mask.is_file() else None, camera, on_white=True))
        except RejectError as error:
            rejected.append(Rejected(object_id, record, error.stage or STAGE, error.reason, error.message))
    return tuple(views), rejected


def _camera(cameras: Mapping[str, NDArray[Any]], picture: Path) -> Camera | None:
    """The camera of a numbered picture; None if there is none or it is all NaN (a picture without a pose)."""
    if not picture.stem.isdecimal():
        return None
    k, world = (cameras.get(f"{name}_{int(picture.stem)}") for name in ("camera_mat", "world_mat"))
    if k is None or world is None or np.isnan(k.astype(np.float64)).all():
        return None
    return camera_from(k, world, declared_size(picture))


def _points(array: NDArray[Any], path: Path) -> Float64:
    if array.ndim != 2 or array.shape[1:] != (3,) or array.dtype.kind != "f" or not len(array):
        raise RejectError(f"bad-{path.stem}", f"{path.name}: an array is {array.shape} {array.dtype}", "labels")
    points = array.astype(np.float64)
    if not np.isfinite(points).all():
        raise RejectError(f"bad-{path.stem}", f"{path.name} holds NaN or infinity", "labels")
    return points


def _placement(data: Mapping[str, NDArray[Any]], path: Path) -> tuple[Float64, float]:
    loc = np.asarray(data.get("loc", np.zeros(3)), dtype=np.float64).ravel()
    scale = np.asarray(data.get("scale", 1.0), dtype=np.float64).ravel()
    if loc.shape != (3,) or scale.shape != (1,) or not np.isfinite(loc).all() or not 0 < scale[0] < np.inf:
        raise RejectError("bad-points", f"{path.name}: loc or scale is not a number", "labels")
    return loc, float(scale[0])
