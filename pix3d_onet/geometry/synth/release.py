"""Write a synthetic data set in the exact layout of the Pix3D release: models, photos, masks, poses, key points.

The furniture has the defects of real CAD models (``solids.DEFECTS``, open sheets, overlaps). Picture, mask and pose
agree, because the picture is rendered from the written model. Same settings, same bytes.
"""

from __future__ import annotations

import io
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import scipy.io
from PIL import Image

from pix3d_onet.errors import ConfigError, InputError, SettingError
from pix3d_onet.events import Emit, Progress, ignore
from pix3d_onet.files import (
    check_claim,
    is_own_file,
    member,
    own_json,
    read_json,
    remove,
    remove_empty,
    write_bytes,
    write_json,
    write_text,
)
from pix3d_onet.geometry.mesh.sampling import spread
from pix3d_onet.geometry.render.cameras import look_at_pose
from pix3d_onet.geometry.render.scene import Scene
from pix3d_onet.geometry.synth import backdrop
from pix3d_onet.geometry.synth.furniture import DESIGNS, PALETTES
from pix3d_onet.geometry.synth.solids import Part, assemble, spoil
from pix3d_onet.seeding import generator
from pix3d_onet.types import PIX3D_INDEX, PIX3D_SENSOR_MM, SYNTHETIC_PREFIX, Bool, Camera, Float64, Mesh, UInt8

SETTINGS_FILE = "synth.json"
"""Written first, to claim the folder. ``pix3d.json`` is written last, when the data set is complete."""
KIND = "synthetic data set"
FOLDERS = ("img", "mask", "model")
MODEL_FILES = ("model.obj", "3d_keypoints.txt", "voxel.mat")
VOXELS = 128
"""Cells per axis of the release's voxel grids."""
FOCAL = (26.0, 70.0)
"""Focal length in millimetres, uniform."""
SIZES = ((320, 400), (400, 320), (360, 360), (448, 336), (336, 448))
"""Width and height of the pictures, pixels."""
AZIMUTH_SPREAD, ELEVATION_RANGE, ROLL_SPREAD = math.radians(70), (math.radians(-3), math.radians(38)), math.radians(2)
"""Photos are taken from the front, slightly above: azimuth and roll normal around 0, elevation uniform."""
LONGEST_SIDE = (0.7, 1.0)
"""Longest side in model units, uniform; one model in ``HUGE_EVERY`` is 100 times larger, as in the release."""
HUGE_EVERY = 20
TRUNCATED_SHARE, OCCLUDED_SHARE = 0.06, 0.08
SPRINKLE = 0.7
"""Spacing, in cells, of the points that mark a surface in the voxel grid; below 1, so that there are no holes."""
KEYPOINTS = 10
ANNOTATORS = 3
HIDDEN_BY = 0.01
"""A key point is hidden if it is behind the visible surface by more than this fraction of its depth."""
MAT_HEADER = b"MATLAB 5.0 MAT-file, written by onet synth".ljust(116)
"""Replaces scipy's header, which contains the time."""
ZOOM = 2
"""Pictures are rendered at this multiple of their size and averaged down."""


@dataclass(frozen=True, slots=True)
class SynthResult:
    """Result of ``synth_pix3d``; ``written`` is False if the same data set already existed in ``out``."""

    out: Path
    objects: int
    records: int
    categories: tuple[str, ...]
    defects: Mapping[str, int]
    written: bool


@dataclass(frozen=True, slots=True)
class _Settings:
    categories: tuple[str, ...]
    objects: int
    images_per_object: int
    seed: int


@dataclass(frozen=True, slots=True, eq=False)
class _Object:
    category: str
    name: str
    parts: tuple[Part, ...]
    mesh: Mesh
    colours: Float64
    keypoints: Float64
    defects: tuple[str, ...]

    @property
    def folder(self) -> str:
        return f"model/{self.category}/{self.name}"


def synth_pix3d(
    out: Path,
    *,
    category: str | Sequence[str] = "chair",
    objects: int = 24,
    images_per_object: int = 1,
    seed: int = 0,
    overwrite: bool = False,
    emit: Emit = ignore,
) -> SynthResult:
    """Write ``objects`` shapes per category with ``images_per_object`` pictures each to ``out``.

    ``category``: names in ``furniture.DESIGNS`` or ``"all"``. The same call continues an interrupted one, and does
    nothing after a finished one. ConfigError for a wrong setting, InputError if ``out`` holds something else (with
    ``overwrite`` another synthetic data set is replaced).
    """
    names = tuple(DESIGNS) if category == "all" else (category,) if isinstance(category, str) else tuple(category)
    settings = _Settings(names, objects, images_per_object, seed)
    _check(settings)
    if _claim(out, settings, overwrite, emit):
        return _result(out, settings, read_json(out / PIX3D_INDEX, follow=False), written=False)
    records: list[dict[str, Any]] = []
    defects: dict[str, list[str]] = {}
    total = len(names) * objects
    for name in names:
        first = len(records)
        for index in range(objects):
            thing = _make(name, index, seed)
            _write_model(out, thing)
            defects[thing.name] = list(thing.defects)
            scene = Scene(thing.mesh, thing.colours)
            for shot in range(images_per_object):
                records.append(
                    _shoot(out, thing, scene, len(records) - first + 1, generator(seed, thing.name, str(shot)))
                )
            emit(Progress("synth", len(defects), total, item=thing.name))
    write_json(out / SETTINGS_FILE, {"settings": asdict(settings), "defects": defects})
    lines = ",\n".join(json.dumps(record, allow_nan=False) for record in records)
    write_text(out / PIX3D_INDEX, f"[\n{lines}\n]\n")
    return _result(out, settings, records, written=True)


def _check(settings: _Settings) -> None:
    for name in settings.categories:
        if name not in DESIGNS:
            raise SettingError("categories", f"one of {', '.join(DESIGNS)} or all", name)
    if not settings.categories or len(set(settings.categories)) != len(settings.categories):
        raise ConfigError("`categories` must name each category once, and at least one.")
    if not 1 <= settings.objects <= 99_999:
        raise SettingError("objects", "between 1 and 99999", settings.objects)
    if not 1 <= settings.images_per_object <= 999:
        raise SettingError("images_per_object", "between 1 and 999", settings.images_per_object)
    if settings.seed < 0:
        raise SettingError("seed", "0 or more", settings.seed)


def _claim(out: Path, settings: _Settings, overwrite: bool, emit: Emit) -> bool:
    """Check that ``out`` may be written; True if the finished data set already exists."""
    ours = check_claim(
        out,
        KIND,
        files=(SETTINGS_FILE, PIX3D_INDEX),
        folders=FOLDERS,
        known=lambda folder: _settings_of(folder) is not None,
        overwrite=overwrite,
        emit=emit,
    )
    before = _settings_of(out) if ours else None
    if before == settings and is_own_file(out / PIX3D_INDEX):
        return True
    if before not in (None, settings) and not overwrite:
        hint = "Take another folder, or `overwrite=True`."
        raise InputError(f"{out} holds another synthetic data set.", hint=hint)
    try:
        remove(out / PIX3D_INDEX)
        if before is not None and before != settings:
            _remove(out, before)
        write_json(out / SETTINGS_FILE, {"settings": asdict(settings)})
    except OSError as error:
        raise InputError(f"cannot write to {out}: {error.strerror}.") from None
    return False


def _settings_of(out: Path) -> _Settings | None:
    """The settings of the synthetic data set in ``out``, complete or not; None if there is none by onet."""
    try:
        found = own_json(out / SETTINGS_FILE)["settings"]
        settings = _Settings(**{**found, "categories": tuple(found["categories"])})
        _check(settings)
    except (ConfigError, KeyError, TypeError):
        return None
    return settings


def _remove(out: Path, settings: _Settings) -> None:
    """Remove the files of the synthetic data set with these ``settings`` by name, and then empty folders."""
    for category in settings.categories:
        for index in range(settings.objects):
            folder = f"model/{category}/{_name(category, index)}"
            for name in MODEL_FILES:
                remove(member(out, *folder.split("/"), name))
        for number in range(1, settings.objects * settings.images_per_object + 1):
            for name in (f"img/{category}/{number:04d}.jpg", f"img/{category}/{number:04d}.png"):
                remove(member(out, *name.split("/")))
            remove(member(out, "mask", category, f"{number:04d}.png"))
    for name in FOLDERS:
        remove_empty(out / name)


def _result(out: Path, settings: _Settings, records: Any, *, written: bool) -> SynthResult:
    notes = read_json(out / SETTINGS_FILE, follow=False).get("defects", {})
    counts = dict(sorted(Counter(kind for kinds in notes.values() for kind in kinds).items()))
    total = len(settings.categories) * settings.objects
    return SynthResult(out, total, len(records), settings.categories, counts, written)


def _name(category: str, index: int) -> str:
    return f"{SYNTHETIC_PREFIX}{category.upper()}_{index + 1:03d}"


def _make(category: str, index: int, seed: int) -> _Object:
    rng = generator(seed, "furniture", category, str(index))
    parts, defects = spoil(DESIGNS[category](rng), rng)
    mesh, owner = assemble(parts)
    low, high = mesh.bounds
    scale = rng.uniform(*LONGEST_SIDE) / float((high - low).max()) * (100 if rng.integers(HUGE_EVERY) == 0 else 1)
    # rounded as in the OBJ file, so that picture and file have the same shape
    mesh = Mesh(np.round((mesh.vertices - (low + high) / 2) * scale, 6), mesh.faces)
    placed, start = [], 0
    for part in parts:
        end = start + len(part.vertices)
        offsets = (part.planes[:, 3] - part.planes[:, :3] @ ((low + high) / 2)) * scale
        planes = np.column_stack([part.planes[:, :3], offsets])
        placed.append(Part(mesh.vertices[start:end], part.polygons, part.material, part.solid, planes))
        start = end
    paint = {name: options[int(rng.integers(len(options)))] for name, options in PALETTES.items()}
    shades = np.array([paint[p.material] for p in parts]) * rng.uniform(0.92, 1.08, (len(parts), 1))
    name = _name(category, index)
    keypoints = _farthest(mesh.vertices[np.unique(mesh.faces)], KEYPOINTS)
    return _Object(category, name, tuple(placed), mesh, shades[owner], keypoints, defects)


def _farthest(points: Float64, count: int) -> Float64:
    """(count, 3): farthest-point sampling of vertices, starting with the lowest left front one."""
    chosen = [int(np.argmin(points.sum(axis=1)))]
    distance = np.full(len(points), np.inf)
    while len(chosen) < count:
        distance = np.minimum(distance, ((points - points[chosen[-1]]) ** 2).sum(axis=1))
        chosen.append(int(distance.argmax()))
    return points[chosen]


def _write_model(out: Path, thing: _Object) -> None:
    lines = [f"# onet synth: {thing.name}"]
    offset = 1
    for number, part in enumerate(thing.parts):
        lines += [f"g part_{number}", f"usemtl {part.material}"]
        lines += [f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in part.vertices]
        lines += ["f " + " ".join(str(i + offset) for i in polygon) for polygon in part.polygons]
        offset += len(part.vertices)
    folder = member(out, *thing.folder.split("/"), "model.obj").parent
    write_text(folder / "model.obj", "\n".join(lines) + "\n")
    write_text(folder / "3d_keypoints.txt", "".join(f"{x:.6f} {y:.6f} {z:.6f}\n" for x, y, z in thing.keypoints))
    buffer = io.BytesIO()
    scipy.io.savemat(cast(Any, buffer), {"voxel": voxels(thing.parts, thing.mesh)}, do_compression=True)
    write_bytes(folder / "voxel.mat", MAT_HEADER + buffer.getvalue()[len(MAT_HEADER) :])


def voxels(parts: Sequence[Part], mesh: Mesh) -> UInt8:
    """(128, 128, 128) uint8 in the release's convention: index = (x-c, -(z-c), y-c)/longest·128 + 64.

    Solids are filled, and every surface marks the cells that it crosses; so thin panels are thick, as in the release.
    """
    low, high = mesh.bounds
    cell = float((high - low).max()) / VOXELS
    centre = (low + high) / 2
    grid = np.zeros((VOXELS,) * 3, dtype=np.uint8)
    axis = (np.arange(VOXELS) + 0.5 - VOXELS / 2) * cell
    for part in parts:
        triangles = part.vertices[part.triangles]
        cells = _indices(np.concatenate([*spread(triangles, cell * SPRINKLE)]), centre, cell)
        grid[tuple(cells.T)] = 1
        if part.solid:
            first, last = cells.min(axis=0), cells.max(axis=0) + 1
            i, j, k = np.meshgrid(*(axis[a:b] for a, b in zip(first, last, strict=True)), indexing="ij")
            points = np.stack([i, k, -j], axis=-1).reshape(-1, 3) + centre
            grid[tuple(slice(a, b) for a, b in zip(first, last, strict=True))] |= part.holds(points).reshape(i.shape)
    return grid


def _indices(points: Float64, centre: Float64, cell: float) -> Any:
    local = (points - centre) / cell + VOXELS / 2
    turned = np.stack([local[:, 0], VOXELS - local[:, 2], local[:, 1]], axis=1)
    return np.clip(np.floor(turned), 0, VOXELS - 1).astype(np.int64)


def _camera(thing: _Object, rng: np.random.Generator, truncated: bool) -> tuple[Camera, float, float]:
    """A camera that shows the whole object (only a part if ``truncated``), its focal length in mm and its roll."""
    width, height = SIZES[int(rng.integers(len(SIZES)))]
    focal_mm = float(np.round(rng.uniform(*FOCAL), 6))
    focal = focal_mm / PIX3D_SENSOR_MM * width
    low, high = thing.mesh.bounds
    azimuth, roll = float(rng.normal(0, AZIMUTH_SPREAD)), float(rng.normal(0, ROLL_SPREAD))
    pose = look_at_pose(azimuth, rng.uniform(*ELEVATION_RANGE), roll, 0.0, (low + high) / 2)
    local = thing.mesh.vertices @ pose[:3, :3].T + pose[:3, 3]
    fill = rng.uniform(0.6, 0.92)
    # the distance at which every vertex is within `fill` of half the picture
    half = np.array([width, height]) / 2 * fill
    distance = float((focal * np.abs(local[:, :2]) / half - local[:, 2:]).max())
    shift = (rng.uniform(-1, 1, 2) * (1 - fill) / 2) * np.array([width, height]) / 2 / focal * distance
    if truncated:
        shift[0] = rng.choice([-1, 1]) * width * 0.42 / focal * distance
    pose[:3, 3] += (shift[0], shift[1], distance)
    return Camera(pose[:3, :3], pose[:3, 3], focal, width, height), focal_mm, roll


def _shoot(out: Path, thing: _Object, scene: Scene, number: int, rng: np.random.Generator) -> dict[str, Any]:
    """Render one picture of ``thing`` and write it; returns its record for ``pix3d.json``."""
    truncated, occluded = bool(rng.random() < TRUNCATED_SHARE), bool(rng.random() < OCCLUDED_SHARE)
    camera, focal_mm, roll = _camera(thing, rng, truncated)
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = camera.rotation, camera.translation
    zoom = np.diag([ZOOM, ZOOM, 1.0]) @ camera.intrinsics
    size = (camera.width * ZOOM, camera.height * ZOOM)
    picture = scene.view(pose, zoom, size, supersample=1)
    rgb = backdrop.behind(picture, pose, zoom, thing.mesh.bounds, rng)
    mask = picture.mask
    if occluded:
        rgb, mask = backdrop.pole_in_front(rgb, mask, rng)
    photo, covered = backdrop.develop(rgb, mask, ZOOM, rng)
    ending = "jpg" if rng.random() < 0.4 else "png"
    image, mask_name = f"img/{thing.category}/{number:04d}.{ending}", f"mask/{thing.category}/{number:04d}.png"
    write_bytes(member(out, *image.split("/")), _encoded(photo, ending))
    write_bytes(member(out, *mask_name.split("/")), _encoded(covered.astype(np.uint8) * np.uint8(255), "png"))
    return _record(thing, camera, covered, image, mask_name) | {
        "2d_keypoints": _annotate(thing.keypoints, camera, picture.depth, rng),
        "focal_length": focal_mm,
        "inplane_rotation": roll,
        "truncated": truncated,
        "slightly_occluded": occluded,
    }


def _record(thing: _Object, camera: Camera, mask: Bool, image: str, mask_name: str) -> dict[str, Any]:
    """The record with the release's keys in the same order."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return {
        "img": image,
        "category": thing.category,
        "img_size": [camera.width, camera.height],
        "2d_keypoints": [],
        "mask": mask_name,
        "img_source": "synthetic",
        "model": f"{thing.folder}/model.obj",
        "model_raw": None,
        "model_source": "synthetic",
        "3d_keypoints": f"{thing.folder}/3d_keypoints.txt",
        "voxel": f"{thing.folder}/voxel.mat",
        "rot_mat": camera.rotation.tolist(),
        "trans_mat": camera.translation.tolist(),
        "focal_length": 0.0,
        "cam_position": (-camera.rotation.T @ camera.translation).tolist(),
        "inplane_rotation": 0.0,
        "truncated": False,
        "occluded": False,
        "slightly_occluded": False,
        "bbox": [int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1],
    }


def _annotate(keypoints: Float64, camera: Camera, depth: Any, rng: np.random.Generator) -> list[list[list[float]]]:
    """(annotators, points, 2): each annotator's key points in pixels, with an error of about 1; -1 = hidden."""
    local = keypoints @ camera.rotation.T + camera.translation
    pixels = (local @ camera.intrinsics.T)[:, :2] / local[:, 2:]
    cells = np.floor(pixels * ZOOM).astype(np.int64)
    within: Bool = np.asarray(((pixels >= 0) & (pixels < (camera.width, camera.height))).all(axis=1))
    seen = within.copy()
    near = depth[cells[within, 1], cells[within, 0]]  # infinity if the pixel shows the background
    seen[within] = np.isfinite(near) & (local[within, 2] <= near * (1 + HIDDEN_BY))
    marks = np.round(pixels + rng.normal(0, 1.0, (ANNOTATORS, *pixels.shape)), 3)
    return cast(list[list[list[float]]], np.where(seen[:, None], marks, -1.0).tolist())


def _encoded(pixels: UInt8, ending: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG" if ending == "jpg" else "PNG", quality=92)  # PNG ignores the quality
    return buffer.getvalue()
