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


def strips_in_lists(corners: Int64, sizes: Int64) -> Int64:
    """(F, 3) triangles of the strips in lists of ``sizes`` (L,) items of ``corners`` (Σsizes,); -1 separates strips.

    All at once, since a small file may have millions of strips without a triangle.
    """
    if len(corners) < 3:
        return np.zeros((0, 3), dtype=np.int64)
    begins = np.zeros(len(corners), dtype=np.bool_)
    begins[(np.cumsum(sizes) - sizes)[sizes > 0]] = True
    begins[1:] |= corners[:-1] == -1
    place = np.arange(len(corners))
    first = np.maximum.accumulate(np.where(begins, place, 0))  # of the strip that each corner is in
    at = np.flatnonzero((first[:-2] == first[2:]) & (corners[:-2] != -1) & (corners[2:] != -1))
    odd = (at - first[at]) & 1
    return np.stack([corners[at], corners[at + 1 + odd], corners[at + 2 - odd]], axis=1)
