"""An independent check of labels: solid angles instead of ray crossings, by libigl instead of our own code.

Fast winding numbers (Barill et al., SIGGRAPH 2018): the sum over all faces of the solid angle seen from the point,
divided by 4π; distant faces are grouped. The error is below 0.01. It shares neither method nor code with ``winding``.
"""

from __future__ import annotations

import numpy as np

from pix3d_onet.geometry.mesh.raycast import RayScene
from pix3d_onet.types import Bool, Float32, Float64, Mesh


def solid_angle_winding(mesh: Mesh, points: Float32 | Float64) -> Float64:
    """(N,) approximate winding number of ``mesh`` around each of (N, 3) points; not near an integer if it is open.

    Mesh and points should be of about unit size near the origin. ImportError if libigl is not installed.
    """
    import igl

    if len(mesh.faces) == 0 or len(points) == 0:
        return np.zeros(len(points))
    faces = np.ascontiguousarray(mesh.faces, dtype=np.int64)
    queries = np.ascontiguousarray(points, dtype=np.float64)
    return np.asarray(igl.fast_winding_number(np.ascontiguousarray(mesh.vertices), faces, queries), dtype=np.float64)


def disagreements(mesh: Mesh, points: Float32 | Float64, labels: Bool, slack: float) -> tuple[int, int]:
    """Number of the (N,) ``labels`` that differ from the inside test by solid angles: at points farther than ``slack``
    from the surface, and nearer ones."""
    differ = np.flatnonzero(surrounded(mesh, points) != labels)
    excused = int((RayScene(mesh).distance(points[differ]) <= slack).sum()) if len(differ) else 0
    return len(differ) - excused, excused


def surrounded(mesh: Mesh, points: Float32 | Float64) -> Bool:
    """(N,) bool: whether each of (N, 3) points is inside ``mesh`` (closed, either winding), by solid angles."""
    inside: Bool = np.abs(solid_angle_winding(mesh, points)) > 0.5
    return inside
