"""The methods of ``config.WATERTIGHT_METHODS``: any mesh to a closed solid, all with the same signature.

``tight``
    Ours (``geometry/watertight/tight.py``). No bias on solids; sheets become 1 voxel thick, gaps below 2 voxels close.
``fusion``
    Stutz & Geiger, IJCV 2018 (mesh-fusion), as used by Mescheder et al., CVPR 2019. Its surface is 0.3 to 6 voxels
    outside the model's.
``meshfix``
    Attene, The Visual Computer 2010, by pymeshfix in a child process. It may drop parts, so its result is checked, and
    ``tight`` is used instead if surface was lost.
``none``
    The mesh unchanged, except that parts are oriented outward (not cavities). Only for meshes in which every edge is
    used equally often in both directions (closed solids that may overlap, nest or touch); others are rejected.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pkgutil import resolve_name
from typing import Any

from pix3d_onet.config import WATERTIGHT_METHODS
from pix3d_onet.geometry.mesh.cleaning import clean_counted
from pix3d_onet.geometry.mesh.reading import check_lost
from pix3d_onet.geometry.watertight.brick_grid import voxel_size
from pix3d_onet.setting_types import check_choice
from pix3d_onet.types import Mesh


@dataclass(frozen=True, slots=True, eq=False)
class Watertight:
    """``mesh`` in the frame of the input; ``voxel``: side of a voxel in its units; ``info``: quality figures."""

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
    """MeshFix in a child process; if it fails or loses surface, ``tight``, with the reason in ``info``."""
    from pix3d_onet.geometry.watertight.meshfix import meshfix

    voxel = voxel_size(mesh, resolution)
    outcome = meshfix(mesh, tolerance=voxel)
    if outcome.mesh is None:
        result = tight_method(mesh, resolution)
        return replace(result, info={**result.info, "fallback": outcome.problem})
    return Watertight(outcome.mesh, "meshfix", voxel)


def none_method(mesh: Mesh, resolution: int) -> Watertight:
    """The mesh unchanged, its parts oriented outward (``geometry.watertight.closed``)."""
    from pix3d_onet.geometry.watertight.closed import closed

    return Watertight(closed(mesh), "none", voxel_size(mesh, resolution))


def watertight(mesh: Mesh, *, method: str = "tight", resolution: int = 256) -> Watertight:
    """Apply a method of ``WATERTIGHT_METHODS`` to a cleaned mesh.

    ConfigError for an unknown name; RejectError if the mesh has no usable surface.
    """
    check_choice("watertight", method, WATERTIGHT_METHODS)
    function: Callable[[Mesh, int], Watertight] = resolve_name(WATERTIGHT_METHODS[method])
    return function(mesh, resolution)


def make_watertight(mesh: Mesh, *, method: str = "tight", resolution: int = 256) -> Mesh:
    """A closed, consistently oriented mesh of the same shape, in the frame of its input.

    ``method``: a name in ``config.WATERTIGHT_METHODS``; ``resolution``: voxels per axis of the grid, 0.9 of which the
    longest side spans. Raises RejectError (``empty-mesh``, ``bad-extent``, ``empty-surface``) for a mesh without a
    usable surface, ``damaged-mesh`` if over 1 % of its faces have an index without a vertex or a coordinate that is not
    finite, and ConfigError for an unknown method.
    """
    cleaned, dropped = clean_counted(mesh)
    check_lost(dropped, len(mesh.faces))
    return watertight(cleaned, method=method, resolution=resolution).mesh
