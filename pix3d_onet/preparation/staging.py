"""Finished shapes before they are assembled into shards: one file per shape, so that a killed run can be continued.

``OUT/.parts/`` holds for each finished shape either ``<digest of its id>.npz`` (its arrays, uncompressed, and its JSON)
or ``<digest of its id>.json`` (its rejects). Each file contains the fingerprint of what it was made from: settings, and
the contents of mesh, pictures and cameras. A part with another fingerprint is not used.
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
"""Kind in the marker of that folder."""
PART_VERSION = 2
ALGORITHM = 2
"""Increased when the same source and settings give another shape than before; a data set never mixes two versions.
2: ``tight`` keeps edges and corners, labels are exact winding numbers."""
ARRANGEMENT_SETTINGS = (
    "categories", "split", "fractions", "flags", "require_pose", "limit", "shapes_per_shard", "group_by", "pattern",
)  # fmt: skip
"""Settings that choose and arrange shapes but change none: parts stay usable if they change."""
DAMAGE = (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile, EOFError)
"""What reading a damaged part raises."""
VIEW_ARRAYS = ("rgb", "mask", "pose", "intrinsics")
NEAR_ARRAYS = ("near_points_q", "near_occupancy", "sdf_q", "near_sdf_q")
"""Fields of :class:`ShapeGeometry` that may be None; then they are not in a part."""
MAX_META_BYTES = 256 << 20
MAX_SOURCE_BYTES = 4 << 30
"""Largest source file that is hashed; no reader accepts larger meshes or pictures."""


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """Result for one shape: ``prepared`` is None if it was rejected; ``rejected`` are the reasons, of the shape or of
    single pictures; ``key``: the :func:`fingerprint` of what it was made from."""

    object_id: str
    prepared: PreparedShape | None
    rejected: tuple[Rejected, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)
    key: str = ""

    @property
    def stored(self) -> StoredOutcome:
        """The outcome without its arrays."""
        return StoredOutcome(self.object_id, self.key, self.prepared is not None, self.rejected, self.seconds)


@dataclass(frozen=True, slots=True)
class StoredOutcome:
    """An :class:`Outcome` whose arrays are on disk, since all shapes may not fit in memory; ``ok``: it was prepared."""

    object_id: str
    key: str
    ok: bool
    rejected: tuple[Rejected, ...]
    seconds: dict[str, float]


@dataclass(frozen=True, slots=True)
class FileDigests:
    """SHA-256 digests of source files, each computed once; for a file that cannot be read, the error as text.

    ``root``: side files of meshes are read only inside it.
    """

    root: Path
    _known: dict[Path, str] = field(default_factory=dict)

    def mesh(self, path: Path) -> str:
        """Digest of a mesh and its side files."""
        return self._once(path, lambda: mesh_digest(path, self.root))

    def file(self, path: Path | None) -> str | None:
        """Digest of a file; None for None."""
        return None if path is None else self._once(path, lambda: file_digest(path, limit=MAX_SOURCE_BYTES))

    def _once(self, path: Path, hashed: Callable[[], str]) -> str:
        if path not in self._known:
            try:
                self._known[path] = hashed()
            except OSError as error:
                self._known[path] = f"unreadable: {error.strerror}"
        return self._known[path]


def fingerprint(shape: SourceShape, config: PrepareConfig, contents: FileDigests) -> str:
    """Hash of everything that a shape's result depends on: versions, settings, cameras and the contents of files."""
    settings = {k: v for k, v in config.to_json().items() if k not in ARRANGEMENT_SETTINGS}
    views = [
        [v.record_id, contents.file(v.image), contents.file(v.mask), v.on_white, camera_key(v.camera)]
        for v in shape.views
    ]
    what = [__version__, PART_VERSION, ALGORITHM, settings, *astuple(shape.identity)]
    name = shape.mesh.relative_to(contents.root).as_posix()
    files = [name, contents.mesh(shape.mesh), *map(contents.file, shape.further_files), views]
    return digest(json.dumps([*what, *files], sort_keys=True).encode())


def read_digest(shape: SourceShape, config: PrepareConfig, record_ids: Collection[str], contents: FileDigests) -> str:
    """Hash of the contents of the files that were read for a shape; ``record_ids``: its stored pictures.

    It covers the mesh with its side files, the further files, and the pictures with their masks (with
    ``images_per_object`` ``one`` up to the stored one). Unlike :func:`fingerprint` it contains no settings and no
    version, so it changes only if the source changes.
    """
    views = shape.views
    if config.images_per_object == "one":
        taken = next((i for i, v in enumerate(views) if v.record_id in record_ids), len(views))
        views = views[: taken + 1]
    pictures = [[contents.file(v.image), contents.file(v.mask)] for v in views]
    return digest(json.dumps([contents.mesh(shape.mesh), *map(contents.file, shape.further_files), *pictures]).encode())


def camera_key(camera: Camera | None) -> list[Any]:
    """The numbers of a camera, for hashing; empty for None."""
    if camera is None:
        return []
    numbers = [camera.rotation.tolist(), camera.translation.tolist(), camera.focal, camera.width, camera.height]
    return numbers if camera.centre is None else [*numbers, list(camera.centre)]


class Staging:
    """The parts in one output folder. Only the process that holds the folder's lock may use it."""

    def __init__(self, out: Path) -> None:
        self.folder = out / PARTS

    def _path(self, object_id: str, suffix: str) -> Path:
        return self.folder / f"{digest(object_id.encode())[:24]}{suffix}"

    def holds(self, object_id: str) -> bool:
        """Whether there is a part of the shape, with any fingerprint."""
        return any(self._path(object_id, s).is_file() for s in (".npz", ".json"))

    def save(self, outcome: Outcome) -> None:
        """Write an outcome; it replaces an earlier part of the shape. OSError if it cannot be written."""
        done, lost = (self._path(outcome.object_id, s) for s in (".npz", ".json"))
        if outcome.prepared is None:
            rows = [asdict(r) for r in outcome.rejected]
            write_json(lost, {"key": outcome.key, "object_id": outcome.object_id, "rejected": rows})
            done.unlink(missing_ok=True)
        else:
            write_bytes(done, encode(outcome))
            lost.unlink(missing_ok=True)

    def find(self, object_id: str, key: str) -> StoredOutcome | None:
        """The outcome stored for a shape with this fingerprint; None if there is none, or it is damaged."""
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
            return StoredOutcome(object_id, key, ok, tuple(Rejected(**r) for r in rows), seconds)
        except DAMAGE:
            return None

    def load(self, object_id: str, key: str) -> PreparedShape:
        """The prepared shape stored with this fingerprint. If it is damaged, it is removed and InputError raised."""
        try:
            return decode(self._path(object_id, ".npz"), key)
        except DAMAGE as error:
            self.discard(object_id)
            raise InputError(
                f"the stored result of shape {object_id} cannot be read ({error}).",
                hint="Run the same command again: it prepares this shape again.",
            ) from None

    def size(self) -> int:
        """Size of all parts in bytes."""
        return sum(p.lstat().st_size for p in self.folder.iterdir()) if self.folder.is_dir() else 0

    def discard(self, object_id: str) -> None:
        """Remove the part of a shape."""
        for suffix in (".npz", ".json"):
            self._path(object_id, suffix).unlink(missing_ok=True)

    def open(self) -> None:
        """Create the folder, or remove a killed run's temporary files from it. InputError if onet did not make it."""
        if self.folder.is_symlink() or (self.folder.exists() and not self._ours() and any(self.folder.iterdir())):
            raise InputError(f"{self.folder} was not made by onet.", hint="Move it, or name another `out`.")
        mark(self.folder, KIND)
        for path in self.folder.glob(".*.part"):
            path.unlink(missing_ok=True)

    def remove(self) -> None:
        """Remove all parts; a folder that onet did not make stays."""
        if self._ours():
            shutil.rmtree(self.folder, ignore_errors=True)

    def _ours(self) -> bool:
        return not self.folder.is_symlink() and marker(self.folder).get("kind") == KIND


def encode(outcome: Outcome) -> bytes:
    """A prepared shape as the bytes of an ``.npz``: arrays as in :class:`ShapeGeometry`, and JSON in ``meta``."""
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
    near = {name: getattr(geometry, name) for name in NEAR_ARRAYS}
    arrays |= {name: values for name, values in near.items() if values is not None}
    for name in VIEW_ARRAYS if shape.views else ():
        arrays[name] = np.stack([getattr(v, name) for v in shape.views])
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def decode(path: Path, key: str) -> PreparedShape:
    """The inverse of :func:`encode`. Raises one of :data:`DAMAGE` for damaged bytes or another fingerprint."""
    data = read_arrays(path, limit=path.lstat().st_size, follow=False)  # uncompressed, so no array is larger
    meta = json.loads(data["meta"].tobytes())
    if meta["key"] != key:
        raise ValueError("its fingerprint is another")
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
        **{name: data[name] for name in NEAR_ARRAYS if name in data},
    )
    identity = ShapeIdentity(**{name: meta[name] for name in ShapeIdentity.__slots__})
    provenance = Provenance(**{name: meta[name] for name in Provenance.__slots__})
    return PreparedShape(identity, geometry, views, provenance, meta["seconds"])
