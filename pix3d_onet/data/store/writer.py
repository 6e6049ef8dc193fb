"""Write shards, atomically and deterministically."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from pix3d_onet.data.store import encoding
from pix3d_onet.data.store.manifest import FORMAT, ShardEntry, format_version
from pix3d_onet.files import file_digest, writing
from pix3d_onet.types import PreparedShape, ShapeGeometry, View

TEXT = h5py.string_dtype("utf-8")


def write_shard(path: Path, shapes: Sequence[PreparedShape]) -> ShardEntry:
    """Write ``shapes`` to ``path``, atomically; equal shapes give equal bytes. Returns the manifest entry."""
    if not shapes:
        raise ValueError("a shard needs at least one shape")
    options = {"libver": ("v110", "v110"), "locking": False}  # no other process opens the temporary file
    with writing(path) as part, h5py.File(part, "w", **options) as file:
        _fill(file, shapes)
    return ShardEntry(path.name, file_digest(path), path.stat().st_size, len(shapes))


def _fill(file: h5py.File, shapes: Sequence[PreparedShape]) -> None:
    file.attrs["format"] = FORMAT
    geometry = [s.geometry for s in shapes]
    first = geometry[0]
    has = {"near_points": first.near_points_q is not None, "sdf": first.sdf_q is not None}
    file.attrs["version"] = format_version(has)
    _fill_geometry(file, geometry)
    _fill_near(file, geometry)
    names = [s.identity for s in shapes]
    file.create_dataset("object_id", data=[n.object_id for n in names], dtype=TEXT, track_times=False)
    file.create_dataset("category", data=[n.category for n in names], dtype=TEXT, track_times=False)
    views = [(row, view) for row, shape in enumerate(shapes) for view in shape.views]
    if views:
        _fill_views(file, views)


def _fill_geometry(file: h5py.File, shapes: Sequence[ShapeGeometry]) -> None:
    file.attrs["points_count"] = len(shapes[0].points_q)
    file.create_dataset("points", data=np.stack([s.points_q for s in shapes]), track_times=False)
    packed = np.stack([encoding.pack_bits(s.occupancy) for s in shapes])
    file.create_dataset("occupancy", data=packed, track_times=False)
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


def _fill_near(file: h5py.File, shapes: Sequence[ShapeGeometry]) -> None:
    """Write the arrays that only version 2 has; all of ``shapes`` have the same of them."""
    columns: dict[str, Sequence[NDArray[Any]]] = {
        "near/points": [s.near_points_q for s in shapes if s.near_points_q is not None],
        "near/occupancy": [encoding.pack_bits(s.near_occupancy) for s in shapes if s.near_occupancy is not None],
        "sdf": [s.sdf_q for s in shapes if s.sdf_q is not None],
        "near/sdf": [s.near_sdf_q for s in shapes if s.near_sdf_q is not None],
    }
    for name, rows in columns.items():
        if rows:
            file.create_dataset(name, data=np.stack(rows), track_times=False)


def _fill_views(file: h5py.File, views: Sequence[tuple[int, View]]) -> None:
    """Write ``views``, (row of the shape, view), rows ascending."""
    side = views[0][1].mask.shape
    deflate: dict[str, Any] = {"compression": "gzip", "compression_opts": 4, "track_times": False}
    rgb = np.stack([v.rgb for _, v in views])
    mask = np.stack([v.mask for _, v in views]).astype(np.uint8)
    file.create_dataset("images/rgb", data=rgb, chunks=(1, *side, 3), shuffle=False, **deflate)
    file.create_dataset("images/mask", data=mask, chunks=(1, *side), shuffle=False, **deflate)
    file.create_dataset("images/pose", data=np.stack([v.pose for _, v in views]), track_times=False)
    file.create_dataset("images/intrinsics", data=np.stack([v.intrinsics for _, v in views]), track_times=False)
    file.create_dataset("images/shape", data=np.array([row for row, _ in views], dtype=np.int64), track_times=False)
    file.create_dataset("images/record_id", data=[v.record_id for _, v in views], dtype=TEXT, track_times=False)
    rendered = np.array([v.rendered for _, v in views], dtype=np.uint8)
    file.create_dataset("images/rendered", data=rendered, track_times=False)
