"""The sparse grid of 8³ bricks in which both of our watertighting methods work, and the surface that they end in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from pix3d_onet.geometry.mesh.topology import component_labels, measures_of_parts
from pix3d_onet.geometry.watertight.kernels import flood
from pix3d_onet.geometry.watertight.kernels.bricks import SIDE
from pix3d_onet.types import Bool, Float64, Int64, Mesh, UInt8

FILL = 0.9
"""Share of the grid's cube that the longest side of the mesh spans (Stutz & Geiger: scaled to 0.9)."""

GRID_SHIFT = (0.0172, 0.0237, 0.0113)
"""Voxels by which the mesh stands off the lattice, so that CAD planes do not fall exactly onto nodes."""


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


def frame_for(mesh: Mesh, resolution: int, *, border: float) -> GridFrame:
    """The grid in which the longest side spans ``FILL·resolution`` voxels, ``border`` voxels and a brick around."""
    low, high = mesh.bounds
    extent = high - low
    voxel = float(extent.max()) / (FILL * resolution)
    bricks = np.ceil((extent / voxel + 2 * border) / SIDE).astype(np.int64) + 2
    middle = bricks * SIDE / 2 + np.array(GRID_SHIFT)
    return GridFrame((low + high) / 2, voxel, middle, (int(bricks[0]), int(bricks[1]), int(bricks[2])))


@dataclass(frozen=True, slots=True, eq=False)
class GridSurface:
    """The surface of a brick grid: ``vertices`` (V, 3) float64 grid coordinates, ``faces`` (F, 3) int64.

    ``info`` is what the method has to say of it, for the QC.
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
"""Pieces below this share of the surface *and* this many cubic voxels are crumbs of the grid and dropped."""


def without_strays(surface: GridSurface) -> GridSurface:
    """The surface without crumbs."""
    mesh = Mesh(surface.vertices, surface.faces)
    count, labels = component_labels(mesh)
    if count < 2:
        return surface
    areas, volumes = measures_of_parts(mesh, labels, count)
    stray = (areas < STRAY_AREA * areas.sum()) & (np.abs(volumes) < STRAY_VOLUME)
    if not stray.any():
        return surface
    faces = surface.faces[~stray[labels]]
    used = np.zeros(len(surface.vertices), dtype=np.bool_)
    used[faces] = True
    return GridSurface(surface.frame, surface.vertices[used], (np.cumsum(used) - 1)[faces])


def between_pieces(surface: GridSurface, nodes: Int64, reach: float) -> Bool:
    """(K,) bool: nodes, (K, 3) in grid coordinates, within ``reach`` voxels of two pieces of the surface."""
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
    """(n, 3) int32 first node of every brick that has a slot, in slot order."""
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
    """Take inside (in place) every outside region that is not 6-connected to the border: a void in the solid.

    ``brick_inside`` is flat (B,). Marching cubes joins inside corners across cube faces, so 6-connected outside
    regions are exactly the ones that its surfaces enclose.
    """
    brick_out = brick_inside.reshape(slots.shape).copy() * np.uint8(2)  # 2: not free, never entered
    free = flood.pack(inside == 0)
    reached = np.zeros_like(free)
    flood.flood(free, slots, reached, brick_out)
    inside[:] = 1 - flood.unpack(reached)
    brick_inside[:] = (brick_out != 1).ravel()
