"""Compiled scanner for OBJ text."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

_NEWLINE, _RETURN, _SPACE, _TAB, _SLASH, _HASH = 10, 13, 32, 9, 47, 35
_PLUS, _MINUS, _DOT, _ZERO, _NINE = 43, 45, 46, 48, 57
_LOWER_E, _UPPER_E, _V, _F = 101, 69, 118, 102

MOST_DIGITS = 18


@njit(cache=True, nogil=True)
def _blank(c: int) -> bool:
    return c in (_SPACE, _TAB)


@njit(cache=True, nogil=True)
def _read_float(text: Any, i: int, end: int) -> tuple[float, int]:
    """Parse a decimal number at ``i``; NaN when there is none. Returns the value and the index after the token."""
    start = i
    sign = 1.0
    if i < end and text[i] in (_MINUS, _PLUS):
        sign = -1.0 if text[i] == _MINUS else 1.0
        i += 1
    # An integer holds 18 significant digits exactly, more than a float64 does; further ones only move the point.
    mantissa, digits, significant, exponent = np.int64(0), 0, 0, 0
    fraction = False
    while i < end and (_ZERO <= text[i] <= _NINE or (text[i] == _DOT and not fraction)):
        if text[i] == _DOT:
            fraction = True
        else:
            digits += 1
            if significant < MOST_DIGITS:
                mantissa = mantissa * 10 + (text[i] - _ZERO)
                significant += mantissa > 0
                exponent -= fraction
            else:
                exponent += not fraction
        i += 1
    if digits == 0:
        while i < end and not _blank(text[i]):
            i += 1
        return np.nan, max(i, start + 1)
    if i < end and text[i] in (_LOWER_E, _UPPER_E):
        i += 1
        exponent_sign, value = 1, 0
        if i < end and text[i] in (_MINUS, _PLUS):
            exponent_sign = -1 if text[i] == _MINUS else 1
            i += 1
        while i < end and _ZERO <= text[i] <= _NINE:
            value = min(value * 10 + (text[i] - _ZERO), 100000)
            i += 1
        exponent += exponent_sign * value
    if i < end and not _blank(text[i]):  # rubbish glued to the number
        while i < end and not _blank(text[i]):
            i += 1
        return np.nan, i
    if exponent < 0:
        # Division by an exact power keeps the common cases correctly rounded.
        return (sign * (mantissa / 10.0**-exponent) if exponent > -300 else sign * mantissa * 10.0**exponent), i
    return sign * mantissa * 10.0**exponent, i


@njit(cache=True, nogil=True)
def _read_index(text: Any, i: int, end: int) -> tuple[int, int]:
    """Parse the vertex index of a face corner ``v/vt/vn``; 0 (invalid in OBJ) when there is none."""
    sign, value, digits = 1, 0, 0
    if i < end and text[i] in (_MINUS, _PLUS):
        sign = -1 if text[i] == _MINUS else 1
        i += 1
    while i < end and _ZERO <= text[i] <= _NINE:
        value = min(value * 10 + (text[i] - _ZERO), 1 << 60)
        digits += 1
        i += 1
    if digits == 0 or (i < end and text[i] != _SLASH and not _blank(text[i])):
        value = 0
    while i < end and not _blank(text[i]):
        i += 1
    return sign * value, i


@njit(cache=True, nogil=True)
def _scan(text: Any, vertices: Any, faces: Any) -> tuple[int, int]:
    """Fill ``vertices`` and ``faces`` where they have rows; return how many there are. Call twice: count, then fill."""
    n, i, v, f = len(text), 0, 0, 0
    while i < n:
        end = i
        while end < n and text[end] not in (_NEWLINE, _RETURN):
            end += 1
        while i < end and _blank(text[i]):
            i += 1
        if i + 1 < end and _blank(text[i + 1]):
            if text[i] == _V:
                if v < len(vertices):
                    k = i + 1
                    for axis in range(3):
                        while k < end and _blank(text[k]):
                            k += 1
                        if k < end:
                            vertices[v, axis], k = _read_float(text, k, end)
                        else:
                            vertices[v, axis] = np.nan
                v += 1
            elif text[i] == _F:
                k, corner, first, last = i + 1, 0, 0, 0
                while k < end:
                    while k < end and _blank(text[k]):
                        k += 1
                    if k >= end or text[k] == _HASH:
                        break
                    index, k = _read_index(text, k, end)
                    index = index - 1 if index > 0 else (v + index if index < 0 else -1)
                    if corner >= 2:
                        if f < len(faces):
                            faces[f, 0], faces[f, 1], faces[f, 2] = first, last, index
                        f += 1
                    if corner == 0:
                        first = index
                    last = index
                    corner += 1
        i = end + 1
    return v, f


@njit(cache=True, nogil=True)
def scan_obj(text: Any) -> Any:
    """(V, 3) float64 vertices and (F, 3) int64 faces (zero-based) of OBJ bytes (N,) uint8."""
    v, f = _scan(text, np.empty((0, 3)), np.empty((0, 3), dtype=np.int64))
    vertices = np.empty((v, 3))
    faces = np.empty((f, 3), dtype=np.int64)
    _scan(text, vertices, faces)
    return vertices, faces
