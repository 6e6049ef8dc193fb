"""The output folder of ``prepare``: whether it is ours, and which files in it are.

While there is no manifest the marker lists the shards, so that those of an interrupted or replaced data set can be told
from other people's files of such a name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from pix3d_onet.data.store.card import CARD
from pix3d_onet.data.store.manifest import MANIFEST, is_dataset, read_manifest
from pix3d_onet.data.store.no_dataset import PARTS
from pix3d_onet.data.store.rejects import REJECTS_FILE
from pix3d_onet.errors import InputError
from pix3d_onet.events import Emit, ignore
from pix3d_onet.files import check_claim, mark, marker, remove, remove_parts

KIND = "data set"
QC, TIMINGS = "qc.csv", "timings.csv"
TABLES = (REJECTS_FILE, QC, TIMINGS)
SHARD = re.compile(r"shard-\d{5,}\.h5")


def shard_name(index: int) -> str:
    """``shard-00000.h5`` …"""
    return f"shard-{index:05d}.h5"


def shard_names(shapes: int, per_shard: int) -> list[str]:
    """The shards of a data set of at most ``shapes`` shapes."""
    return [shard_name(i) for i in range(-(-shapes // per_shard))]


def check_output(out: Path, shards: Iterable[str], *, overwrite: bool, emit: Emit = ignore) -> bool:
    """Whether ``out`` holds a data set of ours, whole or begun; False: free to be taken. InputError otherwise."""
    return check_claim(
        out,
        KIND,
        files=(MANIFEST, *TABLES, *shards),
        folders=(PARTS,),
        known=is_dataset,
        overwrite=overwrite,
        emit=emit,
    )


def known_shards(out: Path) -> set[str]:
    """Names of the shards in ``out`` that are ours: those that its marker lists, and those of its manifest."""
    listed = marker(out).get("shards", ())
    names = {n for n in listed if isinstance(n, str)} if isinstance(listed, list) else set()
    if is_dataset(out):
        with suppress(InputError):  # damaged: what it named is no longer known, and stays
            names |= {s.file for s in read_manifest(out).shards}
    return {name for name in names if SHARD.fullmatch(name)}


def keep_account(out: Path, shards: Iterable[str]) -> None:
    """Write into the marker that ``shards`` are ours, besides those that are already."""
    mark(out, KIND, shards=sorted(known_shards(out) | set(shards)))


def remove_other_shards(out: Path, keep: set[str]) -> None:
    """Remove our shards that are none of ``keep``, and what a kill has left half-written."""
    ours = known_shards(out)
    for name in sorted(ours - keep):
        remove(out / name)
    remove_parts(out, {*ours, *keep, MANIFEST, CARD, *TABLES})
