"""Edge collapse for ``decimate``; closed manifolds stay closed manifolds."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

MIN_COSINE = 0.3
"""A collapse must not rotate a face's normal by more than the arc cosine of this."""


@njit(cache=True, nogil=True)
def quadrics(vertices: Any, faces: Any) -> Any:
    """(V, 11) float64 per vertex: the upper triangle of its area-weighted plane quadric (10) and the area (1).

    Garland & Heckbert, SIGGRAPH 1997: v'Qv is the weighted sum of squared distances to the planes.
    """
    q = np.zeros((len(vertices), 11))
    for f in range(len(faces)):
        a, b, c = vertices[faces[f, 0]], vertices[faces[f, 1]], vertices[faces[f, 2]]
        ux, uy, uz = b[0] - a[0], b[1] - a[1], b[2] - a[2]
        vx, vy, vz = c[0] - a[0], c[1] - a[1], c[2] - a[2]
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        length = np.sqrt(nx * nx + ny * ny + nz * nz)
        if length == 0.0:
            continue
        n = (nx / length, ny / length, nz / length)
        d = -(n[0] * a[0] + n[1] * a[1] + n[2] * a[2])
        w = length / 6.0  # a third of the face's area for each corner
        for corner in range(3):
            r = q[faces[f, corner]]
            r[0] += w * n[0] * n[0]
            r[1] += w * n[0] * n[1]
            r[2] += w * n[0] * n[2]
            r[3] += w * n[0] * d
            r[4] += w * n[1] * n[1]
            r[5] += w * n[1] * n[2]
            r[6] += w * n[1] * d
            r[7] += w * n[2] * n[2]
            r[8] += w * n[2] * d
            r[9] += w * d * d
            r[10] += w
    return q


@njit(cache=True, nogil=True, forceinline=True)
def _error(q: Any, x: float, y: float, z: float) -> Any:
    return (
        q[0] * x * x + 2 * q[1] * x * y + 2 * q[2] * x * z + 2 * q[3] * x
        + q[4] * y * y + 2 * q[5] * y * z + 2 * q[6] * y
        + q[7] * z * z + 2 * q[8] * z + q[9]
    )  # fmt: skip


@njit(cache=True, nogil=True)
def _best_point(q: Any, a: Any, b: Any, limit: float, best: Any) -> float:
    """Write to ``best`` the point of lowest cost among the quadric's minimum (if near the edge), the edge's ends and
    its middle. Returns the cost."""
    det = q[0] * (q[4] * q[7] - q[5] * q[5]) - q[1] * (q[1] * q[7] - q[5] * q[2]) + q[2] * (q[1] * q[5] - q[4] * q[2])
    cost = 1e300
    span = (b[0] - a[0]) ** 2 + (b[1] - a[1]) ** 2 + (b[2] - a[2]) ** 2
    trace = q[0] + q[4] + q[7]
    for option in range(4):
        if option == 0:
            if abs(det) <= 1e-6 * trace * trace * trace:
                continue
            m0, m1, m2 = q[4] * q[7] - q[5] * q[5], q[6] * q[7] - q[5] * q[8], q[6] * q[5] - q[4] * q[8]
            m3, m4, m5 = q[1] * q[7] - q[5] * q[2], q[1] * q[8] - q[6] * q[2], q[1] * q[5] - q[4] * q[2]
            x = -(q[3] * m0 - q[1] * m1 + q[2] * m2) / det
            y = -(q[0] * m1 - q[3] * m3 + q[2] * m4) / det
            z = -(-q[0] * m2 - q[1] * m4 + q[3] * m5) / det
            mx, my, mz = (a[0] + b[0]) / 2, (a[1] + b[1]) / 2, (a[2] + b[2]) / 2
            if (x - mx) ** 2 + (y - my) ** 2 + (z - mz) ** 2 > span:
                continue
        elif option == 1:
            x, y, z = (a[0] + b[0]) / 2, (a[1] + b[1]) / 2, (a[2] + b[2]) / 2
        elif option == 2:
            x, y, z = a[0], a[1], a[2]
        else:
            x, y, z = b[0], b[1], b[2]
        e = _error(q, x, y, z)
        if e < cost:
            cost = e
            best[0], best[1], best[2] = x, y, z
        if option == 0 and cost <= limit:
            break
    return cost


@njit(cache=True, nogil=True)
def _flips(vertices: Any, faces: Any, offsets: Any, around: Any, moved: int, other: int, target: Any) -> bool:
    """Whether moving vertex ``moved`` to ``target`` flips or flattens one of its faces without ``other``."""
    for at in range(offsets[moved], offsets[moved + 1]):
        f = around[at]
        i, j, k = faces[f, 0], faces[f, 1], faces[f, 2]
        if i < 0 or other in (i, j, k):  # removed before, or by this collapse
            continue
        if j == moved:
            i, j, k = j, k, i
        elif k == moved:
            i, j, k = k, i, j
        p, q = vertices[j], vertices[k]
        ex, ey, ez = q[0] - p[0], q[1] - p[1], q[2] - p[2]
        o = vertices[i]
        ax, ay, az = o[0] - p[0], o[1] - p[1], o[2] - p[2]
        bx, by, bz = target[0] - p[0], target[1] - p[1], target[2] - p[2]
        ox, oy, oz = ey * az - ez * ay, ez * ax - ex * az, ex * ay - ey * ax
        nx, ny, nz = ey * bz - ez * by, ez * bx - ex * bz, ex * by - ey * bx
        old, new = ox * ox + oy * oy + oz * oz, nx * nx + ny * ny + nz * nz
        edge = ex * ex + ey * ey + ez * ez
        if new <= 1e-6 * edge * edge:  # a sliver
            return True
        dot = ox * nx + oy * ny + oz * nz
        if dot <= MIN_COSINE * np.sqrt(old * new):
            return True
    return False


@njit(cache=True, nogil=True)
def _faces_around(faces: Any, n: int) -> Any:
    """The faces of each vertex: CSR offsets (n+1,) and face indices."""
    offsets = np.zeros(n + 1, dtype=np.int64)
    for f in range(len(faces)):
        for c in range(3):
            offsets[faces[f, c] + 1] += 1
    offsets = np.cumsum(offsets)
    around = np.empty(offsets[n], dtype=np.int64)
    cursor = offsets[:-1].copy()
    for f in range(len(faces)):
        for c in range(3):
            v = faces[f, c]
            around[cursor[v]] = f
            cursor[v] += 1
    return offsets, around


@njit(cache=True, nogil=True)
def _keeps_manifold(faces: Any, offsets: Any, around: Any, a: int, b: int, stamp: Any, turn: int) -> bool:
    """Whether a and b share exactly two neighbours (link condition, Dey et al. 1999) and at least 4 faces remain.

    ``stamp`` (V,) is overwritten with ``turn``, which must differ in each call.
    """
    valence, shared = 0, 0
    for at in range(offsets[a], offsets[a + 1]):
        g = around[at]
        if faces[g, 0] >= 0:
            valence += 1
            for m in range(3):
                stamp[faces[g, m]] = turn
    stamp[a] = -1
    stamp[b] = -1
    for at in range(offsets[b], offsets[b + 1]):
        g = around[at]
        if faces[g, 0] >= 0:
            valence += 1
            for m in range(3):
                v = faces[g, m]
                if stamp[v] == turn:
                    shared += 1
                    stamp[v] = -1
    return shared == 2 and valence >= 8


@njit(cache=True, nogil=True)
def _merge(faces: Any, offsets: Any, around: Any, a: int, b: int) -> None:
    """Replace ``b`` with ``a`` in b's faces; faces that had both are removed (corners -1)."""
    for at in range(offsets[b], offsets[b + 1]):
        g = around[at]
        if faces[g, 0] < 0:
            continue
        if faces[g, 0] == a or faces[g, 1] == a or faces[g, 2] == a:
            faces[g, 0] = faces[g, 1] = faces[g, 2] = -1
        else:
            for m in range(3):
                if faces[g, m] == b:
                    faces[g, m] = a


@njit(cache=True, nogil=True)
def collapse_pass(vertices: Any, faces: Any, q: Any, limit: float) -> int:
    """One sweep of collapses with mean squared error up to ``limit``, in place; the number of collapsed edges.

    A vertex moves at most once per sweep, because the list of its faces is outdated afterwards. The lists of its
    neighbours stay valid; removed faces in them have corners -1.
    """
    offsets, around = _faces_around(faces, len(vertices))
    dirty = np.zeros(len(vertices), dtype=np.bool_)
    stamp = np.full(len(vertices), -1, dtype=np.int64)
    sum_q = np.empty(11)
    best = np.empty(3)
    done, turn = 0, 0
    for f in range(len(faces)):
        for c in range(3):
            a = faces[f, c]
            if a < 0:
                break
            b = faces[f, (c + 1) % 3]
            if a > b or dirty[a] or dirty[b]:
                continue
            for m in range(11):
                sum_q[m] = q[a, m] + q[b, m]
            allowed = limit * sum_q[10]
            if _best_point(sum_q, vertices[a], vertices[b], allowed, best) > allowed:
                continue
            turn += 1
            if not _keeps_manifold(faces, offsets, around, a, b, stamp, turn):
                continue
            if _flips(vertices, faces, offsets, around, a, b, best) or _flips(
                vertices, faces, offsets, around, b, a, best
            ):
                continue
            dirty[a] = True
            dirty[b] = True
            for m in range(3):
                vertices[a, m] = best[m]
            for m in range(11):
                q[a, m] = sum_q[m]
            _merge(faces, offsets, around, a, b)
            done += 1
            break
    return done


@njit(cache=True, nogil=True)
def compact(vertices: Any, faces: Any, q: Any) -> Any:
    """Move the remaining vertices and faces to the front of the arrays, in order; returns their numbers."""
    number = np.full(len(vertices), -1, dtype=np.int64)
    kept = 0
    for f in range(len(faces)):
        if faces[f, 0] >= 0:
            for m in range(3):
                number[faces[f, m]] = 0
                faces[kept, m] = faces[f, m]
            kept += 1
    used = 0
    for v in range(len(vertices)):
        if number[v] == 0:
            number[v] = used
            for m in range(3):
                vertices[used, m] = vertices[v, m]
            for m in range(11):
                q[used, m] = q[v, m]
            used += 1
    for f in range(kept):
        for m in range(3):
            faces[f, m] = number[faces[f, m]]
    return used, kept
