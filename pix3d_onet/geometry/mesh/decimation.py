"""Decimate a closed mesh within a given error; it stays closed."""

from __future__ import annotations

import numpy as np

from pix3d_onet.geometry.mesh.kernels import collapse
from pix3d_onet.geometry.mesh.raycast import RayScene
from pix3d_onet.geometry.mesh.topology import is_watertight
from pix3d_onet.types import Mesh

CHECKED = 3000
"""Number of vertices of the full mesh whose distance to the decimated one is measured."""
QUANTILE = 0.99
"""Fraction of them that must be within the error."""
ROUNDS = 40
"""Most sweeps."""
FULL_LIMIT_AT = 4
"""Sweep from which collapses up to the full error are allowed."""
FEWEST = 0.01
"""A sweep that removes a smaller fraction of the faces is the last one."""


def decimate(mesh: Mesh, error: float) -> tuple[Mesh, float]:
    """A closed mesh with fewer faces whose error is at most ``error``; also returns the measured error.

    The error, in the mesh's units, is the 99th percentile of the distances from evenly picked vertices of ``mesh`` to
    the result. With 0 the mesh is unchanged. Edges are collapsed in sweeps (quadric error, Garland & Heckbert 1997;
    link condition, Dey et al. 1999). If the measured error is too large, the limit is halved and decimation repeated.
    """
    if error <= 0 or len(mesh.faces) < 8:
        return mesh, 0.0
    for attempt in range(4):
        candidate = _collapsed(mesh, error / 2 ** (attempt + 1))
        if not is_watertight(candidate):
            return mesh, 0.0
        reached = _distance(mesh, candidate)
        if reached <= error:
            return candidate, reached
    return mesh, 0.0


def _collapsed(mesh: Mesh, root_mean_square: float) -> Mesh:
    """Collapse edges while the root mean square distance to the merged planes stays within ``root_mean_square``."""
    vertices, faces = mesh.vertices.copy(), mesh.faces.copy()
    centre = vertices.mean(axis=0)
    vertices -= centre  # quadrics lose digits far from the origin
    quadrics = collapse.quadrics(vertices, faces)
    for turn in range(ROUNDS):
        # the limit grows over the first sweeps, so that collapses of low cost come first
        limit = (root_mean_square * min(1.0, (turn + 1) / FULL_LIMIT_AT)) ** 2
        before = len(faces)
        collapse.collapse_pass(vertices, faces, quadrics, limit)
        used, kept = collapse.compact(vertices, faces, quadrics)
        vertices, faces, quadrics = vertices[:used], faces[:kept], quadrics[:used]
        if turn >= FULL_LIMIT_AT and before - len(faces) < FEWEST * before:
            break
    return Mesh(vertices + centre, faces.copy())


def _distance(full: Mesh, small: Mesh) -> float:
    probe = full.vertices[:: max(1, len(full.vertices) // CHECKED)]
    return float(np.quantile(RayScene(small).distance(probe), QUANTILE))
