"""The data set's quality figures as a section of the page: counts, distributions, the worst shapes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from pix3d_onet.config import SPLITS
from pix3d_onet.data.store.manifest import Manifest, ShapeEntry
from pix3d_onet.types import Float64

BINS = 24
WIDTH, HEIGHT = 240, 64
MAX_METRICS = 24
"""Histograms at most, in the order in which the manifest names them."""


def numeric_quality(shapes: Sequence[ShapeEntry]) -> dict[str, Float64]:
    """Every numeric quality figure → its finite values over shapes, nested names joined by a dot."""
    gathered: dict[str, list[float]] = {}
    for shape in shapes:
        for name, value in _flat(shape.qc):
            gathered.setdefault(name, []).append(value)
    return {k: a for k, v in gathered.items() if len(a := np.array([x for x in v if np.isfinite(x)]))}


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    found: list[tuple[str, float]] = []
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            found += _flat(value, f"{name}.")
        elif isinstance(value, bool | int | float):
            found.append((name, float(value)))
    return found


def quality_section(manifest: Manifest) -> str:
    """HTML: how many shapes and pictures in which split, warnings, and a histogram of every quality figure."""
    return "\n".join((_counts(manifest), _warnings(manifest.shapes), _histograms(manifest.shapes)))


def _counts(manifest: Manifest) -> str:
    shapes = Counter((s.category, s.split) for s in manifest.shapes)
    pictures: Counter[tuple[str, str]] = Counter()
    for s in manifest.shapes:
        pictures.update((s.category, split) for split in s.image_splits)
    rows = "".join(
        f'<tr><th scope="row">{escape(c)}</th>'
        + "".join(f"<td>{shapes[c, s]}</td><td>{pictures[c, s]}</td>" for s in SPLITS)
        + "</tr>"
        for c in sorted({s.category for s in manifest.shapes})
    )
    head = "".join(f'<th scope="col">{s} shapes</th><th scope="col">pictures</th>' for s in SPLITS)
    method = escape(str(manifest.config.get("watertight", "")))
    points = int(manifest.config.get("points", 0))
    return (
        f'<div class="scroll"><table><caption>Watertight by “{method}”, {points:,} points a shape.</caption>'
        f'<thead><tr><th scope="col">Category</th>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
    )


def _warnings(shapes: Sequence[ShapeEntry]) -> str:
    """Shapes that preparation warned about, worst first."""
    warned = [(s.object_id, [str(w) for w in s.qc.get("warnings", ())]) for s in shapes]
    warned = sorted(((o, w) for o, w in warned if w), key=lambda item: (-len(item[1]), item[0]))
    if not warned:
        return f"<p>{len(shapes)} shapes, none with a warning.</p>"
    items = "".join(f"<li>{escape(o)}: {escape(', '.join(w))}</li>" for o, w in warned)
    return (
        f"<details><summary>{len(warned)} of {len(shapes)} shapes carry a warning</summary><ul>{items}</ul></details>"
    )


def _histograms(shapes: Sequence[ShapeEntry]) -> str:
    values = [(k, v) for k, v in numeric_quality(shapes).items() if np.ptp(v) > 0][:MAX_METRICS]
    return f'<div class="small">{"".join(_histogram(k, v) for k, v in values)}</div>' if values else ""


def _histogram(name: str, values: Float64) -> str:
    counts, edges = np.histogram(values, bins=BINS)
    step = WIDTH / BINS
    bars = "".join(
        f'<rect x="{i * step + 0.5:.1f}" y="{HEIGHT - h:.1f}" width="{step - 1:.1f}" height="{h:.1f}" fill="#0072B2"/>'
        for i, c in enumerate(counts)
        if (h := c / counts.max() * HEIGHT)
    )
    text = f"{edges[0]:.4g} … median {np.median(values):.4g} … {edges[-1]:.4g}"
    label = escape(name.replace("_", " "))
    return (
        f'<figure><svg viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" role="img" '
        f'aria-label="{label}: {text}">{bars}</svg><figcaption><strong>{label}</strong><br>{text}</figcaption></figure>'
    )
