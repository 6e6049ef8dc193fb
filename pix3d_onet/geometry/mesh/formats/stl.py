"""Read STL, binary and text. Triangles share no vertices."""

from __future__ import annotations

import re
import struct

import numpy as np

from pix3d_onet.geometry.mesh.formats.soup import MAX_FACES, Soup, damaged, too_large, truncated
from pix3d_onet.geometry.mesh.formats.text import numbers, plain, shown
from pix3d_onet.types import Float64

HEADER = 84
"""Bytes of a binary file before its triangles: a comment of 80 bytes and the number of triangles."""
RECORD = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
FACET = re.compile(
    rb"\s*facet(?:\s+normal(?:\s+(?!outer)\S+){0,3})?\s+outer\s+loop\s+vertex\s+(\S+)\s+(\S+)\s+(\S+)"
    rb"\s+vertex\s+(\S+)\s+(\S+)\s+(\S+)\s+vertex\s+(\S+)\s+(\S+)\s+(\S+)\s+endloop\s+endfacet\b",
    re.IGNORECASE,
)
BETWEEN = re.compile(rb"\s*(?:end\s?solid|solid|color)\b[^\r\n]*?(?=\sfacet\s+normal\s|[\r\n]|\Z)", re.IGNORECASE)
"""Text that may be between facets: a line, or its beginning if the next facet is on the same line. The look-ahead
begins at the last blank before it, or a long run of blanks would take the square of its length."""


def parse_stl(data: bytes) -> Soup:
    """Triangles (F, 3) of an STL file, with 3F vertices.

    The size of a binary file must agree with the number of triangles in its header. If that is 0 or -1 (streaming
    writers), the size gives the number. A file like that, and text without ``endsolid``, is accepted only if its
    surface is closed.
    """
    text = plain(data) if _is_text(data) else b""
    if text:
        corners, doubt = _text(text)
        left_out: dict[str, int] = {}
    else:
        corners, left_out, doubt = _binary(data)
    faces = np.arange(3 * len(corners), dtype=np.int64).reshape(-1, 3)
    return Soup(corners.reshape(-1, 3), faces, left_out=left_out, doubt=doubt)


def _is_text(data: bytes) -> bool:
    """Whether the file is text. Since many binary files begin with ``solid``, too, it is binary if the size agrees with
    the number in the header."""
    if len(data) >= HEADER and len(data) == HEADER + RECORD.itemsize * struct.unpack_from("<I", data, 80)[0]:
        return False
    head = data[:2000]
    if head.startswith((b"\xff\xfe", b"\xfe\xff")) or (head.count(0) * 3 > len(head) and b"s\x00o\x00l\x00" in head):
        return True
    named = re.match(rb"(?:\xef\xbb\xbf)?\s*(solid|facet)\b", head, re.IGNORECASE) is not None
    return named and (b"\x00" not in head[80:] or b"endfacet" in head.lower())


def _binary(data: bytes) -> tuple[Float64, dict[str, int], str]:
    if len(data) < HEADER:
        raise truncated(f"{len(data)} bytes, less than the header of a binary STL file")
    declared = struct.unpack_from("<I", data, 80)[0]
    count, rest = divmod(len(data) - HEADER, RECORD.itemsize)
    tail, doubt = b"", ""
    if declared in (0, 0xFFFFFFFF) and count and not rest:
        doubt = f"its header declares {declared} triangles, its size {count}"
    elif declared > count:
        raise truncated(f"its header declares {declared} triangles, its size has room for {count}")
    else:
        tail = data[HEADER + declared * RECORD.itemsize :]
        if len(tail) >= RECORD.itemsize and tail.strip(b"\x00"):
            raise damaged(f"its header declares {declared} triangles, its size has room for {count}")
        count = declared
    if count > MAX_FACES:
        raise too_large(f"{count} triangles, at most {MAX_FACES} are read")
    records = np.frombuffer(data, dtype=RECORD, count=count, offset=HEADER)
    with np.errstate(invalid="ignore"):  # signalling NaN
        corners = records["corners"].astype(np.float64)
    return corners, {"bytes behind the last triangle": len(tail)}, doubt


def _text(data: bytes) -> tuple[Float64, str]:
    """(F, 3, 3) corners of a text file, and why it may be truncated."""
    tokens: list[bytes] = []
    at, ended, facets = 0, False, 0
    while at < len(data):
        if found := FACET.match(data, at):
            tokens += found.groups()
            facets, ended = facets + 1, False
        elif found := BETWEEN.match(data, at):
            ended = found[0].lstrip()[:3].lower() == b"end"
        elif data[at:].isspace():
            break
        else:
            rest = data[at:].lstrip()
            message = f"after {facets} triangles, at {shown(rest.splitlines()[0])}"
            if rest[:5].lower() == b"facet" and b"endfacet" not in rest.lower():
                raise truncated(f"it ends within a triangle, {message}")
            raise damaged(f"no triangle in the form of the format {message}")
        at = found.end()
    return numbers(tokens).reshape(-1, 3, 3), "" if ended else "it has no endsolid"
