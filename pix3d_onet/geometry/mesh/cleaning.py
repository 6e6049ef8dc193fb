"""Remove unusable faces and vertices from a mesh, and normalise it."""

from __future__ import annotations

import numpy as np

from pix3d_onet.errors import RejectError
from pix3d_onet.geometry.mesh.formats.soup import MAX_FACES
from pix3d_onet.types import Bool, Float64, Int64, Mesh, Normalisation

MAX_ABS_COORDINATE = 1e150
"""Squares of larger coordinates overflow float64; such files are damaged."""
MIN_RELATIVE_EXTENT = 1e-12
"""Smallest longest side relative to the largest coordinate; below it, rounding has destroyed the shape."""


def clean(mesh: Mesh) -> Mesh:
    """Drop faces with bad indices, non-finite coordinates or equal corners; then unused vertices.

    Raises RejectError (stage ``mesh``): ``empty-mesh`` if no face is left, ``bad-extent`` if the bounding box is a
    point, or too small for the precision of its coordinates.
    """
    return clean_counted(mesh)[0]


def clean_counted(mesh: Mesh) -> tuple[Mesh, dict[str, int]]:
    """:func:`clean`, and the number of dropped faces by reason: ``bad-index``, ``not-finite``, ``degenerate``."""
    vertices, faces = mesh.vertices, mesh.faces
    if len(faces) > MAX_FACES:
        raise RejectError("mesh-too-large", f"{len(faces)} faces, at most {MAX_FACES} are read", "mesh")
    counts = [len(faces)]
    faces = faces[((faces >= 0) & (faces < len(vertices))).all(axis=1)]
    counts.append(len(faces))
    with np.errstate(invalid="ignore"):
        good: Bool = np.all(np.abs(vertices) < MAX_ABS_COORDINATE, axis=1)
    if len(faces):
        faces = faces[good[faces].all(axis=1)]
    counts.append(len(faces))
    faces = faces[distinct_corners(faces)]
    counts.append(len(faces))
    dropped = dict(zip(("bad-index", "not-finite", "degenerate"), (-np.diff(counts)).tolist(), strict=True))
    if len(faces) == 0:
        raise RejectError("empty-mesh", _why_empty(dropped), "mesh")
    vertices, faces = without_unused(vertices, faces)
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    extent = float((high - low).max())
    reach = float(np.abs(np.stack([low, high])).max())
    if extent <= MIN_RELATIVE_EXTENT * reach or extent < 1.0 / MAX_ABS_COORDINATE:
        raise RejectError("bad-extent", f"the model's longest side is {extent:g} at {reach:g} from the origin", "mesh")
    return Mesh(vertices, faces), dropped


def _why_empty(dropped: dict[str, int]) -> str:
    if not any(dropped.values()):
        return "no faces"
    meanings = {
        "bad-index": "have an index without a vertex",
        "not-finite": "have a coordinate that is not finite",
        "degenerate": "have two equal corners",
    }
    return "of its faces " + ", ".join(f"{n} {meanings[k]}" for k, n in dropped.items() if n)


def distinct_corners(faces: Int64) -> Bool:
    """(F,) bool: whether the three corners of each of (F, 3) faces are different vertices."""
    a, b, c = faces[:, 0], faces[:, 1], faces[:, 2]
    return np.asarray((a != b) & (b != c) & (c != a))


def without_unused(vertices: Float64, faces: Int64) -> tuple[Float64, Int64]:
    """Vertices (V, 3) and faces (F, 3) without the vertices that no face uses; the order is kept."""
    used = np.zeros(len(vertices), dtype=bool)
    used[faces] = True
    if used.all():
        return vertices, faces
    return vertices[used], (np.cumsum(used) - 1)[faces]


def box_normalisation(mesh: Mesh) -> Normalisation:
    """The normalisation that centres the bounding box at the origin and scales its longest side to 1."""
    low, high = mesh.bounds
    return Normalisation((low + high) / 2, float((high - low).max()))


def transformed(mesh: Mesh, normalisation: Normalisation) -> Mesh:
    """The mesh in the normalised frame."""
    return Mesh(normalisation.apply(mesh.vertices), mesh.faces)


def merge_vertices(mesh: Mesh) -> Mesh:
    """Merge exactly equal vertices; faces that become degenerate are dropped."""
    vertices, index = np.unique(mesh.vertices, axis=0, return_inverse=True)
    faces = index.reshape(-1)[mesh.faces]
    return Mesh(vertices, faces[distinct_corners(faces)])
