"""Encode normals (octahedral), labels (packed bits) and signed distances for storage. For points see ``lattice``."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pix3d_onet.types import Bool, Float32, Int16, UInt8

DISTANCE_STEP = 2.0**-14
"""Step of stored distances, in longest sides: an error of at most 3.1e-5, and a range of ±2 where no distance in the
cube exceeds 1.5. (float16 would be off by up to 2.4e-4.)"""


def encode_normals(normals: NDArray[np.floating[Any]]) -> UInt8:
    """(N, 3) unit normals → (N, 2) uint8 octahedral codes (Cigolle et al., JCGT 2014); error below 1°."""
    n = normals.astype(np.float64)
    n = n / np.maximum(np.abs(n).sum(axis=-1, keepdims=True), np.finfo(np.float64).tiny)
    xy = n[..., :2]
    folded = (1 - np.abs(xy[..., ::-1])) * np.where(xy >= 0, 1.0, -1.0)
    xy = np.where(n[..., 2:] < 0, folded, xy)
    codes: UInt8 = np.rint((xy + 1) * 127.5).astype(np.uint8)
    return codes


def decode_normals(codes: UInt8) -> Float32:
    """(N, 2) uint8 octahedral codes → (N, 3) float32 unit normals."""
    xy = codes.astype(np.float64) / 127.5 - 1
    z = 1 - np.abs(xy).sum(axis=-1, keepdims=True)
    folded = (1 - np.abs(xy[..., ::-1])) * np.where(xy >= 0, 1.0, -1.0)
    n = np.concatenate([np.where(z < 0, folded, xy), z], axis=-1)
    normals: Float32 = (n / np.linalg.norm(n, axis=-1, keepdims=True)).astype(np.float32)
    return normals


def encode_distances(distances: NDArray[np.floating[Any]], inside: Bool) -> Int16:
    """(N,) distances, 0 or more, and labels → (N,) int16 steps, rounded down, with all bits inverted for inside.

    So the sign bit is the label, and no code means 0: a point on the surface is half a step off it, on the side of its
    label.
    """
    steps = np.minimum(distances / DISTANCE_STEP, np.iinfo(np.int16).max).astype(np.int16)
    codes: Int16 = np.where(inside, ~steps, steps)
    return codes


def decode_distances(steps: Int16) -> Float32:
    """(…) int16 → (…) float32 signed distances, negative inside: the middles of the steps."""
    distances: Float32 = ((steps.astype(np.float64) + 0.5) * DISTANCE_STEP).astype(np.float32)
    return distances


def pack_bits(labels: Bool) -> UInt8:
    """(…, P) bool → (…, P/8) uint8, first label in the highest bit, as in NumPy and the original layout."""
    return np.packbits(labels, axis=-1)


def unpack_bits(packed: UInt8, count: int) -> Bool:
    """(…, P/8) uint8 → (…, count) bool."""
    return np.unpackbits(packed, axis=-1, count=count).astype(np.bool_)
