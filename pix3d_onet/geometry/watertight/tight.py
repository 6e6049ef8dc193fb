"""``tight``: our own watertighting, which leaves a solid's surface where it is.

1. The input's triangles are laid into a sparse grid of 8³ bricks: exact distances up to ``BAND`` voxels and the exact
   places where triangles cross grid edges.
2. *Outside* is what a flood from the border reaches through nodes farther than ``BARRIER`` voxels from any triangle:
   gaps narrower than 2·BARRIER voxels do not leak. It then creeps ``CREEP`` steps towards the surface along edges that
   no triangle crosses, so that it ends at the surface itself.
3. Everything else is inside: what a flood cannot reach is solid. A cavity sealed in the CAD model is therefore filled,
   and winding, doubled faces and overlapping parts do not matter.
4. Sheets and plates thinner than a voxel are thickened to one voxel, rods and needles to sqrt(3) voxels (about their
   own surface), only where nothing inside would be left of them.
5. Marching cubes with vertices at the exact crossings, and vertices on the edges and corners between them (``sharp``);
   crumbs of under 8 cubic voxels and 0.1 % of the surface go.
6. A shape with many parts thinner than two voxels (more than ``THIN_SHARE`` of its surface) is done again at twice the
   resolution, where those parts have nodes of their own; the voxels named above are then half as large.

Bias: none on solids wider than a voxel, whose surface, edges and corners stay where they are; crevices narrower than
2 voxels are filled; thin parts grow to the stated thickness.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pix3d_onet.errors import RejectError
from pix3d_onet.geometry.watertight.brick_grid import (
    GridFrame,
    GridSurface,
    between_pieces,
    fill_cavities,
    frame_for,
    number_bricks,
    origins,
    without_strays,
)
from pix3d_onet.geometry.watertight.kernels import bricks, flood, marching_cubes, neighbours, thin_parts
from pix3d_onet.geometry.watertight.sharp import sharpened
from pix3d_onet.types import Int64, Mesh

BAND = 1.05
"""Voxels around triangles in which distances are exact: just over BARRIER; more only costs time."""
BARRIER = 1.0
"""Voxels from a triangle within which the outside flood stops; it closes gaps up to twice as wide."""
CREEP = 3
"""Steps of the outside along uncrossed edges; from farther than BARRIER, three reach any surface and corner."""
REACH = 2.75
"""Voxels around triangles covered by bricks: BARRIER and a cell's diagonal, so that all surface lies in bricks."""
THIN_SHARE = 0.025
"""Share of the surface nodes in thin parts above which the resolution is doubled; a plain chair has 0.005 to 0.02."""
JOINT = 2.0
"""Voxels from two pieces within which a rim between them is thickened after all: gaps narrower than this are closed."""
MOST_BRICKS = 16_000
"""Bricks at most, at resolution 256 and in proportion to its square: about 1 GB. Chairs have 2,000 to 15,000."""
COARSEST = 16
"""Resolution that is always affordable."""


def tight(mesh: Mesh, resolution: int = 256) -> GridSurface:
    """The surface of ``mesh`` (cleaned, any frame), closed and oriented. RejectError ``empty-surface`` where none is.

    ``info`` says which resolution the model wanted (``grid_wanted``) and which it got (``grid_resolution``): less where
    it has so much surface that the grid would need too much memory.
    """
    most = MOST_BRICKS * (resolution / 256) ** 2
    wanted, used = resolution, _affordable(mesh, resolution, most)
    surface = tight_in(mesh, frame_for(mesh, used, border=2 * REACH), thin_limit=THIN_SHARE)
    if surface is None:
        wanted, used = 2 * resolution, max(used, _affordable(mesh, 2 * resolution, most))
        surface = tight_in(mesh, frame_for(mesh, used, border=2 * REACH))
    if surface is None or len(surface.faces) == 0:
        raise RejectError("empty-surface", "nothing of the model is large enough to enclose a voxel", "watertight")
    return replace(surface, info={"grid_resolution": used, "grid_wanted": wanted})


def _affordable(mesh: Mesh, resolution: int, most: float) -> int:
    """The highest resolution up to ``resolution`` (roughly) at which the surface lies in at most ``most`` bricks."""
    while resolution > COARSEST:
        frame = frame_for(mesh, resolution, border=2 * REACH)
        triangles = np.ascontiguousarray(frame.to_grid(mesh.vertices)[mesh.faces])
        count = int(bricks.mark_bricks(triangles, REACH, np.array(frame.dims)).sum())
        if count <= most:
            break
        resolution = max(COARSEST, int(0.97 * resolution * np.sqrt(most / count)))
    return resolution


def tight_in(mesh: Mesh, frame: GridFrame, *, thin_limit: float = np.inf) -> GridSurface | None:
    """:func:`tight` in a given grid; None where more than ``thin_limit`` of the surface lies in thin parts."""
    triangles = np.ascontiguousarray(frame.to_grid(mesh.vertices)[mesh.faces])
    marked = bricks.mark_bricks(triangles, REACH, np.array(frame.dims))
    slots = number_bricks(marked)
    count = int(marked.sum())
    distance, nearest, first_hit, last_hit = bricks.splat(triangles, BAND, slots, count)
    brick_out = np.zeros(slots.shape, dtype=np.uint8)
    free = flood.pack(distance > BARRIER)
    reached = np.zeros_like(free)
    flood.flood(free, slots, reached, brick_out)
    out = flood.unpack(reached)
    flat_out = brick_out.ravel()
    table = neighbours.neighbour_table(slots, count)
    flood.creep(out, flat_out, table, first_hit)
    for level in range(3, CREEP + 2):
        flood.creep_on(out, table, first_hit, level)
    thin, surface = thin_parts.thin_nodes(out, flat_out, table)
    push = thin_parts.thin_sheets(out, flat_out, table, distance, first_hit, last_hit)
    if (thin > 0).sum() + (push > 0).sum() > thin_limit * max(1, surface.sum()):
        return None
    inside = ((out == 0) | ((push > 0) & (distance <= push))).astype(np.uint8)
    brick_inside = (flat_out == 0).astype(np.uint8)
    rods, rims = np.zeros_like(inside), np.zeros(inside.shape, dtype=np.bool_)
    # Thin along one axis only may be the edge of a solid; along two it is a rod.
    zone = (thin >= 2) | ((push > 0) & (distance <= push))
    first_node = origins(slots)
    for again in (False, True):  # rods first, then the gaps between thin parts and what they end at
        more = thin_parts.thin_rods(
            inside, brick_inside, table, first_node, distance, nearest, triangles, zone | rods, again
        )
        rims |= more
        thin_parts.drop_rims(more, out, flat_out, table, first_node, nearest, triangles, thin, first_hit, last_hit)
        inside |= more
        rods |= more

    def surfaced() -> GridSurface:
        pushed = np.where(rods != 0, thin_parts.ROD_RADIUS + thin_parts.MARGIN, push) if rods.any() else push
        fill_cavities(inside, brick_inside, slots)
        fractions = thin_parts.edge_fractions(inside, brick_inside, out, table, distance, pushed, first_hit, last_hit)
        cubes = marching_cubes.extract(inside, brick_inside, table, first_node, fractions)
        return without_strays(GridSurface(frame, *sharpened(cubes, triangles, slots, table, fractions)))

    result = surfaced()
    left_out = np.argwhere(rims & (inside == 0))
    joints = left_out[between_pieces(result, first_node[left_out[:, 0]] + _offsets(left_out[:, 1]), JOINT)]
    if len(joints):
        inside[tuple(joints.T)] = rods[tuple(joints.T)] = 1
        result = surfaced()
    return result


def _offsets(local: Int64) -> Int64:
    """(K, 3) place in its brick of the nodes of (K,) local indices."""
    return np.stack([local >> 6, local >> 3 & 7, local & 7], axis=1)
