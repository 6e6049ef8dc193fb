"""Encode normals (octahedral) and labels (packed bits) for storage. For points see ``lattice``."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pix3d_onet.types import Bool, Float32, UInt8


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


def pack_bits(labels: Bool) -> UInt8:
    """(…, P) bool → (…, P/8) uint8, first label in the highest bit, as in NumPy and the original layout."""
    return np.packbits(labels, axis=-1)


def unpack_bits(packed: UInt8, count: int) -> Bool:
    """(…, P/8) uint8 → (…, count) bool."""
    return np.unpackbits(packed, axis=-1, count=count).astype(np.bool_)
