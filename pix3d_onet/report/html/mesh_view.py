"""3D views for pages without a network: meshes as compact JSON, the viewer's own code, and a page for a few meshes."""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import numpy as np
from PIL import Image

from pix3d_onet.types import Mesh, UInt8

TRUTH_COLOUR = (0.64, 0.66, 0.69)
"""Ground truth is grey in every figure and page (linear RGB)."""
PREDICTION_COLOUR = (0.36, 0.62, 0.84)
"""Reconstructions are blue in every figure and page (linear RGB)."""
LEVELS = 65535
"""Steps a coordinate is stored in along a mesh's box: 1.5e-5 of its side."""
JPEG_QUALITY = 88
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
"""Content security policy of every page: the browser itself forbids it to load anything."""


def asset(name: str) -> str:
    """The text of a file in ``report/html/assets``."""
    return files("pix3d_onet.report.html").joinpath("assets", name).read_text(encoding="utf-8")


def encode_mesh(mesh: Mesh) -> dict[str, Any] | None:
    """A mesh as JSON for ``viewer.js``: base64 of uint16 coordinates in its box and of its faces; None when empty."""
    if not len(mesh.faces):
        return None
    low, high = mesh.bounds
    extent = high - low
    cells = np.rint((mesh.vertices - low) / np.where(extent > 0, extent, 1) * LEVELS).astype("<u2")
    wide = len(mesh.vertices) > LEVELS + 1
    return {
        "low": [round(float(x), 7) for x in low],
        "extent": [round(float(x), 7) for x in extent],
        "vertices": base64.b64encode(cells.tobytes()).decode(),
        "faces": base64.b64encode(mesh.faces.astype("<u4" if wide else "<u2").tobytes()).decode(),
        "wide": wide,
    }


def data_url(rgb: UInt8, *, lossless: bool = False) -> str:
    """A picture (H, W, 3) uint8 as a ``data:`` address, JPEG or PNG."""
    buffer = io.BytesIO()
    kind, options = ("PNG", {"optimize": True}) if lossless else ("JPEG", {"quality": JPEG_QUALITY})
    Image.fromarray(rgb).save(buffer, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def embedded_json(value: Any) -> str:
    """JSON that is safe inside a ``<script>`` element whatever its strings hold."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def page(title: str, body: str, *, styles: str, scripts: str, data: Any) -> str:
    """A complete HTML document that needs nothing but itself; ``body`` must be escaped already."""
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{html.escape(title)}</title>\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<link rel="icon" href="data:,">\n<style>\n{styles}</style>\n</head>\n<body>\n{body}\n'
        f'<script type="application/json" id="page-data">{embedded_json(data)}</script>\n'
        f"<script>\n{scripts}</script>\n</body>\n</html>\n"
    )


def view_canvas(identity: str, label: str) -> str:
    """The element of a 3D view; ``label`` must be escaped already."""
    return (
        f'<canvas id="{identity}" tabindex="0" role="img" aria-label="3D view: {label}. '
        'Drag or use the arrow keys to turn it, plus and minus to zoom."></canvas>'
    )


def centred(meshes: Mapping[str, Mesh]) -> dict[str, Mesh]:
    """The meshes moved and scaled together: their common box centred at the origin, longest side 1."""
    filled = [m for m in meshes.values() if len(m.faces)]
    if not filled:
        return dict(meshes)
    low = np.min([m.bounds[0] for m in filled], axis=0)
    high = np.max([m.bounds[1] for m in filled], axis=0)
    side = float((high - low).max()) or 1.0
    return {name: Mesh((m.vertices - (low + high) / 2) / side, m.faces) for name, m in meshes.items()}


def mesh_page(meshes: Mapping[str, Mesh], title: str, *, picture: UInt8 | None = None) -> str:
    """A self-contained HTML page with a 3D view of each named mesh, all turning together.

    ``meshes`` share one frame (any), in the order shown; one named ``Ground truth`` is grey. ``picture`` (H, W, 3)
    uint8 is shown beside them. An empty mesh gets an empty view that says so. No network, no library.
    """
    shown = [(name, encode_mesh(mesh)) for name, mesh in centred(meshes).items()]
    figures = []
    if picture is not None:
        source = data_url(np.asarray(picture, dtype=np.uint8), lossless=True)
        figures.append(f'<figure class="view"><img src="{source}" alt="Input"><figcaption>Input</figcaption></figure>')
    for index, (name, encoded) in enumerate(shown):
        label = html.escape(name) + ("" if encoded else " (empty)")
        figures.append(
            f'<figure class="view">{view_canvas(f"mesh-{index}", label)}<figcaption>{label}</figcaption></figure>'
        )
    body = (
        f'<main>\n<h1>{html.escape(title)}</h1>\n<p class="hint">Drag or use the arrow keys to turn; + and − zoom; '
        '<button id="home" type="button">Reset view</button></p>\n'
        '<p id="no-webgl" hidden>This browser has no WebGL 2, which the 3D views need.</p>\n'
        f'<div class="views">\n{"".join(figures)}\n</div>\n</main>'
    )
    data = {
        "meshes": [
            {"mesh": encoded, "colour": TRUTH_COLOUR if name == "Ground truth" else PREDICTION_COLOUR}
            for name, encoded in shown
        ]
    }
    styles = asset("base.css") + asset("viewer.css")
    return page(title, body, styles=styles, scripts=asset("viewer.js") + asset("mesh_page.js"), data=data)
