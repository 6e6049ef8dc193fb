"""The second judge of labels: solid angles instead of crossings, libigl instead of our own code.

Fast winding numbers (Barill et al., SIGGRAPH 2018): the solid angle of every face seen from the point over 4π, far
faces in groups. It errs by under 0.01, in float32, and shares neither principle nor a line with ``winding``.
"""

from __future__ import annotations

import numpy as np

from pix3d_onet.geometry.mesh.raycast import RayScene
from pix3d_onet.types import Bool, Float32, Float64, Mesh


def solid_angle_winding(mesh: Mesh, points: Float32 | Float64) -> Float64:
    """(N,) how often ``mesh`` goes around each of (N, 3) points; not an integer where it is open.

    Both should be of about unit size near the origin. Raises ImportError where libigl is not installed.
    """
    import igl

    if len(mesh.faces) == 0 or len(points) == 0:
        return np.zeros(len(points))
    faces = np.ascontiguousarray(mesh.faces, dtype=np.int64)
    queries = np.ascontiguousarray(points, dtype=np.float64)
    return np.asarray(igl.fast_winding_number(np.ascontiguousarray(mesh.vertices), faces, queries), dtype=np.float64)


def disagreements(mesh: Mesh, points: Float32 | Float64, labels: Bool, slack: float) -> tuple[int, int]:
    """How many of the (N,) labels solid angles contradict farther than ``slack`` from the surface, and within it."""
    differ = np.flatnonzero(surrounded(mesh, points) != labels)
    excused = int((RayScene(mesh).distance(points[differ]) <= slack).sum()) if len(differ) else 0
    return len(differ) - excused, excused


def surrounded(mesh: Mesh, points: Float32 | Float64) -> Bool:
    """(N,) bool: whether solid angles say that ``mesh`` (closed) goes around each of (N, 3) points, whichever way."""
    inside: Bool = np.abs(solid_angle_winding(mesh, points)) > 0.5
    return inside
