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
5. Marching cubes with vertices at the exact crossings; crumbs of under 8 cubic voxels and 0.1 % of the surface go.
6. A shape with many parts thinner than two voxels (more than ``THIN_SHARE`` of its surface) is done again at twice the
   resolution, where those parts have nodes of their own; the voxels named above are then half as large.

Bias: none on solids wider than a voxel (vertices lie on the input's surface); concave edges and crevices narrower than
2 voxels are filled; thin parts grow to the stated thickness.
"""

from __future__ import annotations

import numpy as np

from pix3d_onet.errors import RejectError
from pix3d_onet.geometry.watertight.brick_grid import (
    BrickGrid,
    GridFrame,
    extract_grid,
    fill_cavities,
    frame_for,
    number_bricks,
    origins,
)
from pix3d_onet.geometry.watertight.kernels import bricks, flood, neighbours, thin_parts
from pix3d_onet.types import Mesh

BAND = 1.05
"""Voxels around triangles in which distances are exact: just over BARRIER; more only costs time."""
BARRIER = 1.0
"""Voxels from a triangle within which the outside flood stops; it closes gaps up to twice as wide."""
CREEP = 3
"""Steps of the outside along uncrossed edges; from farther than BARRIER, three reach any surface and corner."""
REACH = 2.75
"""Voxels around triangles covered by bricks: BARRIER and a cell's diagonal, so that all surface lies in bricks."""
MIN_THICKNESS_SHEET = 1.0
"""Voxels: thickness that sheets and plates get at least."""
MIN_THICKNESS_ROD = float(np.sqrt(3.0))
"""Voxels: thickness that rods get at least where no node lies in them."""


THIN_SHARE = 0.025
"""Share of the surface nodes in thin parts above which the resolution is doubled; a plain chair has 0.005 to 0.02."""


def tight(mesh: Mesh, resolution: int = 256) -> BrickGrid:
    """The signed grid and surface of ``mesh`` (cleaned, any frame). RejectError ``empty-surface`` where none is."""
    grid = tight_in(mesh, frame_for(mesh, resolution, border=2 * REACH), thin_limit=THIN_SHARE)
    if grid is None:
        grid = tight_in(mesh, frame_for(mesh, 2 * resolution, border=2 * REACH))
    if grid is None or len(grid.faces) == 0:
        raise RejectError("empty-surface", "nothing of the model is large enough to enclose a voxel", "watertight")
    return grid


def tight_in(mesh: Mesh, frame: GridFrame, *, thin_limit: float = np.inf) -> BrickGrid | None:
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
    for step in range(CREEP):
        flood.creep(out, flat_out, table, first_hit, 2 + step)
    thin, surface = thin_parts.thin_nodes(out, flat_out, table)
    push = thin_parts.thin_sheets(out, flat_out, table, distance, first_hit, last_hit)
    if (thin > 0).sum() + (push > 0).sum() > thin_limit * max(1, surface.sum()):
        return None
    inside = ((out == 0) | ((push > 0) & (distance <= push))).astype(np.uint8)
    brick_inside = (flat_out == 0).astype(np.uint8)
    rods = np.zeros_like(inside)
    # Thin along one axis only may be the edge of a solid; along two it is a rod.
    zone = (thin >= 2) | ((push > 0) & (distance <= push))
    for again in (False, True):  # rods first, then the gaps between thin parts and what they end at
        first_node = origins(slots)
        more = thin_parts.thin_rods(
            inside, brick_inside, table, first_node, distance, nearest, triangles, zone | rods, again
        )
        inside |= more
        rods |= more
    if rods.any():
        push = np.where(rods != 0, thin_parts.ROD_RADIUS + thin_parts.MARGIN, push)
    fill_cavities(inside, brick_inside, slots)
    fractions = thin_parts.edge_fractions(inside, brick_inside, out, table, distance, push, first_hit, last_hit)
    return extract_grid(frame, slots, inside, brick_inside, fractions, table, drop_strays=True)
