"""The report as one HTML file that needs no network: tables, live figures, 3D views, provenance."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np

from pix3d_onet.ablation.stored_runs import RunGroup, StoredRun
from pix3d_onet.data.store.manifest import Manifest
from pix3d_onet.events import Emit, Note, ignore
from pix3d_onet.report import formats
from pix3d_onet.report.curves import label_of, mean_curve
from pix3d_onet.report.gallery import Gallery
from pix3d_onet.report.html.gallery import gallery_data, gallery_section
from pix3d_onet.report.html.mesh_view import asset, page
from pix3d_onet.report.html.quality import quality_section
from pix3d_onet.report.palette import style
from pix3d_onet.report.table import Row, Table, shape_scores
from pix3d_onet.report.thumbnails import Thumbnails

PAGE_BUDGET = 9_500_000
"""Bytes that a page may have; the gallery gives up pictures, last first, until it fits."""
STYLES = ("base.css", "viewer.css", "report.css")
SCRIPTS = ("viewer.js", "charts.js", "report.js")
_PAPER_NOTE = (
    "The report being reproduced says in its text that the three-scale pyramid lost about half of the IoU; its own "
    "Table 1 prints +3.1 %. The table is followed here. Its parameter counts are cut, not rounded: compare the exact "
    "counts under Cost."
)


def html_page(
    group: RunGroup,
    table: Table,
    shown: Gallery,
    *,
    manifest: Manifest | None = None,
    thumbnails: Thumbnails | None = None,
    emit: Emit = ignore,
) -> str:
    """The page of one table: ``group``, ``table`` and ``shown`` belong together, ``manifest`` is of their data set."""
    thumbnails = thumbnails or Thumbnails()
    quality = quality_section(manifest) if manifest else ""
    scatter = _scatter_section(group, table)
    records = shown.records
    while True:
        kept = dataclasses.replace(shown, records=records)
        data = page_data(group, table, kept)
        text = _page(data, table, quality, gallery_section(kept, thumbnails, emit), scatter)
        if len(text.encode()) <= PAGE_BUDGET or not records:
            return text
        records = records[:-1]
        emit(Note(f"HTML page: {len(records)} of {len(shown.records)} pictures, to stay below 10 MB."))


def _page(data: dict[str, Any], table: Table, quality: str, gallery: str, scatter: str) -> str:
    sections = [
        ("table1", "Table 1", _main_table(table)),
        ("figure6", "Figure 6: validation", _curves_section(table)),
        ("figure5", "Figure 5: reconstructions", gallery),
        ("scatter", "Shape by shape", scatter),
        ("statistics", "Statistics", _plain_table(table, formats.STATISTICS_COLUMNS, _statistics_note(table))),
        ("cost", "Cost", _plain_table(table, formats.COST_COLUMNS, "Missing figures were not measured.")),
        ("data", "Data set", quality),
        ("about", "About these numbers", _about(table)),
    ]
    kept = [(anchor, title, body) for anchor, title, body in sections if body]
    links = "".join(f'<li><a href="#{a}">{escape(t)}</a></li>' for a, t, _ in kept)
    body = (
        '<a class="skip" href="#table1">Skip to Table 1</a>\n'
        f"<header><h1>Occupancy networks on {escape(table.dataset)}: the ablation</h1>\n"
        f"<p>{escape(table.caption)}</p></header>\n"
        f'<nav aria-label="Sections"><ul>{links}</ul></nav>\n<main>\n'
        + "\n".join(f'<section id="{a}"><h2>{escape(t)}</h2>\n{b}\n</section>' for a, t, b in kept)
        + "\n</main>\n"
        + _dialog()
    )
    styles, scripts = ("".join(map(asset, names)) for names in (STYLES, SCRIPTS))
    title = f"onet: ablation on {table.dataset}"
    return page(title, body, styles=styles, scripts=scripts, data=data)


def page_data(group: RunGroup, table: Table, shown: Gallery) -> dict[str, Any]:
    """What the page's scripts need, JSON-able."""
    names = [r.variant for r in table.rows if r.runs]
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
        "variants": {n: _look(n) for n in dict.fromkeys([*names, *shown.variants])},
        "curves": curves,
        "scores": {n: {k: round(v, 5) for k, v in s.items()} for n, s in scores.items() if s},
        "runs": {name: [_run(r) for r in group.of(name)] for name in names},
        "gallery": gallery_data(shown),
    }


def _look(name: str) -> dict[str, str]:
    look = style(name)
    return {"label": label_of(name), "colour": look.colour, "dark": look.dark, "dash": look.dash}


def _rounded(values: Sequence[float] | np.ndarray[Any, Any]) -> list[float]:
    return [round(float(v), 5) for v in values]


def _run(run: StoredRun) -> dict[str, Any]:
    record = run.record
    facts = {
        "best validation IoU": f"{record.best_val_iou:.4f} at step {record.best_step}",
        "last validation IoU": f"{record.last_val_iou:.4f} at step {record.steps_done or record.history[-1].step}",
        "parameters": f"{record.params:,}",
        "trained in": formats.duration(record.seconds),
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


def _swatch(variant: str) -> str:
    return f'<i class="swatch" data-swatch="{escape(variant)}" aria-hidden="true"></i>'


_PROVENANCE = {
    "Params": "parameters",
    "Val IoU": "validation IoU",
    "Rel.": "relative to the base",
    "Best step": "best step",
}
"""Columns whose cells open the runs behind them, and what the cell is."""


def _main_table(table: Table) -> str:
    columns = formats.filled(table, formats.MAIN_COLUMNS)
    head = "".join(
        f'<th scope="col"{_class(h)}>{escape(h)}</th>' if i else f'<th scope="col">{escape(h)}</th>'
        for i, (h, _) in enumerate(columns)
    )
    best = max((r.val_iou for r in table.rows if r.val_iou is not None), default=None)
    rows = "\n".join(_main_row(row, table, columns, best) for row in table.rows)
    notes = " ".join(map(escape, (*table.notes, "Click a number for the runs behind it.")))
    return (
        '<div class="scroll"><table id="table-main" aria-describedby="table-notes">\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody></table></div>\n"
        f'<p class="hint" id="table-notes">{notes}</p>'
    )


def _class(heading: str) -> str:
    return ' class="paper"' if heading == "paper" else ""


def _main_row(row: Row, table: Table, columns: Sequence[formats.Column], best: float | None) -> str:
    cells = [f'<th scope="row">{_swatch(row.variant) if row.runs else ""}{escape(row.label)}</th>']
    for heading, spell in columns[1:]:
        text = escape(spell(row, table))
        classes = ["paper"] if heading == "paper" else []
        if heading == "Val IoU" and row.val_iou is not None and row.val_iou == best:
            classes.append("best")
        if heading == "Rel." and row.relative is not None:
            classes.append("up" if row.relative > 0 else "down")
        if row.runs and text and heading in _PROVENANCE:
            what = _PROVENANCE[heading]
            text = (
                f'<button type="button" data-provenance="{escape(row.variant)}" data-what="{what}" '
                f'aria-label="{escape(row.label)}, {what}: {text}. Show the runs.">{text}</button>'
            )
        cells.append(f'<td class="{" ".join(classes)}">{text}</td>' if classes else f"<td>{text}</td>")
    return f'<tr data-variant="{escape(row.variant)}">{"".join(cells)}</tr>'


def _plain_table(table: Table, columns: Sequence[formats.Column], note: str) -> str:
    kept = formats.filled(table, columns)
    if len(kept) < 2:
        return ""
    head = "".join(f'<th scope="col">{escape(h)}</th>' for h, _ in kept)
    rows = "\n".join(
        f'<tr><th scope="row">{escape(cells[0])}</th>{"".join(f"<td>{escape(c)}</td>" for c in cells[1:])}</tr>'
        for cells in formats.cells(table, kept)
    )
    return (
        f'<div class="scroll"><table><caption>{escape(note)}</caption>\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{rows}\n</tbody></table></div>"
    )


def _statistics_note(table: Table) -> str:
    if not table.tested_on:
        return "No per-shape scores were stored."
    return (
        f"Δ base: difference of the mean IoU to {table.base} over {table.tested_shapes} {table.tested_on} shapes, "
        f"seeds averaged; its 95 % interval (BCa bootstrap, {table.resamples} resamples) and p of a sign-flip test, "
        "p corrected after Holm for all comparisons. Test and last IoU are means over seeds."
    )


def _curves_section(table: Table) -> str:
    present = [r for r in table.rows if r.runs]
    if not present:
        return ""
    toggles = "".join(
        f'<button type="button" data-toggle="{escape(r.variant)}" aria-pressed="true">{_swatch(r.variant)}'
        f"{escape(r.label)}</button>"
        for r in present
    )
    return (
        '<p class="hint">Mean over seeds, band from lowest to highest, dot at the best checkpoint. Hover, or focus the '
        "chart and use the arrow keys; buttons hide and show variants.</p>\n"
        '<div class="controls"><label>Show <select id="curve-value"><option value="val_iou">validation IoU</option>'
        '<option value="val_loss">validation loss</option><option value="train_loss">training loss</option></select>'
        "</label></div>\n"
        f'<div class="toggles" role="group" aria-label="Variants">{toggles}</div>\n'
        '<div class="chart" id="curves">'
        '<svg tabindex="0" role="img" aria-label="Validation against optimiser steps"></svg>'
        '<div class="tip" hidden></div><p class="unseen" aria-live="polite"></p></div>'
    )


def _scatter_section(group: RunGroup, table: Table) -> str:
    split = table.tested_on
    names = [r.variant for r in table.rows if split and shape_scores(group.of(r.variant), split)]
    if len(names) < 2:
        return ""
    best = max(names, key=lambda n: table.row(n).val_iou or 0)
    if best == names[0]:
        best = names[1]

    def select(name: str, chosen: str) -> str:
        options = "".join(
            f'<option value="{escape(n)}"{" selected" if n == chosen else ""}>{escape(label_of(n))}</option>'
            for n in names
        )
        return f'<select id="scatter-{name}">{options}</select>'

    return (
        f'<p class="hint">One dot a {split} shape, IoU averaged over seeds; above the diagonal the second variant is '
        "better.</p>\n"
        f'<div class="controls"><label>Across {select("x", names[0])}</label><label>Up {select("y", best)}</label>'
        '<span class="quiet" id="scatter-count" aria-live="polite"></span></div>\n'
        '<div class="chart" id="scatter-chart"><svg role="img" aria-label="IoU of two variants, shape by shape"></svg>'
        '<div class="tip" hidden></div></div>'
    )


def _about(table: Table) -> str:
    return (
        f"<p>{escape(_PAPER_NOTE)}</p>\n<p>Data set {escape(table.dataset)}, hash "
        f"<code>{escape(table.data_hash)}</code>; setting <code>{escape(table.setting)}</code>. This page was built "
        "from the stored runs alone and loads nothing.</p>"
    )


def _dialog() -> str:
    return (
        '<dialog id="provenance" aria-labelledby="provenance-title"><h2 id="provenance-title"></h2>'
        '<div id="provenance-body"></div><p><button id="provenance-close" type="button">Close</button></p></dialog>'
    )
