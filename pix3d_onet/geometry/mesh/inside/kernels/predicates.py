"""Exact signs of 2×2 and 3×3 determinants of float64 coordinates.

A floating-point filter first; expansion arithmetic where its error bound does not decide (Shewchuk, Adaptive Precision
Floating-Point Arithmetic and Fast Robust Geometric Predicates, 1997). Exact unless a product overflows or underflows,
that is for coordinates between about 1e-90 and 1e90.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

SPLITTER = 134217729.0
"""2²⁷ + 1: splits a float64 into two halves whose products are exact (Dekker 1971)."""
PLANE_BOUND = 3.3306690738754716e-16
SPACE_BOUND = 7.771561172376103e-16
"""Relative error bounds of the 2×2 and 3×3 determinants in float64: (3 + 16ε)ε and (7 + 56ε)ε, ε = 2⁻⁵³."""


@njit(cache=True, nogil=True, forceinline=True)
def _two_sum(a: float, b: float) -> tuple[float, float]:
    total = a + b
    virtual = total - a
    return total, (a - (total - virtual)) + (b - virtual)


@njit(cache=True, nogil=True, forceinline=True)
def _two_product(a: float, b: float) -> tuple[float, float]:
    product = a * b
    c = SPLITTER * a
    a_high = c - (c - a)
    a_low = a - a_high
    c = SPLITTER * b
    b_high = c - (c - b)
    b_low = b - b_high
    return product, a_low * b_low - (((product - a_high * b_high) - a_low * b_high) - a_high * b_low)


@njit(cache=True, nogil=True)
def _sign_of_sum(terms: Any, count: int) -> int:
    """Sign of the exact sum of the first ``count`` terms; overwrites ``terms``."""
    for n in range(1, count):
        carry = terms[n]
        for m in range(n):
            carry, terms[m] = _two_sum(carry, terms[m])
        terms[n] = carry
    for n in range(count - 1, -1, -1):
        if terms[n] != 0.0:
            return 1 if terms[n] > 0.0 else -1
    return 0


@njit(cache=True, nogil=True)
def _exact_plane(ax: float, ay: float, bx: float, by: float, px: float, py: float) -> int:
    terms = np.empty(12)
    pairs = ((ax, by), (-ax, py), (-px, by), (-ay, bx), (ay, px), (py, bx))
    for n in range(6):
        terms[2 * n], terms[2 * n + 1] = _two_product(pairs[n][0], pairs[n][1])
    return _sign_of_sum(terms, 12)


@njit(cache=True, nogil=True, forceinline=True)
def side_of_line(ax: float, ay: float, bx: float, by: float, px: float, py: float) -> int:
    """1 if p is left of the line a→b, -1 if right, 0 if on it."""
    left = (ax - px) * (by - py)
    right = (ay - py) * (bx - px)
    value = left - right
    bound = PLANE_BOUND * (abs(left) + abs(right))
    if value > bound:
        return 1
    if value < -bound:
        return -1
    return _exact_plane(ax, ay, bx, by, px, py)


@njit(cache=True, nogil=True)
def _add_triple(terms: Any, at: int, sign: float, a: Any, b: Any, c: Any) -> int:
    """Append the 24 terms of sign · det(a, b, c)."""
    for turn in range(6):
        i = turn % 3
        j, k = ((i + 1) % 3, (i + 2) % 3) if turn < 3 else ((i + 2) % 3, (i + 1) % 3)
        high, low = _two_product(sign * a[i] if turn < 3 else -sign * a[i], b[j])
        terms[at], terms[at + 1] = _two_product(high, c[k])
        terms[at + 2], terms[at + 3] = _two_product(low, c[k])
        at += 4
    return at


@njit(cache=True, nogil=True)
def _exact_space(a: Any, b: Any, c: Any, p: Any) -> int:
    terms = np.empty(96)
    at = _add_triple(terms, 0, 1.0, a, b, c)
    at = _add_triple(terms, at, -1.0, p, b, c)
    at = _add_triple(terms, at, -1.0, a, p, c)
    at = _add_triple(terms, at, -1.0, a, b, p)
    return _sign_of_sum(terms, at)


@njit(cache=True, nogil=True)
def side_of_plane(a: Any, b: Any, c: Any, p: Any) -> int:
    """Sign of det(a - p, b - p, c - p): 1 if p is behind abc (counter-clockwise seen from the front), 0 if on it."""
    ax, ay, az = a[0] - p[0], a[1] - p[1], a[2] - p[2]
    bx, by, bz = b[0] - p[0], b[1] - p[1], b[2] - p[2]
    cx, cy, cz = c[0] - p[0], c[1] - p[1], c[2] - p[2]
    bc, cb, ca, ac, ab, ba = bx * cy, cx * by, cx * ay, ax * cy, ax * by, bx * ay
    value = az * (bc - cb) + bz * (ca - ac) + cz * (ab - ba)
    size = (abs(bc) + abs(cb)) * abs(az) + (abs(ca) + abs(ac)) * abs(bz) + (abs(ab) + abs(ba)) * abs(cz)
    bound = SPACE_BOUND * size
    if value > bound:
        return 1
    if value < -bound:
        return -1
    return _exact_space(a, b, c, p)
