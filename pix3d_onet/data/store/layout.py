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

``shape_problems`` compares a shard's headers with it, before any array is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import h5py

from pix3d_onet.data.store.manifest import FORMAT, FORMAT_VERSION, Manifest


def open_shard(path: Path) -> h5py.File:
    """Open a shard to read; without HDF5's lock where the file system has none. OSError as h5py raises it.

    The lock is asked for first, since HDF5 refuses to open a file twice in one process with and without it, and a
    caller may open shards, too.
    """
    try:
        return h5py.File(path, "r")
    except BlockingIOError:  # another process writes to it
        raise
    except OSError:
        return h5py.File(path, "r", locking=False)


def expected_shapes(manifest: Manifest, name: str) -> dict[str, tuple[tuple[int | None, ...], str]]:
    """Data set → (shape, dtype) that shard ``name`` must have; None where a length is free."""
    own = [s for s in manifest.shapes if s.shard == name]
    count, pictures = len(own), sum(s.images for s in own)
    points, surface = int(manifest.config["points"]), int(manifest.config["surface_points"])
    side = int(manifest.config["image_size"])
    expected: dict[str, tuple[tuple[int | None, ...], str]] = {
        "points": ((count, points, 3), "uint16"),
        "occupancy": ((count, points // 8), "uint8"),
        "surface/points": ((count, surface, 3), "uint16"),
        "surface/normals": ((count, surface, 2), "uint8"),
        "mesh/vertices": ((None, 3), "float32"),
        "mesh/faces": ((None, 3), "uint32"),
        "mesh/vertex_offset": ((count + 1,), "int64"),
        "mesh/face_offset": ((count + 1,), "int64"),
        "loc": ((count, 3), "float64"),
        "scale": ((count,), "float64"),
        "object_id": ((count,), "object"),
        "category": ((count,), "object"),
    }
    if pictures:
        expected |= {
            "images/rgb": ((pictures, side, side, 3), "uint8"),
            "images/mask": ((pictures, side, side), "uint8"),
            "images/pose": ((pictures, 4, 4), "float32"),
            "images/intrinsics": ((pictures, 3, 3), "float32"),
            "images/shape": ((pictures,), "int64"),
            "images/record_id": ((pictures,), "object"),
            "images/rendered": ((pictures,), "uint8"),
        }
    return expected


def shape_problems(file: h5py.File, manifest: Manifest, name: str) -> Iterator[str]:
    """What in an open shard has another name, shape or type than documented: a header that lies must not be read.

    Nothing of variable length is opened (strings, also those of attributes): a damaged heap can send HDF5 into an
    endless loop.
    """
    if file.attrs.get("version") != FORMAT_VERSION:
        yield f"is not an {FORMAT} shard of version {FORMAT_VERSION}"
        return
    for key, (shape, dtype) in expected_shapes(manifest, name).items():
        found = file.get(key)
        if not isinstance(found, h5py.Dataset):
            yield f"lacks {key}"
            continue
        fits = len(found.shape) == len(shape) and all(n in (None, m) for m, n in zip(found.shape, shape, strict=True))
        if not fits or str(found.dtype) != dtype:
            wanted = "×".join("?" if n is None else str(n) for n in shape)
            yield f"{key} is {'×'.join(map(str, found.shape))} {found.dtype}, not {wanted} {dtype}"
        elif found.chunks is None and dtype != "object" and found.nbytes > file.id.get_filesize():
            yield f"{key} is larger than its file"
    if file.attrs.get("points_count") != manifest.config["points"]:
        yield "points_count differs from the manifest"
