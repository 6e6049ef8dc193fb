"""What is in a prepared data set, from its manifest and ``rejects.jsonl`` alone (no shard is opened)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pix3d_onet.config import SPLITS
from pix3d_onet.data.store.manifest import Manifest, ShapeEntry, read_manifest
from pix3d_onet.files import MAX_JSON_BYTES, read_bytes

REJECTS_FILE = "rejects.jsonl"
QC_WORSE: Mapping[str, int] = {
    "watertight": -1,
    "winding_consistent": -1,
    "label_agreement": -1,
    "volume_ratio": 1,
    "distance_mean": 1,
    "distance_999": 1,
    "bias_voxels": 1,
    "lost_share": 1,
    "lost_components": 1,
    "box_drift_voxels": 1,
    "voxel_agreement": -1,
}
"""Quality figures by which shapes are ranked, and which way is worse: 1 = high, -1 = low. Others are shown only."""


@dataclass(frozen=True, slots=True)
class SplitCount:
    """One split: shapes and pictures; ``categories`` are shapes by category."""

    name: str
    shapes: int
    pictures: int
    categories: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class QcRow:
    """One quality figure over all shapes: numbers as least, median, most; truth values as 0 and 1; ``count`` shapes
    have it; ``worst`` names the shape (empty where no way is worse)."""

    key: str
    count: int
    least: float
    median: float
    most: float
    worst: str


@dataclass(frozen=True, slots=True)
class Summary:
    """The contents of a data set in figures."""

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
        """Mean size on disk of a shape with its pictures."""
        return self.bytes / max(self.shapes, 1)


def summarise(root: Path) -> Summary:
    """Read the manifest of ``root``; InputError when there is none or it is damaged."""
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
        warnings=dict(Counter(str(w) for s in manifest.shapes for w in _warnings(s)).most_common()),
        qc=tuple(_qc_rows(manifest.shapes)),
    )


def _split(manifest: Manifest, name: str) -> SplitCount:
    own = [s for s in manifest.shapes if name in s.image_splits or (not s.image_splits and s.split == name)]
    pictures = sum(split == name for s in own for split in s.image_splits)
    return SplitCount(name, len(own), pictures, dict(sorted(Counter(s.category for s in own).items())))


def rejects(root: Path) -> dict[str, int]:
    """Reason → how many rows of ``rejects.jsonl``; empty when there is none; unreadable rows count as such."""
    counts: Counter[str] = Counter()
    try:
        data = read_bytes(root / REJECTS_FILE, limit=MAX_JSON_BYTES, follow=False)
    except OSError:
        return {}
    for line in filter(str.strip, data.decode("utf-8", "replace").split("\n")):
        try:
            row = json.loads(line)
            counts[f"{row['stage']}: {row['reason']}"] += 1
        except (ValueError, KeyError, TypeError, RecursionError):
            counts["unreadable row"] += 1
    return dict(counts.most_common())


def _warnings(entry: ShapeEntry) -> Iterable[Any]:
    named = entry.qc.get("warnings", ())
    return named if isinstance(named, list | tuple) else ()


def _figures(entry: ShapeEntry) -> dict[str, float]:
    return {k: float(v) for k, v in entry.qc.items() if isinstance(v, bool | int | float) and np.isfinite(v)}


def _qc_rows(entries: Iterable[ShapeEntry]) -> Iterable[QcRow]:
    columns: dict[str, list[tuple[float, str]]] = {}
    for entry in entries:
        for key, value in _figures(entry).items():
            columns.setdefault(key, []).append((value, entry.object_id))
    for key, cells in columns.items():
        values = [value for value, _ in cells]
        direction = QC_WORSE.get(key, 0)
        worst = max(cells, key=lambda cell: direction * cell[0])[1] if direction and len(set(values)) > 1 else ""
        yield QcRow(key, len(cells), min(values), float(np.median(values)), max(values), worst)


def worst_shapes(manifest: Manifest, count: int) -> list[tuple[ShapeEntry, str]]:
    """The ``count`` shapes of least quality, worst first, each with the figures that put it there.

    A shape's badness is its number of named warnings, then the highest rank it has in any figure of ``QC_WORSE``
    (ties share the better rank, so that a figure that is equal everywhere ranks nobody).
    """
    badness: dict[str, list[tuple[float, str]]] = {s.object_id: [] for s in manifest.shapes}
    for key, direction in QC_WORSE.items():
        cells = [(direction * f[key], s.object_id, f[key]) for s in manifest.shapes if key in (f := _figures(s))]
        ordered = np.sort([c[0] for c in cells])
        for value, name, shown in cells:
            rank = int(np.searchsorted(ordered, value, side="left")) / max(len(cells) - 1, 1)
            badness[name].append((rank, f"{key} {shown:.4g}"))
    scored = []
    for entry in manifest.shapes:
        ranks = sorted(badness[entry.object_id], key=lambda r: -r[0])
        named = [str(w) for w in _warnings(entry)]
        why = ", ".join([*named, *(text for rank, text in ranks[:2] if rank > 0)])
        scored.append((-len(named), -(ranks[0][0] if ranks else 0.0), entry.object_id, entry, why))
    scored.sort(key=lambda row: row[:3])
    return [(entry, why) for *_, entry, why in scored[:count]]
