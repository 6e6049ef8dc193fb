"""A finished data set taken apart again, bit by bit the same, so that shapes can be added without redoing all."""

from __future__ import annotations

import csv
import io
import json
from collections import defaultdict
from pathlib import Path

import numpy as np

from pix3d_onet.data.store import encoding
from pix3d_onet.data.store.manifest import ShapeEntry
from pix3d_onet.data.store.reader import Dataset
from pix3d_onet.errors import InputError
from pix3d_onet.files import read_text
from pix3d_onet.preparation.staging import Outcome
from pix3d_onet.types import Mesh, Normalisation, PreparedShape, Rejected


def read_rejects(path: Path) -> tuple[Rejected, ...]:
    """The rows of a ``rejects.jsonl``; none when it is missing, InputError when it is damaged."""
    if not path.is_file():
        return ()
    try:
        return tuple(Rejected(**json.loads(line)) for line in read_text(path, follow=False).split("\n") if line)
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise InputError(f"{path} is damaged ({error}).", hint="Prepare again with `overwrite=True`.") from None


def read_timings(path: Path) -> dict[str, dict[str, float]]:
    """Object id → stage → seconds of a ``timings.csv``; empty when it cannot be read (nothing depends on it)."""
    result: dict[str, dict[str, float]] = defaultdict(dict)
    try:
        for row in csv.DictReader(io.StringIO(read_text(path, follow=False))):
            result[row["object_id"]][row["stage"]] = float(row["seconds"])
    except (OSError, ValueError, KeyError, TypeError, csv.Error):
        return {}
    return result


def thaw(data: Dataset, entry: ShapeEntry, rejected: tuple[Rejected, ...], seconds: dict[str, float]) -> Outcome:
    """The outcome that ``entry`` was written from, in stored form. InputError when its shard is damaged."""
    file, row = data.shard(entry.shard), entry.row
    sample = data.sample(entry)  # checks, views and mesh; points and normals below in stored form
    cells = file["points"][row]
    shape = PreparedShape(
        object_id=entry.object_id,
        category=entry.category,
        group=entry.group,
        source_mesh=entry.source_mesh,
        mesh_sha256=entry.mesh_sha256,
        points_q=cells,
        occupancy=encoding.unpack_bits(file["occupancy"][row], len(cells)),
        surface_points_q=file["surface/points"][row],
        surface_normals_q=file["surface/normals"][row],
        mesh=Mesh(sample.mesh.vertices, sample.mesh.faces),
        views=sample.images,
        view_sha256=entry.image_sha256,
        normalisation=Normalisation(np.asarray(sample.loc), sample.scale),
        qc=entry.qc,
        seconds=seconds,
        rejected_views=rejected,
        source_sha256=entry.source_sha256,
    )
    return Outcome(entry.object_id, shape, rejected, seconds)
