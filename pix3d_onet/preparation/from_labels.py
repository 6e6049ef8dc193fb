"""Geometry of a shape whose source gives the labels: ``points.npz`` and ``pointcloud.npz`` of the original layout.

Labels are not recomputed. A point moves to the centre of its lattice cell, by at most 8.4e-6 per axis; the file's
float16 had rounded it by 14 (near the middle) to 29 times as much (near the border). Points outside [-0.55, 0.55]³
(float16 may round outwards) move to the border cell; both places are outside the shape.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from pix3d_onet.config import POINTS_HALF_SIDE, PrepareConfig
from pix3d_onet.data.sources.onet_layout import CLOUD, MESH, read_cloud, read_points
from pix3d_onet.data.store.encoding import encode_normals
from pix3d_onet.errors import RejectError
from pix3d_onet.geometry.mesh.cleaning import clean
from pix3d_onet.geometry.mesh.decimation import decimate
from pix3d_onet.geometry.mesh.inside.solid_angles import surrounded
from pix3d_onet.geometry.mesh.raycast import RayScene
from pix3d_onet.geometry.mesh.reading import load_mesh
from pix3d_onet.lattice import decode_points, encode_points
from pix3d_onet.preparation.from_mesh import GeometryResult
from pix3d_onet.preparation.quality import AGREEMENT_POINTS
from pix3d_onet.seeding import generator
from pix3d_onet.types import Float64, Int64, Mesh, Normalisation, ShapeGeometry, SourceShape

POISSON_DEPTH = 8
"""Octree depth of the surface reconstruction: 256 cells per axis, like the watertighting grid."""
LEAST_IOU = 0.5
"""IoU of the labels and of the mesh below which they are of two shapes. Not the share of equal labels: of a thin shape
nearly all points are outside, so labels that are all outside agree. A Poisson reconstruction is no judge of single
labels, so the limit is far from 1."""
POISSON_SCALE = 1.05
"""Side of the reconstruction's cube as a multiple of the points' bounding box."""


def given_geometry(shape: SourceShape, config: PrepareConfig, root: Path) -> GeometryResult:
    """The geometry to store from a shape's ``points.npz`` (its ``mesh``) and ``pointcloud.npz`` (its ``cloud``).

    The mesh is ``mesh.off`` if the folder is an export by onet, else a Poisson reconstruction of the cloud (Kazhdan &
    Hoppe 2013), which is accurate enough for pictures and figures; ``qc`` has its kind and its error. RejectError:
    ``too-few-points``, ``too-few-surface-points``, ``label-disagreement``, and those of the readers.
    """
    start = time.perf_counter()
    path, object_id = shape.mesh, shape.object_id
    given = read_points(path)
    chosen = _choose(len(given.points), config.points, object_id, config.seed, "points")
    points, occupancy = given.points[chosen], given.occupancy[chosen]
    cloud, normals = read_cloud(shape.cloud or path.with_name(CLOUD))
    surface = _choose(len(cloud), config.surface_points, object_id, config.seed, "surface-points")
    read = time.perf_counter()
    full, method = _mesh(shape.given_mesh, cloud, normals, root)
    mesh = full if method == "file" else decimate(full, config.mesh_error)[0]
    off = RayScene(mesh).distance(cloud)
    cells = encode_points(points)
    decoded = decode_points(cells[:AGREEMENT_POINTS])
    inside, labels = surrounded(mesh, decoded), occupancy[:AGREEMENT_POINTS]
    agreement = float((inside == labels).mean())
    both, union = int((inside & labels).sum()), int((inside | labels).sum())
    if both < LEAST_IOU * union:
        detail = f"{path.name} and {MESH if method == 'file' else CLOUD} have an IoU of {both / union:.2f}"
        raise RejectError("label-disagreement", f"{detail}: they are of two shapes, or the labels are inverted", "qc")
    report = {
        "method": "given",
        "mesh": method,
        "points_given": len(given.points),
        "clipped": int((np.abs(points) > POINTS_HALF_SIDE).any(axis=1).sum()),
        "occupied": round(float(occupancy.mean()), 6),
        "label_agreement": round(agreement, 6),
        "surface_mean": round(float(off.mean()), 9),
        "stored_error": round(float(np.quantile(off, 0.99)), 9),
        "stored_faces": len(mesh.faces),
    }
    stored = ShapeGeometry(
        points_q=cells,
        occupancy=occupancy,
        surface_points_q=encode_points(cloud[surface]),
        surface_normals_q=encode_normals(normals[surface]),
        mesh=mesh,
        normalisation=Normalisation(given.loc, given.scale),
        qc=report,
    )
    return GeometryResult(stored, full, {"labels": read - start, "mesh": time.perf_counter() - read})


def _choose(have: int, want: int, object_id: str, seed: int, name: str) -> Int64:
    """Indices of ``want`` of ``have`` rows in a seeded random order. RejectError if there are too few.

    Files may be sorted, and in a data set any block of points is a random sample.
    """
    if have < want:
        usable = have // 8 * 8 if name == "points" else have  # labels are packed in bytes
        detail = f"the file has {have}, {want} are wanted: set `{name.replace('-', '_')}={usable}`"
        raise RejectError(f"too-few-{name}", detail, "labels")
    return generator(seed, name, object_id).permutation(have)[:want]


def _mesh(path: Path | None, cloud: Float64, normals: Float64, root: Path) -> tuple[Mesh, str]:
    """The mesh and its origin: that of the file ``path`` (``file``), without one ``poisson``."""
    if path is not None:
        return load_mesh(path, root=root), "file"
    import open3d as o3d

    body: Any = o3d.geometry.PointCloud(o3d.utility.Vector3dVector(cloud))
    body.normals = o3d.utility.Vector3dVector(normals)
    surface, _ = o3d.geometry.TriangleMesh.create_from_point_cloud_poisson(
        body, depth=POISSON_DEPTH, scale=POISSON_SCALE, n_threads=1
    )
    try:
        return clean(Mesh(np.asarray(surface.vertices), np.asarray(surface.triangles))), "poisson"
    except RejectError as error:
        raise RejectError("no-surface", f"the cloud gives no surface: {error.message}", "surface") from None
