"""What can be done to an extracted mesh: vertices moved onto the level set, normals from the field, fewer faces."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pix3d_onet.errors import MissingDependencyError
from pix3d_onet.learning.mise import CPU_CHUNK, GPU_CHUNK, Field
from pix3d_onet.types import Float64, Int64, Mesh

REFINE_STEPS = 4
"""Newton steps a vertex takes: a linear start within a cell converges to below 1e-3 cells in three or four."""
REACH = 0.5
"""How far from its place a vertex may move, in cells: half a cell keeps the surface from folding over."""
GRADIENT_STEP = 0.05
"""Step of the central differences, in cells, where the field has no autograd."""
FLAT = 1e-12
"""Squared gradient below which a vertex stays where it is."""
SIMPLIFY_AGGRESSION = (7.0, 3.0, 1.0)
"""Settings of fast-simplification tried in turn (its default is 7) until the result is closed."""


def gradient(field: Field, points: Tensor, step: float) -> tuple[Tensor, Tensor]:
    """Value (T,) and gradient (T, 3) of ``field``: by autograd, or by central differences of ``step`` without it."""
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
    box's border stay on it. Returns the mesh and the outward unit normals (V, 3) −∇f/|∇f| at its vertices (0 where
    the field is flat).
    """
    device = torch.device(device)
    chunk = chunk or (CPU_CHUNK if device.type == "cpu" else GPU_CHUNK)
    border = np.abs(mesh.vertices).max(axis=1) >= np.abs(mesh.vertices).max(initial=0.0) - cell * 1e-3
    border &= np.abs(mesh.vertices).max(axis=1) >= 0.55 - cell * 1e-3
    vertices, normals = [], []
    every = torch.from_numpy(mesh.vertices).to(device, torch.float32)
    fixed = torch.from_numpy(border).to(device)
    for start, stay in zip(torch.split(every, chunk), torch.split(fixed, chunk), strict=True):
        moved, normal = _newton(field, start, stay, level, cell)
        vertices.append(moved.double().cpu().numpy())
        normals.append(normal.double().cpu().numpy())
    return Mesh(np.concatenate(vertices), mesh.faces), np.concatenate(normals)


def _newton(field: Field, start: Tensor, stay: Tensor, level: float, cell: float) -> tuple[Tensor, Tensor]:
    best = x = start
    residual = torch.full((len(start),), torch.inf, device=start.device)
    slope = torch.zeros_like(start)
    for step in range(REFINE_STEPS + 1):
        value, g = gradient(field, x, cell * GRADIENT_STEP)
        value = value - level
        better = value.abs() < residual
        best = torch.where(better[:, None], x, best)
        slope = torch.where(better[:, None], g, slope)
        residual = torch.where(better, value.abs(), residual)
        if step == REFINE_STEPS:
            break
        square = (g * g).sum(dim=1)
        move = torch.where((square > FLAT) & ~stay, value / square.clamp_min(FLAT), 0.0)[:, None] * g
        offset = torch.nan_to_num(x - move - start)
        length = offset.norm(dim=1, keepdim=True)
        x = start + offset * (REACH * cell / length.clamp_min(REACH * cell))
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
