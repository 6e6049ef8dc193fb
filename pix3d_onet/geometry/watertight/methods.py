"""The methods of ``config.WATERTIGHT_METHODS``: any triangles to a closed solid, behind one signature.

``tight``
    Ours (``geometry/watertight/tight.py``). No bias on solids; sheets become 1 voxel thick, gaps under 2 voxels close.
``fusion``
    Stutz & Geiger, IJCV 2018 (mesh-fusion), as used by Mescheder et al., CVPR 2019. Surface 0.3 to 6 voxels out.
``meshfix``
    Attene, The Visual Computer 2010, through pymeshfix in a child process. Drops what it cannot mend, so its result
    is checked and ``tight`` takes over where it lost something.
``none``
    The mesh as it is; labels by the majority of rays, or by the winding number where it has several components. Only
    for sound meshes, whose every edge has as many faces one way round as the other (closed solids that may overlap,
    nest or touch); others are rejected. Components wound inside out are turned, unless they lie wholly inside of
    others: those are cavities.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from pix3d_onet.config import WATERTIGHT_METHODS, check_choice
from pix3d_onet.errors import RejectError
from pix3d_onet.geometry.mesh.cleaning import clean, merge_vertices
from pix3d_onet.geometry.mesh.sampling import contains
from pix3d_onet.geometry.mesh.topology import component_labels, edge_counts, unbalanced_edges, volume
from pix3d_onet.geometry.watertight.brick_grid import FILL, BrickGrid
from pix3d_onet.types import Mesh


@dataclass(frozen=True, slots=True, eq=False)
class Watertight:
    """``mesh`` in the frame of the input; ``grid`` its signed grid where the method has one; ``info`` for the QC."""

    mesh: Mesh
    grid: BrickGrid | None
    method: str
    voxel: float
    info: Mapping[str, Any] = field(default_factory=dict)


def tight_method(mesh: Mesh, resolution: int) -> Watertight:
    """Our own watertighting (``geometry.watertight.tight``)."""
    from pix3d_onet.geometry.watertight.tight import tight

    grid = tight(mesh, resolution)
    return Watertight(grid.mesh(), grid, "tight", grid.frame.voxel)


def fusion_method(mesh: Mesh, resolution: int) -> Watertight:
    """Depth-map fusion (``geometry.watertight.depth_fusion``)."""
    from pix3d_onet.geometry.watertight.depth_fusion import fusion

    grid = fusion(mesh, resolution)
    return Watertight(grid.mesh(), grid, "fusion", grid.frame.voxel)


def meshfix_method(mesh: Mesh, resolution: int) -> Watertight:
    """MeshFix in a child process; ``tight`` where it lost something, with the reason in ``info``."""
    from pix3d_onet.geometry.watertight.meshfix import meshfix

    voxel = float(np.ptp(mesh.bounds, axis=0).max()) / (FILL * resolution)
    outcome = meshfix(mesh, tolerance=voxel)
    if outcome.mesh is None:
        return replace(tight_method(mesh, resolution), info={"fallback": outcome.problem})
    return Watertight(outcome.mesh, None, "meshfix", voxel)


def none_method(mesh: Mesh, resolution: int) -> Watertight:
    """The mesh as it is, wound outward; RejectError ``not-watertight`` unless it bounds solids."""
    voxel = float(np.ptp(mesh.bounds, axis=0).max()) / (FILL * resolution)
    merged = merge_vertices(mesh)
    if len(merged.faces) == 0:
        raise RejectError("empty-mesh", "no usable face", "watertight")
    counts = edge_counts(merged)
    loose = unbalanced_edges(merged)
    if loose:
        detail = f"{counts['boundary']} edges are open and {loose - counts['boundary']} wound inconsistently"
        raise RejectError("not-watertight", f"the method none needs closed solids; here {detail}", "watertight")
    return Watertight(_outward(merged), None, "none", voxel)


def _outward(mesh: Mesh) -> Mesh:
    """Every component wound outward, except cavities: those wound inward wholly inside the others."""
    count, labels = component_labels(mesh)
    if count == 1:
        return mesh if volume(mesh) >= 0 else Mesh(mesh.vertices, mesh.faces[:, ::-1])
    t = mesh.triangles - mesh.bounds.mean(axis=0)
    volumes = np.bincount(labels, weights=np.einsum("ij,ij->i", t[:, 0], np.cross(t[:, 1], t[:, 2])), minlength=count)
    if not (volumes < 0).any():
        return mesh
    solids = Mesh(mesh.vertices, mesh.faces[(volumes >= 0)[labels]])
    inward = (volumes < 0)[labels]
    if len(solids.faces):
        corners = mesh.triangles[inward].reshape(-1, 3)
        held = contains(solids, corners).reshape(-1, 3).all(axis=1)
        cavity = np.ones(count, dtype=np.bool_)
        np.logical_and.at(cavity, labels[inward], held)
        inward &= ~cavity[labels]
    faces = mesh.faces.copy()
    faces[inward] = faces[inward][:, ::-1]
    return Mesh(mesh.vertices, faces)


def watertight(mesh: Mesh, *, method: str = "tight", resolution: int = 256) -> Watertight:
    """Apply a method of ``WATERTIGHT_METHODS`` to a cleaned mesh.

    ConfigError for an unknown name; RejectError where the mesh has no usable surface.
    """
    check_choice("watertight", method, WATERTIGHT_METHODS)
    module, name = WATERTIGHT_METHODS[method].split(":")
    function: Callable[[Mesh, int], Watertight] = getattr(importlib.import_module(module), name)
    return function(mesh, resolution)


def make_watertight(mesh: Mesh, *, method: str = "tight", resolution: int = 256) -> Mesh:
    """A closed, consistently oriented mesh of the same shape, in the frame of its input.

    ``resolution`` is the side of the voxel grid whose 0.9 the longest side spans. Raises RejectError (``empty-mesh``,
    ``bad-extent``, ``empty-surface``) for a mesh without usable surface and ConfigError for an unknown method.
    """
    return watertight(clean(mesh), method=method, resolution=resolution).mesh
