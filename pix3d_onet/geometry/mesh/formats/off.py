"""Read OFF (Geomview's object file format) as text, also with colours, normals and texture coordinates."""

from __future__ import annotations

import re
from itertools import accumulate, chain

import numpy as np

from pix3d_onet.geometry.mesh.formats.polygons import triangulate
from pix3d_onet.geometry.mesh.formats.soup import Soup, damaged, truncated, unsupported
from pix3d_onet.geometry.mesh.formats.text import doubt_of_last_index, not_a_number, numbers, plain, shown
from pix3d_onet.types import Float64, Int64

HEADER = re.compile(rb"(ST)?(C)?(N)?(4)?(n)?OFF(?=[\s\d]|\Z)")
"""The keyword with prefixes for texture, colour, normal, four and n dimensions. In ModelNet the counts may follow it
without a space (``OFF490 518 0``)."""
BINARY = re.compile(rb"\w*OFF[ \t]+BINARY", re.IGNORECASE)
COUNTS = re.compile(rb"\s*(\d{1,18})\s+(\d{1,18})(?:\s+-?\d+(?=\s|\Z))?")
COMMENT = re.compile(rb"#[^\r\n]*")
MAX_DIGITS = 20
"""Longest index that is read, in characters."""


def parse_off(data: bytes) -> Soup:
    """Triangles of an OFF file; colours and the like are skipped, polygons are triangulated.

    Each vertex and face must be on its own line, unless there are only coordinates and indices: then any layout is
    read, as the format allows. RejectError for other dimensions, binary files and wrong counts.
    """
    if BINARY.match(data):
        raise unsupported("binary OFF")
    text = COMMENT.sub(b"", plain(data))
    lines = [line for line in re.split(rb"[\r\n]+", text) if line and not line.isspace()]
    body, (vertex_count, face_count) = _counts(lines)
    if len(body) == vertex_count + face_count:
        vertices = _vertices(body[:vertex_count])
        faces = _lines_of_faces(body[vertex_count:])
    else:
        vertices, faces = _free_layout([line.split() for line in body], vertex_count, face_count)
    sizes, corners = faces
    cut = triangulate(vertices, corners, sizes)
    return Soup(vertices, cut.faces, cut.lost, doubt=doubt_of_last_index(text, len(vertices)))


def _counts(lines: list[bytes]) -> tuple[list[bytes], tuple[int, int]]:
    """The lines after the counts, and the numbers of vertices and faces."""
    if not lines:
        raise damaged("an empty file")
    first = lines[0].strip()
    found = HEADER.match(first)
    if found is not None:
        if found[4] or found[5]:
            raise unsupported(f"vertices of other than 3 dimensions ({shown(found[0])})")
        first = first[found.end() :].strip()
        lines = lines[1:] if not first else [first, *lines[1:]]
    counts = COUNTS.match(lines[0]) if lines else None
    if counts is None:
        raise damaged(f"no counts of vertices and faces, but {shown(lines[0] if lines else b'')}")
    rest = lines[0][counts.end() :]
    return ([rest] if rest.strip() else []) + lines[1:], (int(counts[1]), int(counts[2]))


def _vertices(lines: list[bytes]) -> Float64:
    rows = [line.split() for line in lines]
    width = len(rows[0]) if rows else 3  # normals and colours follow the coordinates
    odd = next((line for line, row in zip(lines, rows, strict=True) if len(row) != width or width < 3), None)
    if odd is not None:
        raise damaged(f"{shown(odd)} is not a vertex in the form of the first one")
    return numbers([token for row in rows for token in row[:3]]).reshape(-1, 3)


def _lines_of_faces(lines: list[bytes]) -> tuple[Int64, Int64]:
    """Number of corners per face, and all corners; a colour after the indices is skipped."""
    sizes, corners = [], []
    for line in lines:
        tokens = line.split()
        size = _integer(tokens[0])
        if size < 1 or len(tokens) <= size:
            raise damaged(f"{shown(line)} is not a face")
        sizes.append(size)
        corners += tokens[1 : size + 1]
    return np.array(sizes, dtype=np.int64), _integers(corners)


def _free_layout(lines: list[list[bytes]], vertex_count: int, face_count: int) -> tuple[Float64, tuple[Int64, Int64]]:
    """Vertices, and sizes and corners of faces, of a file with any layout of lines and without colours.

    The last vertex must end at the end of a line (unless there is one line), because with a wrong count the first face
    could be read as a vertex.
    """
    declared = f"it declares {vertex_count} vertices and {face_count} faces"
    tokens = list(chain.from_iterable(lines))
    if len(tokens) < 3 * vertex_count + face_count:
        raise truncated(f"{declared} and has {len(lines)} lines")
    if len(lines) > 1 and 3 * vertex_count not in accumulate(map(len, lines)):
        raise damaged(f"{declared}, but the last vertex does not end at the end of a line")
    vertices = numbers(tokens[: 3 * vertex_count]).reshape(-1, 3)
    sizes: list[int] = []
    corners: list[bytes] = []
    at = 3 * vertex_count
    for _ in range(face_count):
        size = _integer(tokens[at]) if at < len(tokens) else 1
        if size < 1:
            raise damaged(f"{declared}; {size} is not a number of corners")
        if at + size >= len(tokens):
            raise truncated(f"{declared}, but ends after {len(sizes)} faces")
        sizes.append(size)
        corners += tokens[at + 1 : at + size + 1]
        at += size + 1
    if at != len(tokens):
        raise damaged(f"{declared}, but more follows: {shown(b' '.join(tokens[at : at + 4]))}")
    return vertices, (np.array(sizes, dtype=np.int64), _integers(corners))


def _integer(token: bytes) -> int:
    if not re.fullmatch(rb"[+-]?\d{1,9}", token):
        raise not_a_number(token)
    return int(token)


def _integers(tokens: list[bytes]) -> Int64:
    if len(max(tokens, key=len, default=b"")) > MAX_DIGITS:  # NumPy would take as much memory for each of them
        raise damaged("a face's corner is not an index")
    try:
        return np.array(tokens).astype(np.int64) if tokens else np.zeros(0, dtype=np.int64)
    except (ValueError, OverflowError):
        raise damaged("a face's corner is not an index") from None
