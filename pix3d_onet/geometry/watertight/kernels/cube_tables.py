"""The 256 cases of marching cubes, computed from one rule.

If the inside corners of a cube face are diagonal, they are connected. Neighbouring cubes apply the same rule to their
shared face, so the surface is closed (the tables of Lorensen & Cline 1987 are ambiguous there, see Nielson & Hamann
1991). Loops are triangulated with no diagonal in a cube face, so no edge has more than two triangles.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

CORNERS = tuple((c & 1, c >> 1 & 1, c >> 2 & 1) for c in range(8))
EDGES = tuple((a, b) for a in range(8) for b in range(a + 1, 8) if bin(a ^ b).count("1") == 1)
"""The 12 edges as pairs of corners, lower corner first; the axis is the bit that differs."""
EDGE_AXIS: NDArray[np.int64] = np.array([(a ^ b).bit_length() - 1 for a, b in EDGES], dtype=np.int64)
EDGE_LOWER: NDArray[np.int64] = np.array([CORNERS[a] for a, _ in EDGES], dtype=np.int64)

Segment = tuple[int, int]


def _sides() -> NDArray[np.int8]:
    sides = np.full((12, 3), -1, dtype=np.int8)
    for edge in range(12):
        axis = int(EDGE_AXIS[edge])
        for normal in ((axis + 1) % 3, (axis + 2) % 3):
            across = 3 - axis - normal
            sides[edge, normal] = 2 * (across == (axis + 2) % 3) + EDGE_LOWER[edge, across]
    return sides


EDGE_SIDES = _sides()
"""(12, 3) int8: which of the four grid faces around an edge lies in the cube's face across axis x, y or z.

0 to 3: towards +b, -b, +c, -c, where b and c are the two axes after that of the edge; -1 across its own axis.
"""


class CubeTables(NamedTuple):
    """The surface in a cell for each of the 256 cases; edges are numbered as in ``EDGES``, unused entries are -1.

    ``counts`` (256,) int8: number of triangles. ``lengths`` (256, L) int8: number of corners of each loop. ``loops``
    (256, L, M) int8: edges of each loop, counter-clockwise seen from outside the solid. ``sides`` (256, L, M) int8: the
    cube face in which the loop continues from that edge, numbered as in ``EDGE_SIDES``. ``pieces`` (256, L, M - 2, 3)
    int8: triangles of each loop. ``segments`` (256, 3, 2, 2) int8: steps of loops in the cube's lower x, y and z faces.
    """

    counts: NDArray[np.int8]
    lengths: NDArray[np.int8]
    loops: NDArray[np.int8]
    sides: NDArray[np.int8]
    pieces: NDArray[np.int8]
    segments: NDArray[np.int8]


def _faces_of(edge: int) -> set[tuple[int, int]]:
    a, b = (CORNERS[c] for c in EDGES[edge])
    return {(axis, a[axis]) for axis in range(3) if a[axis] == b[axis]}


def _face_segments(case: int) -> list[tuple[int, int, Segment]]:
    """Axis and side of a face, and a directed segment between edges on it, with the inside on a fixed side."""
    segments = []
    index = {edge: i for i, edge in enumerate(EDGES)}
    for axis in range(3):
        for side in range(2):
            u, v = 1 << (axis + 1) % 3, 1 << (axis + 2) % 3
            base = side << axis
            ring = [base, base | u, base | u | v, base | v]  # counter-clockwise seen from +axis
            if side == 0:
                ring.reverse()  # counter-clockwise seen from outside the cube
            inside = [case >> c & 1 for c in ring]
            # along the ring, a segment goes from the edge where the inside begins to the edge where it ends; to
            # connect diagonal inside corners, to the previous edge where it ends
            crossings = [n for n in range(4) if inside[n] != inside[(n + 1) % 4]]
            edges = [index[tuple(sorted((ring[n], ring[(n + 1) % 4])))] for n in range(4)]  # type: ignore[index]
            if len(crossings) == 2:
                enter, leave = crossings if not inside[crossings[0]] else crossings[::-1]
                segments.append((axis, side, (edges[enter], edges[leave])))
            elif len(crossings) == 4:
                for n in range(4):
                    if not inside[n]:  # the inside begins on edge n and ended before on edge n-1
                        segments.append((axis, side, (edges[n], edges[(n - 1) % 4])))
    return segments


def _loops(case: int) -> list[list[int]]:
    following = dict(segment for _, _, segment in _face_segments(case))
    loops = []
    while following:
        start = min(following)
        loop = [start]
        step = following.pop(start)
        while step != start:
            loop.append(step)
            step = following.pop(step)
        loops.append(loop)
    return loops


def _triangulate(loop: list[int]) -> list[tuple[int, int, int]] | None:
    """Triangles of a loop without a diagonal in a cube face; None if there are none."""
    if len(loop) == 3:
        return [(loop[0], loop[1], loop[2])]
    first, last = loop[0], loop[-1]
    for middle in range(1, len(loop) - 1):
        pieces: list[tuple[int, int, int]] = [(first, loop[middle], last)]
        good = True
        for part in (loop[: middle + 1], loop[middle:]):
            if len(part) < 3:
                continue
            if _faces_of(part[0]) & _faces_of(part[-1]):
                good = False
                break
            rest = _triangulate(part)
            if rest is None:
                good = False
                break
            pieces += rest
        if good:
            return pieces
    return None


@cache
def tables() -> CubeTables:
    """The tables, computed at the first call (a few milliseconds)."""
    every = [_loops(case) for case in range(256)]
    most = max(map(len, every))
    longest = max(len(loop) for loops in every for loop in loops)
    lengths = np.zeros((256, most), dtype=np.int8)
    loops = np.full((256, most, longest), -1, dtype=np.int8)
    sides = np.full((256, most, longest), -1, dtype=np.int8)
    pieces = np.full((256, most, longest - 2, 3), -1, dtype=np.int8)
    segments = np.full((256, 3, 2, 2), -1, dtype=np.int8)
    for case in range(256):
        steps = _face_segments(case)
        normal_of = {segment[0]: axis for axis, _, segment in steps}
        for axis in range(3):
            for n, segment in enumerate(s for a, side, s in steps if (a, side) == (axis, 0)):
                segments[case, axis, n] = segment
        for n, loop in enumerate(every[case]):
            triangles = _triangulate(loop)
            if triangles is None:
                raise AssertionError(f"case {case} has no triangulation")
            lengths[case, n] = len(loop)
            loops[case, n, : len(loop)] = loop
            sides[case, n, : len(loop)] = [EDGE_SIDES[edge, normal_of[edge]] for edge in loop]
            pieces[case, n, : len(triangles)] = triangles
    counts = np.maximum(lengths - 2, 0).sum(axis=1).astype(np.int8)
    return CubeTables(counts, lengths, loops, sides, pieces, segments)
