"""The last step of ``prepare``: finished shapes → shards, tables, data card and, last, the manifest.

The bytes depend only on the settings and the source, not on the workers, their order or interruptions. The exception
is ``timings.csv``.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from pix3d_onet.config import PrepareConfig
from pix3d_onet.data.sources.registry import terms_of
from pix3d_onet.data.sources.splits import Splitter
from pix3d_onet.data.store.card import data_card, write_card
from pix3d_onet.data.store.manifest import Manifest, ShapeEntry, ShardEntry, manifest_to_json, split_counts
from pix3d_onet.data.store.rejects import write_rejects
from pix3d_onet.data.store.writer import write_shard
from pix3d_onet.escape import csv_text
from pix3d_onet.files import digest, is_own_file, unmark, write_json, write_text
from pix3d_onet.preparation.output_folder import (
    QC,
    TIMINGS,
    known_shards,
    record_shards,
    remove_other_shards,
    shard_name,
    shard_names,
)
from pix3d_onet.preparation.staging import Staging, camera_key
from pix3d_onet.types import MANIFEST, Mesh, PreparedShape, Rejected, SourceListing, SourceShape


def listing_digest(listing: SourceListing, shapes: Sequence[SourceShape]) -> str:
    """SHA-256 of a listing: shapes, pictures, cameras, prescribed splits and rejects, with paths, not contents."""

    def name(path: Path | None) -> str | None:
        return None if path is None else path.relative_to(listing.root).as_posix()

    document = [
        [
            [s.object_id, s.category, s.group, name(s.mesh), *map(name, s.further_files)]
            + [[v.record_id, name(v.image), name(v.mask), *camera_key(v.camera)] for v in s.views]
            for s in shapes
        ],
        [asdict(r) for r in listing.rejected],
        sorted(listing.fixed_splits.items()),
    ]
    return digest(json.dumps(document).encode())


def assemble(
    out: Path,
    config: PrepareConfig,
    source: Mapping[str, Any],
    listing: SourceListing,
    taken: Sequence[SourceShape],
    prepared: Sequence[tuple[str, str]],
    rejected: Sequence[Rejected],
) -> Manifest:
    """Write the data set into ``out`` from the staged shapes ``prepared`` (object id, fingerprint); manifest last.

    ``taken``: the shapes of ``listing`` that were tried; ``rejected``: with those of the listing. OSError if the disk
    is full.
    """
    splitter = Splitter(listing, taken, config)
    staging = Staging(out)
    _check_space(out, staging)
    order = sorted(prepared)
    size = config.shapes_per_shard
    shards: list[ShardEntry] = []
    entries: list[ShapeEntry] = []
    geometry: list[str] = []
    timings: list[tuple[str, str, float]] = []
    record_shards(out, shard_names(len(order), size))
    for index in range(0, len(order), size):
        shapes = [staging.load(object_id, key) for object_id, key in order[index : index + size]]
        entry = write_shard(out / shard_name(index // size), shapes)
        shards.append(entry)
        entries += [_entry(shape, entry.file, row) for row, shape in enumerate(shapes)]
        geometry += [_geometry_digest(shape.geometry.mesh) for shape in shapes]
        timings += [(s.identity.object_id, stage, t) for s in shapes for stage, t in s.seconds.items()]
    entries = splitter.split(entries, geometry)
    remove_other_shards(out, {s.file for s in shards})
    rows = write_rejects(out, rejected)
    write_text(out / QC, _qc_table(entries))
    text = csv_text([("object_id", "stage", "seconds"), *((o, s, f"{t:.4f}") for o, s, t in timings)])
    write_text(out / TIMINGS, text)
    counts = {**record_counts(listing, taken, entries, rows), **_counts(entries, rows, shards)}
    manifest = Manifest(config.to_json(), config.hash(), dict(source), tuple(entries), tuple(shards), counts)
    write_manifest(out, manifest)
    unmark(out)
    return manifest


def write_manifest(out: Path, manifest: Manifest) -> None:
    """Write the data card and, last, the manifest."""
    write_card(out, data_card(manifest, terms_of(manifest)))
    write_json(out / MANIFEST, manifest_to_json(manifest))


def _check_space(out: Path, staging: Staging) -> None:
    """OSError if the disk has too little space: HDF5 may crash if the disk becomes full while it writes."""
    stale = sum((out / name).lstat().st_size for name in known_shards(out) if is_own_file(out / name))
    if staging.size() > shutil.disk_usage(out).free + stale:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _geometry_digest(mesh: Mesh) -> str:
    """SHA-256 of the stored mesh: equal for models whose files differ only in names, comments, format or scale."""
    return digest(mesh.vertices.astype(np.float32).tobytes() + b"\0" + mesh.faces.astype(np.uint32).tobytes())


def _entry(shape: PreparedShape, file: str, row: int) -> ShapeEntry:
    """The shape's row of the manifest; ``Splitter`` fills in the splits when all shapes are known."""
    return ShapeEntry(
        **asdict(shape.identity),
        **asdict(shape.provenance),
        split="",
        shard=file,
        row=row,
        images=len(shape.views),
        record_ids=tuple(v.record_id for v in shape.views),
        image_sha256=tuple(v.sha256 for v in shape.views),
        image_splits=(),
        qc=dict(shape.geometry.qc),
    )


def record_counts(
    listing: SourceListing, taken: Sequence[SourceShape], entries: Sequence[ShapeEntry], rejected: Sequence[Rejected]
) -> dict[str, Any]:
    """What became of every record: ``records`` = ``used`` + ``rejected_records`` + the sum of ``skipped``.

    Besides the listing's causes, ``skipped`` counts ``limit`` (shapes beyond it), ``same-shape`` (pictures that the
    shape did not need) and ``rejected-shape`` (further pictures of a shape that was rejected). In sources whose records
    are shapes, rejected pictures are not records.
    """
    skipped = Counter(listing.skipped)
    if listing.by_picture:
        stored, rows = {e.object_id: set(e.record_ids) for e in entries}, Counter(r.object_id for r in rejected)
        used, lost = 0, len(rejected)
        for shape in taken:
            photos = sum(v.record_id in stored.get(shape.object_id, ()) for v in shape.views)
            used += photos
            cause = "same-shape" if shape.object_id in stored else "rejected-shape"
            skipped[cause] += len(shape.views) - photos - rows[shape.object_id]
        skipped["limit"] = sum(len(s.views) for s in listing.shapes) - sum(len(s.views) for s in taken)
    else:
        known = {s.object_id for s in listing.shapes}
        used = len(entries)
        lost = len(taken) - used + sum(r.object_id not in known or r.record_id == r.object_id for r in listing.rejected)
        skipped["limit"] = len(listing.shapes) - len(taken)
    return {
        "records": listing.records,
        "used": used,
        "rejected_records": lost,
        "skipped": {cause: n for cause, n in sorted(skipped.items()) if n},
        "shapes": len(taken),
        **({"grouping": listing.grouping} if listing.grouping else {}),
    }


def _counts(entries: Sequence[ShapeEntry], rows: Sequence[Rejected], shards: Sequence[ShardEntry]) -> dict[str, Any]:
    return {
        "prepared": len(entries),
        "rejected": len(rows),
        "rejected_by_reason": dict(sorted(Counter(r.reason for r in rows).items())),
        **split_counts(entries),
        "categories": dict(sorted(Counter(e.category for e in entries).items())),
        "bytes": sum(s.bytes for s in shards),
    }


def _qc_table(entries: Sequence[ShapeEntry]) -> str:
    keys = sorted({k for e in entries for k, v in e.qc.items() if not isinstance(v, dict | list | tuple)})
    rows = [[e.object_id, e.category, *(e.qc.get(k) for k in keys)] for e in entries]
    return csv_text([["object_id", "category", *keys], *rows])
