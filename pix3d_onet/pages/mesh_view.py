"""3D views in HTML that work offline: meshes as compact JSON, and a page for a few meshes."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pix3d_onet.geometry.render import look
from pix3d_onet.geometry.render.look import PREDICTION_COLOUR, TRUTH_COLOUR
from pix3d_onet.pages.pictures import data_url
from pix3d_onet.pages.templating import PACKAGE, render
from pix3d_onet.types import Mesh, UInt8

LEVELS = 65535
"""Largest stored coordinate; a step is 1.5e-5 of the side of the mesh's box."""


def encode_mesh(mesh: Mesh) -> dict[str, Any] | None:
    """A mesh as JSON for ``viewer.js``: base64 of uint16 coordinates in its box and of its faces; None if empty."""
    if not len(mesh.faces):
        return None
    wide = len(mesh.vertices) > LEVELS + 1
    return {
        **encode_points(mesh.vertices),
        "faces": base64.b64encode(mesh.faces.astype("<u4" if wide else "<u2").tobytes()).decode(),
        "wide": wide,
    }


def encode_points(points: NDArray[np.floating[Any]]) -> dict[str, Any]:
    """Points (N, 3), at least one, as JSON for ``viewer.js``: base64 of uint16 coordinates in their box."""
    low, high = points.min(axis=0), points.max(axis=0)
    extent = high - low
    cells = np.rint((points - low) / np.where(extent > 0, extent, 1) * LEVELS).astype("<u2")
    return {
        "low": [round(float(x), 7) for x in low],
        "extent": [round(float(x), 7) for x in extent],
        "vertices": base64.b64encode(cells.tobytes()).decode(),
    }


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
    """A self-contained HTML page with a 3D view of each named mesh; all views rotate together.

    ``meshes``: in one frame (any), in the order shown; one named ``Ground truth`` is grey. ``picture`` (H, W, 3) uint8
    is shown beside them. An empty mesh has an empty view, labelled as such.
    """
    shown = [(name, encode_mesh(mesh)) for name, mesh in centred(meshes).items()]
    return render(
        PACKAGE,
        "mesh.html",
        title=title,
        styles=("base.css", "viewer.css"),
        scripts=("viewer.js", "mesh_page.js"),
        picture=None if picture is None else data_url(np.asarray(picture, dtype=np.uint8), lossless=True),
        labels=[name + ("" if encoded else " (empty)") for name, encoded in shown],
        data={
            "look": look.to_json(),
            "meshes": [
                {"mesh": encoded, "colour": TRUTH_COLOUR if name == "Ground truth" else PREDICTION_COLOUR}
                for name, encoded in shown
            ],
        },
    )
