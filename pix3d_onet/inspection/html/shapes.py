"""One shape of a data set as data for the page: pictures, masks, stored mesh, points, source mesh."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pix3d_onet.data.store.manifest import ShapeEntry, named_warnings
from pix3d_onet.errors import RejectError
from pix3d_onet.escape import shortened, visible
from pix3d_onet.geometry.mesh.cleaning import merge_vertices, transformed
from pix3d_onet.geometry.mesh.formats.side_files import mesh_digest
from pix3d_onet.geometry.mesh.reading import load_mesh
from pix3d_onet.geometry.mesh.simplification import simplify
from pix3d_onet.inspection.checks import source_file
from pix3d_onet.pages.mesh_view import encode_mesh, encode_points
from pix3d_onet.pages.pictures import cut_out, data_url, mask_url
from pix3d_onet.pages.templating import PAGE_BUDGET
from pix3d_onet.types import Bool, Float32, Mesh, Normalisation, Sample, View

PICTURE = 224
"""Longest side of a picture on the page, pixels."""
QUALITY = 75
"""Of the pictures, which are there to be recognised."""
POINTS = 200
"""Points shown per shape and label; any of the stored points are a random sample."""
MOST_PICTURES = 8
PICTURE_SHARE = 0.4
"""Share of a page's bytes for pictures, if there are more than fit."""
PICTURE_BYTES, SHAPE_BYTES, FACE_BYTES = 9_000, 5_000, 12
"""Typical bytes on the page: of a picture with its mask; of a shape's points and figures; of a face."""
LEAST_FACES, MOST_FACES = 200, 20_000
MOST_OVER = 5
"""Times these faces that are shown of a mesh that cannot be simplified further: many loose parts of few faces."""
LONGEST = 200
"""Most characters of a text from the data set."""


@dataclass(frozen=True, slots=True)
class Detail:
    """How much of each shape is on the page: ``pictures``, and ``faces`` per mesh."""

    pictures: int
    faces: int


def affordable(shapes: int, *, sources: bool) -> Detail:
    """The detail with which a page of ``shapes`` shapes, with or without source meshes, stays below its budget."""
    each = PAGE_BUDGET / shapes
    pictures = int(np.clip(each * PICTURE_SHARE / PICTURE_BYTES, 1, MOST_PICTURES))
    spare = (each - SHAPE_BYTES - pictures * PICTURE_BYTES) / (FACE_BYTES * (1 + sources))
    return Detail(pictures, int(np.clip(spare, LEAST_FACES, MOST_FACES)))


def text(value: object) -> str:
    """A text from the data set as the page shows it."""
    return shortened(visible(str(value)), LONGEST)


def shape_data(sample: Sample, entry: ShapeEntry, detail: Detail, source_root: Path | None) -> dict[str, Any]:
    """``sample``, which is that of ``entry``, as JSON for ``dataset.js``; with its source mesh if there is a root."""
    near = None
    if sample.near_points is not None and sample.near_occupancy is not None:
        near = _labelled(sample.near_points, sample.near_occupancy)
    return {
        "id": text(entry.object_id),
        "category": text(entry.category),
        "group": text(entry.group),
        "split": text(entry.split),
        "warnings": [text(name) for name in named_warnings(entry)],
        "pictures": [_picture(view) for view in sample.images[: detail.pictures]],
        "allPictures": entry.images,
        "mesh": _mesh(sample.mesh, detail.faces),
        "points": _labelled(sample.points, sample.occupancy),
        "near": near,
        "file": text(entry.source_mesh),
        "source": _source(sample, entry, detail.faces, source_root) if source_root else None,
    }


def _picture(view: View) -> dict[str, Any]:
    rgba, mask = cut_out(view.rgb, view.mask), view.mask
    if (longest := max(mask.shape)) > PICTURE:
        height, width = (max(1, round(side * PICTURE / longest)) for side in mask.shape)
        rgba = np.asarray(Image.fromarray(rgba).resize((width, height), Image.Resampling.LANCZOS))
        mask = np.asarray(Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST))
    return {
        "record": text(view.record_id),
        "rendered": view.rendered,
        "rgb": data_url(rgba, quality=QUALITY),
        "mask": mask_url(mask),
    }


def _mesh(mesh: Mesh, faces: int) -> dict[str, Any]:
    """A mesh as coded for the viewer, None if it cannot be made small enough; ``of``: its number of faces."""
    small = simplify(mesh, faces)
    fits = len(small.faces) <= MOST_OVER * faces
    return {"of": len(mesh.faces), "faces": len(small.faces), "coded": encode_mesh(small) if fits else None}


def _labelled(points: Float32, occupancy: Bool) -> dict[str, Any]:
    """The first points (N, 3) of each label."""
    chosen = {"inside": np.flatnonzero(occupancy), "outside": np.flatnonzero(~occupancy)}
    return {label: encode_points(points[rows[:POINTS]]) if len(rows) else None for label, rows in chosen.items()}


def _source(sample: Sample, entry: ShapeEntry, faces: int, root: Path) -> dict[str, Any]:
    """The source's mesh in the normalised frame, or ``trouble``: why there is none."""
    try:
        path = source_file(entry, root)
        mesh = transformed(load_mesh(path, root=root), Normalisation(sample.loc, sample.scale))
        changed = mesh_digest(path, root) != entry.mesh_sha256
    except (RejectError, OSError) as error:
        return {"trouble": text(error.message if isinstance(error, RejectError) else error.strerror)}
    return {**_mesh(merge_vertices(mesh), faces), "trouble": "It has changed since it was prepared." if changed else ""}
