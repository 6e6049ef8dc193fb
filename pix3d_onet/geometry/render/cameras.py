"""Cameras around a mesh: poses that look at it, intrinsics that fit it into the picture."""

from __future__ import annotations

import math

import numpy as np

from pix3d_onet.types import Float64

AZIMUTH = (-180.0, 180.0)
"""Degrees around the up axis, uniform; 0 = from the front (model -z)."""
ELEVATION = (-5.0, 50.0)
"""Degrees above the horizon, uniform."""
FIELD_OF_VIEW = (25.0, 65.0)
"""Degrees, uniform, before the picture is cropped to the object (the median in Pix3D is 50)."""
CLOSENESS = (1.05, 1.4)
"""Distance, uniform, as a multiple of the distance at which the bounding sphere fits the field of view."""
ROLL = (-3.0, 3.0)
"""Degrees around the optical axis, uniform."""
MARGIN = 0.1
"""White margin on each side of the object's box, as a fraction of its longest side; as for photos."""


def look_at_pose(azimuth: float, elevation: float, roll: float, distance: float, centre: Float64) -> Float64:
    """(4, 4) rigid pose of a camera ``distance`` away from ``centre`` that looks at it; angles in radians.

    Rows of the rotation are the camera's left, up and forward axes. Azimuth, elevation and roll 0 give the identity:
    from model -z along +z, like Pix3D's frontal view.
    """
    ca, sa, ce, se, cr, sr = (f(x) for x in (azimuth, elevation, roll) for f in (math.cos, math.sin))
    around = np.array([[ca, 0.0, -sa], [0.0, 1.0, 0.0], [sa, 0.0, ca]])
    above = np.array([[1.0, 0.0, 0.0], [0.0, ce, se], [0.0, -se, ce]])
    about = np.array([[cr, -sr, 0.0], [sr, cr, 0.0], [0.0, 0.0, 1.0]])
    pose = np.eye(4)
    pose[:3, :3] = about @ above @ around
    pose[:3, 3] = -pose[:3, :3] @ centre + (0.0, 0.0, distance)
    return pose


def random_pose(rng: np.random.Generator, bounds: Float64) -> Float64:
    """(4, 4) pose of a random camera around the box ``bounds`` (2, 3), with the ranges at the top of the module."""
    azimuth, elevation, roll, field = (math.radians(rng.uniform(*r)) for r in (AZIMUTH, ELEVATION, ROLL, FIELD_OF_VIEW))
    radius = float(np.linalg.norm(bounds[1] - bounds[0])) / 2
    distance = rng.uniform(*CLOSENESS) * radius / math.sin(field / 2)
    return look_at_pose(azimuth, elevation, roll, distance, bounds.mean(axis=0))


def frame(points: Float64, pose: Float64, size: int, margin: float) -> Float64:
    """(3, 3) intrinsics with which ``points`` (N, 3) are centred in a ``size``² picture and fill it up to ``margin``.

    All points must be in front of the camera.
    """
    camera = points @ pose[:3, :3].T + pose[:3, 3]
    flat = camera[:, :2] / camera[:, 2:]  # left/forward, up/forward
    low, high = flat.min(axis=0), flat.max(axis=0)
    focal = size / (float((high - low).max()) * (1 + 2 * margin))
    middle = (low + high) / 2
    return np.array(
        [
            [-focal, 0.0, size / 2 + focal * middle[0]],
            [0.0, -focal, size / 2 + focal * middle[1]],
            [0.0, 0.0, 1.0],
        ]
    )
