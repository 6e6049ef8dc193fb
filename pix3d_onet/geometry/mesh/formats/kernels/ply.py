"""Walk over the rows of a PLY element with lists, whose rows have different lengths."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def _unsigned(data: Any, at: int, size: int, little: bool) -> int:
    value = 0
    for k in range(size):
        value = value * 256 + data[at + (size - 1 - k if little else k)]
    return value


@njit(cache=True, nogil=True)
def walk_rows(data: Any, start: int, rows: int, widths: Any, count_widths: Any, wanted: int, little: bool) -> Any:
    """Byte offsets (R,) and lengths (R,) of property ``wanted`` in each row, and the offset after the last row.

    ``data`` (N,) uint8; rows begin at ``start``. Property k has items of ``widths[k]`` bytes; ``count_widths[k]`` is 0
    for a scalar, else the size of the list's length in bytes. If a row ends after the data, the last value is -1 - row.
    """
    offsets = np.empty(rows, dtype=np.int64)
    lengths = np.empty(rows, dtype=np.int64)
    at = start
    for row in range(rows):
        for k in range(len(widths)):
            length = 1
            if count_widths[k] > 0:
                if at + count_widths[k] > len(data):
                    return offsets, lengths, -1 - row
                length = _unsigned(data, at, count_widths[k], little)
                at += count_widths[k]
            if k == wanted:
                offsets[row] = at
                lengths[row] = length
            # a length in a text file may be negative, and one of 8 bytes may overflow
            if length < 0 or length > len(data) or at + length * widths[k] > len(data):
                return offsets, lengths, -1 - row
            at += length * widths[k]
    return offsets, lengths, at


@njit(cache=True, nogil=True)
def gather(data: Any, offsets: Any, lengths: Any, width: int) -> Any:
    """The bytes of all lists, concatenated: (Σlengths · width,) uint8."""
    found = np.empty(lengths.sum() * width, dtype=np.uint8)
    to = 0
    for row in range(len(offsets)):
        for k in range(lengths[row] * width):
            found[to] = data[offsets[row] + k]
            to += 1
    return found
