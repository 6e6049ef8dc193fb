"""Rebuild per-shape results from a finished data set, byte-identical, so that only new shapes need preparing."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from pathlib import Path

import numpy as np

from pix3d_onet.data.store import encoding
from pix3d_onet.data.store.manifest import ShapeEntry
from pix3d_onet.data.store.reader import Dataset
from pix3d_onet.files import read_text
from pix3d_onet.preparation.staging import Outcome
from pix3d_onet.types import Normalisation, PreparedShape, Rejected, ShapeGeometry


def read_timings(path: Path) -> dict[str, dict[str, float]]:
    """Object id → stage → seconds from a ``timings.csv``; empty if it cannot be read, since no result depends on it."""
    result: dict[str, dict[str, float]] = defaultdict(dict)
    try:
        for row in csv.DictReader(io.StringIO(read_text(path, follow=False))):
            result[row["object_id"]][row["stage"]] = float(row["seconds"])
    except (OSError, ValueError, KeyError, TypeError, csv.Error):
        return {}
    return result


def stored_outcome(
    data: Dataset, entry: ShapeEntry, rejected: tuple[Rejected, ...], seconds: dict[str, float]
) -> Outcome:
    """The outcome that ``entry`` was written from. InputError if its shard is damaged."""
    file, row = data.shard(entry.shard), entry.row
    sample = data.sample(entry)  # only for views and mesh: its points and normals are decoded
    cells = file["points"][row]
    near = sample.near_occupancy
    geometry = ShapeGeometry(
        points_q=cells,
        occupancy=encoding.unpack_bits(file["occupancy"][row], len(cells)),
        surface_points_q=file["surface/points"][row],
        surface_normals_q=file["surface/normals"][row],
        mesh=sample.mesh,
        normalisation=Normalisation(np.asarray(sample.loc), sample.scale),
        qc=entry.qc,
        near_points_q=None if near is None else file["near/points"][row],
        near_occupancy=near,
        sdf_q=None if sample.sdf is None else file["sdf"][row],
        near_sdf_q=None if sample.near_sdf is None else file["near/sdf"][row],
    )
    shape = PreparedShape(entry.identity, geometry, sample.images, entry.provenance, seconds)
    return Outcome(entry.object_id, shape, rejected, seconds)
