"""From a network and a picture to a closed mesh: surface sampling, marching cubes, simplification, refinement.

Marching cubes is scikit-image's (Lewiner et al. 2003, topologically consistent). It interpolates logits, as the
original does. Where the surface leaves the box, it is closed by a flat cap.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from pix3d_onet.config import POINTS_HALF_SIDE, DecoderPrecision, ExtractionConfig, ModelConfig, TrainConfig
from pix3d_onet.errors import InputError, SettingError
from pix3d_onet.events import Emit, Note, ignore
from pix3d_onet.geometry.mesh.simplification import simplify
from pix3d_onet.learning.extraction.refine import refine_vertices
from pix3d_onet.learning.extraction.surface_sampling import Field, Lattice, sample_surface
from pix3d_onet.learning.pictures import network_pictures
from pix3d_onet.rotations import pose_problem
from pix3d_onet.setting_types import check_choice, converted
from pix3d_onet.types import Bool, Float32, Float64, Int64, Mesh, Normalisation, UInt8

THRESHOLD = TrainConfig.threshold
"""Occupancy probability of the surface (the original's constant for single images)."""
COARSE = ExtractionConfig.coarse
"""Least number of cells per axis of the first lattice (the original's value)."""
EXPONENT = 700.0
"""Logits are clamped to its negative before the exponential, which would overflow float64."""
FARTHEST_CENTRE = 8.0
"""Most picture sides between the middle of a picture and the object's centre. Pictures are crops around the object, so
it is within one; with intrinsics in pixels it would be half of a picture's pixels, 16 or more."""
PRECISIONS: dict[DecoderPrecision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}
"""Precision → type of the decoder's products."""


class ImageModel(Protocol):
    """Interface of a network that extraction uses; ``network.model.OccupancyNetwork`` implements it."""

    config: ModelConfig

    def encode(self, images: Tensor, pose: Tensor | None = None, intrinsics: Tensor | None = None) -> Any:
        """Images (1, 3, H, W) float32 RGB in [0, 1], or (1, 4, H, W) with the object's mask if ``config.needs_mask``,
        pose (1, 4, 4), intrinsics (1, 3, 3) → what ``fold`` takes."""

    def fold(self, code: Any, dtype: torch.dtype = torch.float32) -> Field:
        """The code of a picture → its field."""


@dataclass(frozen=True, slots=True, eq=False)
class Extraction:
    """A mesh, the number of ``queries`` of the field, and how many of these were ``undefined`` (NaN).

    ``highest``: highest occupancy probability found, also if there is no surface. ``normals`` (V, 3) float64: outward
    unit normals at the vertices from the field's gradient; None unless refined.
    """

    mesh: Mesh
    queries: int
    undefined: int
    resolution: int
    highest: float
    normals: Float64 | None = None


def logit(probability: float) -> float:
    """log(p / (1 − p)); ConfigError unless 0 < p < 1."""
    probability = converted("threshold", probability, float)
    if not 0 < probability < 1:
        raise SettingError("threshold", "between 0 and 1", probability)
    return math.log(probability) - math.log1p(-probability)


def empty_mesh() -> Mesh:
    """A mesh with (0, 3) vertices and (0, 3) faces."""
    return Mesh(np.empty((0, 3)), np.empty((0, 3), np.int64))


def march(lattice: Lattice) -> Mesh:
    """Marching cubes on a sampled lattice → a closed mesh with outward-oriented faces, in the normalised frame.

    Only cells that the surface crosses are visited. Where the surface leaves the box, a flat cap closes it.
    """
    from skimage.measure import marching_cubes

    if not len(lattice.cells):
        return empty_mesh()
    low, high = lattice.cells.amin(dim=0).tolist(), (lattice.cells.amax(dim=0) + 2).tolist()
    window = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    volume = lattice.values[window].contiguous().cpu().numpy()
    mask = np.zeros(volume.shape, np.bool_)
    cells = lattice.cells.cpu().numpy() - low + 1  # skimage masks a cell at its highest corner
    mask[cells[:, 0], cells[:, 1], cells[:, 2]] = True
    vertices, faces, _, _ = marching_cubes(volume, 0.0, mask=mask, gradient_direction="ascent")  # type: ignore[no-untyped-call]
    points = (vertices.astype(np.float64) + low - 1) / lattice.resolution - 0.5
    points = np.clip(points, -0.5, 0.5)  # rounding puts caps up to 1e-6 cells outside the box
    return _weld_rims(points * (2 * POINTS_HALF_SIDE), faces.astype(np.int64))


def _weld_rims(points: Float64, faces: Int64) -> Mesh:
    """Merge duplicate vertices along the edges of the box, and remove the degenerate faces between them.

    At a lattice point on an edge of the box the surface leaves it in two directions: two vertices in the same place.
    """
    rim = np.flatnonzero((np.abs(points) == POINTS_HALF_SIDE).sum(axis=1) >= 2)
    if not len(rim):
        return Mesh(points, faces)
    _, first, which = np.unique(points[rim], axis=0, return_index=True, return_inverse=True)
    target = np.arange(len(points))
    target[rim] = rim[first[which.reshape(-1)]]
    faces = target[faces]
    faces = faces[(faces != faces[:, [1, 2, 0]]).all(axis=1)]
    used, renamed = np.unique(faces, return_inverse=True)
    return Mesh(points[used], renamed.reshape(-1, 3))


def extract_field(
    field: Field,
    *,
    resolution: int = ExtractionConfig.resolution,
    threshold: float = THRESHOLD,
    coarse: int = COARSE,
    refine: bool = False,
    simplify_to: int | None = None,
    device: torch.device | str = "cpu",
    chunk: int | None = None,
    emit: Emit = ignore,
) -> Extraction:
    """The surface on which ``field``, points (T, 3) → logits (T,), has the probability ``threshold``.

    ``resolution``: cells per axis of the box, whose side is 1.1. ``coarse``: least number of cells per axis of the
    first lattice; a component that lies between its points (spacing at most 1.1 / coarse) can be missed, all others are
    as on the dense lattice. ``simplify_to``: number of faces. ``refine``: then move the vertices along the field's
    gradient onto the level set. An empty field gives an empty mesh. ConfigError for invalid settings.
    """
    level = logit(threshold)
    ExtractionConfig(resolution, coarse, simplify=simplify_to)  # checks the values
    with torch.no_grad():
        lattice = sample_surface(field, resolution, coarse=coarse, level=level, device=device, chunk=chunk)
    if lattice.undefined:
        text = f"{lattice.undefined} of {lattice.queries} points had no defined occupancy (NaN): taken as outside."
        emit(Note(text, "warning"))
    mesh = march(lattice)
    normals = None
    if simplify_to is not None:
        mesh = simplify(mesh, simplify_to)
    if refine and len(mesh.faces):  # last: simplification moves vertices off the level set
        mesh, normals = refine_vertices(
            mesh, field, level, 2 * POINTS_HALF_SIDE / resolution, device=device, chunk=chunk
        )
    highest = 1 / (1 + math.exp(-max(level + lattice.highest, -EXPONENT)))
    return Extraction(mesh, lattice.queries, lattice.undefined, resolution, highest, normals)


def extract_mesh(
    model: ImageModel,
    image: UInt8,
    *,
    resolution: int = ExtractionConfig.resolution,
    mask: Bool | None = None,
    pose: Float32 | None = None,
    intrinsics: Float32 | None = None,
    threshold: float | None = None,
    coarse: int = COARSE,
    refine: bool = False,
    simplify_to: int | None = None,
    device: torch.device | str | None = None,
    precision: DecoderPrecision = "fp32",
    image_size: int | None = None,
    normalisation: Normalisation | None = None,
    emit: Emit = ignore,
) -> Mesh:
    """The closed surface that ``model`` predicts for ``image`` (S, S, 3) uint8, the object on white.

    Models with a pose input need ``pose`` (4, 4) float32, normalised → camera frame, and ``intrinsics`` (3, 3) in units
    of the picture's side (``learning.pictures.relative_intrinsics``); with pixel features also ``mask`` (S, S) bool,
    true on the object. ``image_size``: side to which the picture is resized. ``threshold``: occupancy probability of
    the surface. Both None: as in the run's training, if the model knows it (``load_model``), else as given and 0.2.
    ``normalisation``: transform the vertices to the shape's original frame; without it they are in the normalised
    frame. ``device`` None: that of the model. Other arguments and errors: see ``extract_field`` and ``image_field``.
    """
    if threshold is None:
        threshold = getattr(model, "threshold", None) or THRESHOLD
    if model.config.takes_camera:
        _check_camera(pose, intrinsics)
    with image_field(
        model,
        image,
        mask=mask,
        pose=pose,
        intrinsics=intrinsics,
        device=device,
        precision=precision,
        image_size=image_size,
    ) as (field, where):
        result = extract_field(
            field,
            resolution=resolution,
            threshold=threshold,
            coarse=coarse,
            refine=refine,
            simplify_to=simplify_to,
            device=where,
            emit=emit,
        )
    mesh = result.mesh
    return mesh if normalisation is None else Mesh(normalisation.undo(mesh.vertices), mesh.faces)


@contextmanager
def image_field(
    model: ImageModel,
    image: UInt8,
    *,
    mask: Bool | None = None,
    pose: Float32 | None = None,
    intrinsics: Float32 | None = None,
    device: torch.device | str | None = None,
    precision: DecoderPrecision = "fp32",
    image_size: int | None = None,
) -> Iterator[tuple[Field, torch.device]]:
    """Encode ``image`` once; yield its field and the device for the field's points.

    The model is in eval mode in this block. Where it predicts cameras, a given one is used instead. ``precision``:
    ``fp32``, or ``bf16`` for the decoder's products, in which the signs of a few in ten thousand points differ. It is
    meant for GPUs: on a CPU only float32 skips hidden units that are zero for a whole chunk, and it is then at most a
    fifth slower. InputError for an unusable picture or a missing camera or mask; ConfigError for an unknown precision.
    """
    check_choice("precision", precision, PRECISIONS)
    with encoded(model, image, mask=mask, pose=pose, intrinsics=intrinsics, device=device, image_size=image_size) as (
        code,
        where,
    ):
        yield model.fold(code, PRECISIONS[precision]), where


@contextmanager
def encoded(
    model: ImageModel,
    image: UInt8,
    *,
    mask: Bool | None = None,
    pose: Float32 | None = None,
    intrinsics: Float32 | None = None,
    device: torch.device | str | None = None,
    image_size: int | None = None,
) -> Iterator[tuple[Any, torch.device]]:
    """The code of ``image`` and the model's device; the model is in eval mode in this block. See ``image_field``."""
    module = model if isinstance(model, nn.Module) else None
    where = torch.device(device) if device is not None else _device_of(module)
    if module is not None and device is not None:
        module.to(where)
    size = image_size or getattr(model, "image_size", None)
    pictures = image_tensor(image, size, needed_mask(model.config, mask)).to(where)
    was_training = module is not None and module.training
    try:
        if module is not None and was_training:
            module.eval()
        with torch.no_grad():
            yield model.encode(pictures, *camera_tensors(model.config, pose, intrinsics, where)), where
    finally:
        if module is not None and was_training:
            module.train()


def image_tensor(image: UInt8, size: int | None = None, mask: Bool | None = None) -> Tensor:
    """image (S, S, 3) uint8, resized to ``size`` (None: S) → (1, 3, size, size) float32 in [0, 1]; with a mask (S, S)
    bool (1, 4, size, size). InputError for anything else."""
    array = np.asarray(image)
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8 or 0 in array.shape:
        raise InputError(f"an image must be (H, W, 3) uint8, not {array.shape} {array.dtype}.")
    if array.shape[0] != array.shape[1]:
        what = f"{array.shape[1]}×{array.shape[0]}"
        raise InputError(
            f"an image must be square, the object in its middle on white, not {what}.",
            hint="`pix3d_onet.reconstruct` cuts the object out of a photo.",
        )
    if mask is not None and np.shape(mask) != array.shape[:2]:
        raise InputError(f"the mask of a picture of {array.shape[:2]} must have its shape, not {np.shape(mask)}.")
    if mask is not None and np.asarray(mask).dtype != np.bool_:
        text = f"the mask of a picture must be bool, true on the object, not {np.asarray(mask).dtype}."
        raise InputError(text, hint="Compare it with a threshold, such as `mask > 127`.")
    stored = None if mask is None else np.asarray(mask)[None]
    return network_pictures(array[None], stored, size).to(torch.float32) / 255


def needed_mask(config: ModelConfig, mask: Bool | None) -> Bool | None:
    """``mask`` if the network needs it, else None. InputError if it is missing."""
    if config.needs_mask and mask is None:
        raise InputError("this network needs the object's mask for every picture.", hint="Give it (`mask`).")
    return mask if config.needs_mask else None


def camera_tensors(
    config: ModelConfig, pose: Float32 | None, intrinsics: Float32 | None, device: torch.device
) -> tuple[Tensor | None, Tensor | None]:
    """(1, 4, 4) pose and (1, 3, 3) intrinsics if the network needs them, else None. InputError if one is missing.

    A network that predicts cameras takes one that is known.
    """
    known = all(part is not None and bool(np.isfinite(part).all()) for part in (pose, intrinsics))
    if not (config.needs_pose or (config.predicts_camera and known)):
        return None, None
    hint = "Give it, or use a run that needs no camera."
    if pose is None or np.shape(pose) != (4, 4) or not np.isfinite(pose).all():
        raise InputError(
            "this network needs the camera's pose (4×4, normalised → camera) for every picture.", hint=hint
        )
    matrix = torch.as_tensor(np.asarray(pose, np.float32), device=device)[None]
    if not (config.needs_intrinsics or config.predicts_camera):
        return matrix, None
    if intrinsics is None or np.shape(intrinsics) != (3, 3) or not np.isfinite(intrinsics).all():
        raise InputError(
            "this network needs the camera's focal length (intrinsics in units of the picture's side) for every "
            "picture.",
            hint=hint,
        )
    return matrix, torch.as_tensor(np.asarray(intrinsics, np.float32), device=device)[None]


def _check_camera(pose: Float32 | None, intrinsics: Float32 | None) -> None:
    """InputError if ``pose`` is not rigid, or the object's centre not near the picture, whose side is the unit of
    ``intrinsics``. For cameras that a user gives; a predicted one may be as wrong as it is."""
    if pose is None or np.shape(pose) != (4, 4) or not np.isfinite(pose).all():
        return
    matrix = np.asarray(pose, np.float64)
    if problem := pose_problem(matrix):
        raise InputError(f"`pose` is not a camera's: {problem}.", hint="It maps the normalised frame to the camera's.")
    if intrinsics is None or np.shape(intrinsics) != (3, 3) or not np.isfinite(intrinsics).all():
        return
    with np.errstate(all="ignore"):
        centre = np.asarray(intrinsics, np.float64) @ matrix[:3, 3]
        place = centre[:2] / centre[2]
    if not (np.abs(place - 0.5) <= FARTHEST_CENTRE).all():
        raise InputError(
            f"this camera does not see the object: its centre is at ({place[0]:.4g}, {place[1]:.4g}), and the picture "
            "is from 0 to 1.",
            hint="Intrinsics are in units of the picture's side; learning.pictures.relative_intrinsics makes them.",
        )


def _device_of(module: nn.Module | None) -> torch.device:
    parameter = next(module.parameters(), None) if module is not None else None
    return parameter.device if parameter is not None else torch.device("cpu")
