"""How points, normals and labels are stored: fixed point, octahedral, packed bits.

Points are cells of a 65536³ lattice over the cube [-0.55, 0.55]³. Uniform points are drawn *on* the lattice
and labels computed for the decoded points, so that no rounding ever stands between a point and its label.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pix3d_onet.config import POINTS_HALF_SIDE
from pix3d_onet.types import Bool, Float32, UInt8, UInt16

LATTICE = 65536
"""Cells along each axis; a cell is 1.1/65536 = 1.7e-5 units wide (0.004 voxels at 256³)."""


def decode_points(cells: UInt16) -> Float32:
    """(…, 3) uint16 lattice cells → (…, 3) float32 centres of the cells, strictly inside [-0.55, 0.55]³."""
    step = 2 * POINTS_HALF_SIDE / LATTICE
    return ((cells.astype(np.float64) + 0.5) * step - POINTS_HALF_SIDE).astype(np.float32)


def encode_points(points: NDArray[np.floating[Any]]) -> UInt16:
    """(…, 3) points → the (…, 3) uint16 cells that hold them; points outside the cube go to its border."""
    step = 2 * POINTS_HALF_SIDE / LATTICE
    cells = np.floor((points.astype(np.float64) + POINTS_HALF_SIDE) / step)
    return np.clip(cells, 0, LATTICE - 1).astype(np.uint16)


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
    """(…, P) bool → (…, P/8) uint8, first label in the highest bit (numpy's and the original's order)."""
    return np.packbits(labels, axis=-1)


def unpack_bits(packed: UInt8, count: int) -> Bool:
    """(…, P/8) uint8 → (…, count) bool."""
    return np.unpackbits(packed, axis=-1, count=count).astype(np.bool_)


def generator(seed: int, *names: str) -> np.random.Generator:
    """A generator that depends on ``seed`` and ``names`` alone: same numbers in any process, in any order."""
    words = [int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little") for name in names]
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, *words])))
