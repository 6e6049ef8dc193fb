"""What a mask and a known camera say about a shape: it lies in the cone of the silhouette (Laurentini, PAMI 1994)."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy.ndimage import distance_transform_edt, map_coordinates

from pix3d_onet.types import Bool, Float32, Float64, View

Depth = Callable[[Float32], Float64]
"""(N, 3) points in the normalised frame → (N,) approximate distance to a boundary, positive inside."""
UNIT_HALF_SIDE = 0.5
"""Half the side of the unit cube, in which every shape of the normalised frame lies."""


def has_camera(view: View) -> bool:
    """Whether the picture has a pose and intrinsics."""
    return view.has_pose and bool(np.isfinite(view.intrinsics).all())


def depth_in_cone(view: View) -> Depth:
    """How deep a point is in the silhouette's cone: pixels to the outline at its projection, times Z / focal length.

    The distance in the picture is that between pixel centres less half a pixel, interpolated bilinearly, so it is 0 on
    the borders between pixels of the mask and others. Behind the camera it is −∞; nothing is known outside the picture,
    which counts as background.
    """
    outline = _depth_in_mask(view.mask)
    pose, intrinsics = view.pose.astype(np.float64), view.intrinsics.astype(np.float64)
    focal = math.sqrt(abs(intrinsics[0, 0] * intrinsics[1, 1]))

    def depth(points: Float32) -> Float64:
        camera = points.astype(np.float64) @ pose[:3, :3].T + pose[:3, 3]
        z = camera[:, 2]
        front = z > 0
        pixel = (camera @ intrinsics.T)[:, :2] / np.where(front, z, 1)[:, None]
        at = pixel[:, ::-1].T + 0.5  # centre of pixel (row, column) is at + 0.5, and the ring adds 1
        found: Float64 = map_coordinates(outline, at, order=1, mode="nearest") * z / focal
        return np.where(front, found, -np.inf)

    return depth


def _depth_in_mask(mask: Bool) -> Float64:
    """(H, W) → (H + 2, W + 2): pixels from each pixel's centre to the outline, negative outside, with a ring of
    background."""
    framed = np.pad(mask, 1)
    if not framed.any():
        return np.full(framed.shape, -1.0)
    inner, outer = distance_transform_edt(framed), distance_transform_edt(~framed)
    return np.where(framed, inner - 0.5, 0.5 - outer)


def depth_in_unit_cube(points: Float32) -> Float64:
    """How deep a point is in the unit cube of the normalised frame."""
    deep: Float64 = UNIT_HALF_SIDE - np.abs(points).max(axis=1).astype(np.float64)
    return deep
