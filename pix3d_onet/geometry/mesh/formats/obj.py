"""Read the vertices and faces of Wavefront OBJ files; materials, normals and texture coordinates are skipped.

Pix3D, ShapeNet and most CAD exports are OBJ. General readers spend most of their time on materials, which are not
needed here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from pix3d_onet.geometry.mesh.formats.kernels.obj import COUNTS, scan_obj
from pix3d_onet.geometry.mesh.formats.polygons import triangulate
from pix3d_onet.geometry.mesh.formats.soup import Soup, damaged, truncated, unsupported
from pix3d_onet.geometry.mesh.formats.text import comma_hint, doubt_of_last_index, plain, shown
from pix3d_onet.types import Int64

STATEMENT = re.compile(rb"[ \t]*[vf][ \t]")
"""Beginning of a line with a vertex or a face."""
CONTINUED = re.compile(rb"(?:[^#\\\r\n]+|\\[ \t]*(?:\r\n|\r|\n)(?![ \t]*[A-Za-z])){1,1000}")
"""More of a vertex or a face, over continuation lines. Only these are joined, and only with lines that do not begin
with a letter, because a backslash at the end of a comment, a name or a Windows path must not swallow the next line.
The number of repetitions bounds the memory of the search."""
TRAILING = re.compile(rb"\\[ \t]*(?=[\r\n])")
"""A backslash at the end of a line that is not continued; it is dropped."""
LINE_JOIN = re.compile(rb"\\[ \t]*(\r\n|\r|\n)")
SURFACES = re.compile(rb"(?:(?<=[\r\n])|\A)[ \t]*(surf|bsp|bzp|cdp|cdc|fo|call)(?=[ \t\r\n]|\Z)")
"""Statements of surfaces or files that are not read: free-form and superseded surfaces (OBJ specification 3.0)."""


def parse_obj(data: bytes) -> Soup:
    """Triangles of an OBJ file; negative indices are relative to the last vertex, vertex colours are skipped.

    RejectError if geometry would be lost or changed without notice: for an invalid line that begins like a vertex or a
    face, free-form surfaces, weights other than 1 (programs disagree about them), and a file that ends within a face.
    """
    data = _joined(plain(data))
    vertices, corners, sizes, found = scan_obj(np.frombuffer(data, dtype=np.uint8))
    counts = dict(zip(COUNTS, found.tolist(), strict=True))
    _refuse(data, counts)
    doubt = _doubt_at_end(data, counts, len(vertices), corners)
    cut = triangulate(vertices, corners, sizes)
    remark = _quoted(data, counts["bad_vertex_at"], "not a vertex") if counts["bad_vertices"] else ""
    lost = {**cut.lost, "few-corners": counts["few_corners"]}
    return Soup(vertices, cut.faces, lost, {k: counts[k] for k in ("points", "lines")}, remark, doubt)


def _joined(data: bytes) -> bytes:
    """Join continuation lines of vertices and faces; the line breaks are moved to the end, to keep line numbers."""
    pieces, done, at = [], 0, 0
    while b"\\" in data and (found := LINE_JOIN.search(data, at)):
        end = found.start()
        begin = max(data.rfind(b"\n", at, end), data.rfind(b"\r", at, end), at - 1) + 1
        at = found.end()
        statement = STATEMENT.match(data, begin)
        if statement is None or data[begin - 1 : begin] not in (b"", b"\r", b"\n"):
            continue
        end = statement.end()
        while more := CONTINUED.match(data, end):
            end = more.end()
        trailing = TRAILING.match(data, end)
        stop = trailing.end() if trailing else end
        if stop <= found.start():  # a comment, or a backslash within the line
            continue
        text = data[begin:end]
        # at the end of the file no newline is added, because a missing one is a sign of truncation
        breaks = LINE_JOIN.findall(text) if stop < len(data) else []
        pieces += [data[done:begin], LINE_JOIN.sub(b" ", text), *breaks]
        done = at = stop
    return b"".join([*pieces, data[done:]])


def _refuse(data: bytes, counts: Mapping[str, int]) -> None:
    """RejectError for statements that are invalid or not read."""
    if counts["odd"]:
        raise damaged(_quoted(data, counts["odd_at"], "not a statement of the format"))
    if counts["weights"]:
        raise unsupported(f"{counts['weights']} vertices have a weight other than 1, which programs read differently")
    if counts["others"] and (surface := SURFACES.search(data)):
        raise unsupported(f"it has surfaces of a kind that is not read: {shown(surface[1])}")


def _doubt_at_end(data: bytes, counts: Mapping[str, int], vertices: int, corners: Int64) -> str:
    """Why the last line, if it is a face without a newline, may be truncated. RejectError if it certainly is."""
    last = counts["last_face_corners"]
    if last < 0:
        return ""
    own = corners[len(corners) - last :] if last >= 3 else corners[:0]
    if last < 3 or counts["last_face_spoilt"] or bool(((own < 0) | (own >= vertices)).any()):
        raise truncated("it ends within a face")
    unused = vertices - len(np.unique(corners))
    if unused:
        return f"its last line, a face, has no newline, and {unused} vertices are in no face"
    if last < counts["least_corners"] < len(data):
        return "its last line, a face, has no newline and fewer corners than all others"
    return doubt_of_last_index(data, vertices)


def _quoted(data: bytes, at: int, what: str) -> str:
    """``line 3: '…' is <what>`` for the line that contains byte ``at``."""
    number = len(re.findall(rb"\r\n|\r|\n", data[:at])) + 1
    line = re.split(rb"[\r\n]", data[at : at + 200], maxsplit=1)[0]
    return f"line {number}: {shown(line)} is {what}{comma_hint(line)}"
