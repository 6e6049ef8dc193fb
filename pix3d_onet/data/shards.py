"""The prepared data set on disk: HDF5 shards and ``manifest.json``, written last.

The schema (version 1), all coordinates in the normalised frame, S shapes and N pictures in a shard::

    points             (S, P, 3)  uint16   lattice cells, contiguous: a block of rows is a sample
    occupancy          (S, P/8)   uint8    packed labels of the decoded points
    surface/points     (S, Q, 3)  uint16   lattice cells
    surface/normals    (S, Q, 2)  uint8    octahedral
    mesh/vertices      (ΣV, 3)    float32  watertight meshes, one after the other
    mesh/faces         (ΣF, 3)    uint32   indices into the shape's own vertices
    mesh/vertex_offset (S+1,)     int64
    mesh/face_offset   (S+1,)     int64
    loc                (S, 3)     float64  normalised = (original - loc) / scale
    scale              (S,)       float64
    object_id          (S,)       UTF-8
    category           (S,)       UTF-8
    images/rgb         (N, H, W, 3) uint8  one chunk a picture, deflate
    images/mask        (N, H, W)  uint8    0 or 1, one chunk a picture, deflate
    images/pose        (N, 4, 4)  float32  NaN where the source has none
    images/intrinsics  (N, 3, 3)  float32  NaN likewise
    images/shape       (N,)       int64    row of the shape in this shard, ascending
    images/record_id   (N,)       UTF-8
    images/rendered    (N,)       uint8    1 for a rendered view

Reading needs nothing of ours: ``-0.55 + (cells + 0.5) * 1.1 / 65536`` and ``np.unpackbits``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from pix3d_onet import lattice
from pix3d_onet.data.schema import FORMAT, FORMAT_VERSION, shape_problems
from pix3d_onet.data.store import encoding
from pix3d_onet.errors import InputError
from pix3d_onet.files import digest, file_digest, read_json, writing
from pix3d_onet.types import Float32, Mesh, PreparedShape, Sample, UInt8, UInt16, View

MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class ShapeEntry:
    """One shape in the manifest. ``row`` is its row in ``shard``; ``images`` how many pictures it has;
    ``image_splits`` differs from ``split`` only for an image split; ``source_sha256`` is a digest of the content of
    the source's files it was made from (empty: not known)."""

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


@dataclass(frozen=True, slots=True)
class ShardEntry:
    """One shard file in the manifest."""

    file: str
    sha256: str
    bytes: int
    shapes: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a data set holds. Deterministic: no times, no machine, so that equal inputs give equal bytes."""

    config: Mapping[str, Any]
    config_hash: str
    source: Mapping[str, Any]
    shapes: tuple[ShapeEntry, ...]
    shards: tuple[ShardEntry, ...]
    counts: Mapping[str, Any]
    version: int = FORMAT_VERSION

    @property
    def data_hash(self) -> str:
        """First 12 hex digits of a hash over all shard checksums and splits: what a run was trained on."""
        text = "\n".join([*(s.sha256 for s in self.shards), *(f"{s.object_id}\t{s.split}" for s in self.shapes)])
        return digest(text.encode())[:12]


def write_shard(path: Path, shapes: Sequence[PreparedShape]) -> ShardEntry:
    """Write ``shapes`` to ``path`` (atomically, same bytes for the same shapes) and return its manifest entry."""
    if not shapes:
        raise ValueError("a shard needs at least one shape")
    with writing(path) as part, h5py.File(part, "w", libver=("v110", "v110")) as file:
        _fill(file, shapes)
    return ShardEntry(path.name, file_digest(path), path.stat().st_size, len(shapes))


def _fill(file: h5py.File, shapes: Sequence[PreparedShape]) -> None:
    text = h5py.string_dtype("utf-8")
    file.attrs["format"] = FORMAT
    file.attrs["version"] = FORMAT_VERSION
    file.attrs["points_count"] = shapes[0].points_q.shape[0]
    file.create_dataset("points", data=np.stack([s.points_q for s in shapes]), track_times=False)
    file.create_dataset(
        "occupancy", data=np.stack([encoding.pack_bits(s.occupancy) for s in shapes]), track_times=False
    )
    file.create_dataset("surface/points", data=np.stack([s.surface_points_q for s in shapes]), track_times=False)
    file.create_dataset("surface/normals", data=np.stack([s.surface_normals_q for s in shapes]), track_times=False)
    vertices = np.concatenate([s.mesh.vertices.astype(np.float32) for s in shapes])
    faces = np.concatenate([s.mesh.faces.astype(np.uint32) for s in shapes])
    offset_v = np.cumsum([0, *(len(s.mesh.vertices) for s in shapes)], dtype=np.int64)
    offset_f = np.cumsum([0, *(len(s.mesh.faces) for s in shapes)], dtype=np.int64)
    file.create_dataset("mesh/vertices", data=vertices, track_times=False)
    file.create_dataset("mesh/faces", data=faces, track_times=False)
    file.create_dataset("mesh/vertex_offset", data=offset_v, track_times=False)
    file.create_dataset("mesh/face_offset", data=offset_f, track_times=False)
    file.create_dataset("loc", data=np.stack([s.normalisation.loc for s in shapes]), track_times=False)
    file.create_dataset("scale", data=np.array([s.normalisation.scale for s in shapes]), track_times=False)
    file.create_dataset("object_id", data=[s.object_id for s in shapes], dtype=text, track_times=False)
    file.create_dataset("category", data=[s.category for s in shapes], dtype=text, track_times=False)
    views = [(row, view) for row, shape in enumerate(shapes) for view in shape.views]
    if not views:
        return
    side = views[0][1].mask.shape
    deflate: dict[str, Any] = {"compression": "gzip", "compression_opts": 4, "track_times": False}
    rgb = np.stack([v.rgb for _, v in views])
    mask = np.stack([v.mask for _, v in views]).astype(np.uint8)
    file.create_dataset("images/rgb", data=rgb, chunks=(1, *side, 3), shuffle=False, **deflate)
    file.create_dataset("images/mask", data=mask, chunks=(1, *side), shuffle=False, **deflate)
    file.create_dataset("images/pose", data=np.stack([v.pose for _, v in views]), track_times=False)
    file.create_dataset("images/intrinsics", data=np.stack([v.intrinsics for _, v in views]), track_times=False)
    file.create_dataset("images/shape", data=np.array([row for row, _ in views], dtype=np.int64), track_times=False)
    file.create_dataset("images/record_id", data=[v.record_id for _, v in views], dtype=text, track_times=False)
    rendered = np.array([v.rendered for _, v in views], dtype=np.uint8)
    file.create_dataset("images/rendered", data=rendered, track_times=False)


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


def read_manifest(root: Path) -> Manifest:
    """Parse ``root/manifest.json``; InputError when it is missing, not ours, of another version or malformed."""
    path = root / MANIFEST
    hint = "Make a data set with `onet prepare`."
    if not root.is_dir():
        raise InputError(f"data set not found: {root}.", hint=hint)
    document = read_json(path, what="data set manifest", hint=hint)
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise InputError(f"{path} is not an onet data set manifest.", hint=hint)
    if document.get("version") != FORMAT_VERSION:
        raise InputError(
            f"{path} has format version {document.get('version')}; this onet reads version {FORMAT_VERSION}.",
            hint="Prepare the data set again, or use the onet that wrote it.",
        )
    try:
        rows: list[dict[str, Any]] = [
            {k: tuple(v) if isinstance(v, list) else v for k, v in s.items()} for s in document["shapes"]
        ]
        shapes = tuple(ShapeEntry(**row) for row in rows)
        shards = tuple(ShardEntry(**s) for s in document["shards"])
        files = {s.file for s in shards}
        for shape in shapes:
            if shape.shard not in files or len(shape.record_ids) != shape.images:
                raise ValueError(f"shape {shape.object_id} is inconsistent")
        for shard in shards:
            if Path(shard.file).name != shard.file:
                raise ValueError(f"shard {shard.file} is not a plain file name")
        return Manifest(
            config=document["config"],
            config_hash=document["config_hash"],
            source=document["source"],
            shapes=shapes,
            shards=shards,
            counts=document["counts"],
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path} is damaged ({error}).", hint="Run `onet verify`, or prepare again.") from None


@dataclass(frozen=True, slots=True, eq=False)
class SplitArrays:
    """A split in memory, in stored form; what the training loop feeds on.

    S shapes, N pictures: ``points_q`` (S, P, 3) uint16, ``occupancy`` (S, P/8) uint8, ``rgb`` (N, H, W, 3) uint8,
    ``mask`` (N, H, W) bool, ``pose`` (N, 4, 4) float32, ``intrinsics`` (N, 3, 3) float32, ``shape_index`` (N,) int64
    into the S shapes, ``rendered`` (N,) bool.
    """

    object_ids: tuple[str, ...]
    categories: tuple[str, ...]
    points_q: UInt16
    occupancy: UInt8
    rgb: UInt8
    mask: np.ndarray[Any, np.dtype[np.bool_]]
    pose: Float32
    intrinsics: Float32
    shape_index: np.ndarray[Any, np.dtype[np.int64]]
    record_ids: tuple[str, ...]
    rendered: np.ndarray[Any, np.dtype[np.bool_]]


class Dataset:
    """A prepared data set opened for reading; shards are opened on demand and kept open.

    ``Dataset(root)`` reads only the manifest. Use as a context manager or call ``close``. Raises InputError for
    anything missing or damaged.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        self.manifest = read_manifest(self.root)
        self._files: dict[str, h5py.File] = {}

    def __enter__(self) -> Dataset:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all shards."""
        for file in self._files.values():
            file.close()
        self._files.clear()

    def shard(self, name: str) -> h5py.File:
        """The open HDF5 file of a shard (pickles nothing, runs nothing)."""
        if name not in self._files:
            path = self.root / name
            try:
                self._files[name] = h5py.File(path, "r")
            except OSError as error:
                detail = "is missing" if not path.exists() else f"cannot be read ({error})"
                raise InputError(f"shard {path} {detail}.", hint="Run `onet verify`, then prepare again.") from None
            try:
                problem = next(shape_problems(self._files[name], self.manifest, name), "")
            except Exception as error:  # noqa: BLE001 - h5py raises many kinds on damaged headers
                problem = str(error)
            if problem:
                self._files.pop(name).close()
                raise InputError(f"shard {path} is damaged ({problem}).", hint="Run `onet verify`, then prepare again.")
        return self._files[name]

    def entries(self, split: str | None = None) -> tuple[ShapeEntry, ...]:
        """Manifest entries that have at least one picture in ``split`` (or belong to it, when they have none)."""
        shapes = self.manifest.shapes
        if split is None:
            return shapes
        return tuple(s for s in shapes if split in s.image_splits or (not s.image_splits and s.split == split))

    def sample(self, entry: ShapeEntry, split: str | None = None) -> Sample:
        """Read one whole shape, with the pictures of ``split`` only (None = all)."""
        file = self.shard(entry.shard)
        row = entry.row
        try:
            count = int(file.attrs["points_count"])
            vo, fo = file["mesh/vertex_offset"], file["mesh/face_offset"]
            mesh = Mesh(file["mesh/vertices"][vo[row] : vo[row + 1]], file["mesh/faces"][fo[row] : fo[row + 1]])
            return Sample(
                object_id=entry.object_id,
                category=entry.category,
                points=lattice.decode_points(file["points"][row]),
                occupancy=encoding.unpack_bits(file["occupancy"][row], count),
                surface_points=lattice.decode_points(file["surface/points"][row]),
                surface_normals=encoding.decode_normals(file["surface/normals"][row]),
                mesh=mesh,
                images=tuple(self._views(file, entry, split)),
                loc=file["loc"][row],
                scale=float(file["scale"][row]),
            )
        except (KeyError, OSError, ValueError, IndexError) as error:
            raise InputError(
                f"shard {self.root / entry.shard} is damaged ({error}).", hint="Run `onet verify`."
            ) from None

    def _picture_rows(self, file: h5py.File, entry: ShapeEntry, split: str | None) -> list[tuple[int, str]]:
        """Rows and record ids of the shape's pictures; ids are the manifest's, HDF5's strings are not opened."""
        if not entry.images:
            return []
        rows = np.flatnonzero(file["images/shape"][:] == entry.row)
        if len(rows) != entry.images:
            raise InputError(f"shard {self.root / entry.shard} does not match the manifest.", hint="Run `onet verify`.")
        found = zip(rows, entry.record_ids, entry.image_splits, strict=True)
        return [(int(row), record_id) for row, record_id, home in found if split in (None, home)]

    def cameras_known(self, entry: ShapeEntry, split: str | None = None) -> NDArray[np.bool_]:
        """(n,) bool: which of the shape's pictures in ``split`` have pose and intrinsics; reads nothing else."""
        file = self.shard(entry.shard)
        rows = [row for row, _ in self._picture_rows(file, entry, split)]
        finite = [
            bool(np.isfinite(file["images/pose"][row]).all() and np.isfinite(file["images/intrinsics"][row]).all())
            for row in rows
        ]
        return np.array(finite, dtype=np.bool_)

    def has_photos(self, split: str) -> bool:
        """Whether any picture of ``split`` is a photo, not a rendered view; reads nothing else."""
        for entry in self.entries(split):
            file = self.shard(entry.shard)
            if any(not file["images/rendered"][row] for row, _ in self._picture_rows(file, entry, split)):
                return True
        return False

    def _views(self, file: h5py.File, entry: ShapeEntry, split: str | None) -> Iterator[View]:
        for row, record_id in self._picture_rows(file, entry, split):
            yield View(
                rgb=file["images/rgb"][row],
                mask=file["images/mask"][row].astype(np.bool_),
                pose=file["images/pose"][row],
                intrinsics=file["images/intrinsics"][row],
                record_id=record_id,
                rendered=bool(file["images/rendered"][row]),
            )

    def arrays(self, split: str) -> SplitArrays:
        """Read a whole split into memory in stored form. InputError when the split is empty."""
        entries = self.entries(split)
        if not entries:
            raise InputError(f"the {split} split of {self.root} is empty.", hint="Prepare more shapes.")
        points, occupancy, rgb, mask, pose, intrinsics, index, ids, rendered = ([] for _ in range(9))
        for position, entry in enumerate(entries):
            file = self.shard(entry.shard)
            try:
                points.append(file["points"][entry.row])
                occupancy.append(file["occupancy"][entry.row])
                for view in self._views(file, entry, split):
                    rgb.append(view.rgb)
                    mask.append(view.mask)
                    pose.append(view.pose)
                    intrinsics.append(view.intrinsics)
                    index.append(position)
                    ids.append(view.record_id)
                    rendered.append(view.rendered)
            except (KeyError, OSError, ValueError, IndexError) as error:
                raise InputError(
                    f"shard {self.root / entry.shard} is damaged ({error}).", hint="Run `onet verify`."
                ) from None
        if not rgb:
            raise InputError(
                f"the {split} split of {self.root} has no pictures.", hint="Prepare with --render-views N."
            )
        return SplitArrays(
            object_ids=tuple(e.object_id for e in entries),
            categories=tuple(e.category for e in entries),
            points_q=np.stack(points),
            occupancy=np.stack(occupancy),
            rgb=np.stack(rgb),
            mask=np.stack(mask),
            pose=np.stack(pose),
            intrinsics=np.stack(intrinsics),
            shape_index=np.array(index, dtype=np.int64),
            record_ids=tuple(ids),
            rendered=np.array(rendered, dtype=np.bool_),
        )


class SampleSequence(Sequence[Sample]):
    """The shapes of a split as a lazy sequence of :class:`Sample`; each access reads from disk."""

    def __init__(self, dataset: Dataset, split: str | None) -> None:
        self.dataset = dataset
        self.split = split
        self._entries = dataset.entries(split)

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return self.dataset.sample(self._entries[index], self.split)


def load_dataset(path: str | Path, split: str | None = "train") -> SampleSequence:
    """Open a prepared data set: a sequence of :class:`Sample` of one split (``None`` = all shapes).

    InputError when it is missing, damaged, or the split is not train, val or test.
    """
    if split not in (None, "train", "val", "test"):
        raise InputError(f"no split {split!r}: take train, val or test.")
    return SampleSequence(Dataset(path), split)
