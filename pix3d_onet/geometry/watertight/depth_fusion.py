"""``fusion``: watertighting by Stutz & Geiger (IJCV 2018, mesh-fusion), as used for Occupancy Networks.

The longest side of the mesh is scaled to 0.9. 100 cameras on a Fibonacci sphere at distance 1 give depth maps of
640×640 pixels (f = 640), which are moved 1.5 voxels towards the camera, eroded 3×3 and fused into a TSDF of 256³ voxels
with a truncation of 10 voxels. Unseen voxels are inside; the zero level is the surface.

Bias, by construction: the surface lies outside the model's. On boxes we measured about 0.3 voxels in the middle of wide
faces (the mean over oblique views cancels most of the 1.5) and up to 6 voxels at edges. Concave regions that few
cameras see are filled, internal cavities vanish, and small components of unseen voxels may remain near edges.

This implementation gives the same signs as a dense evaluation of the same depth maps, but evaluates only bricks whose
sign does not follow from bounds on the depth in their projection. Differences from the original: the surface is placed
relative to voxel centres, at which the voxels are sampled (the original's marching cubes places it half a voxel lower
on each axis), and depth is rasterised without OpenGL, as float32 1/Z instead of 24-bit normalised depth.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from pix3d_onet.errors import RejectError
from pix3d_onet.geometry.watertight.brick_grid import GridFrame, GridSurface, number_bricks, origins, voxel_size
from pix3d_onet.geometry.watertight.kernels import depth_fusion, marching_cubes, neighbours
from pix3d_onet.geometry.watertight.kernels.bricks import SIDE
from pix3d_onet.types import Float32, Float64, Mesh

VIEWS = 100
IMAGE_SIZE = 640
FOCAL = 640.0
DEPTH_OFFSET = 1.5
"""Shift of the depth towards the camera, voxels."""
TRUNCATION = 10.0
"""Truncation of the signed distance, voxels."""
FAR_DEPTH = 10.0
"""Depth of pixels without a surface, beyond the cube; the original's far plane, 1.75, cuts off its far corners."""
NODE_OFFSETS = np.argwhere(np.ones((SIDE, SIDE, SIDE), dtype=bool))
"""(512, 3): the nodes of a brick in the order of their local index."""
AIR = 4.0
"""Distance from the model's box, in voxels, beyond which everything is outside. Otherwise corners of the cube that no
camera sees would be inside."""


def fibonacci_rotations(count: int = VIEWS) -> Float64:
    """(count, 3, 3) world → camera rotations, evenly spread over the sphere (the original's ``get_views``)."""
    rotations = np.empty((count, 3, 3))
    golden = math.pi * (3.0 - math.sqrt(5.0))
    for i in range(count):
        y = (i + 0.5) * 2.0 / count - 1.0
        r = math.sqrt(1.0 - y * y)
        phi = ((i + 1) % count) * golden
        x, z = math.cos(phi) * r, math.sin(phi) * r
        longitude, latitude = -math.atan2(x, y), math.atan2(z, math.hypot(x, y))
        cx, sx, cy, sy = math.cos(latitude), math.sin(latitude), math.cos(longitude), math.sin(longitude)
        about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
        about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
        rotations[i] = about_y @ about_x
    return rotations


def fusion_frame(mesh: Mesh, resolution: int) -> GridFrame:
    """The cube [-0.5, 0.5]³ of ``resolution``³ voxels in which the longest side is 0.9, and a border of one brick,
    which is outside, so that the surface is closed."""
    low, high = mesh.bounds
    voxel = voxel_size(mesh, resolution)
    bricks = math.ceil(resolution / SIDE) + 2
    return GridFrame((low + high) / 2, voxel, np.full(3, resolution / 2 - 0.5 + SIDE), (bricks, bricks, bricks))


def depth_maps(mesh: Mesh, frame: GridFrame, resolution: int, rotations: Float64) -> Float32:
    """(views, 640, 640) float32 depth of the scaled mesh, shifted and eroded (see the module)."""
    points = (mesh.vertices - frame.centre) / (frame.voxel * resolution)
    maps: Float32 = depth_fusion.depth_maps(
        np.ascontiguousarray(points), mesh.faces, rotations, FOCAL, IMAGE_SIZE, FAR_DEPTH, DEPTH_OFFSET / resolution
    )
    return maps


def _clear_air(signs: NDArray[np.int8], low: Float64, high: Float64) -> None:
    """Mark bricks completely outside the box [``low``, ``high``] (grid) as outside, those on its border as
    uncertain."""
    first = np.argwhere(np.ones(signs.shape, dtype=bool)) * SIDE
    outside = ((first + SIDE - 1 < low) | (first > high)).any(axis=1).reshape(signs.shape)
    within = ((first >= low) & (first + SIDE - 1 <= high)).all(axis=1).reshape(signs.shape)
    signs[~within & (signs < 0)] = 0
    signs[outside] = 1


def fusion(mesh: Mesh, resolution: int = 256) -> GridSurface:
    """The fused surface of ``mesh`` (cleaned, any frame). RejectError ``empty-surface`` if there is none."""
    rotations = fibonacci_rotations()
    frame = fusion_frame(mesh, resolution)
    depth = depth_maps(mesh, frame, resolution, rotations)
    truncation = TRUNCATION / resolution
    bounds = depth_fusion.depth_bounds(depth)
    dims = np.array(frame.dims) - 2
    signs = depth_fusion.certain_signs(dims, resolution, bounds, rotations, FOCAL, IMAGE_SIZE, truncation)
    signs = np.pad(signs, 1, constant_values=1)
    edge = (SIDE, SIDE + resolution - 1)
    low = np.clip(frame.to_grid(mesh.bounds[0]) - AIR, *edge)
    high = np.clip(frame.to_grid(mesh.bounds[1]) + AIR, *edge)
    _clear_air(signs, low, high)

    def fused(slots: NDArray[np.int32]) -> Float32:
        first = origins(slots)
        values: Float32 = depth_fusion.fuse_bricks(first - SIDE, resolution, depth, rotations, FOCAL, truncation)
        nodes = first[:, None] + NODE_OFFSETS
        values[((nodes < low) | (nodes > high)).any(axis=2)] = 1.0
        return values

    marked = signs == 0
    slots = number_bricks(marked)
    values = fused(slots)
    while (wanted := depth_fusion.uncertain_borders(signs, slots, values)).any():
        marked |= wanted
        old, slots = slots, number_bricks(marked)
        fresh = number_bricks(wanted)
        extra = fused(fresh)
        merged = np.empty((int(marked.sum()), values.shape[1]), dtype=np.float32)
        merged[slots[old >= 0]] = values[old[old >= 0]]
        merged[slots[wanted]] = extra[fresh[wanted]]
        values = merged
    table = neighbours.neighbour_table(slots, len(values))
    brick_inside = (signs.ravel() < 0).astype(np.uint8)
    inside = (values <= 0).astype(np.uint8)
    fractions = depth_fusion.value_fractions(values, np.where(brick_inside, -1, 1).astype(np.float32), table)
    cubes = marching_cubes.extract(inside, brick_inside, table, origins(slots), fractions)
    if len(cubes.vertices) == 0:
        raise RejectError("empty-surface", "the depth maps show no surface", "watertight")
    return GridSurface(frame, cubes.vertices, marching_cubes.connected(cubes, table))
