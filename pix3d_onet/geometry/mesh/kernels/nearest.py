"""Distances of many points to a mesh: a tree of boxes with eight children per node, and eight triangles per leaf.

Eight boxes or triangles are tested at once by vector instructions, in float32. The compiler makes these only for loops
whose length it does not know, so the length is that of an array given by the caller.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

WIDTH = 8
"""Children per node, and triangles per leaf: float32 numbers in a vector register."""
DEPTH = 22
"""Most levels of a tree: 8²² triangles."""
FAR = np.float32(1e9)
"""Corner of a child that does not exist."""
ZERO, ONE = np.float32(0), np.float32(1)
CURVE_BITS = 10
"""Bits per axis of a position along the curve: 1024³ cells."""


@njit(cache=True, nogil=True, error_model="numpy")
def hilbert_positions(cells: Any) -> Any:
    """(N,) uint32 positions of (N, 3) uint16 lattice cells along a Hilbert curve (Skilling, AIP Conf. Proc. 707, 2004).

    Cells one after the other are neighbours, which they are not along a Z-order curve: boxes of eight are smaller and
    a search starts nearer, which saves a third of the time of :func:`nearest_distances`.
    """
    positions = np.empty(len(cells), dtype=np.uint32)
    axes = np.empty(3, dtype=np.int64)
    for i in range(len(cells)):
        for k in range(3):
            axes[k] = cells[i, k] >> (16 - CURVE_BITS)
        half = 1 << (CURVE_BITS - 1)
        while half > 1:  # undo the turns of ever smaller cubes
            for k in range(3):
                if axes[k] & half:
                    axes[0] ^= half - 1
                else:
                    swapped = (axes[0] ^ axes[k]) & (half - 1)
                    axes[0] ^= swapped
                    axes[k] ^= swapped
            half >>= 1
        axes[1] ^= axes[0]
        axes[2] ^= axes[1]
        flips, half = 0, 1 << (CURVE_BITS - 1)
        while half > 1:
            flips ^= half - 1 if axes[2] & half else 0
            half >>= 1
        position = 0
        for bit in range(CURVE_BITS - 1, -1, -1):
            for k in range(3):
                position = position << 1 | ((axes[k] ^ flips) >> bit & 1)
        positions[i] = position
    return positions


@njit(cache=True, nogil=True, error_model="numpy")
def wide_tree(vertices: Any, faces: Any) -> Any:
    """Leaves (L, 9, 8), nodes (M, 6, 8) and first children (M,) for :func:`nearest_distances`; the last node is the
    root.

    ``vertices`` (V, 3) float32; ``faces`` (F, 3), F above 0, neighbours in sequence: leaf i has the i-th eight of them
    (the last one repeats its last triangle), as first corner and the two edges from it. A node has the lowest and
    highest corners of its children: node c, c+1, … or, if c is negative, leaf -c-1, -c, …
    """
    count = (len(faces) + WIDTH - 1) // WIDTH
    leaves = np.empty((count, 9, WIDTH), dtype=np.float32)
    low, high = np.full((count, 3), FAR), np.full((count, 3), -FAR)
    for leaf in range(count):
        for k in range(WIDTH):
            a, b, c = faces[min(leaf * WIDTH + k, len(faces) - 1)]
            for axis in range(3):
                first, second, third = vertices[a, axis], vertices[b, axis], vertices[c, axis]
                leaves[leaf, axis, k] = first
                leaves[leaf, 3 + axis, k] = second - first
                leaves[leaf, 6 + axis, k] = third - first
                low[leaf, axis] = min(low[leaf, axis], first, second, third)
                high[leaf, axis] = max(high[leaf, axis], first, second, third)
    total, level = 0, count
    while total == 0 or level > 1:
        level = (level + WIDTH - 1) // WIDTH
        total += level
    nodes, children = np.full((total, 6, WIDTH), FAR), np.empty(total, dtype=np.int64)
    node, below = 0, -1
    while node < total:
        wide = (count + WIDTH - 1) // WIDTH
        upper_low, upper_high = np.full((wide, 3), FAR), np.full((wide, 3), -FAR)
        for i in range(count):
            parent, k = i // WIDTH, i % WIDTH
            for axis in range(3):
                nodes[node + parent, axis, k], nodes[node + parent, 3 + axis, k] = low[i, axis], high[i, axis]
                upper_low[parent, axis] = min(upper_low[parent, axis], low[i, axis])
                upper_high[parent, axis] = max(upper_high[parent, axis], high[i, axis])
        for i in range(wide):
            children[node + i] = -1 - i * WIDTH if below < 0 else below + i * WIDTH
        below, node, count, low, high = node, node + wide, wide, upper_low, upper_high
    return leaves, nodes, children


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _to_boxes(boxes: Any, x: float, y: float, z: float, squared: Any) -> None:
    """Squared distances of a point to eight boxes (6, 8)."""
    for k in range(len(squared)):
        dx = max(boxes[0, k] - x, x - boxes[3, k], ZERO)
        dy = max(boxes[1, k] - y, y - boxes[4, k], ZERO)
        dz = max(boxes[2, k] - z, z - boxes[5, k], ZERO)
        squared[k] = dx * dx + dy * dy + dz * dz


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _to_triangles(leaf: Any, x: float, y: float, z: float, squared: Any) -> None:
    """Squared distances of a point to eight triangles (9, 8): the least of those to three edges and, where the
    projection is inside, to the plane. Each is that to a point of the triangle, so slivers cost little accuracy."""
    for k in range(len(squared)):
        px, py, pz = x - leaf[0, k], y - leaf[1, k], z - leaf[2, k]
        ux, uy, uz, vx, vy, vz = leaf[3, k], leaf[4, k], leaf[5, k], leaf[6, k], leaf[7, k], leaf[8, k]
        uu, uv, vv = ux * ux + uy * uy + uz * uz, ux * vx + uy * vy + uz * vz, vx * vx + vy * vy + vz * vz
        pu, pv = px * ux + py * uy + pz * uz, px * vx + py * vy + pz * vz
        t = min(max(pu / (uu if uu > ZERO else ONE), ZERO), ONE)
        ex, ey, ez = px - t * ux, py - t * uy, pz - t * uz
        least = ex * ex + ey * ey + ez * ez
        t = min(max(pv / (vv if vv > ZERO else ONE), ZERO), ONE)
        ex, ey, ez = px - t * vx, py - t * vy, pz - t * vz
        least = min(least, ex * ex + ey * ey + ez * ez)
        wx, wy, wz, qx, qy, qz = vx - ux, vy - uy, vz - uz, px - ux, py - uy, pz - uz
        ww = wx * wx + wy * wy + wz * wz
        t = min(max((qx * wx + qy * wy + qz * wz) / (ww if ww > ZERO else ONE), ZERO), ONE)
        ex, ey, ez = qx - t * wx, qy - t * wy, qz - t * wz
        least = min(least, ex * ex + ey * ey + ez * ez)
        area, s, t = uu * vv - uv * uv, vv * pu - uv * pv, uu * pv - uv * pu
        within = (s >= ZERO) & (t >= ZERO) & (s + t <= area) & (area > ZERO)
        area = area if area > ZERO else ONE
        s, t = s / area, t / area
        ex, ey, ez = px - s * ux - t * vx, py - s * uy - t * vy, pz - s * uz - t * vz
        squared[k] = min(least, ex * ex + ey * ey + ez * ez) if within else least


@njit(cache=True, nogil=True, error_model="numpy")
def nearest_distances(leaves: Any, nodes: Any, children: Any, points: Any, squared: Any) -> Any:
    """(N,) float32 distances of ``points`` (N, 3) float32 to the nearest triangle; the tree is by :func:`wide_tree`.

    Faster if neighbours are in sequence: a search starts from the leaf that was nearest to the point before.
    ``squared`` (8,) float32: work space.
    """
    found = np.empty(len(points), dtype=np.float32)
    stack, bounds = np.empty(DEPTH * WIDTH, dtype=np.int64), np.empty(DEPTH * WIDTH, dtype=np.float32)
    nearest = 0
    for i in range(len(points)):
        x, y, z = points[i, 0], points[i, 1], points[i, 2]
        _to_triangles(leaves[nearest], x, y, z, squared)
        best = squared.min()
        stack[0], bounds[0], top = len(nodes) - 1, ZERO, 1
        while top:
            top -= 1
            node = stack[top]
            if bounds[top] >= best:
                continue
            if node < 0:
                _to_triangles(leaves[-1 - node], x, y, z, squared)
                least = squared.min()
                if least < best:
                    best, nearest = least, -1 - node
                continue
            _to_boxes(nodes[node], x, y, z, squared)
            child = children[node]
            for k in range(len(squared)):  # unsorted, without a branch: the first bound is nearly always tight
                stack[top], bounds[top] = (child + k if child >= 0 else child - k), squared[k]
                top += squared[k] < best
        found[i] = np.sqrt(best)
    return found
