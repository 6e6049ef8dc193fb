"""Triangulate polygons with any number of corners, also concave and keyholed ones.

A fan is right only for convex polygons. Other polygons are triangulated in their own plane by Manifold (Apache-2.0),
which keeps every corner: the n - 2 triangles have the polygon's outline, so neighbouring faces still share whole edges.
Ear clippers that drop collinear corners (earcut) would open seams there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pix3d_onet.geometry.mesh.formats.kernels.polygons import CONCAVE, CROSSED, fans, last_verdict
from pix3d_onet.geometry.mesh.formats.soup import MAX_FACES, too_large
from pix3d_onet.types import Float64, Int64

MAX_CONCAVE_CORNERS = 20_000
"""Most corners of a concave polygon; Manifold's time grows with their square (0.1 s for half as many)."""


@dataclass(frozen=True, slots=True, eq=False)
class Triangles:
    """``faces`` (F, 3) int64 in the polygons' order. ``few_corners``: number of polygons with fewer than three corners,
    which are dropped. ``crossed``: number of polygons that cross themselves or are folded, so that no triangulation is
    right; slivers of negligible area are not counted."""

    faces: Int64
    few_corners: int
    crossed: int

    @property
    def lost(self) -> dict[str, int]:
        """The counts by reason, as in ``Soup.lost``."""
        return {"few-corners": self.few_corners, "crossed": self.crossed}


def triangulate(vertices: Float64, corners: Int64, sizes: Int64) -> Triangles:
    """Triangulate polygons: ``sizes`` (P,): number of corners of each; ``corners`` (Σsizes,): vertex indices.

    Triangles are kept, convex polygons become fans around their first corner, others are triangulated in the plane of
    their vector area (Newell). A polygon with an index out of range, or a vertex that is not finite, becomes triangles
    that repeat this corner; cleaning drops and counts them.
    """
    keep = sizes >= 3
    few = len(keep) - int(keep.sum())
    if few:
        corners, sizes = corners[np.repeat(keep, sizes)], sizes[keep]
    if len(corners) == 3 * len(sizes):
        return Triangles(corners.reshape(-1, 3), few, 0)
    if (total := int(sizes.sum()) - 2 * len(sizes)) > MAX_FACES:
        raise too_large(f"{total} triangles, at most {MAX_FACES} are read")
    faces = np.empty((total, 3), dtype=np.int64)
    verdicts = np.empty(len(sizes), dtype=np.int8)
    fans(vertices, corners, sizes, faces, verdicts)
    concave = np.flatnonzero(verdicts == CONCAVE)
    if len(concave):
        starts, rows = np.cumsum(sizes) - sizes, np.cumsum(sizes - 2) - (sizes - 2)
        for p in concave:
            polygon = corners[starts[p] : starts[p] + sizes[p]]
            cut, verdicts[p] = _clipped(vertices, polygon)
            faces[rows[p] : rows[p] + len(cut)] = cut
    return Triangles(faces, few, int((verdicts == CROSSED).sum()))


def _clipped(vertices: Float64, polygon: Int64) -> tuple[Int64, int]:
    """Triangles (n - 2, 3) of a concave polygon (n,), and their quality: FINE or CROSSED."""
    import manifold3d

    if len(polygon) > MAX_CONCAVE_CORNERS:
        raise too_large(f"a concave polygon of {len(polygon)} corners, at most {MAX_CONCAVE_CORNERS} are read")
    local = vertices[polygon] - vertices[polygon[0]]
    local /= np.abs(local).max()
    normal = np.cross(local, np.roll(local, -1, axis=0)).sum(axis=0)
    normal /= np.linalg.norm(normal)
    across = np.cross(normal, np.eye(3)[np.abs(normal).argmin()])
    across /= np.linalg.norm(across)
    flat = local @ np.stack([across, np.cross(normal, across)], axis=1)
    found = np.asarray(manifold3d.triangulate([flat]), dtype=np.int64)
    return polygon[found], last_verdict(local, found, (normal[0], normal[1], normal[2]))
