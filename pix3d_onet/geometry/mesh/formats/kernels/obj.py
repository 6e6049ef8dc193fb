"""Scanner for OBJ text."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

_NEWLINE, _RETURN, _SPACE, _TAB, _FORM_FEED, _SLASH, _HASH, _BACKSLASH = 10, 13, 32, 9, 12, 47, 35, 92
_PLUS, _MINUS, _DOT, _ZERO, _NINE = 43, 45, 46, 48, 57
_LOWER_E, _UPPER_E, _V, _F, _UPPER_V, _UPPER_F = 101, 69, 118, 102, 86, 70
_LOWER_N, _LOWER_I, _T, _P, _L = 110, 105, 116, 112, 108

MOST_DIGITS = 18

COUNTS = (
    "few_corners",
    "points",
    "lines",
    "bad_vertices",
    "bad_vertex_at",
    "odd",
    "odd_at",
    "weights",
    "others",
    "last_face_corners",
    "last_face_spoilt",
    "least_corners",
)
"""Names of the counts of ``scan_obj``. ``*_at``: byte offset of the first one; ``last_face_*``: of a face in the last
line if that line has no newline, else -1."""
(
    _FEW,
    _POINTS,
    _LINES,
    _BAD_VERTICES,
    _BAD_VERTEX_AT,
    _ODD,
    _ODD_AT,
    _WEIGHTS,
    _OTHERS,
    _LAST,
    _LAST_SPOILT,
    _LEAST,
) = range(len(COUNTS))


@njit(cache=True, nogil=True)
def _blank(c: int) -> bool:
    return c == _SPACE or (_TAB <= c <= _FORM_FEED and c != _NEWLINE)  # vertical tab and form feed too


@njit(cache=True, nogil=True)
def _read_float(text: Any, i: int, end: int) -> tuple[float, int]:
    """Parse a decimal number at ``i``; NaN if there is none. Returns the value and the index after the token."""
    start = i
    sign = 1.0
    if i < end and text[i] in (_MINUS, _PLUS):
        sign = -1.0 if text[i] == _MINUS else 1.0
        i += 1
    # int64 holds 18 digits exactly, more than float64; further digits only change the exponent
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
        exponent_sign, value, exponent_digits = 1, 0, 0
        if i < end and text[i] in (_MINUS, _PLUS):
            exponent_sign = -1 if text[i] == _MINUS else 1
            i += 1
        while i < end and _ZERO <= text[i] <= _NINE:
            value = min(value * 10 + (text[i] - _ZERO), 100000)
            exponent_digits += 1
            i += 1
        if exponent_digits == 0:  # no digits after the e
            return np.nan, i
        exponent += exponent_sign * value
    if i < end and not _blank(text[i]):  # other characters directly after the number
        while i < end and not _blank(text[i]):
            i += 1
        return np.nan, i
    if exponent < 0:
        # dividing by an exact power of ten rounds the common cases correctly
        if exponent < -300:  # in two steps, because the whole power may exceed float64
            return sign * (mantissa / 1e300 * 10.0 ** (exponent + 300)), i
        return sign * (mantissa / 10.0**-exponent), i
    return sign * mantissa * 10.0**exponent, i


@njit(cache=True, nogil=True)
def _read_index(text: Any, i: int, end: int) -> tuple[int, int]:
    """Parse the vertex index of a face corner ``v/vt/vn``; 0 (invalid in OBJ) if there is none."""
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
def _read_vertex(text: Any, k: int, end: int, vertices: Any, v: int) -> int:
    """Fill row ``v`` from the numbers at ``k``. Returns 0 if the line is valid; 1: a number is missing or unreadable;
    2: something else than numbers follows; 3: a weight (fourth and last number) other than 1."""
    for axis in range(3):
        while k < end and _blank(text[k]):
            k += 1
        if k < end:
            vertices[v, axis], k = _read_float(text, k, end)
        else:
            vertices[v, axis] = np.nan
    extra, weight = 0, 1.0
    while k < end:
        while k < end and _blank(text[k]):
            k += 1
        if k >= end or text[k] == _HASH:
            break
        c = text[k]
        if not (_ZERO <= c <= _NINE or c in (_PLUS, _MINUS, _DOT, _LOWER_N, _LOWER_I, 78, 73)):
            return 2
        if extra == 0:
            weight, k = _read_float(text, k, end)
        else:
            while k < end and not _blank(text[k]):
                k += 1
        extra += 1
    if not np.isfinite(vertices[v, 0] + vertices[v, 1] + vertices[v, 2]):
        return 1
    return 3 if extra == 1 and weight != 1.0 else 0


@njit(cache=True, nogil=True)
def _slashes(text: Any, i: int, end: int) -> int:
    """Number of slashes in the token at ``i``, negative if it ends with one."""
    count = 0
    while i < end and not _blank(text[i]):
        count += text[i] == _SLASH
        i += 1
    return -count - 1 if text[i - 1] == _SLASH else count


@njit(cache=True, nogil=True)
def _is_continued(text: Any, start: int, end: int) -> bool:
    """Whether the line text[start:end] ends with a backslash."""
    while end > start and _blank(text[end - 1]):
        end -= 1
    return end > start and text[end - 1] == _BACKSLASH


@njit(cache=True, nogil=True)
def _other_statement(text: Any, i: int, end: int, continued: bool, counts: Any) -> None:
    """Count a line that is neither a vertex nor a face."""
    c = text[i]
    second = text[i + 1] if i + 1 < end else _SPACE
    third = text[i + 2] if i + 2 < end else _SPACE
    if c == _HASH:
        return
    if c == _V and second in (_T, _LOWER_N, _P) and _blank(third):
        return
    if c == _P and _blank(second):
        counts[_POINTS] += 1
    elif c == _L and _blank(second):
        counts[_LINES] += 1
    elif c in (_V, _F, _UPPER_V, _UPPER_F) or (
        not continued and (_ZERO <= c <= _NINE or c in (_PLUS, _MINUS, _DOT, _SLASH))
    ):
        if counts[_ODD] == 0:
            counts[_ODD_AT] = i
        counts[_ODD] += 1
    else:
        counts[_OTHERS] += 1


@njit(cache=True, nogil=True)
def _line_end(text: Any, i: int) -> int:
    n = len(text)
    while i < n and text[i] != _NEWLINE and text[i] != _RETURN:
        i += 1
    return i


@njit(cache=True, nogil=True)
def _line_start(text: Any, i: int, end: int) -> int:
    """Index of the first character after blanks and byte order marks, which concatenated files have inside."""
    while i < end and (_blank(text[i]) or (text[i] > 0x7F and text[i] in (0xEF, 0xBB, 0xBF))):
        i += 1
    return i


@njit(cache=True, nogil=True)
def _count(text: Any) -> tuple[int, int, int]:
    """Upper bounds of the numbers of vertices, faces and corners, for allocation."""
    zero: Any = np.int64(0)  # see scan_obj
    n, i, v, f, c = len(text), zero, 0, 0, 0
    while i < n:
        i = _line_start(text, i, n)
        if i + 1 < n and text[i] == _V and _blank(text[i + 1]):
            v += 1
        elif i < n and text[i] == _F:
            f += 1
            blank = False
            while i < n and text[i] != _NEWLINE and text[i] != _RETURN:
                now = _blank(text[i])
                c += blank and not now
                blank = now
                i += 1
        i = _line_end(text, i) + 1
    return v, f, c


@njit(cache=True, nogil=True)
def _read_face(text: Any, k: int, end: int, v: int, corners: Any, c: int) -> int:
    """Write the face's corners at ``k`` to ``corners`` from index ``c`` on; returns the index after them.

    ``v``: number of vertices so far, to which negative indices are relative.
    """
    while k < end:
        while k < end and _blank(text[k]):
            k += 1
        if k >= end or text[k] == _HASH:
            break
        index, k = _read_index(text, k, end)
        corners[c] = index - 1 if index > 0 else (v + index if index < 0 else -1)
        c += 1
    return c


@njit(cache=True, nogil=True)
def _uneven(text: Any, k: int, end: int) -> bool:
    """Whether the corners of a face differ in form, like ``1/1 2/2 3/``, or one is not an index."""
    style = -9
    while k < end:
        while k < end and _blank(text[k]):
            k += 1
        if k >= end or text[k] == _HASH:
            break
        own = _slashes(text, k, end)
        index, k = _read_index(text, k, end)
        if index == 0 or style not in (-9, own):
            return True
        style = own
    return False


@njit(cache=True, nogil=True)
def scan_obj(text: Any) -> Any:
    """(V, 3) float64 vertices, (ΣS,) int64 face corners (zero-based), (F,) int64 corners per face, and ``COUNTS``.

    ``text`` (N,) uint8. Unreadable vertices are NaN, unreadable corners -1.
    """
    # not the literals 0 and False, for which numba would compile the helpers a second time
    zero: Any = np.int64(0)
    continued: Any = np.bool_(False)
    n, i, v, c, f = len(text), zero, zero, zero, zero
    rows, faces, places = _count(text)
    vertices = np.empty((rows, 3))
    corners = np.empty(places, dtype=np.int64)
    sizes = np.empty(faces, dtype=np.int64)
    counts = np.zeros(len(COUNTS), dtype=np.int64)
    counts[_LAST], counts[_LEAST] = -1, n
    while i < n:
        end, start = _line_end(text, i), i
        i = _line_start(text, i, end)
        if i + 1 < end and text[i] == _V and _blank(text[i + 1]):
            verdict = _read_vertex(text, i + 1, end, vertices, v)
            v += 1
            if verdict == 2:
                if counts[_ODD] == 0:
                    counts[_ODD_AT] = i
                counts[_ODD] += 1
            elif verdict == 1:
                if counts[_BAD_VERTICES] == 0:
                    counts[_BAD_VERTEX_AT] = i
                counts[_BAD_VERTICES] += 1
            elif verdict == 3:
                counts[_WEIGHTS] += 1
        elif i < end and text[i] == _F and (i + 1 == end or _blank(text[i + 1])):
            behind = _read_face(text, i + 1, end, v, corners, c)
            size = behind - c
            if end == n:
                counts[_LAST], counts[_LAST_SPOILT] = size, _uneven(text, i + 1, end)
            else:
                counts[_LEAST] = min(counts[_LEAST], size)
            if size < 3:
                counts[_FEW] += 1
            else:
                sizes[f] = size
                f += 1
                c = behind
        elif i < end:
            _other_statement(text, i, end, continued, counts)
        continued = False
        if end > i and (text[end - 1] == _BACKSLASH or _blank(text[end - 1])):
            continued = text[i] != _HASH and _is_continued(text, start, end)
        i = end + 2 if end + 1 < n and text[end] == _RETURN and text[end + 1] == _NEWLINE else end + 1
    return vertices[:v], corners[:c], sizes[:f], counts
