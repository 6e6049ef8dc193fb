"""Finished shapes that wait to be assembled into shards: one file each, so that a kill loses nothing but what runs.

``OUT/.parts/`` holds, for every shape that is done, either ``<key>.npz`` (its arrays, uncompressed, no pickle, and its
JSON) or ``<key>.json`` (its rejects). Each carries the fingerprint of what it was made from: settings, mesh, pictures
and cameras, by content. Another fingerprint means that the part is of no use.
"""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from collections.abc import Callable, Collection
from dataclasses import asdict, astuple, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pix3d_onet.config import PrepareConfig
from pix3d_onet.data.store.no_dataset import PARTS
from pix3d_onet.errors import InputError
from pix3d_onet.files import digest, file_digest, mark, marker, read_bytes, write_bytes, write_json
from pix3d_onet.files.npz import read_arrays
from pix3d_onet.geometry.mesh.formats.side_files import mesh_digest
from pix3d_onet.types import (
    Camera,
    Mesh,
    Normalisation,
    PreparedShape,
    Provenance,
    Rejected,
    ShapeGeometry,
    ShapeIdentity,
    SourceShape,
    View,
)
from pix3d_onet.version import __version__

KIND = "prepared shapes"
"""What the marker of that folder says."""
PART_VERSION = 2
ALGORITHM = 2
"""Raised when the same source and settings give another shape than before: shapes of two never stand in one data set.
2: ``tight`` keeps edges and corners, labels are exact winding numbers."""
NOT_OF_THE_SHAPE = (
    "categories", "split", "fractions", "flags", "require_pose", "limit", "shapes_per_shard", "group_by", "pattern",
)  # fmt: skip
"""Settings that choose and arrange shapes but do not change one: they leave parts usable."""
DAMAGE = (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile, EOFError)
"""What reading a damaged part raises."""
VIEW_ARRAYS = ("rgb", "mask", "pose", "intrinsics")
MAX_META_BYTES = 256 << 20
MAX_SOURCE_BYTES = 4 << 30
"""A source's file that is larger is not read: it is no mesh and no picture that would be taken."""


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What became of a shape: ``prepared``, or None; ``rejected`` are the reasons (of it or of its pictures);
    ``key`` is the :func:`fingerprint` of what it was made from."""

    object_id: str
    prepared: PreparedShape | None
    rejected: tuple[Rejected, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)
    key: str = ""

    @property
    def done(self) -> Done:
        """The outcome without its arrays."""
        return Done(self.object_id, self.key, self.prepared is not None, self.rejected, self.seconds)


@dataclass(frozen=True, slots=True)
class Done:
    """An :class:`Outcome` whose arrays, if any (``ok``), are on disk: a large data set does not fit into memory."""

    object_id: str
    key: str
    ok: bool
    rejected: tuple[Rejected, ...]
    seconds: dict[str, float]


@dataclass(frozen=True, slots=True)
class Contents:
    """Digests of files, each hashed once; of one that cannot be read, why. ``root`` bounds the side files of meshes."""

    root: Path
    _known: dict[Path, str] = field(default_factory=dict)

    def mesh(self, path: Path) -> str:
        """The digest of a mesh with its side files."""
        return self._once(path, lambda: mesh_digest(path, self.root))

    def file(self, path: Path | None) -> str | None:
        """The digest of a file; None where there is none."""
        return None if path is None else self._once(path, lambda: file_digest(path, limit=MAX_SOURCE_BYTES))

    def _once(self, path: Path, hashed: Callable[[], str]) -> str:
        if path not in self._known:
            try:
                self._known[path] = hashed()
            except OSError as error:
                self._known[path] = f"unreadable: {error.strerror}"
        return self._known[path]


def fingerprint(shape: SourceShape, config: PrepareConfig, contents: Contents) -> str:
    """Hash of everything that a shape's result depends on; files by content, a missing one as such."""
    settings = {k: v for k, v in config.to_json().items() if k not in NOT_OF_THE_SHAPE}
    views = [
        [v.record_id, contents.file(v.image), contents.file(v.mask), v.on_white, camera_key(v.camera)]
        for v in shape.views
    ]
    what = [__version__, PART_VERSION, ALGORITHM, settings, *astuple(shape.identity)]
    name = shape.mesh.relative_to(contents.root).as_posix()
    files = [name, contents.mesh(shape.mesh), contents.file(shape.second_file), views]
    return digest(json.dumps([*what, *files], sort_keys=True).encode())


def read_digest(shape: SourceShape, config: PrepareConfig, record_ids: Collection[str], contents: Contents) -> str:
    """Hash of the content of the files that were read for a shape whose pictures ``record_ids`` are stored.

    Mesh with its side files, second file, and every picture with its mask, up to the one that was taken where one is
    enough. Unlike :func:`fingerprint` it knows no settings and no version: it tells whether the source is still what
    it was.
    """
    views = shape.views
    if config.images_per_object == "one":
        taken = next((i for i, v in enumerate(views) if v.record_id in record_ids), len(views))
        views = views[: taken + 1]
    pictures = [[contents.file(v.image), contents.file(v.mask)] for v in views]
    return digest(json.dumps([contents.mesh(shape.mesh), contents.file(shape.second_file), *pictures]).encode())


def camera_key(camera: Camera | None) -> list[Any]:
    """The numbers that make a camera, for hashing; empty for none."""
    if camera is None:
        return []
    numbers = [camera.rotation.tolist(), camera.translation.tolist(), camera.focal, camera.width, camera.height]
    return numbers if camera.centre is None else [*numbers, list(camera.centre)]


class Staging:
    """The parts of one output folder. Only the process that holds the folder's lock may use it."""

    def __init__(self, out: Path) -> None:
        self.folder = out / PARTS

    def _path(self, object_id: str, suffix: str) -> Path:
        return self.folder / f"{digest(object_id.encode())[:24]}{suffix}"

    def holds(self, object_id: str) -> bool:
        """Whether anything is kept for a shape, under whatever fingerprint."""
        return any(self._path(object_id, s).is_file() for s in (".npz", ".json"))

    def save(self, outcome: Outcome) -> None:
        """Keep an outcome; whatever was kept for the shape before goes. OSError when the disk does not take it."""
        done, lost = (self._path(outcome.object_id, s) for s in (".npz", ".json"))
        if outcome.prepared is None:
            rows = [asdict(r) for r in outcome.rejected]
            write_json(lost, {"key": outcome.key, "object_id": outcome.object_id, "rejected": rows})
            done.unlink(missing_ok=True)
        else:
            write_bytes(done, encode(outcome))
            lost.unlink(missing_ok=True)

    def look(self, object_id: str, key: str) -> Done | None:
        """What is kept for a shape under this fingerprint, arrays unread; None when nothing is, or it is damaged."""
        done, lost = (self._path(object_id, s) for s in (".npz", ".json"))
        try:
            if done.is_file():
                meta = json.loads(read_arrays(done, ("meta",), follow=False)["meta"].tobytes())
                rows, seconds, ok = meta["rejected"], dict(meta["seconds"]), True
            elif lost.is_file():
                meta = json.loads(read_bytes(lost, limit=MAX_META_BYTES, follow=False))
                rows, seconds, ok = meta["rejected"], {}, False
            else:
                return None
            if (meta["key"], meta["object_id"]) != (key, object_id):
                return None
            return Done(object_id, key, ok, tuple(Rejected(**r) for r in rows), seconds)
        except DAMAGE:
            return None

    def load(self, object_id: str, key: str) -> PreparedShape:
        """The prepared shape kept under this fingerprint. InputError, and it is dropped, when it is damaged."""
        try:
            return decode(self._path(object_id, ".npz"), key)
        except DAMAGE as error:
            self.forget(object_id)
            raise InputError(
                f"the finished part of {object_id} cannot be read back ({error}).",
                hint="Run the same command again: it prepares that shape anew.",
            ) from None

    def size(self) -> int:
        """Bytes of all parts."""
        return sum(p.lstat().st_size for p in self.folder.iterdir()) if self.folder.is_dir() else 0

    def forget(self, object_id: str) -> None:
        """Drop what is kept for a shape."""
        for suffix in (".npz", ".json"):
            self._path(object_id, suffix).unlink(missing_ok=True)

    def open(self) -> None:
        """Make the folder, or take it up again without what a kill left half-written. InputError if it is not ours."""
        if self.folder.is_symlink() or (self.folder.exists() and not self._ours() and any(self.folder.iterdir())):
            raise InputError(f"{self.folder} is in the way: it is not ours.", hint="Move it, or name another folder.")
        mark(self.folder, KIND)
        for path in self.folder.glob(".*.part"):
            path.unlink(missing_ok=True)

    def remove(self) -> None:
        """Remove all parts; a folder that is not ours stays."""
        if self._ours():
            shutil.rmtree(self.folder, ignore_errors=True)

    def _ours(self) -> bool:
        return not self.folder.is_symlink() and marker(self.folder).get("kind") == KIND


def encode(outcome: Outcome) -> bytes:
    """A prepared shape as the bytes of an ``.npz`` (arrays as in :class:`ShapeGeometry`, JSON under ``meta``)."""
    shape = outcome.prepared
    if shape is None:
        raise ValueError("only a prepared shape has arrays")
    geometry = shape.geometry
    meta = {
        "key": outcome.key,
        **asdict(shape.identity),
        **asdict(shape.provenance),
        "scale": geometry.normalisation.scale,
        "record_ids": [v.record_id for v in shape.views],
        "rendered": [v.rendered for v in shape.views],
        "view_sha256": [v.sha256 for v in shape.views],
        "qc": dict(geometry.qc),
        "seconds": dict(shape.seconds),
        "rejected": [asdict(r) for r in outcome.rejected],
    }
    arrays: dict[str, Any] = {
        "meta": np.frombuffer(json.dumps(meta).encode(), dtype=np.uint8),
        "points_q": geometry.points_q,
        "occupancy": np.packbits(geometry.occupancy),
        "surface_points_q": geometry.surface_points_q,
        "surface_normals_q": geometry.surface_normals_q,
        "vertices": geometry.mesh.vertices,
        "faces": geometry.mesh.faces,
        "loc": geometry.normalisation.loc,
    }
    for name in VIEW_ARRAYS if shape.views else ():
        arrays[name] = np.stack([getattr(v, name) for v in shape.views])
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def decode(path: Path, key: str) -> PreparedShape:
    """The inverse of :func:`encode`. One of :data:`DAMAGE` for damaged bytes or another fingerprint."""
    data = read_arrays(path, limit=path.lstat().st_size, follow=False)  # written uncompressed
    meta = json.loads(data["meta"].tobytes())
    if meta["key"] != key:
        raise ValueError("made from something else")
    names = list(zip(meta["record_ids"], meta["rendered"], meta["view_sha256"], strict=True))
    rgb, mask, pose, intrinsics = [data[name] for name in VIEW_ARRAYS] if names else [np.zeros(0)] * 4
    views = tuple(View(rgb[i], mask[i], pose[i], intrinsics[i], *name) for i, name in enumerate(names))
    points = data["points_q"]
    geometry = ShapeGeometry(
        points_q=points,
        occupancy=np.unpackbits(data["occupancy"], count=len(points)).astype(np.bool_),
        surface_points_q=data["surface_points_q"],
        surface_normals_q=data["surface_normals_q"],
        mesh=Mesh(data["vertices"], data["faces"]),
        normalisation=Normalisation(data["loc"], meta["scale"]),
        qc=meta["qc"],
    )
    identity = ShapeIdentity(**{name: meta[name] for name in ShapeIdentity.__slots__})
    provenance = Provenance(**{name: meta[name] for name in Provenance.__slots__})
    return PreparedShape(identity, geometry, views, provenance, meta["seconds"])
