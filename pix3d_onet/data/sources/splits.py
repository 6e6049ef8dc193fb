"""Assign shapes to train, validation and test: by group, seeded, independent of the order of listing.

Groups are sorted by a hash of the seed and their name, and assigned so that the totals are exact and every category
is as close to its fractions as whole groups allow. Locale and file system have no influence.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from pix3d_onet.config import SPLITS, PrepareConfig
from pix3d_onet.data.store.manifest import ShapeEntry
from pix3d_onet.errors import InputError
from pix3d_onet.files import digest
from pix3d_onet.types import SourceListing, SourceShape

PRESCRIBED = ("s1", "s2", "lst")
"""Splits prescribed by a source or a benchmark."""


def split_counts(total: int, fractions: Sequence[float]) -> tuple[int, int, int]:
    """Integers that sum to ``total``, by largest remainder; if ``total`` ≥ 3, no fraction above 0 gets 0.

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
    """Assign ``groups`` (name → category) to ``train``, ``val`` and ``test``: name → split.

    Groups are sorted by (category, hash of seed and name), or only by the hash if no two have the same category. Each
    one goes to the split that is furthest below its fraction, so that every prefix, and thus every category, is within
    about one group of its fractions.
    """
    alone = len(set(groups.values())) == len(groups)  # then sorting by category would fix the whole order
    names = sorted(groups, key=lambda name: ("" if alone else groups[name], digest(f"{seed}\0{name}".encode()), name))
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
    """Names to move from a prescribed ``train`` (name → category) to ``val``, if a benchmark prescribes none.

    Their fraction is val/(train + val) of ``fractions``.
    """
    whole = fractions[0] + fractions[1]
    if whole <= 0 or fractions[1] <= 0:
        return set()
    dealt = assign(train, (fractions[0] / whole, fractions[1] / whole, 0.0), seed)
    return {name for name, split in dealt.items() if split == "val"}


def united(names: Iterable[str], alike: Iterable[Collection[str]]) -> dict[str, str]:
    """Name → the alphabetically first name of its connected component; each set in ``alike`` connects its names."""
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
    """Assigns shapes and pictures to splits, from the source's listing, so that a later reject moves no other shape
    (but one of equal content).

    Shapes with equal content are one group, whatever their names: models with equal bytes or equal geometry, shapes
    with the same picture. They all get the split of the group whose name comes first: what is equal is known only of
    shapes that were prepared, so dealing the united groups anew would move all others with one reject. Prescribed
    splits (``s1``, ``s2``, ``lst``) are not changed.
    """

    def __init__(self, listing: SourceListing, shapes: Sequence[SourceShape], config: PrepareConfig) -> None:
        self.mode, self.fixed = config.split, listing.fixed_splits
        self.fractions, self.seed = config.fractions, config.seed
        if self.mode in PRESCRIBED and not self.fixed:
            raise InputError(f"the source prescribes no split, but `split={self.mode}` asks for it.")
        self.dealt_as: dict[str, str] = {}
        """Picture → the name under which it is dealt: of a shape with one stored picture, its first, whichever is."""
        if self.mode == "image":
            one = config.images_per_object == "one"
            self.dealt_as = {v.record_id: s.views[0].record_id if one else v.record_id for s in shapes for v in s.views}
            self.names = {self.dealt_as[v.record_id]: s.category for s in shapes for v in s.views}
        else:
            self.names = {s.group: s.category for s in shapes}

    def split(self, entries: Sequence[ShapeEntry], geometry: Sequence[str]) -> list[ShapeEntry]:
        """``entries`` with splits of shapes and pictures, and a common group for groups with equal content.

        ``geometry``: digest of each entry's stored mesh.
        """
        by_image = self.mode == "image"
        content: dict[str, set[str]] = defaultdict(set)
        for entry, shape in zip(entries, geometry, strict=True):
            for record, sha in zip(entry.record_ids, entry.image_sha256, strict=True):
                if sha and (not by_image or record in self.dealt_as):
                    content[f"picture {sha}"].add(self.dealt_as[record] if by_image else entry.group)
            if not by_image:
                content[f"mesh {entry.mesh_sha256}"].add(entry.group)
                content[f"geometry {shape}"].add(entry.group)
        alike = [] if self.mode in PRESCRIBED else [names for names in content.values() if len(names) > 1]
        home = united(self.names, alike)
        dealt = assign(self.names, self.fractions, self.seed)
        table = self.fixed if self.mode in PRESCRIBED else {name: dealt[first] for name, first in home.items()}
        return [self._placed(entry, table, home) for entry in entries]

    def _placed(self, entry: ShapeEntry, table: Mapping[str, str], home: Mapping[str, str]) -> ShapeEntry:
        """The entry with its splits; a rendered view, whose id is in no table, gets that of the first photo."""
        if self.mode == "shape":
            split = table[entry.group]
            return replace(entry, group=home[entry.group], split=split, image_splits=(split,) * entry.images)
        records = [self.dealt_as.get(record, record) for record in entry.record_ids]
        named = [table[record] for record in records if record in table]
        split = named[0] if named else table.get(entry.object_id, table.get(entry.group, "train"))
        return replace(entry, split=split, image_splits=tuple(table.get(r, split) for r in records))
