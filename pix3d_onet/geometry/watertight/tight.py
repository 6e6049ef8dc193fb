"""``tight``: our own watertighting, which preserves a solid's surface exactly.

1. In a sparse grid of 8³ bricks, exact distances to the triangles up to ``BAND`` voxels, and their exact crossings with
   grid edges, are computed.
2. *Outside* is flood-filled from the border, through nodes farther than ``BARRIER`` voxels from any triangle, so that
   gaps narrower than 2·BARRIER voxels do not leak. Then it is extended by ``CREEP`` steps along edges that no triangle
   crosses, up to the surface.
3. Everything else is inside. So closed cavities are filled, and winding, doubled faces and overlapping parts do not
   matter.
4. Sheets and plates thinner than a voxel are thickened to one voxel, rods and needles to sqrt(3) voxels (around their
   own surface), only where they would contain no inside node.
5. Marching cubes places vertices at the exact crossings; ``sharp`` adds vertices at edges and corners. Components below
   8 cubic voxels and 0.1 % of the surface are dropped.
6. If more than ``THIN_SHARE`` of the surface is in parts thinner than two voxels, everything is repeated at twice the
   resolution, where these parts contain nodes; the voxels above are then half as large.

Bias: none on solids wider than a voxel, including their edges and corners. Crevices narrower than 2 voxels are filled,
and thin parts have the thickness above.
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
"""Distance, voxels, up to which distances to triangles are exact: slightly more than BARRIER, to save time."""
BARRIER = 1.0
"""Distance, voxels, from triangles at which the flood fill stops; gaps up to twice as wide are closed."""
CREEP = 3
"""Steps of the outside along uncrossed edges; from farther than BARRIER, three reach any surface and corner."""
REACH = 2.75
"""Distance, voxels, from triangles covered by bricks: BARRIER and a cell's diagonal, so that they contain the
surface."""
THIN_SHARE = 0.025
"""Fraction of surface nodes in thin parts above which the resolution is doubled; most chairs have 0.005 to 0.02."""
JOINT = 2.0
"""Distance, voxels, from two components within which a rim between them is thickened, since such gaps are closed."""
MOST_BRICKS = 16_000
"""Most bricks at resolution 256, in proportion to its square: about 1 GB. Chairs have 2,000 to 15,000."""
COARSEST = 16
"""Resolution that is used even if it needs more bricks."""


def tight(mesh: Mesh, resolution: int = 256) -> GridSurface:
    """The surface of ``mesh`` (cleaned, any frame), closed and oriented. RejectError ``empty-surface`` if there is
    none.

    ``info``: the resolution that the model needs (``grid_wanted``) and the one used (``grid_resolution``), which is
    lower if the grid would need too much memory.
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
    """About the highest resolution, up to ``resolution``, at which the surface is in at most ``most`` bricks."""
    while resolution > COARSEST:
        frame = frame_for(mesh, resolution, border=2 * REACH)
        triangles = np.ascontiguousarray(frame.to_grid(mesh.vertices)[mesh.faces])
        count = int(bricks.mark_bricks(triangles, REACH, np.array(frame.dims)).sum())
        if count <= most:
            break
        resolution = max(COARSEST, int(0.97 * resolution * np.sqrt(most / count)))
    return resolution


def tight_in(mesh: Mesh, frame: GridFrame, *, thin_limit: float = np.inf) -> GridSurface | None:
    """:func:`tight` in a given grid; None if more than ``thin_limit`` of the surface is in thin parts."""
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
    # nodes thin along only one axis may be at the edge of a solid; along two, they belong to a rod
    zone = (thin >= 2) | ((push > 0) & (distance <= push))
    first_node = origins(slots)
    for again in (False, True):  # first rods, then gaps between thin parts and the parts next to them
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
    """(K, 3) position in the brick of the nodes with (K,) local indices."""
    return np.stack([local >> 6, local >> 3 & 7, local & 7], axis=1)
