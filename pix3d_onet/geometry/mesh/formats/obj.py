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

CONTINUED = re.compile(
    rb"(?:(?<=[\r\n])|\A)[ \t]*[vf][ \t](?:[^#\\\r\n]|\\[ \t]*(?:\r\n|\r|\n)(?![ \t]*[A-Za-z]))*+"
    rb"(\\[ \t]*(?=[\r\n]))?"
)
"""A vertex or face with its continuation lines. Only these are joined, and only with lines that do not begin with a
letter, because a backslash at the end of a comment, a name or a Windows path must not swallow the next line."""
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
    if b"\\" not in data or LINE_JOIN.search(data) is None:
        return data

    def join(match: re.Match[bytes]) -> bytes:
        at_end = match.end() == len(data)  # adds no newline, because a missing one is a sign of truncation
        return LINE_JOIN.sub(b" ", match[0].removesuffix(match[1] or b"")) + (
            b"" if at_end else b"".join(LINE_JOIN.findall(match[0]))
        )

    return CONTINUED.sub(join, data)


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
