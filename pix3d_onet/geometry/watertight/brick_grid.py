"""The signed brick grid: what both of our watertighting methods end in, and what labels are read from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pix3d_onet.geometry.mesh.topology import component_labels, face_areas
from pix3d_onet.geometry.watertight.kernels import flood, marching_cubes
from pix3d_onet.geometry.watertight.kernels.bricks import NODES, SIDE
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
class BrickGrid:
    """Signs of all nodes of a grid and its extracted surface.

    ``slots`` (Bx, By, Bz) int32 index of a brick's nodes or -1; ``brick_inside`` (B,) uint8 for bricks without;
    ``cases`` (n, 512) uint8 marching-cubes case of every cell; ``first`` (n, 512) int32 first face of every cell;
    ``vertices`` (V, 3) float64 grid coordinates; ``faces`` (F, 3) int64.
    """

    frame: GridFrame
    slots: NDArray[np.int32]
    brick_inside: UInt8
    cases: UInt8
    first: NDArray[np.int32]
    vertices: Float64
    faces: Int64

    def mesh(self) -> Mesh:
        """The surface in the mesh's frame: closed, consistently wound, positive volume."""
        return Mesh(self.frame.from_grid(self.vertices), self.faces)

    def label(self, points: Float64) -> tuple[Bool, Bool]:
        """Exact labels of (N, 3) points in the mesh's frame; and (N,) bool where rounding left no sure answer."""
        counts, _ = marching_cubes.table()
        grid = np.ascontiguousarray(self.frame.to_grid(points))
        inside, unsure = marching_cubes.label(
            grid, self.slots, self.brick_inside, self.cases, self.first, counts, self.vertices, self.faces
        )
        return inside, unsure


STRAY_AREA = 0.001
STRAY_VOLUME = 8.0
"""Pieces below this share of the surface *and* this many cubic voxels are crumbs of the grid and dropped."""


def extract_grid(
    frame: GridFrame,
    slots: NDArray[np.int32],
    inside: UInt8,
    brick_inside: UInt8,
    fractions: Any,
    neighbours: Any,
    *,
    drop_strays: bool = False,
) -> BrickGrid:
    """Marching cubes over signs and edge fractions (``marching_cubes.extract``); ``inside`` changes when strays go."""
    first_node = origins(slots)
    vertices, faces, cases, first, number = marching_cubes.extract(
        inside, brick_inside, neighbours, first_node, fractions
    )
    if drop_strays and (dropped := _strays(vertices, faces)).any():
        marching_cubes.clear(inside, neighbours, number, dropped)
        vertices, faces, cases, first, _ = marching_cubes.extract(
            inside, brick_inside, neighbours, first_node, fractions
        )
    return BrickGrid(frame, slots, brick_inside, cases, first, vertices, faces)


def _strays(vertices: Float64, faces: Int64) -> Bool:
    """(V,) bool: vertices of the pieces to drop."""
    mesh = Mesh(vertices, faces)
    count, labels = component_labels(mesh)
    drop = np.zeros(len(vertices), dtype=np.bool_)
    if count < 2:
        return drop
    areas = np.bincount(labels, weights=face_areas(mesh), minlength=count)
    t = mesh.triangles
    pieces = np.einsum("ij,ij->i", t[:, 0], np.cross(t[:, 1], t[:, 2])) / 6
    volumes = np.abs(np.bincount(labels, weights=pieces, minlength=count))
    stray = (areas < STRAY_AREA * areas.sum()) & (volumes < STRAY_VOLUME)
    drop[faces[stray[labels]]] = True
    return drop


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


assert NODES == SIDE**3
