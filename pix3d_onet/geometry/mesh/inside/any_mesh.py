"""Inside test for a mesh of any quality, such as another method's: closed or open, in any frame and scale."""

from __future__ import annotations

from collections.abc import Callable

from pix3d_onet.geometry.mesh.cleaning import box_normalisation, merge_vertices, transformed
from pix3d_onet.geometry.mesh.inside.solid_angles import surrounded
from pix3d_onet.geometry.mesh.inside.winding import contains
from pix3d_onet.geometry.mesh.topology import unbalanced_edges
from pix3d_onet.types import Bool, Float32, Float64, Mesh


def inside_any_mesh(mesh: Mesh) -> tuple[Callable[[Float32 | Float64], Bool], bool]:
    """The inside test of ``mesh``, (N, 3) points → (N,) bool, and whether the mesh bounds solids.

    Equal vertices are merged first, since .stl and .glb files repeat them. If the mesh then bounds solids, the winding
    number is exact. Otherwise a point is inside if the solid angles of the faces add up to more than half a sphere,
    that is if the generalised winding number exceeds 0.5 (Jacobson et al., SIGGRAPH 2013). Either orientation is
    accepted. Sheets, and faces that are there once for each side, enclose nothing.
    """
    box = box_normalisation(mesh)
    unit = merge_vertices(transformed(mesh, box))
    closed = unbalanced_edges(unit) == 0
    test = contains if closed else surrounded
    return lambda points: test(unit, box.apply(points)), closed
