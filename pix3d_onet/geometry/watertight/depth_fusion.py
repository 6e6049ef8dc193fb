"""``fusion``: Stutz & Geiger's watertighting (IJCV 2018, mesh-fusion), as Occupancy Networks used it.

The mesh, its longest side scaled to 0.9, is seen from 100 cameras on a Fibonacci sphere at distance 1; 640×640 depth
maps (f = 640) are moved 1.5 voxels towards the camera and eroded 3×3, and fused into a TSDF of 256³ with a truncation
of 10 voxels, where unseen is inside; its zero level is the surface.

Bias, by construction: the surface lies outside the model's. Measured on boxes: some 0.3 voxels in the middle of broad
faces (the mean over slanted views takes most of the 1.5 away again) and up to 6 voxels at their rims. Concave parts
that few cameras see fill up, internal cavities vanish, and crumbs of unseen voxels may float close to edges.

Ours gives the same signs as a dense evaluation of the same depth maps, but only looks at bricks whose sign is not
certain from bounds on the depth under their projection. Differences from the original: voxels are sampled at their
centres *and* their surface placed there (the original's marching cubes puts it half a voxel lower on each axis); depth
is rasterised without OpenGL, in float32 of 1/Z instead of 24-bit normalised depth.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from pix3d_onet.errors import RejectError
from pix3d_onet.geometry.watertight.brick_grid import FILL, GridFrame, GridSurface, number_bricks, origins
from pix3d_onet.geometry.watertight.kernels import depth_fusion, marching_cubes, neighbours
from pix3d_onet.geometry.watertight.kernels.bricks import SIDE
from pix3d_onet.types import Float32, Float64, Mesh

VIEWS = 100
IMAGE_SIZE = 640
FOCAL = 640.0
DEPTH_OFFSET = 1.5
"""Voxels by which depth moves towards the camera."""
TRUNCATION = 10.0
"""Voxels."""
FAR_DEPTH = 10.0
"""Depth where nothing is seen: free all the way. (The original's far plane, 1.75, ends before the far corners.)"""
NODE_OFFSETS = np.argwhere(np.ones((SIDE, SIDE, SIDE), dtype=bool))
"""(512, 3): the nodes of a brick in the order of their local index."""
AIR = 4.0
"""Voxels beyond the model's box from which everything is free. The cameras do not see all corners of the cube, and
unseen is inside: without this, crumbs float there."""


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
    """The cube [-0.5, 0.5]³ of ``resolution`` voxels in which the longest side spans 0.9, and a brick of air around it.

    The air closes the surface where no camera sees a corner of the cube.
    """
    low, high = mesh.bounds
    voxel = float((high - low).max()) / (FILL * resolution)
    bricks = math.ceil(resolution / SIDE) + 2
    return GridFrame((low + high) / 2, voxel, np.full(3, resolution / 2 - 0.5 + SIDE), (bricks, bricks, bricks))


def depth_maps(mesh: Mesh, frame: GridFrame, resolution: int, rotations: Float64) -> Float32:
    """(views, 640, 640) float32 depth of the scaled mesh, moved and eroded as the method asks."""
    points = (mesh.vertices - frame.centre) / (frame.voxel * resolution)
    maps: Float32 = depth_fusion.depth_maps(
        np.ascontiguousarray(points), mesh.faces, rotations, FOCAL, IMAGE_SIZE, FAR_DEPTH, DEPTH_OFFSET / resolution
    )
    return maps


def _clear_air(signs: NDArray[np.int8], low: Float64, high: Float64) -> None:
    """Bricks wholly outside the box [``low``, ``high``] (grid) become free, those on its border uncertain; in place."""
    first = np.argwhere(np.ones(signs.shape, dtype=bool)) * SIDE
    outside = ((first + SIDE - 1 < low) | (first > high)).any(axis=1).reshape(signs.shape)
    within = ((first >= low) & (first + SIDE - 1 <= high)).all(axis=1).reshape(signs.shape)
    signs[~within & (signs < 0)] = 0
    signs[outside] = 1


def fusion(mesh: Mesh, resolution: int = 256) -> GridSurface:
    """The fused surface of ``mesh`` (cleaned, any frame). RejectError ``empty-surface`` where none is."""
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
