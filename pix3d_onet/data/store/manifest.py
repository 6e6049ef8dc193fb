"""``manifest.json``: the contents of a data set. It is written last, so a folder without one is unfinished."""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, TypeGuard

from pix3d_onet.config import SPLITS
from pix3d_onet.data.store.no_dataset import no_dataset
from pix3d_onet.errors import InputError
from pix3d_onet.files import digest, is_finite, own_json, read_json
from pix3d_onet.files.reading import NOT_IN_A_PATH
from pix3d_onet.types import MANIFEST, Provenance, ShapeIdentity

FORMAT = "onet-dataset"
FORMAT_VERSIONS = (1, 2)
"""The versions that are read; which one is written depends on the settings, see :func:`format_version`."""
LARGEST, LONGEST = 2**53, 4096
"""Largest number and longest text in a row of the manifest."""
MOST_FIGURES = 1000
"""Most quality figures of a shape, and most warnings among them; ours are fewer than 100."""


@dataclass(frozen=True, slots=True)
class ShapeEntry:
    """One shape in the manifest. ``row``: its row in ``shard``; ``images``: its number of pictures; ``image_splits``:
    the split of each picture, which differs from ``split`` only if pictures were split; ``source_sha256``: digest of
    the contents of the source files (empty: not known)."""

    object_id: str
    category: str
    group: str
    split: str
    shard: str
    row: int
    images: int
    source_mesh: str
    mesh_sha256: str
    record_ids: tuple[str, ...]
    image_sha256: tuple[str, ...]
    image_splits: tuple[str, ...]
    qc: Mapping[str, Any] = field(default_factory=dict)
    source_sha256: str = ""

    @property
    def identity(self) -> ShapeIdentity:
        """Object id, category and group."""
        return ShapeIdentity(self.object_id, self.category, self.group)

    @property
    def provenance(self) -> Provenance:
        """The source files."""
        return Provenance(self.source_mesh, self.mesh_sha256, self.source_sha256)


def is_figure(value: object) -> TypeGuard[float]:
    """Whether a quality figure is a number small enough to compute with; manifests are not trusted."""
    return isinstance(value, bool | int | float) and abs(value) <= LARGEST


def named_warnings(entry: ShapeEntry) -> list[str]:
    """The warnings among a shape's quality figures."""
    named = entry.qc.get("warnings", ())
    return [str(name) for name in named] if isinstance(named, list | tuple) else []


@dataclass(frozen=True, slots=True)
class ShardEntry:
    """One shard file in the manifest."""

    file: str
    sha256: str
    bytes: int
    shapes: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """Contents of a data set, without times and machine names, so that equal inputs give equal bytes."""

    config: Mapping[str, Any]
    config_hash: str
    source: Mapping[str, Any]
    shapes: tuple[ShapeEntry, ...]
    shards: tuple[ShardEntry, ...]
    counts: Mapping[str, Any]

    @property
    def version(self) -> int:
        """Version of the format."""
        return format_version(self.config)

    @property
    def data_hash(self) -> str:
        """First 12 hex digits of a hash over all shard checksums and splits; it identifies the data of a run."""
        text = "\n".join([*(s.sha256 for s in self.shards), *(f"{s.object_id}\t{s.split}" for s in self.shapes)])
        return digest(text.encode())[:12]

    def in_split(self, split: str | None) -> tuple[ShapeEntry, ...]:
        """Shapes with at least one picture in ``split``, or, without pictures, in ``split`` themselves; None = all."""
        return tuple(
            s
            for s in self.shapes
            if split is None or split in s.image_splits or (not s.image_splits and s.split == split)
        )


def split_counts(shapes: Iterable[ShapeEntry]) -> dict[str, dict[str, int]]:
    """Shapes, groups and pictures per split, as they stand in the manifest's ``counts``."""
    shapes = tuple(shapes)
    pictures = Counter(split for s in shapes for split in s.image_splits)
    return {
        "shapes_by_split": {split: sum(s.split == split for s in shapes) for split in SPLITS},
        "groups_by_split": {split: len({s.group for s in shapes if s.split == split}) for split in SPLITS},
        "images_by_split": {split: pictures[split] for split in SPLITS},
    }


def format_version(config: Mapping[str, Any]) -> int:
    """2 with points near the surface or signed distances, else 1, so that earlier versions of onet can read it."""
    return 2 if config.get("near_points") or config.get("sdf") else 1


def manifest_to_json(manifest: Manifest) -> dict[str, Any]:
    """The JSON document of ``manifest.json``."""
    return {
        "format": FORMAT,
        "version": manifest.version,
        "config": dict(manifest.config),
        "config_hash": manifest.config_hash,
        "data_hash": manifest.data_hash,
        "source": dict(manifest.source),
        "counts": dict(manifest.counts),
        "shards": [{k: getattr(s, k) for k in ShardEntry.__slots__} for s in manifest.shards],
        "shapes": [
            {k: list(v) if isinstance(v := getattr(s, k), tuple) else v for k in ShapeEntry.__slots__}
            for s in manifest.shapes
        ],
    }


def is_dataset(folder: Path) -> bool:
    """Whether ``folder`` has a manifest by onet, valid or not, that is not a link."""
    return own_json(folder / MANIFEST).get("format") == FORMAT


JSON_TYPES: Mapping[str, type] = {"str": str, "int": int, "tuple[str, ...]": list, "Mapping[str, Any]": dict}
"""Annotation of a field → its type in JSON."""
JSON_WORDS = {
    str: f"a string of at most {LONGEST} characters that can be encoded",
    int: f"an integer from 0 to {LARGEST}",
    list: "a list of strings that can be encoded",
    dict: f"an object of at most {MOST_FIGURES} entries and warnings",
}
SIZES = {"points": 10_000_000, "surface_points": 10_000_000, "image_size": 4096, "near_points": 10_000_000}
"""Settings that determine the sizes of arrays → largest allowed value."""
LATER_SIZES = {"near_points": 0}
"""Those that early data sets lack → their value there."""


def is_encodable(texts: Iterable[str]) -> bool:
    """Whether all of them can be encoded: JSON has escapes for halves of characters, which no file or hash takes."""
    try:
        "".join(texts).encode()
    except UnicodeEncodeError:
        return False
    return True


def _check_columns(rows: list[dict[str, Any]], kind: type[ShapeEntry | ShardEntry]) -> None:
    """TypeError if a field of any row is unknown or has a wrong type or size. It checks by column, which is fast."""
    foreign = sorted(set().union(*rows) - set(kind.__slots__))
    if foreign:
        raise TypeError(f"{foreign[0]!r:.60} is not a field of a {kind.__name__}")
    for field_ in dataclasses.fields(kind):
        required = field_.default is MISSING and field_.default_factory is MISSING
        cells = [row[field_.name] for row in rows if required or field_.name in row]
        wanted = JSON_TYPES[str(field_.type)]
        good = set(map(type, cells)) <= {wanted}
        if good and wanted is list:
            good = set(map(type, chain.from_iterable(cells))) <= {str}
        if good and wanted is int:
            good = min(cells, default=0) >= 0 and max(cells, default=0) <= LARGEST
        if good and wanted is str:
            good = max(map(len, cells), default=0) <= LONGEST and is_encodable(cells)
        if good and wanted is list:
            good = is_encodable(chain.from_iterable(cells))
        if good and wanted is dict:
            named = (v for cell in cells if isinstance(v := cell.get("warnings"), list))
            good = max(map(len, chain(cells, named)), default=0) <= MOST_FIGURES
        if not good:
            raise TypeError(f"{field_.name} must be {JSON_WORDS[wanted]}")


def _check_config(config: Any, version: int) -> None:
    sizes = {**LATER_SIZES, **config}
    for key, most in SIZES.items():
        if type(sizes[key]) is not int or not 0 <= sizes[key] <= most:
            raise ValueError(f"{key} is {sizes[key]!r:.40}")
    if version != format_version(config):
        raise ValueError(f"version {version} does not fit its config")


def read_manifest(root: Path) -> Manifest:
    """Parse ``root/manifest.json``; InputError if it is missing, not by onet, of another version or damaged."""
    path = root / MANIFEST
    hint = "Make a data set with `onet prepare`."
    if not os.path.lexists(path):
        raise no_dataset(root, MANIFEST)
    document = read_json(path, what="data set manifest", hint=hint, follow=False)
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise InputError(f"{path} is not an onet data set manifest.", hint=hint)
    if document.get("version") not in FORMAT_VERSIONS:
        known = " and ".join(map(str, FORMAT_VERSIONS))
        raise InputError(
            f"{path} has format version {document.get('version')!s:.40}; this onet reads versions {known}.",
            hint="Prepare the data set again, or use the onet that wrote it.",
        )
    try:
        for key in ("shapes", "shards"):
            if not isinstance(document[key], list) or not all(type(row) is dict for row in document[key]):
                raise TypeError(f"{key} must be a list of objects")
        for key in ("config", "source", "counts"):
            if not isinstance(document[key], dict) or not is_finite(document[key]):
                raise TypeError(f"{key} must be an object with finite numbers")
        if not isinstance(document["config_hash"], str):
            raise TypeError("config_hash must be a string")
        _check_columns(document["shapes"], ShapeEntry)
        _check_columns(document["shards"], ShardEntry)
        _check_config(document["config"], document["version"])
        rows: list[dict[str, Any]] = [
            {k: tuple(v) if isinstance(v, list) else v for k, v in s.items()} for s in document["shapes"]
        ]
        shapes = tuple(ShapeEntry(**row) for row in rows)
        shards = tuple(ShardEntry(**s) for s in document["shards"])
        files = {s.file for s in shards}
        for shape in shapes:
            lists = {len(shape.record_ids), len(shape.image_sha256), len(shape.image_splits)}
            if shape.shard not in files or lists != {shape.images}:
                raise ValueError(f"shape {shape.object_id:.80} is inconsistent")
        for shard in shards:
            if Path(shard.file).name != shard.file or shard.file in ("", "..") or NOT_IN_A_PATH.search(shard.file):
                raise ValueError(f"shard {shard.file!r:.80} is not a plain file name")
        return Manifest(
            config=document["config"],
            config_hash=document["config_hash"],
            source=document["source"],
            shapes=shapes,
            shards=shards,
            counts=document["counts"],
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        what = f"{error} is missing" if isinstance(error, KeyError) else error
        raise InputError(f"{path} is damaged ({what}).", hint="Run `onet verify`, or prepare again.") from None
