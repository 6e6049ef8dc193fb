"""The methods of ``config.WATERTIGHT_METHODS``: any triangles to a closed solid, behind one signature.

``tight``
    Ours (``geometry/watertight/tight.py``). No bias on solids; sheets become 1 voxel thick, gaps under 2 voxels close.
``fusion``
    Stutz & Geiger, IJCV 2018 (mesh-fusion), as used by Mescheder et al., CVPR 2019. Surface 0.3 to 6 voxels out.
``meshfix``
    Attene, The Visual Computer 2010, through pymeshfix in a child process. Drops what it cannot mend, so its result
    is checked and ``tight`` takes over where it lost something.
``none``
    The mesh as it is, every part wound outward but for cavities. Only for sound meshes, whose every edge has as many
    faces one way round as the other (closed solids that may overlap, nest or touch); others are rejected.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from pix3d_onet.config import WATERTIGHT_METHODS, check_choice
from pix3d_onet.geometry.mesh.cleaning import clean
from pix3d_onet.geometry.watertight.brick_grid import FILL
from pix3d_onet.types import Mesh


@dataclass(frozen=True, slots=True, eq=False)
class Watertight:
    """``mesh`` in the frame of the input, ``voxel`` in its units; ``info`` for the QC."""

    mesh: Mesh
    method: str
    voxel: float
    info: Mapping[str, Any] = field(default_factory=dict)


def tight_method(mesh: Mesh, resolution: int) -> Watertight:
    """Our own watertighting (``geometry.watertight.tight``)."""
    from pix3d_onet.geometry.watertight.tight import tight

    surface = tight(mesh, resolution)
    return Watertight(surface.mesh(), "tight", surface.frame.voxel, surface.info)


def fusion_method(mesh: Mesh, resolution: int) -> Watertight:
    """Depth-map fusion (``geometry.watertight.depth_fusion``)."""
    from pix3d_onet.geometry.watertight.depth_fusion import fusion

    surface = fusion(mesh, resolution)
    return Watertight(surface.mesh(), "fusion", surface.frame.voxel)


def meshfix_method(mesh: Mesh, resolution: int) -> Watertight:
    """MeshFix in a child process; ``tight`` where it lost something, with the reason in ``info``."""
    from pix3d_onet.geometry.watertight.meshfix import meshfix

    voxel = float(np.ptp(mesh.bounds, axis=0).max()) / (FILL * resolution)
    outcome = meshfix(mesh, tolerance=voxel)
    if outcome.mesh is None:
        result = tight_method(mesh, resolution)
        return replace(result, info={**result.info, "fallback": outcome.problem})
    return Watertight(outcome.mesh, "meshfix", voxel)


def none_method(mesh: Mesh, resolution: int) -> Watertight:
    """The mesh as it is, its parts wound outward (``geometry.watertight.closed``)."""
    from pix3d_onet.geometry.watertight.closed import closed

    voxel = float(np.ptp(mesh.bounds, axis=0).max()) / (FILL * resolution)
    return Watertight(closed(mesh), "none", voxel)


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
