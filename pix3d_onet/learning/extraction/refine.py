"""Post-process an extracted mesh: move vertices onto the level set, compute normals from the field."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from pix3d_onet.config import POINTS_HALF_SIDE
from pix3d_onet.learning.extraction.surface_sampling import CPU_CHUNK, GPU_CHUNK, Field
from pix3d_onet.types import Float64, Mesh

REFINE_STEPS = 4
"""Most Newton steps per vertex; nearly all vertices converge after one or two."""
CONVERGED = 1e-4
"""A vertex has converged if its next step is shorter than this, in cells."""
REACH = 0.5
"""Longest distance that a vertex may move, in cells; half a cell keeps the surface from folding."""
GRADIENT_STEP = 0.05
"""Step of central differences, in cells, for fields without autograd."""
ON_BOX = 1e-3
"""A vertex nearer than this to the border of the box, in cells, belongs to the cap that closes the mesh."""
FLAT = 1e-12
"""Squared length of the gradient below which a vertex is not moved."""


@runtime_checkable
class Differentiable(Protocol):
    """A field that computes its own gradient, such as ``network.decoder_inference.FoldedDecoder``."""

    def value_and_gradient(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Points (T, 3) → value (T,) and gradient (T, 3)."""


def value_and_gradient(field: Field, points: Tensor, step: float) -> tuple[Tensor, Tensor]:
    """Value (T,) and gradient (T, 3) of ``field``: by its own method, by autograd, or by central differences."""
    if isinstance(field, Differentiable):
        return field.value_and_gradient(points)
    with torch.enable_grad():
        x = points.detach().clone().requires_grad_(True)
        value = field(x)
        if value.requires_grad:
            (gradient,) = torch.autograd.grad(value.float().sum(), x)
            return value.detach().float(), gradient
    axes = torch.eye(3, device=points.device, dtype=points.dtype) * step
    sides = torch.cat([points[None] + axes[:, None], points[None] - axes[:, None]])  # (6, T, 3)
    around = field(sides.view(-1, 3)).detach().float().view(2, 3, -1)
    return value.detach().float(), ((around[0] - around[1]) / (2 * step)).T


def refine_vertices(
    mesh: Mesh, field: Field, level: float, cell: float, *, device: torch.device | str = "cpu", chunk: int | None = None
) -> tuple[Mesh, Float64]:
    """Move vertices along the field's gradient onto its ``level`` set, by at most ``REACH`` cells of side ``cell``.

    Newton's method; each vertex gets the position nearest to the level among its steps, the start included. Vertices on
    the box's border are not moved. Returns the mesh and outward unit normals (V, 3) at its vertices: −∇f/|∇f| (0 where
    the field is flat), or the box's normals on its border.
    """
    device = torch.device(device)
    chunk = chunk or (CPU_CHUNK if device.type == "cpu" else GPU_CHUNK)
    on_box = np.abs(mesh.vertices) >= POINTS_HALF_SIDE - cell * ON_BOX  # (V, 3)
    border = on_box.any(axis=1)
    free = np.flatnonzero(~border)
    vertices = mesh.vertices.copy()
    normals = np.sign(mesh.vertices) * on_box  # a cap faces outward; the field's gradient there does not
    normals[border] /= np.linalg.norm(normals[border], axis=1, keepdims=True)
    for begin in range(0, len(free), chunk):
        rows = free[begin : begin + chunk]
        start = torch.from_numpy(mesh.vertices[rows]).to(device, torch.float32)
        moved, normal = _newton(field, start, level, cell)
        vertices[rows] = moved.double().cpu().numpy()
        normals[rows] = normal.double().cpu().numpy()
    return Mesh(vertices, mesh.faces), normals


def _newton(field: Field, start: Tensor, level: float, cell: float) -> tuple[Tensor, Tensor]:
    """Positions (T, 3) nearest to the level on the Newton paths from ``start``, and unit normals there."""
    best, gradient = start.clone(), torch.zeros_like(start)
    residual = torch.full((len(start),), torch.inf, device=start.device)
    rows = torch.arange(len(start), device=start.device)  # vertices that have not converged; ``at``: their positions
    at = start
    for _ in range(REFINE_STEPS + 1):
        value, g = value_and_gradient(field, at, cell * GRADIENT_STEP)
        value = value - level
        better = value.abs() < residual[rows]
        best[rows[better]], gradient[rows[better]], residual[rows[better]] = at[better], g[better], value[better].abs()
        square = (g * g).sum(dim=1)
        step = torch.where(square > FLAT, value / square.clamp_min(FLAT), 0.0)[:, None] * g
        offset = torch.nan_to_num(at - step - start[rows])
        offset *= REACH * cell / offset.norm(dim=1, keepdim=True).clamp_min(REACH * cell)
        there = (start[rows] + offset).clamp_(-POINTS_HALF_SIDE, POINTS_HALF_SIDE)
        going = (there - at).norm(dim=1) > CONVERGED * cell
        rows, at = rows[going], there[going]
        if not len(rows):
            break
    size = gradient.norm(dim=1, keepdim=True)
    return best, torch.where(size > FLAT**0.5, -gradient / size.clamp_min(FLAT**0.5), 0.0)
