"""The sparse grid of 8³ bricks used by ``tight`` and ``fusion``, and the surface extracted from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from pix3d_onet.geometry.mesh.cleaning import without_unused
from pix3d_onet.geometry.mesh.topology import component_labels, measures_of_parts
from pix3d_onet.geometry.watertight.kernels import flood
from pix3d_onet.geometry.watertight.kernels.bricks import SIDE
from pix3d_onet.types import Bool, Float64, Int64, Mesh, UInt8

FILL = 0.9
"""Longest side of the mesh as a fraction of the grid's cube (Stutz & Geiger: scaled to 0.9)."""

GRID_SHIFT = (0.0172, 0.0237, 0.0113)
"""Shift of the mesh in voxels, so that axis-aligned planes of CAD models do not fall exactly on nodes."""


@dataclass(frozen=True, slots=True, eq=False)
class GridFrame:
    """``grid = (X - centre) / voxel + middle``: X in the mesh's frame, grid in voxels. ``dims`` in bricks."""

    centre: Float64
    voxel: float
    middle: Float64
    dims: tuple[int, int, int]

    def to_grid(self, points: Float64) -> Float64:
        """(…, 3) mesh frame → grid coordinates."""
        return (points - self.centre) / self.voxel + self.middle

    def from_grid(self, points: Float64) -> Float64:
        """(…, 3) grid coordinates → mesh frame."""
        return (points - self.middle) * self.voxel + self.centre


def voxel_size(mesh: Mesh, resolution: int) -> float:
    """Side of a voxel if the longest side of ``mesh`` is ``FILL·resolution`` voxels, in units of the mesh."""
    return float(np.ptp(mesh.bounds, axis=0).max()) / (FILL * resolution)


def frame_for(mesh: Mesh, resolution: int, *, border: float) -> GridFrame:
    """The grid in which the longest side is ``FILL·resolution`` voxels, with a border of ``border`` voxels and a
    brick."""
    low, high = mesh.bounds
    voxel = voxel_size(mesh, resolution)
    bricks = np.ceil(((high - low) / voxel + 2 * border) / SIDE).astype(np.int64) + 2
    middle = bricks * SIDE / 2 + np.array(GRID_SHIFT)
    return GridFrame((low + high) / 2, voxel, middle, (int(bricks[0]), int(bricks[1]), int(bricks[2])))


@dataclass(frozen=True, slots=True, eq=False)
class GridSurface:
    """The surface of a brick grid: ``vertices`` (V, 3) float64 grid coordinates, ``faces`` (F, 3) int64.

    ``info``: quality figures of the method.
    """

    frame: GridFrame
    vertices: Float64
    faces: Int64
    info: Mapping[str, Any] = field(default_factory=dict)

    def mesh(self) -> Mesh:
        """The surface in the mesh's frame: closed, consistently wound, positive volume."""
        return Mesh(self.frame.from_grid(self.vertices), self.faces)


STRAY_AREA = 0.001
STRAY_VOLUME = 8.0
"""Components with less than this fraction of the surface *and* fewer cubic voxels are artefacts and dropped."""


def without_strays(surface: GridSurface) -> GridSurface:
    """The surface without components smaller than ``STRAY_AREA`` and ``STRAY_VOLUME``."""
    mesh = Mesh(surface.vertices, surface.faces)
    count, labels = component_labels(mesh)
    if count < 2:
        return surface
    areas, volumes = measures_of_parts(mesh, labels, count)
    stray = (areas < STRAY_AREA * areas.sum()) & (np.abs(volumes) < STRAY_VOLUME)
    if not stray.any():
        return surface
    return GridSurface(surface.frame, *without_unused(surface.vertices, surface.faces[~stray[labels]]))


def between_pieces(surface: GridSurface, nodes: Int64, reach: float) -> Bool:
    """(K,) bool: which of ``nodes`` (K, 3, grid coordinates) are within ``reach`` voxels of two components."""
    found = np.zeros(len(nodes), dtype=np.bool_)
    if len(nodes) == 0:
        return found
    count, labels = component_labels(Mesh(surface.vertices, surface.faces))
    if count < 2:
        return found
    piece = np.empty(len(surface.vertices), dtype=np.int32)
    piece[surface.faces] = labels[:, None]
    around: Any = cKDTree(surface.vertices).query_ball_point(nodes, reach)
    for n, near in enumerate(around):
        found[n] = len(near) > 0 and bool((piece[near] != piece[near[0]]).any())
    return found


def origins(slots: NDArray[np.int32]) -> NDArray[np.int32]:
    """(n, 3) int32 first node of each brick with a slot, in slot order."""
    where = np.argwhere(slots >= 0)
    result = np.empty((len(where), 3), dtype=np.int32)
    result[slots[tuple(where.T)]] = where * SIDE
    return result


def number_bricks(marked: Bool) -> NDArray[np.int32]:
    """(Bx, By, Bz) int32 slots of the marked bricks in scan order, -1 elsewhere."""
    slots = np.full(marked.shape, -1, dtype=np.int32)
    slots[marked] = np.arange(int(marked.sum()), dtype=np.int32)
    return slots


def fill_cavities(inside: UInt8, brick_inside: UInt8, slots: NDArray[np.int32]) -> None:
    """Mark as inside, in place, every outside region that is not 6-connected to the border, that is every cavity.

    ``inside`` (n, 512); ``brick_inside`` (B,): of bricks without a slot. Marching cubes connects inside corners
    diagonally across cube faces, so its surfaces enclose exactly the 6-connected outside regions.
    """
    brick_out = brick_inside.reshape(slots.shape).copy() * np.uint8(2)  # 2: not free
    free = flood.pack(inside == 0)
    reached = np.zeros_like(free)
    flood.flood(free, slots, reached, brick_out)
    inside[:] = 1 - flood.unpack(reached)
    brick_inside[:] = (brick_out != 1).ravel()
