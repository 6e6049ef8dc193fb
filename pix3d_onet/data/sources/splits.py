"""Train, validation and test: by group, seeded, the same whatever the order in which anything was listed.

Groups are ordered by a hash of the seed and their name, and dealt out so that the totals are exact and every
category comes as close to its shares as whole groups allow. Adding a file elsewhere, another locale or another file
system changes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from pix3d_onet.config import SPLITS, PrepareConfig
from pix3d_onet.errors import InputError
from pix3d_onet.types import PreparedShape, SourceListing, SourceShape


def split_counts(total: int, fractions: Sequence[float]) -> tuple[int, int, int]:
    """Whole numbers that sum to ``total``: largest remainders; from 3 on, no share above 0 stays empty.

    163 with 70/10/20 % gives 114, 16, 33.
    """
    exact = [total * f for f in fractions]
    counts = [int(e + 1e-9) for e in exact]  # 10 * 0.7 is 7, not 6.999…
    by_remainder = sorted(range(3), key=lambda i: (counts[i] - exact[i], i))
    for i in by_remainder[: total - sum(counts)]:
        counts[i] += 1
    wanted = [i for i in range(3) if fractions[i] > 0]
    if total >= len(wanted):
        for i in wanted:
            if counts[i] == 0:
                counts[max(range(3), key=lambda j: counts[j])] -= 1
                counts[i] = 1
    return counts[0], counts[1], counts[2]


def assign(groups: Mapping[str, str], fractions: Sequence[float], seed: int) -> dict[str, str]:
    """Deal out ``groups`` (name → category) to ``train``, ``val`` and ``test``: name → split.

    Groups stand in the order of (category, hash of seed and name); the next one always goes to the split that lags
    most behind its share, so that every prefix, and with it every category, is within about one group of its shares.
    """
    names = sorted(groups, key=lambda name: (groups[name], _key(seed, name), name))
    counts = split_counts(len(names), fractions)
    given = [0, 0, 0]
    result: dict[str, str] = {}
    for position, name in enumerate(names, start=1):
        lag = [counts[i] * position / len(names) - given[i] if given[i] < counts[i] else -1.0 for i in range(3)]
        chosen = max(range(3), key=lambda i: (lag[i], -i))
        given[chosen] += 1
        result[name] = SPLITS[chosen]
    return result


def carve_validation(train: Mapping[str, str], fractions: Sequence[float], seed: int) -> set[str]:
    """Names to move from a prescribed ``train`` (name → category) to ``val``, where a benchmark prescribes none.

    Their share is val/(train + val) of ``fractions``.
    """
    whole = fractions[0] + fractions[1]
    if whole <= 0 or fractions[1] <= 0:
        return set()
    dealt = assign(train, (fractions[0] / whole, fractions[1] / whole, 0.0), seed)
    return {name for name, split in dealt.items() if split == "val"}


class Splitter:
    """Which split a shape and its pictures belong to; made from what is listed, so a reject moves nothing else."""

    def __init__(self, listing: SourceListing, shapes: Sequence[SourceShape], config: PrepareConfig) -> None:
        self.mode, self.fixed = config.split, listing.fixed_splits
        if self.mode in ("s1", "s2", "lst") and not self.fixed:
            raise InputError(f"the source prescribes no split, but `split={self.mode}` asks for it.")
        if self.mode == "image":
            names = {v.record_id: s.category for s in shapes for v in s.views}
        else:
            names = {s.group: s.category for s in shapes}
        self.dealt = assign(names, config.fractions, config.seed)

    def views(self, shape: PreparedShape) -> tuple[str, ...]:
        """The split of each picture; a rendered one goes with the shape's first photo."""
        if self.mode == "shape":
            return (self.dealt[shape.identity.group],) * len(shape.views)
        table = self.dealt if self.mode == "image" else self.fixed
        home = self.shape(shape)
        return tuple(home if v.rendered else table.get(v.record_id, home) for v in shape.views)

    def shape(self, shape: PreparedShape) -> str:
        """The split of the shape: its group's, or its first photo's where pictures are split."""
        if self.mode == "shape":
            return self.dealt[shape.identity.group]
        table = self.dealt if self.mode == "image" else self.fixed
        named = [table[v.record_id] for v in shape.views if v.record_id in table]
        return named[0] if named else table.get(shape.identity.object_id, table.get(shape.identity.group, "train"))


def _key(seed: int, name: str) -> bytes:
    return hashlib.sha256(f"{seed}\0{name}".encode()).digest()
