"""Brick grids as dense arrays, for the references, and random ones for the comparisons."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

SIDE = 8
FAR = np.float32(1e9)


@dataclass(frozen=True)
class Bricks:
    """Which bricks of a grid have nodes of their own: ``slots`` (Bx, By, Bz) int32 in scan order, -1 without."""

    slots: NDArray[np.int32]

    @property
    def count(self) -> int:
        return int((self.slots >= 0).sum())

    @property
    def origins(self) -> NDArray[np.int32]:
        """(n, 3) first node of every brick with a slot."""
        return (np.argwhere(self.slots >= 0) * SIDE).astype(np.int32)

    @property
    def owned(self) -> NDArray[np.bool_]:
        """Dense: nodes that lie in a brick with a slot."""
        return np.kron(self.slots >= 0, np.ones((SIDE,) * 3, dtype=bool))

    def dense(self, values: NDArray[Any], elsewhere: Any) -> NDArray[Any]:
        """(8·Bx, 8·By, 8·Bz) of (n, 512) values; ``elsewhere``: one value, or flat (B,) of the bricks without slot."""
        blocks = np.empty((*self.slots.shape, SIDE**3), dtype=values.dtype)
        blocks[:] = np.broadcast_to(elsewhere, self.slots.size).reshape(self.slots.shape)[..., None]
        blocks[self.slots >= 0] = values
        split = blocks.reshape(*self.slots.shape, SIDE, SIDE, SIDE).transpose(0, 3, 1, 4, 2, 5)
        return split.reshape(np.multiply(self.slots.shape, SIDE))

    def dense3(self, values: NDArray[Any], elsewhere: Any) -> NDArray[Any]:
        """(3, 8·Bx, 8·By, 8·Bz) of (n, 3, 512) values of the nodes' +x, +y and +z edges."""
        return np.stack([self.dense(values[:, axis], elsewhere) for axis in range(3)])

    def sparse(self, dense: NDArray[Any]) -> NDArray[Any]:
        """(n, 512), or (n, 3, 512) of edges: the inverse of ``dense`` and ``dense3``."""
        if dense.ndim == 4:
            return np.stack([self.sparse(part) for part in dense], axis=1)
        bx, by, bz = self.slots.shape
        split = dense.reshape(bx, SIDE, by, SIDE, bz, SIDE).transpose(0, 2, 4, 1, 3, 5)
        return np.ascontiguousarray(split[self.slots >= 0].reshape(self.count, SIDE**3))


def random_bricks(rng: np.random.Generator, share: float = 0.6) -> Bricks:
    """2 to 3 bricks along every axis inside a border of bricks without slot."""
    marked = np.pad(rng.random(rng.integers(2, 4, size=3)) < share, 1)
    marked[1, 1, 1] = True
    slots = np.full(marked.shape, -1, dtype=np.int32)
    slots[marked] = np.arange(marked.sum())
    return Bricks(slots)


def shifted(dense: NDArray[Any], axis: int, step: int) -> NDArray[Any]:
    """``result[node] = dense[node + step along axis]``; wraps, which the slotless border keeps from mattering."""
    return np.roll(dense, -step, axis=axis)


def random_hits(rng: np.random.Generator, count: int, share: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(n, 3, 512) first and last crossings in [0, 1] of a ``share`` of the edges; FAR and -FAR elsewhere."""
    both = np.sort(rng.random((2, count, 3, SIDE**3)).astype(np.float32), axis=0)
    crossed = rng.random(both.shape[1:]) < share
    return np.where(crossed, both[0], FAR), np.where(crossed, both[1], -FAR)
