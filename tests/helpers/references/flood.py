"""References of ``kernels.flood``: NumPy and SciPy on dense grids."""

from __future__ import annotations

from typing import Any

import numpy as np
from helpers.references.brick_grids import SIDE, Bricks, shifted
from numpy.typing import NDArray
from scipy import ndimage

Array = NDArray[Any]


def pack(flags: Array) -> Array:
    """(n, 8) uint64 of (n, 512) bool: bit b of word i is node 64·i + b."""
    return np.packbits(flags.reshape(len(flags), SIDE, 64), axis=2, bitorder="little").view(np.uint64)[..., 0]


def unpack(words: Array) -> Array:
    """The inverse of ``pack``."""
    return np.unpackbits(words[..., None].view(np.uint8), axis=2, bitorder="little").reshape(len(words), -1)


def flood(free: Array, bricks: Bricks, closed: Array) -> Array:
    """Dense bool: the free nodes 6-connected through free nodes to a free slotless brick on the border.

    ``free`` (n, 512) bool; ``closed`` (Bx, By, Bz) bool: bricks without a slot that may not be entered.
    """
    dense = bricks.dense(free, ~closed.ravel())
    regions, _ = ndimage.label(dense)
    border = np.ones(closed.shape, dtype=bool)
    border[1:-1, 1:-1, 1:-1] = False
    seeds = np.kron(border & (bricks.slots < 0) & ~closed, np.ones((SIDE,) * 3, dtype=bool))
    return dense & np.isin(regions, np.unique(regions[seeds]))


def creep(out: Array, first_hit: Array, owned: Array, level: int) -> Array:
    """Dense ``out`` after one step: nodes next to an outside one along an edge that nothing crosses get ``level``."""
    outside = (out != 0) & (out < level)
    reached = np.zeros(out.shape, dtype=bool)
    for axis in range(3):
        open_edge = first_hit[axis] > 1
        reached |= open_edge & shifted(outside, axis, 1)
        reached |= shifted(open_edge & outside, axis, -1)
    return np.where((out == 0) & owned & reached, level, out)
