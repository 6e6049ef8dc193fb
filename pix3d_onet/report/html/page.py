"""The report as one HTML file that works offline: tables, interactive figures, 3D views, provenance."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from pix3d_onet.ablation.stored_runs import RunGroup, StoredRun
from pix3d_onet.data.store.manifest import Manifest
from pix3d_onet.events import Emit, Note, ignore
from pix3d_onet.geometry.render import look
from pix3d_onet.pages.templating import PAGE_BUDGET, render
from pix3d_onet.report import formats
from pix3d_onet.report.comparison import shape_scores
from pix3d_onet.report.curves import mean_curve
from pix3d_onet.report.gallery import Gallery
from pix3d_onet.report.html.gallery import gallery_data, thumbnail_rows
from pix3d_onet.report.html.quality import quality
from pix3d_onet.report.palette import Style, styles
from pix3d_onet.report.statistics import MIN_SHAPES
from pix3d_onet.report.table import Table
from pix3d_onet.report.thumbnails import Thumbnails

PACKAGE = "pix3d_onet.report.html"
"""Where this page's templates and assets lie."""
STYLES = ("base.css", "viewer.css", "report.css")
SCRIPTS = ("viewer.js", "charts.js", "scroll.js", "report.js")
PROVENANCE = {
    "Params": "parameters",
    "Val IoU": "validation IoU",
    "Rel.": "relative to the base",
    "Best step": "best step",
}
"""Columns whose cells show their runs when clicked → description of the cell."""


def html_page(
    group: RunGroup,
    table: Table,
    shown: Gallery,
    *,
    manifest: Manifest | None = None,
    thumbnails: Thumbnails | None = None,
    emit: Emit = ignore,
) -> str:
    """The page of ``table``, which is that of ``group``; ``shown``: its examples; ``manifest``: of its data set."""
    thumbnails = thumbnails or Thumbnails()
    about = _about(group, table) | {"quality_of": quality(manifest) if manifest else None}
    records = shown.records
    while True:
        kept = dataclasses.replace(shown, records=records)
        data = page_data(group, table, kept)
        rows = thumbnail_rows(kept, thumbnails, emit)
        about |= {"pictures": data["gallery"]["records"], "gallery_splits": kept.splits}
        text = render(PACKAGE, "report.html", **about, data=data, thumbnails=rows)
        size = len(text.encode())
        if size <= PAGE_BUDGET:
            return text
        if not records:
            emit(Note(f"HTML page: {size / 1e6:.0f} MB, for the runs' records and scores alone.", "warning"))
            return text
        records = records[:-1]
        emit(Note(f"HTML page: {len(records)} of {len(shown.records)} pictures, to stay below 10 MB."))


def _about(group: RunGroup, table: Table) -> dict[str, Any]:
    """Values for the template that do not depend on the pictures."""
    split = table.tested_on
    scored = [r for r in table.rows if split and shape_scores(group.of(r.variant), split)]
    best = max((r.val_iou for r in table.rows if r.val_iou is not None), default=None)
    rival = max(scored[1:], key=lambda r: r.val_iou or 0).variant if len(scored) > 1 else None
    return {
        "title": f"onet: ablation on {table.dataset}",
        "styles": STYLES,
        "scripts": SCRIPTS,
        "table": table,
        "columns": formats.filled(table, formats.MAIN_COLUMNS),
        "published": formats.PUBLISHED,
        "statistics": {
            "columns": formats.filled(table, formats.STATISTICS_COLUMNS),
            "note": _statistics_note(table),
        },
        "costs": {
            "columns": formats.filled(table, formats.COST_COLUMNS),
            "note": "Missing figures were not measured.",
        },
        "best": best,
        "provenance": PROVENANCE,
        "scored": [(r.variant, r.label) for r in scored],
        "rival": rival,
    }


def page_data(group: RunGroup, table: Table, shown: Gallery) -> dict[str, Any]:
    """Data for the page's scripts, for JSON."""
    names = [r.variant for r in table.rows if r.runs]
    looks = styles([r.variant for r in table.rows])
    curves = []
    for name in names:
        runs = group.of(name)
        made = {key: mean_curve(runs, key) for key in ("val_iou", "val_loss", "train_loss")}
        steps, mean = made["val_iou"].steps, made["val_iou"].mean
        values = {
            key: {"y": _rounded(c.mean), "low": _rounded(c.low), "high": _rounded(c.high)} for key, c in made.items()
        }
        peak = int(np.argmax(mean)) if len(mean) else None
        curves.append({"variant": name, "steps": [int(s) for s in steps], "peak": peak, **values})
    split = table.tested_on or "val"
    scores = {name: shape_scores(group.of(name), split) for name in names}
    return {
        "table": table.to_json(),
        "variants": {r.variant: _style(r.label, looks[r.variant]) for r in table.rows if r.runs},
        "curves": curves,
        "scores": {n: {k: round(v, 5) for k, v in s.items()} for n, s in scores.items() if s},
        "runs": {name: [_run(r, own=table.own_thresholds) for r in group.of(name)] for name in names},
        "look": look.to_json(),
        "gallery": gallery_data(shown),
    }


def _style(label: str, style: Style) -> dict[str, str]:
    return {"label": label, "colour": style.colour, "dark": style.dark, "dash": style.dash}


def _rounded(values: Sequence[float] | np.ndarray[Any, Any]) -> list[float]:
    return [round(float(v), 5) for v in values]


def _run(run: StoredRun, *, own: bool) -> dict[str, Any]:
    record = run.record
    threshold = record.val_threshold if own else run.threshold
    facts = {
        "best validation IoU": f"{record.best_val_iou:.4f} at step {record.best_step}, threshold {threshold}",
        "last validation IoU": (
            f"{record.last_val_iou:.4f} at step {record.steps_done or record.history[-1].step}, "
            f"threshold {run.threshold}"
        ),
        "parameters": f"{record.params:,}",
        "trained and scored in": formats.duration(record.seconds),
        "device": str(record.device.get("name") or record.device.get("type") or "unknown"),
        "waiting for data": f"{record.data_wait_share * 100:.1f} %",
        "peak memory": formats.size(record.peak_memory_bytes or None) or "not measured",
        "data hash": str(record.data.get("data_hash", "")),
        "folder": run.place,
    }
    keys = ("model", "train", "data", "weights", "device", "versions", "cost", "stopped", "val_threshold")
    return {
        "seed": record.seed,
        "run_id": record.run_id,
        "facts": facts,
        "record": {k: _plain(getattr(record, k)) for k in keys},
    }


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value, default=dict))


def _statistics_note(table: Table) -> str:
    if not table.tested_on:
        return "No per-shape scores were stored."
    means = f"Test {'IoU is a mean' if table.own_thresholds else 'and last IoU are means'} over seeds."
    base = table.called(table.base)
    if not table.tested_shapes:
        few = f"Fewer than {MIN_SHAPES} {table.tested_on} shapes shared with {base}: no test of the differences. "
        compared = any(r.runs and r.variant != table.base for r in table.rows)
        return f"{few if compared else ''}{means}"
    return (
        f"IoU − base: mean IoU minus that of {base} over {table.tested_shapes} {table.tested_on} shapes, "
        f"seeds averaged; its 95 % interval (BCa bootstrap, {table.resamples} resamples, expanded for few shapes) "
        "and p of a sign-flip test, p corrected after Holm for all comparisons; p seeds: of Welch's t test over runs, "
        "corrected likewise. "
        f"{means}"
    )
