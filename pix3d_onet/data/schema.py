"""What a shard must look like (the schema is documented in ``data.shards``), and a check that reads headers only."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import h5py

if TYPE_CHECKING:
    from pix3d_onet.data.shards import Manifest

FORMAT = "onet-dataset"
FORMAT_VERSION = 1


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
