"""The schema of a shard, an HDF5 file.

The schema, all coordinates in the normalised frame, S shapes and N pictures in a shard::

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
    images/rgb         (N, H, W, 3) uint8  one chunk per picture, deflate
    images/mask        (N, H, W)  uint8    0 or 1, one chunk per picture, deflate
    images/pose        (N, 4, 4)  float32  NaN where the source has none
    images/intrinsics  (N, 3, 3)  float32  NaN likewise
    images/shape       (N,)       int64    row of the shape in this shard, ascending
    images/record_id   (N,)       UTF-8
    images/rendered    (N,)       uint8    1 for a rendered view

Only in version 2, each where the settings ask for it, M points near the surface per shape::

    near/points        (S, M, 3)  uint16   lattice cells, contiguous like ``points``
    near/occupancy     (S, M/8)   uint8    packed labels of the decoded points
    sdf                (S, P)     int16    signed distances of ``points``, see below
    near/sdf           (S, M)     int16    of ``near/points``

It can be read without onet: points are ``-0.55 + (cells + 0.5) * 1.1 / 65536``, labels ``np.unpackbits``,
signed distances ``(sdf + 0.5) / 16384``.
``shard_file`` compares a shard's headers with this schema before any array is read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pix3d_onet.data.store.manifest import ShapeEntry


def expected_shapes(
    config: Mapping[str, Any], shapes: Sequence[ShapeEntry]
) -> dict[str, tuple[tuple[int | None, ...], str]]:
    """Name of each array in a shard of ``shapes`` → (shape, dtype); None: any length. ``config``: of the manifest."""
    count, pictures = len(shapes), sum(s.images for s in shapes)
    points, surface = int(config["points"]), int(config["surface_points"])
    side = int(config["image_size"])
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
    expected |= near_shapes(config, count)
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


def near_shapes(config: Mapping[str, Any], count: int) -> dict[str, tuple[tuple[int | None, ...], str]]:
    """The part of :func:`expected_shapes` that only version 2 has."""
    points, near, sdf = int(config["points"]), int(config.get("near_points", 0)), bool(config.get("sdf", False))
    expected: dict[str, tuple[tuple[int | None, ...], str]] = {}
    if sdf:
        expected["sdf"] = ((count, points), "int16")
    if near:
        expected["near/points"] = ((count, near, 3), "uint16")
        expected["near/occupancy"] = ((count, near // 8), "uint8")
    if near and sdf:
        expected["near/sdf"] = ((count, near), "int16")
    return expected
