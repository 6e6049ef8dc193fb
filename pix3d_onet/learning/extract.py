"""From a network and a picture to a closed mesh: MISE, marching cubes, optional refinement and simplification.

Marching cubes is scikit-image's (Lewiner et al. 2003, topologically consistent); the logits are interpolated, as in
the original. Wherever the surface meets the box it is closed by a flat cap.
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

from pix3d_onet.config import POINTS_HALF_SIDE
from pix3d_onet.errors import ConfigError, InputError
from pix3d_onet.events import Emit, Note, ignore
from pix3d_onet.learning.mise import FAR, MAX_RESOLUTION, Field, Lattice, sample_surface
from pix3d_onet.learning.polish import refine_vertices, simplify
from pix3d_onet.types import Float32, Float64, Mesh, Normalisation, UInt8

THRESHOLD = 0.2
"""Occupancy probability of the surface (the original's constant for single images)."""


class ImageModel(Protocol):
    """What extraction needs of a network (``learning.model.OccupancyNetwork`` has it)."""

    def encode(self, images: Tensor, pose: Tensor | None = None) -> Tensor:
        """Images (B, 3, H, W) float32 RGB in [0, 1], pose (B, 4, 4) → code (B, C)."""

    def fold(self, code: Tensor) -> Field:
        """Code (1, C) → the field of that one picture, its conditional batch norm computed once."""


@dataclass(frozen=True, slots=True, eq=False)
class Extraction:
    """A mesh and how it came about: ``queries`` of the field, ``undefined`` (NaN) answers among them.

    ``normals`` (V, 3) float64 unit, outward, of the field's gradient at the vertices; None unless refined.
    """

    mesh: Mesh
    queries: int
    undefined: int
    resolution: int
    normals: Float64 | None = None


def logit(probability: float) -> float:
    """log(p / (1 − p)); ConfigError unless 0 < p < 1."""
    if not 0 < probability < 1:
        raise ConfigError(f"--threshold must be between 0 and 1, not {probability!r}.")
    return math.log(probability) - math.log1p(-probability)


def empty_mesh() -> Mesh:
    """The mesh of a field that is nowhere inside: (0, 3) vertices, (0, 3) faces."""
    return Mesh(np.empty((0, 3)), np.empty((0, 3), np.int64))


def march(lattice: Lattice) -> Mesh:
    """Closed, outward-oriented triangles of a sampled lattice, in the normalised frame.

    Only the cells that the surface crosses are visited; vertices interpolate the values along lattice edges, cells
    that share an edge share its vertex, and where the surface meets the box a flat cap closes it.
    """
    from skimage.measure import marching_cubes

    if not len(lattice.cells):
        return empty_mesh()
    low, high = lattice.cells.amin(dim=0).tolist(), (lattice.cells.amax(dim=0) + 2).tolist()
    window = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    volume = lattice.values[window].contiguous().cpu().numpy()
    mask = np.zeros(volume.shape, np.bool_)
    cells = lattice.cells.cpu().numpy() - low + 1  # skimage looks a cell up at its highest corner
    mask[cells[:, 0], cells[:, 1], cells[:, 2]] = True
    vertices, faces, _, _ = marching_cubes(volume, 0.0, mask=mask, gradient_direction="ascent")
    points = (vertices.astype(np.float64) + low - 1) / lattice.resolution - 0.5
    points = np.clip(points, -0.5, 0.5) * (2 * POINTS_HALF_SIDE)  # caps lie on the box, not 1e-6 cells beyond
    return Mesh(points, faces)


def extract_field(
    field: Field,
    *,
    resolution: int = 128,
    threshold: float = THRESHOLD,
    coarse: int = 32,
    refine: bool = False,
    simplify_to: int | None = None,
    device: torch.device | str = "cpu",
    chunk: int | None = None,
    emit: Emit = ignore,
) -> Extraction:
    """The surface on which ``field`` (points (T, 3) → logits (T,)) has the probability ``threshold``.

    ``resolution`` cells span the box's side of 1.1; ``coarse`` is the least resolution of the first lattice: a
    component that fits between its points (spacing at most 1.1 / coarse) can be missed, everything else
    is the dense lattice's mesh. ``refine`` moves vertices onto the level set along the field's gradient;
    ``simplify_to`` is the wanted number of faces. An empty field gives an empty mesh. ConfigError for bad settings.
    """
    if not 1 <= resolution <= MAX_RESOLUTION:
        raise ConfigError(f"--resolution must be between 1 and {MAX_RESOLUTION}, not {resolution!r}.")
    if simplify_to is not None and simplify_to < 4:
        raise ConfigError(f"--simplify must be at least 4 faces, not {simplify_to!r}.")
    level = logit(threshold)
    with torch.no_grad():
        lattice = sample_surface(field, resolution, coarse=coarse, level=level, device=device, chunk=chunk)
    if lattice.undefined:
        emit(
            Note(
                f"{lattice.undefined} of {lattice.queries} points had no defined occupancy (NaN): taken as outside.",
                "warning",
            )
        )
    mesh = march(lattice)
    normals = None
    if refine and len(mesh.faces):
        mesh, normals = refine_vertices(mesh, field, level, 2 * POINTS_HALF_SIDE / resolution, device, chunk)
    if simplify_to is not None and len(mesh.faces) > simplify_to:
        mesh, normals = simplify(mesh, simplify_to), None
    return Extraction(mesh, lattice.queries, lattice.undefined, resolution, normals)


def extract_mesh(
    model: nn.Module | ImageModel,
    image: UInt8,
    *,
    resolution: int = 128,
    pose: Float32 | None = None,
    threshold: float = THRESHOLD,
    coarse: int = 32,
    refine: bool = False,
    simplify_to: int | None = None,
    device: torch.device | str | None = None,
    precision: str = "fp32",
    image_size: int | None = None,
    normalisation: Normalisation | None = None,
    emit: Emit = ignore,
) -> Mesh:
    """The closed surface that ``model`` sees in ``image`` (H, W, 3) uint8, the object on white.

    ``pose`` (4, 4) float32, normalised → camera frame, is needed by models with a pose branch. ``image_size`` is the
    side to which the picture is resized (None = as the model was trained, if it says so). ``normalisation`` takes the
    vertices back to the shape's original frame; without it they are in the normalised one. See ``extract_field``
    for the rest. InputError for an unusable picture or a missing pose.
    """
    with image_field(model, image, pose=pose, device=device, precision=precision, image_size=image_size) as (
        field,
        where,
    ):
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
    model: nn.Module | ImageModel,
    image: UInt8,
    *,
    pose: Float32 | None = None,
    device: torch.device | str | None = None,
    precision: str = "fp32",
    image_size: int | None = None,
) -> Iterator[tuple[Field, torch.device]]:
    """Encode ``image`` once and yield (its field, the device to ask it on); the model is in eval mode meanwhile.

    ``precision``: ``fp32``, or ``bf16`` for autocast (about a third of the time on CPUs with bf16 units, a
    few signs in ten thousand differ).
    """
    if precision not in ("fp32", "bf16"):
        raise ConfigError(f"--precision must be fp32 or bf16, not {precision!r}.")
    network: Any = model
    where = torch.device(device) if device is not None else _device_of(model)
    pictures = image_tensor(image, image_size or getattr(model, "image_size", None)).to(where)
    camera = pose_tensor(model, pose, where)
    was_training = bool(getattr(model, "training", False))
    if was_training:
        network.eval()
    try:
        if device is not None and isinstance(model, nn.Module):
            model.to(where)
        with torch.no_grad():
            folded = network.fold(network.encode(pictures, camera))

        def field(points: Tensor) -> Tensor:
            if precision == "fp32":
                return folded(points)  # type: ignore[no-any-return]
            with torch.autocast(where.type, dtype=torch.bfloat16):
                return folded(points).float()  # type: ignore[no-any-return]

        yield field, where
    finally:
        if was_training:
            network.train()


def image_tensor(image: UInt8, size: int | None = None) -> Tensor:
    """(H, W, 3) uint8 → (1, 3, size, size) float32 in [0, 1]; antialiased bilinear where the size differs."""
    array = np.asarray(image)
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8 or 0 in array.shape:
        raise InputError(f"an image must be (H, W, 3) uint8, not {array.shape} {array.dtype}.")
    tensor = torch.from_numpy(np.ascontiguousarray(array)).permute(2, 0, 1)[None].to(torch.float32) / 255
    if size is not None and tensor.shape[-2:] != (size, size):
        tensor = nn.functional.interpolate(tensor, (size, size), mode="bilinear", antialias=True, align_corners=False)
    return tensor


def pose_tensor(model: object, pose: Float32 | None, device: torch.device) -> Tensor | None:
    """(1, 4, 4) float32 where the model takes a pose, else None; InputError when it needs one and there is none."""
    if getattr(getattr(model, "config", None), "pose", "none") == "none":
        return None
    if pose is None or not np.isfinite(pose).all():
        raise InputError(
            "this network was trained with the camera's pose and needs it for every picture.",
            hint="Give the pose (4×4 matrix, normalised frame to camera), or take a run without --pose.",
        )
    if np.shape(pose) != (4, 4):
        raise InputError(f"a pose must be a 4×4 matrix, not {np.shape(pose)}.")
    return torch.as_tensor(np.asarray(pose, np.float32), device=device)[None]


def _device_of(model: object) -> torch.device:
    parameter = next(iter(model.parameters()), None) if isinstance(model, nn.Module) else None
    return parameter.device if parameter is not None else torch.device("cpu")
