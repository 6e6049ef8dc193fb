"""Figure 5 and the 3D views as data for the HTML page."""

from __future__ import annotations

from typing import Any

from pix3d_onet.events import Emit, Progress, ignore
from pix3d_onet.geometry.render.look import PREDICTION_COLOUR, TRUTH_COLOUR
from pix3d_onet.pages.mesh_view import encode_mesh
from pix3d_onet.pages.pictures import cut_out, data_url, with_mask
from pix3d_onet.report.gallery import Gallery
from pix3d_onet.report.thumbnails import Thumbnails
from pix3d_onet.runs.examples import Example


def gallery_data(shown: Gallery) -> dict[str, Any]:
    """Data for the 3D views of ``report.js``, for JSON."""

    def cell(example: Example) -> dict[str, Any]:
        return {"iou": round(example.iou, 4), "mesh": encode_mesh(example.prediction)}

    def pictures(example: Example) -> dict[str, str]:
        shades = {"input": example.rgb, "masked": with_mask(example.rgb, example.mask)}
        return {name: data_url(cut_out(rgb, example.mask)) for name, rgb in shades.items()}

    return {
        "truthColour": TRUTH_COLOUR,
        "predictionColour": PREDICTION_COLOUR,
        "variants": list(shown.variants),
        "start": start(shown),
        "records": [
            {
                "record": record,
                "object": shown.inputs[record].object_id,
                **pictures(shown.inputs[record]),
                "truth": encode_mesh(shown.inputs[record].truth),
                "cells": {v: cell(shown.cells[v, record]) for v in shown.variants if (v, record) in shown.cells},
            }
            for record in shown.records
        ],
    }


def start(shown: Gallery) -> dict[str, Any]:
    """What the 3D views show first: the reconstruction with the highest IoU, as record index and variant."""
    place = {record: index for index, record in enumerate(shown.records)}
    cells = {(v, place[r]): e.iou for (v, r), e in shown.cells.items() if r in place and len(e.prediction.faces)}
    if not cells:
        return {"record": 0, "variant": shown.variants[0] if shown.variants else ""}
    variant, record = max(cells, key=lambda cell: cells[cell])
    return {"record": record, "variant": variant}


def thumbnail_rows(shown: Gallery, thumbnails: Thumbnails, emit: Emit = ignore) -> list[dict[str, Any]]:
    """The rows of Figure 5 below the input pictures: the ground truth, then one row per variant."""
    total, done = len(shown.records) * (1 + len(shown.variants)), 0
    rows = []
    for variant in (None, *shown.variants) if shown.records else ():
        cells = []
        for record in shown.records:
            done += 1
            emit(Progress("report", done, total))
            example = shown.inputs[record] if variant is None else shown.cells.get((variant, record))
            cells.append(_thumbnail(example, thumbnails, truth=variant is None) if example else None)
        label = "Ground truth" if variant is None else shown.labels[variant]
        rows.append({"variant": variant, "label": label, "cells": cells})
    return rows


def _thumbnail(example: Example, thumbnails: Thumbnails, *, truth: bool) -> dict[str, str]:
    mesh = example.truth if truth else example.prediction
    return {"source": data_url(thumbnails.of(mesh, truth=truth)), "iou": "" if truth else f"{example.iou:.2f}"}
