"""Access to nodes of neighbouring bricks: a table of the 27 bricks around each brick, and a look-up.

Arrays are as in ``bricks``; in a brick without a slot, all nodes have the same value.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def neighbour_table(slots: Any, count: int) -> Any:
    """(n, 3, 3, 3) int32: slot of the brick at offset -1..1 on each axis; -1: outside the grid; -2 - b: brick b,
    without a slot."""
    dims = slots.shape
    table = np.full((count, 3, 3, 3), -1, dtype=np.int32)
    for i in range(dims[0]):
        for j in range(dims[1]):
            for k in range(dims[2]):
                slot = slots[i, j, k]
                if slot < 0:
                    continue
                for a in range(3):
                    for b in range(3):
                        for c in range(3):
                            x, y, z = i + a - 1, j + b - 1, k + c - 1
                            if 0 <= x < dims[0] and 0 <= y < dims[1] and 0 <= z < dims[2]:
                                s = slots[x, y, z]
                                table[slot, a, b, c] = s if s >= 0 else -2 - ((x * dims[1] + y) * dims[2] + z)
    return table


@njit(cache=True, nogil=True, forceinline=True)
def look(values: Any, brick_values: Any, table: Any, slot: int, i: int, j: int, k: int) -> Any:
    """Value of the node at local coordinates (i, j, k), -8 <= i, j, k < 16, also in a neighbouring brick."""
    s = table[slot, (i >> 3) + 1, (j >> 3) + 1, (k >> 3) + 1]
    # both are read, since numba counts the references of an array that only one branch reads: ten times
    # slower
    here, beyond = values[max(s, 0), (i & 7) << 6 | (j & 7) << 3 | (k & 7)], brick_values[max(-2 - s, 0)]
    return here if s >= 0 else beyond
