"""What can be done to an extracted mesh: vertices moved onto the level set, normals from the field, fewer faces."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from pix3d_onet.config import POINTS_HALF_SIDE
from pix3d_onet.errors import MissingDependencyError
from pix3d_onet.learning.extraction.surface_sampling import CPU_CHUNK, GPU_CHUNK, Field
from pix3d_onet.types import Float64, Int64, Mesh

REFINE_STEPS = 4
"""Most Newton steps a vertex takes; nearly all of them have converged after one or two."""
CONVERGED = 1e-4
"""A vertex rests when its next step would be shorter than this, in cells."""
REACH = 0.5
"""How far from its place a vertex may move, in cells: half a cell keeps the surface from folding over."""
GRADIENT_STEP = 0.05
"""Step of the central differences, in cells, where the field has no autograd."""
ON_BOX = 1e-3
"""A vertex this near to the border of the box, in cells, belongs to the cap that closes the mesh there."""
FLAT = 1e-12
"""Squared gradient below which a vertex stays where it is."""
SIMPLIFY_AGGRESSION = (7.0, 3.0, 1.0)
"""Settings of fast-simplification tried in turn (its default is 7) until the result is closed."""


@runtime_checkable
class Sloped(Protocol):
    """A field that knows its gradient; ``learning.network.decoder_inference.FoldedDecoder`` is one."""

    def slope(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """points (T, 3) → value (T,) and gradient (T, 3)."""


def gradient(field: Field, points: Tensor, step: float) -> tuple[Tensor, Tensor]:
    """Value (T,) and gradient (T, 3) of ``field``: its own, by autograd, or by central differences of ``step``."""
    if isinstance(field, Sloped):
        return field.slope(points)
    with torch.enable_grad():
        x = points.detach().clone().requires_grad_(True)
        value = field(x)
        if value.requires_grad:
            (slope,) = torch.autograd.grad(value.float().sum(), x)
            return value.detach().float(), slope
    axes = torch.eye(3, device=points.device, dtype=points.dtype) * step
    sides = torch.cat([points[None] + axes[:, None], points[None] - axes[:, None]])  # (6, T, 3)
    around = field(sides.view(-1, 3)).detach().float().view(2, 3, -1)
    return value.detach().float(), ((around[0] - around[1]) / (2 * step)).T


def refine_vertices(
    mesh: Mesh, field: Field, level: float, cell: float, *, device: torch.device | str = "cpu", chunk: int | None = None
) -> tuple[Mesh, Float64]:
    """Move vertices along the field's gradient onto its ``level`` set, by at most ``REACH`` cells of side ``cell``.

    Newton's method with the best place kept: no vertex ends further from the level than it began; vertices on the
    box's border stay where they are. Returns the mesh and the outward unit normals (V, 3) at its vertices: −∇f/|∇f|
    (0 where the field is flat), the box's own on its border.
    """
    device = torch.device(device)
    chunk = chunk or (CPU_CHUNK if device.type == "cpu" else GPU_CHUNK)
    on_box = np.abs(mesh.vertices) >= POINTS_HALF_SIDE - cell * ON_BOX  # (V, 3)
    border = on_box.any(axis=1)
    free = np.flatnonzero(~border)
    vertices = mesh.vertices.copy()
    normals = np.sign(mesh.vertices) * on_box  # a cap faces outward, whatever the field does inside the solid
    normals[border] /= np.linalg.norm(normals[border], axis=1, keepdims=True)
    for begin in range(0, len(free), chunk):
        rows = free[begin : begin + chunk]
        start = torch.from_numpy(mesh.vertices[rows]).to(device, torch.float32)
        moved, normal = _newton(field, start, level, cell)
        vertices[rows] = moved.double().cpu().numpy()
        normals[rows] = normal.double().cpu().numpy()
    return Mesh(vertices, mesh.faces), normals


def _newton(field: Field, start: Tensor, level: float, cell: float) -> tuple[Tensor, Tensor]:
    """Places (T, 3) of least distance to the level seen on the way from ``start``, and unit normals there."""
    best, slope = start.clone(), torch.zeros_like(start)
    residual = torch.full((len(start),), torch.inf, device=start.device)
    rows = torch.arange(len(start), device=start.device)  # those still on their way, now at ``at``
    at = start
    for _ in range(REFINE_STEPS + 1):
        value, g = gradient(field, at, cell * GRADIENT_STEP)
        value = value - level
        better = value.abs() < residual[rows]
        best[rows[better]], slope[rows[better]], residual[rows[better]] = at[better], g[better], value[better].abs()
        square = (g * g).sum(dim=1)
        step = torch.where(square > FLAT, value / square.clamp_min(FLAT), 0.0)[:, None] * g
        offset = torch.nan_to_num(at - step - start[rows])
        offset *= REACH * cell / offset.norm(dim=1, keepdim=True).clamp_min(REACH * cell)
        there = (start[rows] + offset).clamp_(-POINTS_HALF_SIDE, POINTS_HALF_SIDE)
        going = (there - at).norm(dim=1) > CONVERGED * cell
        rows, at = rows[going], there[going]
        if not len(rows):
            break
    size = slope.norm(dim=1, keepdim=True)
    return best, torch.where(size > FLAT**0.5, -slope / size.clamp_min(FLAT**0.5), 0.0)


def simplify(mesh: Mesh, faces: int) -> Mesh:
    """At most about ``faces`` faces by quadric error (Garland & Heckbert 1997; library fast-simplification).

    A closed mesh stays closed: the result is checked, gentler settings are tried, and the mesh is returned as it is
    when none of them keeps it closed.
    """
    if len(mesh.faces) <= faces:
        return mesh
    try:
        import fast_simplification
    except ImportError:
        raise MissingDependencyError(
            "simplification needs the library fast-simplification.", hint="pip install 'pix3d-onet[train]'"
        ) from None
    was_closed = is_closed(mesh.faces)
    points = mesh.vertices.astype(np.float32)
    for aggression in SIMPLIFY_AGGRESSION:
        vertices, triangles = fast_simplification.simplify(
            points, mesh.faces.astype(np.int32), target_count=faces, agg=aggression
        )
        result = Mesh(vertices, triangles)
        if len(result.faces) and (not was_closed or is_closed(result.faces)):
            return result
    return mesh


def is_closed(faces: Int64) -> bool:
    """Whether every directed edge of (F, 3) ``faces`` has its opposite exactly as often: closed and oriented."""
    if not len(faces):
        return True
    a, b = faces.ravel(), faces[:, [1, 2, 0]].ravel()
    base = int(faces.max()) + 1
    forward, backward = np.sort(a * base + b), np.sort(b * base + a)
    return bool(np.array_equal(forward, backward))
