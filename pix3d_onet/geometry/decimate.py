"""Decimation to a stated error."""

from __future__ import annotations

import numpy as np

from pix3d_onet.geometry.mesh import is_watertight
from pix3d_onet.types import Mesh

SHARES = (0.03, 0.06, 0.12, 0.25, 0.5)
"""Shares of the faces tried, smallest first."""
MIN_FACES = 500
CHECKED = 3000
"""Vertices of the full mesh whose distance to the decimated one is measured."""


def decimate(mesh: Mesh, error: float) -> tuple[Mesh, float]:
    """The smallest of a few quadric decimations that stays closed and within ``error`` of ``mesh``, and its error.

    ``error`` is in the mesh's units: the 99th percentile of the distances of ``CHECKED`` evenly picked vertices of the
    full mesh to the result (quadric edge collapse of fast-simplification; Garland & Heckbert 1997). 0 keeps the mesh.
    """
    if error <= 0 or len(mesh.faces) <= MIN_FACES:
        return mesh, 0.0
    import fast_simplification
    import open3d as o3d

    probe = mesh.vertices[:: max(1, len(mesh.vertices) // CHECKED)].astype(np.float32)
    for share in SHARES:
        target = max(MIN_FACES, int(len(mesh.faces) * share))
        vertices, faces = fast_simplification.simplify(
            mesh.vertices.astype(np.float32), mesh.faces.astype(np.int32), target_count=target
        )
        candidate = Mesh(vertices.astype(np.float64), faces.astype(np.int64))
        if not is_watertight(candidate):
            continue
        scene = o3d.t.geometry.RaycastingScene(nthreads=1)
        scene.add_triangles(o3d.core.Tensor(vertices.astype(np.float32)), o3d.core.Tensor(faces.astype(np.uint32)))
        distance = scene.compute_distance(o3d.core.Tensor(probe), nthreads=1).numpy()
        reached = float(np.quantile(distance, 0.99))
        if reached <= error:
            return candidate, reached
    return mesh, 0.0
