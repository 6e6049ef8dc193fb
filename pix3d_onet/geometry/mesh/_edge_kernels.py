"""Compiled count of a mesh's edges by the faces that use them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def _edges_of_vertices(faces: Any, vertices: int) -> Any:
    """Every use of an edge at its lower vertex: CSR offsets (V+1,) and items 2·higher + (1 where used downwards)."""
    offsets = np.zeros(vertices + 1, dtype=np.int64)
    for f in range(len(faces)):
        for c in range(3):
            offsets[min(faces[f, c], faces[f, (c + 1) % 3]) + 1] += 1
    offsets = np.cumsum(offsets)
    items = np.empty(offsets[vertices], dtype=np.int64)
    cursor = offsets[:-1].copy()
    for f in range(len(faces)):
        for c in range(3):
            a, b = faces[f, c], faces[f, (c + 1) % 3]
            low = min(a, b)
            items[cursor[low]] = 2 * max(a, b) + (1 if a > b else 0)
            cursor[low] += 1
    return offsets, items


@njit(cache=True, nogil=True)
def _sort(items: Any, start: int, end: int) -> None:
    """Sort a slice in place: by insertion where it is short, as at nearly all vertices."""
    if end - start > 48:
        items[start:end] = np.sort(items[start:end])
        return
    for at in range(start + 1, end):
        item = items[at]
        to = at
        while to > start and items[to - 1] > item:
            items[to] = items[to - 1]
            to -= 1
        items[to] = item


@njit(cache=True, nogil=True)
def count_edges(faces: Any, vertices: int) -> Any:
    """(5,) int64: undirected edges of one face, of two, of more; directed edges of more than one face; undirected edges
    that not as many faces use one way round as the other."""
    offsets, items = _edges_of_vertices(faces, vertices)
    counts = np.zeros(5, dtype=np.int64)
    for v in range(vertices):
        at, end = offsets[v], offsets[v + 1]
        _sort(items, at, end)
        while at < end:
            edge, up, down = items[at] >> 1, 0, 0
            while at < end and items[at] >> 1 == edge:
                down += items[at] & 1
                up += 1 - (items[at] & 1)
                at += 1
            counts[min(up + down, 3) - 1] += 1
            counts[3] += (up > 1) + (down > 1)
            counts[4] += up != down
    return counts
