"""Compiled union-find over the vertices of a mesh."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def face_components(faces: Any, vertices: int) -> Any:
    """Number of connected components, and (F,) int32 component of every face, numbered by first appearance."""
    parent = np.arange(vertices)
    for f in range(len(faces)):
        a = faces[f, 0]
        while parent[a] != a:
            parent[a] = parent[parent[a]]
            a = parent[a]
        for corner in range(1, 3):
            b = faces[f, corner]
            while parent[b] != b:
                parent[b] = parent[parent[b]]
                b = parent[b]
            if a < b:
                parent[b] = a
            elif b < a:
                parent[a] = b
                a = b
    name = np.full(vertices, -1, dtype=np.int32)
    labels = np.empty(len(faces), dtype=np.int32)
    count = 0
    for f in range(len(faces)):
        a = faces[f, 0]
        while parent[a] != a:
            a = parent[a]
        if name[a] < 0:
            name[a] = count
            count += 1
        labels[f] = name[a]
    return count, labels
