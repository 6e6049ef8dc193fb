"""Triangle strips and fans to triangles."""

from __future__ import annotations

import numpy as np

from pix3d_onet.types import Int64


def strip_triangles(corners: Int64) -> Int64:
    """(n - 2, 3) triangles of a strip (n,); every second one is reversed, so that all have the same winding."""
    if len(corners) < 3:
        return np.zeros((0, 3), dtype=np.int64)
    faces = np.stack([corners[:-2], corners[1:-1], corners[2:]], axis=1)
    faces[1::2] = faces[1::2, [0, 2, 1]]
    return faces


def fan_triangles(corners: Int64) -> Int64:
    """(n - 2, 3) triangles of a fan (n,) around its first corner."""
    if len(corners) < 3:
        return np.zeros((0, 3), dtype=np.int64)
    return np.stack([np.broadcast_to(corners[0], len(corners) - 2), corners[1:-1], corners[2:]], axis=1)
