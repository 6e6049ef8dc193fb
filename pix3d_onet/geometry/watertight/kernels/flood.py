"""Find the outside: flood fill from the border of the brick grid with bit masks, then steps up to the surface.

Arrays are as in ``bricks``; ``brick_out`` (Bx, By, Bz) uint8: whether bricks without a slot are outside.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from pix3d_onet.geometry.watertight.kernels.bricks import NODES, SIDE
from pix3d_onet.geometry.watertight.kernels.neighbours import look


@njit(cache=True, nogil=True)
def pack(flags: Any) -> Any:
    """(n, 8) uint64 bit masks of (n, 512) bool: word i has bit 8·j + k of node (i, j, k)."""
    words = np.zeros((len(flags), SIDE), dtype=np.uint64)
    for slot in range(len(flags)):
        for i in range(SIDE):
            word = np.uint64(0)
            for bit in range(64):
                if flags[slot, i << 6 | bit]:
                    word |= np.uint64(1) << np.uint64(bit)
            words[slot, i] = word
    return words


@njit(cache=True, nogil=True)
def unpack(words: Any) -> Any:
    """(n, 512) uint8 flags of (n, 8) uint64 bit masks; the inverse of :func:`pack`."""
    flags = np.zeros((len(words), SIDE * SIDE * SIDE), dtype=np.uint8)
    for slot in range(len(words)):
        for i in range(SIDE):
            word = words[slot, i]
            for bit in range(64):
                flags[slot, i << 6 | bit] = (word >> np.uint64(bit)) & np.uint64(1)
    return flags


@njit(cache=True, nogil=True, forceinline=True)
def _spread(word: Any) -> Any:
    """The nodes of an 8×8 plane and their four neighbours in it."""
    up, down = np.uint64(0x7F7F7F7F7F7F7F7F), np.uint64(0xFEFEFEFEFEFEFEFE)
    one, eight = np.uint64(1), np.uint64(8)
    return word | ((word & up) << one) | ((word & down) >> one) | (word << eight) | (word >> eight)


@njit(cache=True, nogil=True)
def _flood_brick(free: Any, reached: Any) -> None:
    """Flood fill within one brick; ``free`` and ``reached`` are its 8 words, ``reached`` is changed in place."""
    changed = True
    while changed:
        changed = False
        for turn in range(2 * SIDE):
            i = turn if turn < SIDE else 2 * SIDE - 1 - turn
            word = reached[i]
            if i > 0:
                word |= reached[i - 1]
            if i < SIDE - 1:
                word |= reached[i + 1]
            word = _spread(word & free[i]) & free[i] | (word & free[i])
            if word != reached[i]:
                reached[i] = word
                changed = True


@njit(cache=True, nogil=True)
def _adjacent_nodes(reached: Any, wholly: bool, axis: int, step: int, face: Any) -> None:
    """Write to ``face`` (8,) the nodes of the next brick along ``axis`` that are adjacent to reached nodes of this one.

    ``reached``: the 8 words of this brick; ``wholly``: all its nodes are reached, and ``reached`` is ignored.
    """
    full = ~np.uint64(0)
    first_j, last_j = np.uint64(0xFF), np.uint64(0xFF) << np.uint64(56)
    first_k, last_k = np.uint64(0x0101010101010101), np.uint64(0x8080808080808080)
    for w in range(SIDE):
        word = full if wholly else reached[w]
        if axis == 0:
            face[w] = np.uint64(0)
        elif axis == 1:
            face[w] = (word & last_j) >> np.uint64(56) if step > 0 else (word & first_j) << np.uint64(56)
        else:
            face[w] = (word & last_k) >> np.uint64(7) if step > 0 else (word & first_k) << np.uint64(7)
    if axis == 0:
        source = SIDE - 1 if step > 0 else 0
        face[SIDE - 1 - source] = full if wholly else reached[source]


@njit(cache=True, nogil=True)
def _add_reached(face: Any, free: Any, reached: Any) -> bool:
    """Add the free nodes of ``face`` to ``reached`` (8 words each); returns whether there was a new one."""
    fresh = False
    for w in range(SIDE):
        gain = face[w] & free[w] & ~reached[w]
        if gain != 0:
            reached[w] |= gain
            fresh = True
    return fresh


@njit(cache=True, nogil=True)
def flood(free: Any, slots: Any, reached: Any, brick_out: Any) -> None:
    """Find all free nodes that are 6-connected, through free nodes, to the border of the grid.

    ``free`` (n, 8) and ``reached`` (n, 8): uint64 masks of :func:`pack`; ``reached`` must be zero and is filled. In
    bricks without a slot all nodes are free unless ``brick_out`` is 2; it becomes 1 if the brick is reached. The
    outermost bricks must have no slot. Each brick is flooded with bit operations, then its faces' neighbours.
    """
    dims = slots.shape
    total = dims[0] * dims[1] * dims[2]
    stack = np.empty(total, dtype=np.int64)
    waiting = np.zeros(total, dtype=np.bool_)
    size = 0
    for i in range(dims[0]):
        for j in range(dims[1]):
            for k in range(dims[2]):
                border = i in (0, dims[0] - 1) or j in (0, dims[1] - 1) or k in (0, dims[2] - 1)
                if border and slots[i, j, k] < 0 and brick_out[i, j, k] == 0:
                    brick_out[i, j, k] = 1
                    b = (i * dims[1] + j) * dims[2] + k
                    stack[size] = b
                    size += 1
                    waiting[b] = True
    face = np.empty(SIDE, dtype=np.uint64)
    while size > 0:
        size -= 1
        b = stack[size]
        waiting[b] = False
        i, j, k = b // (dims[1] * dims[2]), b // dims[2] % dims[1], b % dims[2]
        mine = slots[i, j, k]
        if mine >= 0:
            _flood_brick(free[mine], reached[mine])
        for side in range(6):
            axis, step = side >> 1, (side & 1) * 2 - 1
            x = i + (step if axis == 0 else 0)
            y = j + (step if axis == 1 else 0)
            z = k + (step if axis == 2 else 0)
            if x < 0 or y < 0 or z < 0 or x >= dims[0] or y >= dims[1] or z >= dims[2]:
                continue
            _adjacent_nodes(reached[max(mine, 0)], mine < 0, axis, step, face)
            other = slots[x, y, z]
            fresh = False
            if other >= 0:
                fresh = _add_reached(face, free[other], reached[other])
            elif brick_out[x, y, z] == 0 and face.any():
                brick_out[x, y, z] = 1
                fresh = True
            n = (x * dims[1] + y) * dims[2] + z
            if fresh and not waiting[n]:
                waiting[n] = True
                stack[size] = n
                size += 1


@njit(cache=True, nogil=True)
def creep(out: Any, brick_out: Any, table: Any, first_hit: Any) -> None:
    """Extend the outside (1 in ``out``) by one step along grid edges that no triangle crosses; new nodes get 2."""
    for slot in range(len(out)):
        for local in range(NODES):
            if out[slot, local] != 0:
                continue
            i, j, k = local >> 6, (local >> 3) & 7, local & 7
            reached = False
            for axis in range(3):
                di, dj, dk = (1, 0, 0) if axis == 0 else ((0, 1, 0) if axis == 1 else (0, 0, 1))
                up = look(out, brick_out, table, slot, i + di, j + dj, k + dk)
                if up == 1 and first_hit[slot, axis, local] > 1.0:
                    reached = True
                    break
                down = look(out, brick_out, table, slot, i - di, j - dj, k - dk)
                if down == 1:
                    s = table[slot, ((i - di) >> 3) + 1, ((j - dj) >> 3) + 1, ((k - dk) >> 3) + 1]
                    # no triangle crosses an edge of a brick without a slot
                    if s < 0 or first_hit[s, axis, ((i - di) & 7) << 6 | ((j - dj) & 7) << 3 | ((k - dk) & 7)] > 1.0:
                        reached = True
                        break
            if reached:
                out[slot, local] = 2


@njit(cache=True, nogil=True)
def creep_on(out: Any, table: Any, first_hit: Any, level: int) -> None:
    """As :func:`creep` for ``level`` ≥ 3: a step from the nodes with the previous level; new nodes get ``level``."""
    for slot in range(len(out)):
        for local in range(NODES):
            if out[slot, local] != level - 1:
                continue
            i, j, k = local >> 6, (local >> 3) & 7, local & 7
            for turn in range(6):
                axis, up = turn >> 1, turn & 1
                step = 2 * up - 1
                x, y, z = i + step * (axis == 0), j + step * (axis == 1), k + step * (axis == 2)
                s = table[slot, (x >> 3) + 1, (y >> 3) + 1, (z >> 3) + 1]
                m = (x & 7) << 6 | (y & 7) << 3 | (z & 7)
                if s < 0 or out[s, m] != 0:
                    continue
                if (first_hit[slot, axis, local] if up else first_hit[s, axis, m]) > 1.0:
                    out[s, m] = level
