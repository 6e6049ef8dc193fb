"""``WATERTIGHT``: methods that turn any triangles into a closed solid, behind one signature.

| name | source | bias |
|---|---|---|
| ``tight`` | ours, ``geometry/tight.py`` | none on solids; sheets become 1 voxel thick, gaps under 2 voxels close |
| ``fusion`` | Stutz & Geiger, IJCV 2018 (mesh-fusion), used by Mescheder et al., CVPR 2019 | surface about 1.5 voxels out |
| ``meshfix`` | Attene 2010, through pymeshfix, in a child process | drops what it cannot mend; falls back to ``tight`` |
| ``none`` | the mesh as it is; labels by majority of rays | undefined on open meshes |
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from pix3d_onet.errors import ConfigError
from pix3d_onet.geometry.grid import BrickGrid
from pix3d_onet.geometry.mesh import clean
from pix3d_onet.types import Mesh


@dataclass(frozen=True, slots=True, eq=False)
class Watertight:
    """``mesh`` in the frame of the input; ``grid`` its signed grid where the method has one; ``info`` for the QC."""

    mesh: Mesh
    grid: BrickGrid | None
    method: str
    voxel: float
    info: Mapping[str, Any] = field(default_factory=dict)


def _tight(mesh: Mesh, resolution: int) -> Watertight:
    from pix3d_onet.geometry.tight import tight

    grid = tight(mesh, resolution)
    return Watertight(grid.mesh(), grid, "tight", grid.frame.voxel)


WATERTIGHT: Mapping[str, Callable[[Mesh, int], Watertight]] = MappingProxyType({"tight": _tight})


def watertight(mesh: Mesh, *, method: str = "tight", resolution: int = 256) -> Watertight:
    """Apply a method of ``WATERTIGHT`` to a cleaned mesh. ConfigError for an unknown name, RejectError for no surface."""
    if method not in WATERTIGHT:
        raise ConfigError(f"--watertight must be one of {', '.join(WATERTIGHT)}, not {method!r}.")
    return WATERTIGHT[method](mesh, resolution)


def make_watertight(mesh: Mesh, *, method: str = "tight", resolution: int = 256) -> Mesh:
    """A closed, consistently oriented mesh of the same shape, in the frame of its input.

    ``resolution`` is the side of the voxel grid whose 0.9 the longest side spans. Raises RejectError (``empty-mesh``,
    ``bad-extent``, ``empty-surface``) for a mesh without usable surface and ConfigError for an unknown method.
    """
    return watertight(clean(mesh), method=method, resolution=resolution).mesh
