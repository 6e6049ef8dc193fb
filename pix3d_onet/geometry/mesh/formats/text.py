"""Text-based formats: encodings, padding, numbers."""

from __future__ import annotations

import codecs
import re

import numpy as np

from pix3d_onet.geometry.mesh.formats.soup import damaged
from pix3d_onet.types import Float64

BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, ""),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark is the beginning of this one
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
PROBE = 512
"""Bytes examined to detect UTF-16 without a mark: of ASCII text in it, every second byte is zero."""
PADDING = re.compile(rb"(?<!\x00)\x00+(?=[\r\n]|\Z)")
"""NUL bytes before a line end. They are tried only from their first one, or a long run would take the square of its
length."""
LAST_INDEX = re.compile(rb"[ \t](\d{1,18})\Z")
DECIMAL_COMMA = re.compile(rb"\d,\d")


def plain(data: bytes) -> bytes:
    """ASCII-compatible bytes of a text file, without byte order mark, end-of-file character and NUL padding of lines.

    UTF-16 and UTF-32 are decoded. RejectError for NUL bytes elsewhere, because data are missing there.
    """
    data = _decoded(data)
    if b"\x00" in data:
        data = PADDING.sub(b"", data)
        if (at := data.find(b"\x00")) >= 0:
            raise damaged(f"NUL bytes within the text (line {data.count(10, 0, at) + 1})")
    return data.removesuffix(b"\x1a")  # end-of-file character of MS-DOS


def _decoded(data: bytes) -> bytes:
    encoding = None
    for mark, name in BYTE_ORDER_MARKS:
        if data.startswith(mark):
            if not name:
                return data[len(mark) :]
            encoding = name
            break
    else:
        probe = data[: PROBE & ~1]
        low, high = probe[::2].count(0), probe[1::2].count(0)
        if len(probe) >= 8 and max(low, high) > 0.4 * len(probe) and min(low, high) == 0:
            encoding = "utf-16-le" if high else "utf-16-be"
    if encoding is None:
        return data
    try:
        return data.decode(encoding).encode()
    except UnicodeDecodeError as error:
        raise damaged(f"its first bytes indicate {encoding.upper()} text, but it is not ({error.reason})") from None


def doubt_of_last_index(text: bytes, vertices: int) -> str:
    """Why ``text`` may be truncated: it has no final newline, and its last index with one more digit would be valid."""
    found = LAST_INDEX.search(text, max(0, len(text) - 20))
    cut = found is not None and 0 < 10 * int(found[1]) <= vertices
    return "its last line has no newline, so its last index may lack digits" if cut else ""


def numbers(tokens: list[bytes]) -> Float64:
    """(N,) float64 of decimal tokens. RejectError quotes the first token that is not a number."""
    if odd := next((t for t in tokens if b"_" in t), None):  # Python reads 1_0 as ten
        raise not_a_number(odd)
    try:
        return np.array(tokens, dtype=np.float64)
    except ValueError:
        raise not_a_number(next(t for t in tokens if not _is_number(t))) from None


def _is_number(token: bytes) -> bool:
    try:
        float(token)
    except ValueError:
        return False
    return True


def not_a_number(token: bytes) -> Exception:
    """The reject for a token that should be a number; it mentions a decimal comma."""
    return damaged(f"{shown(token)} is not a number{comma_hint(token)}")


def comma_hint(text: bytes) -> str:
    """A hint to append to a message if ``text`` has a decimal comma, else empty."""
    return " (decimal comma: write numbers with a point)" if DECIMAL_COMMA.search(text) else ""


def shown(token: bytes, most: int = 60) -> str:
    """A piece of the file for a message: quoted, escaped, at most ``most`` bytes."""
    return repr(token[:most].decode("ascii", "backslashreplace"))
