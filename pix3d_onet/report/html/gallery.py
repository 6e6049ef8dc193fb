"""Figure 5 and the 3D views as parts of the page."""

from __future__ import annotations

from html import escape
from typing import Any

from pix3d_onet.events import Emit, Progress, ignore
from pix3d_onet.report.curves import label_of
from pix3d_onet.report.gallery import Gallery, with_mask
from pix3d_onet.report.html.mesh_view import PREDICTION_COLOUR, TRUTH_COLOUR, data_url, encode_mesh, view_canvas
from pix3d_onet.report.thumbnails import Thumbnails
from pix3d_onet.runs.examples import Example


def gallery_data(shown: Gallery) -> dict[str, Any]:
    """What ``report.js`` needs to draw the 3D views, JSON-able."""

    def cell(example: Example) -> dict[str, Any]:
        return {"iou": round(example.iou, 4), "mesh": encode_mesh(example.prediction)}

    return {
        "truthColour": TRUTH_COLOUR,
        "predictionColour": PREDICTION_COLOUR,
        "variants": list(shown.variants),
        "start": start(shown),
        "records": [
            {
                "record": record,
                "object": shown.inputs[record].object_id,
                "input": data_url(with_mask(shown.inputs[record].rgb, shown.inputs[record].mask)),
                "truth": encode_mesh(shown.inputs[record].truth),
                "cells": {v: cell(shown.cells[v, record]) for v in shown.variants if (v, record) in shown.cells},
            }
            for record in shown.records
        ],
    }


def start(shown: Gallery) -> dict[str, Any]:
    """What the 3D views show first: the best reconstruction there is, as record index and variant."""
    place = {record: index for index, record in enumerate(shown.records)}
    cells = {(v, place[r]): e.iou for (v, r), e in shown.cells.items() if r in place and len(e.prediction.faces)}
    if not cells:
        return {"record": 0, "variant": shown.variants[0] if shown.variants else ""}
    variant, record = max(cells, key=lambda cell: cells[cell])
    return {"record": record, "variant": variant}


def gallery_section(shown: Gallery, thumbnails: Thumbnails, emit: Emit = ignore) -> str:
    """HTML of the grid of pictures and of the 3D views below it; empty for no examples."""
    if not shown.records:
        return ""
    rows = _rows(shown, thumbnails, emit)
    options = "".join(
        f'<option value="{i}">{escape(shown.inputs[r].object_id)}</option>' for i, r in enumerate(shown.records)
    )
    variants = "".join(f'<option value="{escape(v)}">{escape(label_of(v))}</option>' for v in shown.variants)
    names = (("truth", "Ground truth"), ("prediction", "Reconstruction"), ("both", "Both, laid over each other"))
    views = "".join(
        f'<figure class="view">{view_canvas(f"view-{n}", t)}<figcaption id="view-{n}-label">{t}</figcaption></figure>'
        for n, t in names
    )
    return (
        '<p class="hint">Input with its mask at alpha 0.3, ground truth (grey), and what each variant’s first seed '
        "made of it (blue), with its IoU. Click a mesh to see it in 3D below.</p>\n"
        f'<div class="scroll"><table class="gallery"><tbody>{"".join(rows)}</tbody></table></div>\n'
        '<h3 id="views-title">In 3D</h3>\n<div class="controls">'
        f'<label>Shape <select id="view-record">{options}</select></label>'
        f'<label>Variant <select id="view-variant">{variants}</select></label>'
        '<button id="view-home" type="button">Reset view</button>'
        '<span class="quiet">Drag, or focus a view and use the arrow keys, + and −: all turn together.</span></div>\n'
        '<p id="no-webgl" hidden>This browser has no WebGL 2, which the 3D views need.</p>\n'
        '<div class="views" id="views"><figure class="view"><img id="view-input" alt="Input with its mask">'
        f"<figcaption>Input</figcaption></figure>{views}</div>"
    )


def _rows(shown: Gallery, thumbnails: Thumbnails, emit: Emit) -> list[str]:
    total, done = len(shown.records) * (1 + len(shown.variants)), 0
    top = "".join(
        f'<td><img src="{data_url(with_mask(e.rgb, e.mask))}" alt="Input {escape(e.object_id)}"></td>'
        for e in (shown.inputs[r] for r in shown.records)
    )
    rows = [f'<tr><th scope="row">Input</th>{top}</tr>']
    for variant in (None, *shown.variants):
        cells = []
        for index, record in enumerate(shown.records):
            done += 1
            emit(Progress("report", done, total))
            example = shown.inputs[record] if variant is None else shown.cells.get((variant, record))
            cells.append(f"<td>{_thumbnail(example, index, variant, thumbnails) if example else ''}</td>")
        name = "Ground truth" if variant is None else label_of(variant)
        rows.append(f'<tr><th scope="row">{escape(name)}</th>{"".join(cells)}</tr>')
    return rows


def _thumbnail(example: Example, index: int, variant: str | None, thumbnails: Thumbnails) -> str:
    truth = variant is None
    source = data_url(thumbnails.of(example.truth if truth else example.prediction, truth=truth))
    what = "Ground truth" if variant is None else f"{label_of(variant)}, IoU {example.iou:.2f}"
    cell = "" if variant is None else f' data-cell="{escape(variant)}"'
    iou = "" if truth else f'<span class="iou">{example.iou:.2f}</span>'
    return (
        f'<button type="button" data-record="{index}"{cell} aria-pressed="false" '
        f'aria-label="{escape(what)}: {escape(example.object_id)}. Show in 3D.">'
        f'<img src="{source}" alt="" loading="lazy">{iou}</button>'
    )
