"""Simplify a mesh to a number of faces, for pictures and pages; ``decimation`` keeps a given error instead."""

from __future__ import annotations

import numpy as np

from pix3d_onet.errors import MissingDependencyError
from pix3d_onet.types import Int64, Mesh

AGGRESSION = (7.0, 3.0, 1.0)
"""Settings of fast-simplification (its default is 7), tried in this order until the result is closed."""


def simplify(mesh: Mesh, faces: int) -> Mesh:
    """Simplify to about ``faces`` faces by quadric errors (Garland & Heckbert 1997; library fast-simplification).

    A closed mesh stays closed: if the result is open, gentler settings are tried, and if all fail the mesh is returned
    unchanged.
    """
    if len(mesh.faces) <= faces:
        return mesh
    try:
        import fast_simplification
    except ImportError:
        raise MissingDependencyError(
            "simplification needs the library fast-simplification.", hint="pip install 'pix3d-onet[geometry]'"
        ) from None
    was_closed = is_closed(mesh.faces)
    points = mesh.vertices.astype(np.float32)
    for aggression in AGGRESSION:
        vertices, triangles = fast_simplification.simplify(
            points, mesh.faces.astype(np.int32), target_count=faces, agg=aggression
        )
        result = Mesh(vertices, triangles)
        if len(result.faces) and (not was_closed or is_closed(result.faces)):
            return result
    return mesh


def is_closed(faces: Int64) -> bool:
    """Whether (F, 3) ``faces`` are closed and oriented: each directed edge is as frequent as its opposite."""
    if not len(faces):
        return True
    a, b = faces.ravel(), faces[:, [1, 2, 0]].ravel()
    base = int(faces.max()) + 1
    forward, backward = np.sort(a * base + b), np.sort(b * base + a)
    return bool(np.array_equal(forward, backward))
