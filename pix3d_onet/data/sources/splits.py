"""Train, validation and test: by group, seeded, the same whatever the order in which anything was listed.

Groups are ordered by a hash of the seed and their name, and dealt out so that the totals are exact and every
category comes as close to its shares as whole groups allow. Adding a file elsewhere, another locale or another file
system changes nothing.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from pix3d_onet.config import SPLITS, PrepareConfig
from pix3d_onet.data.store.manifest import ShapeEntry
from pix3d_onet.errors import InputError
from pix3d_onet.types import SourceListing, SourceShape

PRESCRIBED = ("s1", "s2", "lst")
"""Splits that a source or a benchmark gives."""


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

    Groups stand in the order of (category, hash of seed and name), where no two are of one category in that of the
    hash; the next one always goes to the split that lags most behind its share, so that every prefix, and with it every
    category, is within about one group of its shares.
    """
    alone = len(set(groups.values())) == len(groups)  # then the order of the categories would be the whole order
    names = sorted(groups, key=lambda name: ("" if alone else groups[name], _key(seed, name), name))
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


def united(names: Iterable[str], alike: Iterable[Collection[str]]) -> dict[str, str]:
    """Name → the first name, in alphabetical order, of those that it belongs with.

    Names that stand in one set of ``alike`` belong together, and so do those that sets link over others.
    """
    home = {name: name for name in names}

    def find(name: str) -> str:
        while home[name] != name:
            home[name] = name = home[home[name]]
        return name

    for members in alike:
        first, *others = sorted(find(m) for m in members)
        for other in others:
            home[find(other)] = find(first)
    roots: dict[str, str] = {}
    for name in sorted(home):
        roots.setdefault(find(name), name)
    return {name: roots[find(name)] for name in home}


class Splitter:
    """Which split a shape and its pictures belong to; made from what is listed, so a reject moves nothing else.

    What has the same content is one group, whatever it is called: two models of equal bytes or equal geometry, two
    shapes with the same picture. Prescribed splits (``s1``, ``s2``, ``lst``) stay as they are.
    """

    def __init__(self, listing: SourceListing, shapes: Sequence[SourceShape], config: PrepareConfig) -> None:
        self.mode, self.fixed = config.split, listing.fixed_splits
        self.fractions, self.seed = config.fractions, config.seed
        if self.mode in PRESCRIBED and not self.fixed:
            raise InputError(f"the source prescribes no split, but `split={self.mode}` asks for it.")
        if self.mode == "image":
            self.names = {v.record_id: s.category for s in shapes for v in s.views}
        else:
            self.names = {s.group: s.category for s in shapes}

    def split(self, entries: Sequence[ShapeEntry], geometry: Sequence[str]) -> list[ShapeEntry]:
        """``entries`` with their splits, those of their pictures and, where content unites groups, its group.

        ``geometry`` is a digest of each entry's stored mesh.
        """
        by_image = self.mode == "image"
        content: dict[str, set[str]] = defaultdict(set)
        for entry, shape in zip(entries, geometry, strict=True):
            for record, sha in zip(entry.record_ids, entry.image_sha256, strict=True):
                if sha and (not by_image or record in self.names):
                    content[f"picture {sha}"].add(record if by_image else entry.group)
            if not by_image:
                content[f"mesh {entry.mesh_sha256}"].add(entry.group)
                content[f"geometry {shape}"].add(entry.group)
        alike = [] if self.mode in PRESCRIBED else [names for names in content.values() if len(names) > 1]
        home = united(self.names, alike)
        dealt = assign({name: self.names[name] for name in home.values()}, self.fractions, self.seed)
        table = self.fixed if self.mode in PRESCRIBED else {name: dealt[first] for name, first in home.items()}
        return [self._placed(entry, table, home) for entry in entries]

    def _placed(self, entry: ShapeEntry, table: Mapping[str, str], home: Mapping[str, str]) -> ShapeEntry:
        """A rendered picture, whose id is in no table, goes with the shape's first photo."""
        if self.mode == "shape":
            split = table[entry.group]
            return replace(entry, group=home[entry.group], split=split, image_splits=(split,) * entry.images)
        named = [table[record] for record in entry.record_ids if record in table]
        split = named[0] if named else table.get(entry.object_id, table.get(entry.group, "train"))
        return replace(entry, split=split, image_splits=tuple(table.get(r, split) for r in entry.record_ids))


def _key(seed: int, name: str) -> bytes:
    return hashlib.sha256(f"{seed}\0{name}".encode()).digest()
