"""Which pictures and points a training step uses: a function of (seed, step) alone.

No state is kept between steps. So any step's draw can be repeated on any number of processes: resuming is exact, and a
diverged run can name the pictures of its last batch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pix3d_onet import seeding

BITS = 8
"""Labels per byte; blocks of points start at multiples of it."""
ROUNDING = 1e-9
"""Added before a share is rounded down, so that 0.35 of 20 pictures are 7 in every step."""
CACHED_EPOCHS = 64
"""Orders of epochs kept in memory; a batch larger than the split spans several epochs."""


@dataclass(frozen=True, slots=True, eq=False)
class Draw:
    """The draw of one step: ``pictures`` (B,) int64 rows, and ``starts`` (B,) int64, the first point of each block.

    ``near_starts`` (B,): of each block of points near the surface; None if none are drawn.
    """

    step: int
    pictures: NDArray[np.int64]
    starts: NDArray[np.int64]
    near_starts: NDArray[np.int64] | None = None

    def share(self, rank: int, world: int) -> Draw:
        """The contiguous part for process ``rank`` of ``world``; all parts have the same size."""
        size = len(self.pictures) // world
        chosen = slice(rank * size, (rank + 1) * size)
        near = None if self.near_starts is None else self.near_starts[chosen]
        return Draw(self.step, self.pictures[chosen], self.starts[chosen], near)


class DrawPlan:
    """The draws of all steps. Pictures are reshuffled every epoch, and epochs continue across batches.

    Points are stored in random order, so a block of consecutive points is a random sample. A block starts at any byte
    and wraps around the end, so that every point is equally likely. ``near``: number of points near the surface; they
    are drawn likewise, from numbers of their own, so that the other draws do not depend on them.

    ``favoured`` (pictures,) bool: those of which a step has ``share`` on average, each kind with epochs of its own;
    without it all pictures are equally likely.
    """

    def __init__(
        self,
        seed: int,
        pictures: int,
        points: int,
        batch: int,
        near: int = 0,
        favoured: NDArray[np.bool_] | None = None,
        share: float = 0.0,
    ) -> None:
        self.seed, self.pictures, self.batch, self.share = seed, pictures, batch, share
        self.bytes, self.near_bytes = points // BITS, near // BITS
        self.kinds = None if favoured is None else (np.flatnonzero(favoured), np.flatnonzero(~favoured))
        self._orders: dict[tuple[str, int], NDArray[np.int64]] = {}

    def draw(self, step: int) -> Draw:
        """The draw of ``step``, counted from 1."""
        first, end = (step - 1) * self.batch, step * self.batch
        if self.kinds is None:
            pictures = self._successive("order", self.pictures, first, end)
        else:
            start, stop = (math.floor(place * self.share + ROUNDING) for place in (first, end))
            mixed = [
                rows[self._successive(name, len(rows), *part)]
                for name, rows, part in zip(
                    ("favoured", "others"), self.kinds, ((start, stop), (first - start, end - stop)), strict=True
                )
            ]
            pictures = seeding.generator(self.seed, "mixed", str(step)).permutation(np.concatenate(mixed))
        near = self._starts("near-points", step, self.near_bytes) if self.near_bytes else None
        return Draw(step, pictures, self._starts("points", step, self.bytes), near)

    def _starts(self, name: str, step: int, count: int) -> NDArray[np.int64]:
        rng = seeding.generator(self.seed, name, str(step))
        return rng.integers(0, count, size=self.batch) * BITS

    def _successive(self, name: str, count: int, first: int, end: int) -> NDArray[np.int64]:
        """Positions ``first`` to ``end`` of all epochs of ``count`` pictures, one after the other."""
        positions = np.arange(first, end)
        epochs = positions // count
        parts = [self._order(name, int(e), count)[positions[epochs == e] - e * count] for e in np.unique(epochs)]
        return np.concatenate(parts) if parts else positions

    def _order(self, name: str, epoch: int, count: int) -> NDArray[np.int64]:
        order = self._orders.get((name, epoch))  # once: another thread may clear them
        if order is None:
            if len(self._orders) > CACHED_EPOCHS:
                self._orders.clear()
            rng = seeding.generator(self.seed, name, str(epoch))
            order = self._orders[name, epoch] = rng.permutation(count).astype(np.int64)
        return order


def wrapped_slices(start: int, count: int, total: int) -> list[tuple[int, int, int]]:
    """(target, source, length) of the one or two contiguous parts of a block that wraps around ``total``."""
    head = min(count, total - start)
    return [(0, start, head)] + ([(head, 0, count - head)] if head < count else [])
