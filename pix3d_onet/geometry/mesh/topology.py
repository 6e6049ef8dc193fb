"""Edges, components, areas and volume of a mesh."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from pix3d_onet.geometry.mesh.kernels.topology import (
    areas,
    component_measures,
    count_edges,
    face_components,
    signed_volume,
)
from pix3d_onet.types import Float64, Mesh


def edge_counts(mesh: Mesh) -> Mapping[str, int]:
    """Number of undirected edges by their number of faces, and of winding clashes.

    Keys: ``boundary`` (one face), ``regular`` (two), ``nonmanifold`` (more), ``clashes`` (directed edges that several
    faces use). A mesh is closed and consistently wound if and only if only ``regular`` is not zero.
    """
    counts = count_edges(mesh.faces, len(mesh.vertices))
    return dict(zip(("boundary", "regular", "nonmanifold", "clashes"), map(int, counts), strict=False))


def unbalanced_edges(mesh: Mesh) -> int:
    """Number of edges whose two directions are used unequally often.

    If it is 0, the winding number is an integer everywhere off the surface, so the mesh bounds solids.
    """
    return int(count_edges(mesh.faces, len(mesh.vertices))[4])


def is_watertight(mesh: Mesh) -> bool:
    """Whether every edge is used by exactly two faces, once in each direction."""
    return bounds_solid(edge_counts(mesh))


def bounds_solid(counts: Mapping[str, int]) -> bool:
    """Whether these ``edge_counts`` belong to a closed, consistently wound mesh with at least one face."""
    return counts["regular"] > 0 and counts["boundary"] == counts["nonmanifold"] == counts["clashes"] == 0


def volume(mesh: Mesh) -> float:
    """Signed volume by the divergence theorem; positive if faces are counter-clockwise seen from outside."""
    if len(mesh.faces) == 0:
        return 0.0
    return float(signed_volume(mesh.vertices, mesh.faces, mesh.vertices.mean(axis=0)))


def face_areas(mesh: Mesh) -> Float64:
    """(F,) float64 area of each face, in squared units of the mesh."""
    found: Float64 = areas(mesh.vertices, mesh.faces)
    return found


def measures_of_parts(mesh: Mesh, labels: NDArray[np.int32], count: int) -> tuple[Float64, Float64]:
    """(count,) area and (count,) signed volume of each part; ``labels`` (F,) in 0 … count - 1: the part of each
    face."""
    areas_of, volumes = component_measures(mesh.vertices, mesh.faces, labels, count, mesh.vertices.mean(axis=0))
    return areas_of, volumes


def component_labels(mesh: Mesh) -> tuple[int, NDArray[np.int32]]:
    """Number of connected components (faces that share vertices), and (F,) int32 component of each face."""
    count, labels = face_components(mesh.faces, len(mesh.vertices))
    return int(count), labels
