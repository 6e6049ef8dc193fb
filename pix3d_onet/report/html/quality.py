"""The data set's quality figures as data for the page: counts, distributions, the worst shapes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pix3d_onet.config import SPLITS
from pix3d_onet.data.store.manifest import Manifest, ShapeEntry, is_figure, named_warnings
from pix3d_onet.types import Float64

BINS = 24
WIDTH, HEIGHT = 240, 64
MAX_METRICS = 24
"""Most histograms, in the order of the manifest."""


def numeric_quality(shapes: Sequence[ShapeEntry]) -> dict[str, Float64]:
    """Every numeric quality figure → its finite values over shapes, nested names joined by a dot."""
    gathered: dict[str, list[float]] = {}
    for shape in shapes:
        for name, value in _flat(shape.qc):
            gathered.setdefault(name, []).append(value)
    return {k: a for k, v in gathered.items() if len(a := np.array(v))}


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    found: list[tuple[str, float]] = []
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            found += _flat(value, f"{name}.")
        elif is_figure(value):
            found.append((name, float(value)))
    return found


def quality(manifest: Manifest) -> dict[str, Any]:
    """Data for the page: shapes and pictures per split, warnings, a histogram of each quality figure."""
    shapes = manifest.shapes
    varying = [(name, values) for name, values in numeric_quality(shapes).items() if np.ptp(values) > 0]
    warned = [(s.object_id, named_warnings(s)) for s in shapes]
    return {
        "method": str(manifest.config.get("watertight", "")),
        "points": f"{int(manifest.config.get('points', 0)):,}",
        "splits": SPLITS,
        "shapes": len(shapes),
        "counts": _counts(shapes),
        "warned": sorted(((o, w) for o, w in warned if w), key=lambda item: (-len(item[1]), item[0])),
        "histograms": [_histogram(name, values) for name, values in varying[:MAX_METRICS]],
    }


def _counts(shapes: Sequence[ShapeEntry]) -> list[tuple[str, list[int]]]:
    """(category, [shapes, pictures of each split in turn])."""
    by_split = Counter((s.category, s.split) for s in shapes)
    pictures = Counter((s.category, split) for s in shapes for split in s.image_splits)
    categories = sorted({s.category for s in shapes})
    return [(c, [n for s in SPLITS for n in (by_split[c, s], pictures[c, s])]) for c in categories]


def _histogram(name: str, values: Float64) -> dict[str, Any]:
    counts, edges = np.histogram(values, bins=BINS)
    step, heights = WIDTH / BINS, counts / counts.max() * HEIGHT
    bars = [
        (f"{i * step + 0.5:.1f}", f"{HEIGHT - h:.1f}", f"{step - 1:.1f}", f"{h:.1f}")
        for i, h in enumerate(heights)
        if h
    ]
    text = f"{edges[0]:.4g} … median {np.median(values):.4g} … {edges[-1]:.4g}"
    return {"label": name.replace("_", " "), "text": text, "bars": bars, "width": WIDTH, "height": HEIGHT}
