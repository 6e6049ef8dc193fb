"""Summarise a prepared data set from its manifest and ``rejects.jsonl`` (no shard is opened)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pix3d_onet.config import SPLITS
from pix3d_onet.data.store.manifest import Manifest, ShapeEntry, is_figure, named_warnings, read_manifest
from pix3d_onet.data.store.quality_figures import FIGURES
from pix3d_onet.data.store.rejects import scan_rejects
from pix3d_onet.seeding import generator


@dataclass(frozen=True, slots=True)
class SplitCount:
    """Shapes and pictures of one split; ``categories``: shapes per category."""

    name: str
    shapes: int
    pictures: int
    categories: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class QcRow:
    """Least, median and largest value of one quality figure (booleans as 0 and 1) over the ``count`` shapes that have
    it; ``worst``: the shape farthest from the figure's ideal (empty if it has none, or all are equally far)."""

    key: str
    count: int
    least: float
    median: float
    most: float
    worst: str


@dataclass(frozen=True, slots=True)
class Summary:
    """Counts, sizes and quality figures of a data set."""

    root: Path
    data_hash: str
    source: Mapping[str, Any]
    config: Mapping[str, Any]
    counts: Mapping[str, Any]
    splits: tuple[SplitCount, ...]
    categories: Mapping[str, int]
    shapes: int
    pictures: int
    bytes: int
    rejects: Mapping[str, int]
    warnings: Mapping[str, int]
    qc: tuple[QcRow, ...]

    @property
    def bytes_per_shape(self) -> float:
        """Mean size on disk per shape with its pictures."""
        return self.bytes / max(self.shapes, 1)


def summarise(root: Path) -> Summary:
    """Summarise the data set in ``root``; InputError if its manifest is missing or damaged."""
    manifest = read_manifest(root)
    return Summary(
        root=root,
        data_hash=manifest.data_hash,
        source=manifest.source,
        config=manifest.config,
        counts=manifest.counts,
        splits=tuple(_split(manifest, name) for name in SPLITS),
        categories=dict(sorted(Counter(s.category for s in manifest.shapes).items())),
        shapes=len(manifest.shapes),
        pictures=sum(s.images for s in manifest.shapes),
        bytes=sum(s.bytes for s in manifest.shards),
        rejects=rejects(root),
        warnings=dict(Counter(w for s in manifest.shapes for w in named_warnings(s)).most_common()),
        qc=tuple(_qc_rows(manifest.shapes)),
    )


def _split(manifest: Manifest, name: str) -> SplitCount:
    own = manifest.in_split(name)
    pictures = sum(split == name for s in own for split in s.image_splits)
    return SplitCount(name, len(own), pictures, dict(sorted(Counter(s.category for s in own).items())))


def rejects(root: Path) -> dict[str, int]:
    """Reason → number of rows in ``rejects.jsonl``; unreadable rows are counted as ``unreadable row``."""
    rows = ("unreadable row" if row is None else f"{row.stage}: {row.reason}" for row in scan_rejects(root))
    return dict(Counter(rows).most_common())


def _figures(entry: ShapeEntry) -> dict[str, float]:
    return {k: float(v) for k, v in entry.qc.items() if is_figure(v)}


def _qc_rows(entries: Iterable[ShapeEntry]) -> Iterable[QcRow]:
    columns: dict[str, list[tuple[float, str]]] = {}
    for entry in entries:
        for key, value in _figures(entry).items():
            columns.setdefault(key, []).append((value, entry.object_id))
    for key, cells in columns.items():
        values = [value for value, _ in cells]
        far = [_badness(key, value) for value in values]
        worst = cells[int(np.argmax(far))][1] if len(set(far)) > 1 else ""
        yield QcRow(key, len(cells), min(values), float(np.median(values)), max(values), worst)


def _badness(key: str, value: float) -> float:
    """Distance of a figure from its ideal; 0 for one that this version does not know."""
    return FIGURES[key].badness(value) if key in FIGURES else 0.0


def worst_shapes(manifest: Manifest, count: int | None = None) -> list[tuple[ShapeEntry, str]]:
    """The ``count`` shapes (None = all) of lowest quality, worst first, each with the figures that are the reason.

    Shapes are sorted by their number of warnings, then by their ranks in all figures by distance from the ideal, worst
    rank first. Ties share the better rank, so that a figure that is equal for all shapes ranks none of them.
    """
    ranks: dict[str, list[tuple[float, str]]] = {s.object_id: [] for s in manifest.shapes}
    for key in FIGURES:
        cells = [(_badness(key, f[key]), s.object_id, f[key]) for s in manifest.shapes if key in (f := _figures(s))]
        ordered = np.sort([c[0] for c in cells])
        for value, name, shown in cells:
            rank = int(np.searchsorted(ordered, value, side="left")) / max(len(cells) - 1, 1)
            ranks[name].append((rank, f"{key} {shown:.4g}"))
    scored = []
    for entry in manifest.shapes:
        own = sorted(ranks[entry.object_id], key=lambda r: -r[0])
        named = named_warnings(entry)
        why = ", ".join([*named, *(text for rank, text in own[:2] if rank > 0)])
        scored.append((-len(named), [-rank for rank, _ in own], entry.object_id, entry, why))
    scored.sort(key=lambda row: row[:3])
    return [(entry, why) for *_, entry, why in scored[:count]]


def choose(
    manifest: Manifest, count: int, *, worst: bool, split: str | None, seed: int
) -> list[tuple[ShapeEntry, str]]:
    """``count`` shapes with pictures in ``split`` (None = all), each with why: the worst first, or a random choice in
    the order of the manifest, without reasons."""
    entries = manifest.in_split(split)
    if worst:
        own = {entry.object_id for entry in entries}
        return [(e, why) for e, why in worst_shapes(manifest) if e.object_id in own][:count]
    picked = generator(seed, "contact sheet").permutation(len(entries))[:count]
    return [(entries[i], "") for i in sorted(picked)]
