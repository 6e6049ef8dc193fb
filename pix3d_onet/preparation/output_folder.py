"""The output folder of ``prepare``: whether onet made it, and which of its files.

Until there is a manifest, the marker lists the shards, so that shards of an interrupted or replaced data set can be
distinguished from files of the same name that onet did not write.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from pix3d_onet.data.store.card import card_files
from pix3d_onet.data.store.manifest import is_dataset, read_manifest
from pix3d_onet.data.store.no_dataset import PARTS
from pix3d_onet.data.store.rejects import REJECTS_FILE
from pix3d_onet.errors import InputError
from pix3d_onet.events import Emit, ignore
from pix3d_onet.files import check_claim, mark, marker, remove, remove_parts
from pix3d_onet.types import MANIFEST

KIND = "data set"
QC, TIMINGS = "qc.csv", "timings.csv"
TABLES = (REJECTS_FILE, QC, TIMINGS)
SHARD = re.compile(r"shard-\d{5,}\.h5")


def shard_name(index: int) -> str:
    """File name of shard ``index``: ``shard-00000.h5``."""
    return f"shard-{index:05d}.h5"


def shard_names(shapes: int, per_shard: int) -> list[str]:
    """File names of the shards of a data set with at most ``shapes`` shapes."""
    return [shard_name(i) for i in range(-(-shapes // per_shard))]


def check_output(out: Path, shards: Iterable[str], *, overwrite: bool, emit: Emit = ignore) -> bool:
    """True if ``out`` holds a data set by onet, finished or not; False if it may be used. InputError otherwise."""
    return check_claim(
        out,
        KIND,
        files=(MANIFEST, *TABLES, *shards, *card_files(out)),
        folders=(PARTS,),
        known=is_dataset,
        overwrite=overwrite,
        emit=emit,
    )


def known_shards(out: Path) -> set[str]:
    """Names of the shards that onet wrote to ``out``: those in its marker and those in its manifest."""
    listed = marker(out).get("shards", ())
    names = {n for n in listed if isinstance(n, str)} if isinstance(listed, list) else set()
    if is_dataset(out):
        with suppress(InputError):  # a damaged manifest: the shards that it named are not removed
            names |= {s.file for s in read_manifest(out).shards}
    return {name for name in names if SHARD.fullmatch(name)}


def record_shards(out: Path, shards: Iterable[str]) -> None:
    """Add ``shards`` to the shards in the folder's marker."""
    mark(out, KIND, shards=sorted(known_shards(out) | set(shards)))


def remove_other_shards(out: Path, keep: set[str]) -> None:
    """Remove the shards that onet wrote, except ``keep``, and temporary files of a killed run."""
    ours = known_shards(out)
    for name in sorted(ours - keep):
        remove(out / name)
    remove_parts(out, {*ours, *keep, MANIFEST, *card_files(out), *TABLES})
