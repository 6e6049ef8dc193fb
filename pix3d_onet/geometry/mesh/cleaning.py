"""What a mesh must be before anything is computed from it, and its place in the normalised frame."""

from __future__ import annotations

import numpy as np

from pix3d_onet.errors import RejectError
from pix3d_onet.types import Bool, Mesh, Normalisation

MAX_FACES = 20_000_000
"""More faces than any model of the field has; guards memory against a lying header."""
MAX_ABS_COORDINATE = 1e150
"""Beyond it squares overflow float64; such files are damaged."""
MIN_RELATIVE_EXTENT = 1e-12
"""A model whose longest side is a smaller share of its distance from the origin has lost its shape to rounding."""


def clean(mesh: Mesh) -> Mesh:
    """Drop faces with bad indices, NaN or infinite corners or equal corners; then vertices that none uses.

    Raises RejectError (stage ``mesh``): ``empty-mesh`` when no face is left, ``bad-extent`` when the box is a point
    or too large or too small for its coordinates to mean anything.
    """
    vertices, faces = mesh.vertices, mesh.faces
    if len(faces) > MAX_FACES:
        raise RejectError("mesh-too-large", f"{len(faces)} faces, at most {MAX_FACES} are read", "mesh")
    faces = faces[((faces >= 0) & (faces < len(vertices))).all(axis=1)]
    with np.errstate(invalid="ignore"):
        good: Bool = np.all(np.abs(vertices) < MAX_ABS_COORDINATE, axis=1)
    if len(faces):
        faces = faces[good[faces].all(axis=1)]
    a, b, c = faces[:, 0], faces[:, 1], faces[:, 2]
    faces = faces[(a != b) & (b != c) & (c != a)]
    if len(faces) == 0:
        raise RejectError("empty-mesh", "no usable face", "mesh")
    used = np.zeros(len(vertices), dtype=bool)
    used[faces] = True
    if not used.all():
        faces = (np.cumsum(used) - 1)[faces]
        vertices = vertices[used]
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    extent = float((high - low).max())
    reach = float(np.abs(np.stack([low, high])).max())
    if extent <= MIN_RELATIVE_EXTENT * reach or extent < 1.0 / MAX_ABS_COORDINATE:
        raise RejectError("bad-extent", f"the model's longest side is {extent:g} at {reach:g} from the origin", "mesh")
    return Mesh(vertices, faces)


def box_normalisation(mesh: Mesh) -> Normalisation:
    """The normalisation that centres the mesh's bounding box at the origin and makes its longest side 1."""
    low, high = mesh.bounds
    return Normalisation((low + high) / 2, float((high - low).max()))


def transformed(mesh: Mesh, normalisation: Normalisation) -> Mesh:
    """The mesh in the normalised frame."""
    return Mesh(normalisation.apply(mesh.vertices), mesh.faces)


def merge_vertices(mesh: Mesh) -> Mesh:
    """The same triangles with exactly equal vertices made one; faces that collapse are dropped."""
    vertices, index = np.unique(mesh.vertices, axis=0, return_inverse=True)
    faces = index.reshape(-1)[mesh.faces]
    a, b, c = faces[:, 0], faces[:, 1], faces[:, 2]
    return Mesh(vertices, faces[(a != b) & (b != c) & (c != a)])
