"""Find edges and corners that marching cubes cuts off, and build a surface with them.

Like extended marching cubes (Kobbelt et al., SIGGRAPH 2001) and cubical marching squares (Ho et al., CGF 2005), it adds
vertices at intersections of the planes of a cell's crossings. A *step* goes from one vertex of a loop to the next, in
one cube face, and is shared by two cells. If the planes of its ends differ, the step is *bent* and gets a vertex; a
loop with a bent step becomes a fan around another vertex. The surface stays closed, because a step is split at the same
place in both of its cells.

Arrays are as in ``marching_cubes``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from pix3d_onet.geometry.watertight.kernels.bricks import NODES
from pix3d_onet.geometry.watertight.kernels.marching_cubes import vertex_on

FLAT = 0.025
"""Largest distance, voxels, of one end of a step from the plane of the other, for a step that is not bent; on circles
of radius above 12 voxels it is smaller."""
ON_PLANES = 0.1
"""Relative tolerance of the test whether the surface is as far from a step's middle as the planes of its ends, so that
these meet in an edge of the model."""
SLIGHT = 0.05
"""Distance, voxels, from a step's middle to the nearer plane of its ends, below which shallow edges are ignored:
scanned and remeshed models have so many that they would double the number of faces."""
SHALLOW = 0.9
"""Least cosine between the normals of the planes of a shallow edge."""
BULGE = 4.0 / 3.0
"""The area between a parabola and its chord is that of a triangle with this multiple of its height."""
DOME = np.array([0.0, 0.0, 0.0, 5 / 12, 1 / 2, 0.601, 0.708, 0.815])
"""Height of a fan's vertex as a fraction of the sum of the heights of its steps' vertices, by number of corners of the
loop: so a fan over a regular polygon has the volume below a paraboloid (over a square, below any quadratic surface)."""
TURNED = 1e-6
"""Twice the area, projected along a normal, from which on a reversed triangle counts as reversed."""
CORNER = 0.1
"""Least volume spanned by three unit normals whose planes form a corner of the model, not part of a curved surface."""
FARTHEST = 1.5
"""Largest distance, voxels, of an edge or corner from its step or loop; farther ones do not belong to this cell."""
PARALLEL = 1e-3
"""Squared sine between two planes, or volume spanned by three unit normals, below which the intersection is not
reliable."""


@njit(cache=True, nogil=True)
def outward_normals(triangles: Any, crossed: Any, cases: Any, number: Any) -> Any:
    """(V, 3) float64 outward unit normal of the triangle ``crossed`` (V,) at each vertex; 0 without a triangle."""
    normals = np.zeros((len(crossed), 3))
    for slot in range(len(cases)):
        for local in range(NODES):
            for axis in range(3):
                v = number[slot, axis, local]
                if v < 0 or crossed[v] < 0:
                    continue
                t = triangles[crossed[v]]
                ux, uy, uz = t[1, 0] - t[0, 0], t[1, 1] - t[0, 1], t[1, 2] - t[0, 2]
                vx, vy, vz = t[2, 0] - t[0, 0], t[2, 1] - t[0, 1], t[2, 2] - t[0, 2]
                n = normals[v]
                n[0], n[1], n[2] = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
                length = np.sqrt(n[0] * n[0] + n[1] * n[1] + n[2] * n[2])
                if (n[axis] > 0.0) != (cases[slot, local] & 1 != 0):
                    length = -length
                for a in range(3):
                    n[a] /= length
    return normals


@njit(cache=True, nogil=True, forceinline=True)
def _off_plane(normals: Any, vertices: Any, plane: int, point: int) -> Any:
    """Signed distance of vertex ``point`` to the plane of vertex ``plane``."""
    n, p, q = normals[plane], vertices[plane], vertices[point]
    return n[0] * (q[0] - p[0]) + n[1] * (q[1] - p[1]) + n[2] * (q[2] - p[2])


@njit(cache=True, nogil=True, forceinline=True)
def _none(normals: Any, v: int) -> Any:
    return normals[v, 0] == 0.0 and normals[v, 1] == 0.0 and normals[v, 2] == 0.0


@njit(cache=True, nogil=True)
def meeting_edge(normals: Any, vertices: Any, v: int, w: int, axis: int, point: Any) -> bool:
    """Write a point on the intersection of the planes of the ends of step v-w to ``point``; False if there is none.

    There is none if an end has no plane, if both ends are in one plane, or if the planes are parallel or intersect too
    far away. The point is in the step's cube face, across ``axis``, if that point is above the step, so that fans of
    neighbouring cells do not overlap; otherwise it is the one nearest to the step's middle.
    """
    if _none(normals, v) or _none(normals, w):
        return False
    first, second = _off_plane(normals, vertices, v, w), _off_plane(normals, vertices, w, v)
    if max(abs(first), abs(second)) < FLAT:
        return False
    n, m = normals[v], normals[w]
    cosine = n[0] * m[0] + n[1] * m[1] + n[2] * m[2]
    sine = 1.0 - cosine * cosine
    if sine < PARALLEL:
        return False
    along_n, along_m = (cosine * second - first) / (2.0 * sine), (cosine * first - second) / (2.0 * sine)
    gap = 0.0
    for a in range(3):
        shift = along_n * n[a] + along_m * m[a]
        gap += shift * shift
        point[a] = (vertices[v, a] + vertices[w, a]) / 2.0 + shift
    if gap > FARTHEST * FARTHEST:
        return False
    b, c = (axis + 1) % 3, (axis + 2) % 3
    slope = n[b] * m[c] - n[c] * m[b]
    if slope * slope < PARALLEL * sine:
        return True
    slide = (vertices[v, axis] - point[axis]) / slope
    x = point[b] + slide * (n[c] * m[axis] - n[axis] * m[c])
    y = point[c] + slide * (n[axis] * m[b] - n[b] * m[axis])
    du, dv = vertices[w, b] - vertices[v, b], vertices[w, c] - vertices[v, c]
    share = ((x - vertices[v, b]) * du + (y - vertices[v, c]) * dv) / (du * du + dv * dv)
    mx, my = x - (vertices[v, b] + vertices[w, b]) / 2.0, y - (vertices[v, c] + vertices[w, c]) / 2.0
    if 0.0 <= share <= 1.0 and mx * mx + my * my <= FARTHEST * FARTHEST:
        point[axis], point[b], point[c] = vertices[v, axis], x, y
    return True


@njit(cache=True, nogil=True)
def _find_steps(
    cases: Any, number: Any, neighbours: Any, segments: Any, edges: Any, normals: Any, vertices: Any
) -> Any:
    """(n+1,) int64: number of bent steps in each slot, shifted by one; (n, 512) uint8: the bent steps of each cell, bit
    2·axis + n for ``segments[case, axis, n]``."""
    counts = np.zeros(len(cases) + 1, dtype=np.int64)
    bent = np.zeros(cases.shape, dtype=np.uint8)
    axes, lower = edges[0], edges[1]
    for slot in range(len(cases)):
        point = np.empty(3)
        for local in range(NODES):
            case = cases[slot, local]
            if case in (0, 255):
                continue
            for axis in range(3):
                for n in range(2):
                    e, d = segments[case, axis, n, 0], segments[case, axis, n, 1]
                    if e < 0:
                        break
                    v = vertex_on(number, neighbours, slot, local, axes[e], lower[e])
                    w = vertex_on(number, neighbours, slot, local, axes[d], lower[d])
                    if meeting_edge(normals, vertices, v, w, axis, point):
                        counts[slot + 1] += 1
                        bent[slot, local] |= 1 << (2 * axis + n)
    return counts, bent


@njit(cache=True, nogil=True)
def _number_steps(
    cases: Any, number: Any, neighbours: Any, segments: Any, edges: Any, bent: Any, offsets: Any, vertices: int
) -> Any:
    touched = np.zeros(cases.shape, dtype=np.bool_)
    found = np.empty((offsets[len(cases)], 3), dtype=np.int64)
    step_of = np.full((vertices, 4), -1, dtype=np.int32)
    axes, lower, sides = edges
    for slot in range(len(cases)):
        at = offsets[slot]
        for local in range(NODES):
            if bent[slot, local] == 0:
                continue
            for axis in range(3):
                for n in range(2):
                    if bent[slot, local] >> (2 * axis + n) & 1 == 0:
                        continue
                    for side in range(2):
                        e = segments[cases[slot, local], axis, n, side]
                        v = vertex_on(number, neighbours, slot, local, axes[e], lower[e])
                        found[at, side] = v
                        step_of[v, sides[e, axis]] = at
                    found[at, 2] = axis
                    at += 1
                    # a step is in the lower face of this cell and in the upper face of the previous one
                    touched[slot, local] = True
                    i, j, k = (local >> 6) - (axis == 0), ((local >> 3) & 7) - (axis == 1), (local & 7) - (axis == 2)
                    s = neighbours[slot, (i >> 3) + 1, (j >> 3) + 1, (k >> 3) + 1]
                    if s >= 0:
                        touched[s, (i & 7) << 6 | (j & 7) << 3 | (k & 7)] = True
    return found, step_of, touched


def bent_steps(
    cases: Any, number: Any, neighbours: Any, segments: Any, edges: Any, normals: Any, vertices: Any
) -> tuple[Any, Any, Any]:
    """The bent steps, in the order of the cells.

    Returns (S, 3) int64: the two ends of each step, and the axis across its cube face; (V, 4) int32: the step from each
    vertex in each of the four grid faces around its edge, -1: none; (n, 512) bool: cells with a bent step.

    ``edges`` are ``EDGE_AXIS``, ``EDGE_LOWER`` and ``EDGE_SIDES`` of ``cube_tables``.
    """
    counts, bent = _find_steps(cases, number, neighbours, segments, edges, normals, vertices)
    numbered: tuple[Any, Any, Any] = _number_steps(
        cases, number, neighbours, segments, edges, bent, np.cumsum(counts), len(vertices)
    )
    return numbered


@njit(cache=True, nogil=True)
def middles(steps: Any, normals: Any, vertices: Any) -> Any:
    """(S, 3) middle of each step, and (S,) its squared distance to the nearer plane of the ends."""
    points = np.empty((len(steps), 3))
    squared = np.empty(len(steps))
    for n in range(len(steps)):
        v, w = steps[n, 0], steps[n, 1]
        nearer = min(abs(_off_plane(normals, vertices, v, w)), abs(_off_plane(normals, vertices, w, v))) / 2.0
        squared[n] = nearer * nearer
        for a in range(3):
            points[n, a] = (vertices[v, a] + vertices[w, a]) / 2.0
    return points, squared


@njit(cache=True, nogil=True)
def place_steps(steps: Any, normals: Any, vertices: Any, to_planes: Any, to_surface: Any) -> Any:
    """(S, 3) vertex of each step; (S,) bool: whether it is on an edge of the model; (S,) bool: whether it is kept.

    ``to_planes`` (S,): squared distance of the step's middle to the nearer plane of the ends; ``to_surface`` (S,): to
    the surface. If they are equal, the planes intersect in an edge of the model, and the vertex is on it. On a curved
    surface the second is about half the first; then the vertex is above the middle, at ``BULGE`` times the surface's
    height. Shallow edges that are hardly above the step are not kept.
    """
    places = np.empty((len(steps), 3))
    sharp = np.zeros(len(steps), dtype=np.bool_)
    kept = np.ones(len(steps), dtype=np.bool_)
    for n in range(len(steps)):
        v, w = steps[n, 0], steps[n, 1]
        meeting_edge(normals, vertices, v, w, steps[n, 2], places[n])
        sharp[n] = to_surface[n] >= (1.0 - ON_PLANES) ** 2 * to_planes[n]
        if sharp[n]:
            cosine = normals[v, 0] * normals[w, 0] + normals[v, 1] * normals[w, 1] + normals[v, 2] * normals[w, 2]
            kept[n] = cosine < SHALLOW or to_planes[n] > SLIGHT * SLIGHT
            continue
        along, across = 0.0, 0.0
        length = 0.0
        for a in range(3):
            way = vertices[w, a] - vertices[v, a]
            length += way * way
            along += way * (places[n, a] - vertices[v, a])
        along /= length
        for a in range(3):  # the component of the displacement perpendicular to the step
            places[n, a] -= vertices[v, a] + along * (vertices[w, a] - vertices[v, a])
            across += places[n, a] * places[n, a]
        rise = BULGE * np.sqrt(to_surface[n] / across) if across > 0.0 else 0.0
        for a in range(3):
            places[n, a] = (vertices[v, a] + vertices[w, a]) / 2.0 + min(rise, 1.0) * places[n, a]
    return places, sharp, kept


@njit(cache=True, nogil=True)
def keep_steps(step_of: Any, kept: Any) -> None:
    """Renumber the steps in ``step_of`` (V, 4), in place, after dropping those that are not ``kept`` (S,)."""
    number = np.cumsum(kept)
    for v in range(len(step_of)):
        for side in range(4):
            n = step_of[v, side]
            if n >= 0:
                step_of[v, side] = number[n] - 1 if kept[n] else -1


@njit(cache=True, nogil=True)
def _walk(
    number: Any, neighbours: Any, slot: int, local: int, loop: Any, sides: Any, length: int, edges: Any, step_of: Any,
    corners: Any, steps: Any,
) -> int:  # fmt: skip
    """Write a loop's vertices to ``corners`` and the bent step after each (-1: not bent) to ``steps``; returns the
    number of bent steps."""
    bent = 0
    for n in range(length):
        e = loop[n]
        corners[n] = vertex_on(number, neighbours, slot, local, edges[0][e], edges[1][e])
        steps[n] = step_of[corners[n], sides[n]]
        bent += steps[n] >= 0
    return bent


@njit(cache=True, nogil=True)
def count_fans(
    cases: Any, number: Any, neighbours: Any, lengths: Any, loops: Any, sides: Any, edges: Any, step_of: Any,
    touched: Any, counts: Any,
) -> Any:  # fmt: skip
    """Per slot, shifted by one: (n+1,) int64 number of loops with bent steps, (n+1,) int64 number of faces; and (n,
    512) uint8: these loops of each cell, as bits."""
    fans = np.zeros(len(cases) + 1, dtype=np.int64)
    triangles = np.zeros(len(cases) + 1, dtype=np.int64)
    fanned = np.zeros(cases.shape, dtype=np.uint8)
    for slot in range(len(cases)):
        corners = np.empty(loops.shape[2], dtype=np.int64)
        steps = np.empty(loops.shape[2], dtype=np.int64)
        for local in range(NODES):
            case = cases[slot, local]
            if not touched[slot, local]:
                triangles[slot + 1] += counts[case]
                continue
            for loop in range(loops.shape[1]):
                length = lengths[case, loop]
                if length == 0:
                    break
                bent = _walk(
                    number, neighbours, slot, local, loops[case, loop], sides[case, loop], length, edges, step_of,
                    corners, steps,
                )  # fmt: skip
                if bent > 0:
                    fanned[slot, local] |= 1 << loop
                    fans[slot + 1] += 1
                    triangles[slot + 1] += length + bent
                else:
                    triangles[slot + 1] += length - 2
    return np.cumsum(fans), np.cumsum(triangles), fanned


@njit(cache=True, nogil=True)
def meeting_corner(normals: Any, vertices: Any, corners: Any, length: int, near: Any, point: Any) -> float:
    """Write the intersection of the three most different planes of a loop to ``point``; returns the volume spanned by
    their normals, 0 if there is no intersection, or it is too far from ``near``."""
    first, best = -1, 0.0
    for n in range(length):
        if not _none(normals, corners[n]):
            first = corners[n]
            break
    if first < 0:
        return 0.0
    a, second = normals[first], -1
    cross = np.zeros(3)
    for n in range(length):
        b = normals[corners[n]]
        x, y, z = a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]
        size = x * x + y * y + z * z
        if size > best + 1e-12:
            best, second = size, corners[n]
            cross[0], cross[1], cross[2] = x, y, z
    if second < 0:
        return 0.0
    b, third, volume = normals[second], -1, 0.0
    for n in range(length):
        c = normals[corners[n]]
        size = cross[0] * c[0] + cross[1] * c[1] + cross[2] * c[2]
        if abs(size) > abs(volume) + 1e-12:
            volume, third = size, corners[n]
    if third < 0 or abs(volume) < PARALLEL:
        return 0.0
    c = normals[third]
    p, q, r = vertices[first], vertices[second], vertices[third]
    da = a[0] * (p[0] - near[0]) + a[1] * (p[1] - near[1]) + a[2] * (p[2] - near[2])
    db = b[0] * (q[0] - near[0]) + b[1] * (q[1] - near[1]) + b[2] * (q[2] - near[2])
    dc = c[0] * (r[0] - near[0]) + c[1] * (r[1] - near[1]) + c[2] * (r[2] - near[2])
    gap = 0.0
    for i in range(3):
        j, k = (i + 1) % 3, (i + 2) % 3
        shift = da * (b[j] * c[k] - b[k] * c[j]) + db * (c[j] * a[k] - c[k] * a[j]) + dc * (a[j] * b[k] - a[k] * b[j])
        shift /= volume
        gap += shift * shift
        point[i] = near[i] + shift
    return abs(volume) if gap <= FARTHEST * FARTHEST else 0.0


@njit(cache=True, nogil=True, forceinline=True)
def _turned(normal: Any, o: Any, p: Any, q: Any) -> Any:
    """Whether triangle o-p-q faces away from ``normal``."""
    ax, ay, az = p[0] - o[0], p[1] - o[1], p[2] - o[2]
    bx, by, bz = q[0] - o[0], q[1] - o[1], q[2] - o[2]
    value = normal[0] * (ay * bz - az * by) + normal[1] * (az * bx - ax * bz) + normal[2] * (ax * by - ay * bx)
    return value < -TURNED


@njit(cache=True, nogil=True)
def _folds(fan: Any, length: int, corners: Any, steps: Any, places: Any, normals: Any, vertices: Any) -> bool:
    """Whether a triangle of the fan around ``fan`` faces away from the plane of one of its corners."""
    for n in range(length):
        here, there = corners[n], corners[(n + 1) % length]
        p, q = vertices[here], vertices[there]
        if steps[n] < 0:
            if _turned(normals[here], fan, p, q) or _turned(normals[there], fan, p, q):
                return True
            continue
        top = places[steps[n]]
        if _turned(normals[here], fan, p, top) or _turned(normals[there], fan, top, q):
            return True
    return False


@njit(cache=True, nogil=True)
def _place_fan(
    length: int, bent: int, corners: Any, steps: Any, normals: Any, vertices: Any, places: Any, sharp: Any,
    tried: Any, fan: Any,
) -> None:  # fmt: skip
    """Write the vertex of a fan to ``fan`` (3,); ``tried`` (3, 3) is overwritten. See :func:`place_fans`."""
    edge, dome, middle = tried[0], tried[1], tried[2]
    for a in range(3):  # by element: compiling an assignment to a slice takes a second
        edge[a], dome[a], middle[a] = 0.0, 0.0, 0.0
    count = 0
    for n in range(length):
        here, there = vertices[corners[n]], vertices[corners[(n + 1) % length]]
        for a in range(3):
            dome[a] += here[a] / length
            middle[a] += here[a] / (length + bent)
        if steps[n] < 0:
            continue
        count += sharp[steps[n]]
        for a in range(3):
            top = places[steps[n], a]
            edge[a] += top / bent
            dome[a] += DOME[length] * (top - (here[a] + there[a]) / 2.0)
            middle[a] += top / (length + bent)
    if bent >= 3 and count >= 2:
        spanned = meeting_corner(normals, vertices, corners, length, edge, fan)
        if spanned > (0.0 if count == bent else CORNER) and not _folds(
            fan, length, corners, steps, places, normals, vertices
        ):
            return
    best = edge if count >= max(bent, 2) else dome
    if _folds(best, length, corners, steps, places, normals, vertices) and not _folds(
        middle, length, corners, steps, places, normals, vertices
    ):
        best = middle
    for a in range(3):
        fan[a] = best[a]


@njit(cache=True, nogil=True)
def place_fans(
    cases: Any, number: Any, neighbours: Any, lengths: Any, loops: Any, sides: Any, edges: Any, step_of: Any,
    fanned: Any, offsets: Any, normals: Any, vertices: Any, places: Any, sharp: Any,
) -> Any:  # fmt: skip
    """(L, 3) vertex of each fan, from the vertices ``places`` of its steps, and whether these are ``sharp``.

    - At least three steps, all sharp: the corner where three planes intersect. If the planes differ much, two sharp
      steps are enough, since the edges of a corner may end before they reach a step.
    - All steps sharp, but no corner: the mean of their vertices, which is on their common edge.
    - Otherwise: above the middle of the loop, by ``DOME``.
    - If the fan would fold over itself: the mean of all its vertices.
    """
    fans = np.empty((offsets[len(cases)], 3))
    for slot in range(len(cases)):
        corners = np.empty(loops.shape[2], dtype=np.int64)
        steps = np.empty(loops.shape[2], dtype=np.int64)
        tried = np.empty((3, 3))
        at = offsets[slot]
        for local in range(NODES):
            if fanned[slot, local] == 0:
                continue
            case = cases[slot, local]
            for loop in range(loops.shape[1]):
                if fanned[slot, local] >> loop & 1 == 0:
                    continue
                length = lengths[case, loop]
                bent = _walk(
                    number, neighbours, slot, local, loops[case, loop], sides[case, loop], length, edges, step_of,
                    corners, steps,
                )  # fmt: skip
                _place_fan(length, bent, corners, steps, normals, vertices, places, sharp, tried, fans[at])
                at += 1
    return fans


@njit(cache=True, nogil=True)
def faces(
    cases: Any, number: Any, neighbours: Any, lengths: Any, loops: Any, sides: Any, edges: Any, step_of: Any,
    pieces: Any, fanned: Any, fan_offsets: Any, face_offsets: Any, first_step: int, count_steps: int,
) -> Any:  # fmt: skip
    """(F, 3) int64 faces: loops without bent steps by the tables, others as fans. Vertices of steps are numbered from
    ``first_step``, those of fans from ``first_step`` + ``count_steps``."""
    result = np.empty((face_offsets[len(cases)], 3), dtype=np.int64)
    for slot in range(len(cases)):
        corners = np.empty(loops.shape[2], dtype=np.int64)
        steps = np.empty(loops.shape[2], dtype=np.int64)
        at, fan = face_offsets[slot], first_step + count_steps + fan_offsets[slot]
        for local in range(NODES):
            case = cases[slot, local]
            if case in (0, 255):
                continue
            for loop in range(loops.shape[1]):
                length = lengths[case, loop]
                if fanned[slot, local] >> loop & 1 == 0:
                    for t in range(length - 2):
                        for corner in range(3):
                            e = pieces[case, loop, t, corner]
                            result[at, corner] = vertex_on(number, neighbours, slot, local, edges[0][e], edges[1][e])
                        at += 1
                    continue
                _walk(
                    number, neighbours, slot, local, loops[case, loop], sides[case, loop], length, edges, step_of,
                    corners, steps,
                )  # fmt: skip
                for n in range(length):
                    here, there = corners[n], corners[(n + 1) % length]
                    if steps[n] >= 0:
                        result[at, 0], result[at, 1], result[at, 2] = fan, here, first_step + steps[n]
                        at += 1
                        here = first_step + steps[n]
                    result[at, 0], result[at, 1], result[at, 2] = fan, here, there
                    at += 1
                fan += 1
    return result
