"""A fast Wavefront OBJ reader: vertices and faces; materials, normals and texture coordinates are skipped.

OBJ is what Pix3D, ShapeNet and most CAD exports use; most of the time of a general reader goes to material groups
that an occupancy data set has no use for.
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
    rb"(?:(?<=[\r\n])|\A)[ \t]*[vf][ \t](?:[^#\\\r\n]|\\[ \t]*(?:\r\n|\r|\n)(?![ \t]*[A-Za-z]))*"
    rb"(\\[ \t]*(?=[\r\n]))?"
)
"""A vertex or face with its continuation lines. Only these are continued, and only by lines that begin with no letter:
a backslash that ends a comment, a name or a Windows path, or is left over, must not swallow the next line's vertex."""
LINE_JOIN = re.compile(rb"\\[ \t]*(\r\n|\r|\n)")
SURFACES = re.compile(rb"(?:(?<=[\r\n])|\A)[ \t]*(surf|bsp|bzp|cdp|cdc|fo|call)(?=[ \t\r\n]|\Z)")
"""Statements whose surface (or file) is not read: free-form and superseded surfaces (OBJ specification 3.0)."""


def parse_obj(data: bytes) -> Soup:
    """Triangles of an OBJ file's bytes; negative indices count back, extra vertex components (colours) are skipped.

    RejectError for what would shift or lose geometry in silence: a line that begins like a vertex or a face and is
    none, free-form surfaces, weights other than 1 (programs disagree on them), a file cut off within a face.
    """
    data = _joined(plain(data))
    vertices, corners, sizes, found = scan_obj(np.frombuffer(data, dtype=np.uint8))
    counts = dict(zip(COUNTS, found.tolist(), strict=True))
    _refuse(data, counts)
    doubt = _doubt_at_end(data, counts, len(vertices), corners)
    cut = triangulate(vertices, corners, sizes)
    remark = _quoted(data, counts["bad_vertex_at"], "not a vertex") if counts["bad_vertices"] else ""
    lost = {"few-corners": counts["few_corners"], "crossed": cut.crossed}
    return Soup(vertices, cut.faces, lost, {k: counts[k] for k in ("points", "lines")}, remark, doubt)


def _joined(data: bytes) -> bytes:
    """Continuation lines of vertices and faces made one; the breaks move behind, so that lines keep their numbers."""
    if b"\\" not in data or LINE_JOIN.search(data) is None:
        return data

    def join(match: re.Match[bytes]) -> bytes:
        at_end = match.end() == len(data)  # no line end there: it may be cut off
        return LINE_JOIN.sub(b" ", match[0].removesuffix(match[1] or b"")) + (
            b"" if at_end else b"".join(LINE_JOIN.findall(match[0]))
        )

    return CONTINUED.sub(join, data)


def _refuse(data: bytes, counts: Mapping[str, int]) -> None:
    if counts["odd"]:
        raise damaged(_quoted(data, counts["odd_at"], "not a statement of the format"))
    if counts["weights"]:
        raise unsupported(f"{counts['weights']} vertices have a weight other than 1, which programs read differently")
    if counts["others"] and (surface := SURFACES.search(data)):
        raise unsupported(f"it has surfaces that are not read: {shown(surface[1])}")


def _doubt_at_end(data: bytes, counts: Mapping[str, int], vertices: int, corners: Int64) -> str:
    """A sentence where the last line, a face without a line end, may be cut off. RejectError where it surely is."""
    last = counts["last_face_corners"]
    if last < 0:
        return ""
    own = corners[len(corners) - last :] if last >= 3 else corners[:0]
    if last < 3 or counts["last_face_spoilt"] or bool(((own < 0) | (own >= vertices)).any()):
        raise truncated("it ends within a face")
    unused = vertices - len(np.unique(corners))
    if unused:
        return f"its last line, a face, has no end, {unused} vertices are in no face"
    if last < counts["least_corners"] < len(data):
        return "its last line, a face, has no end and fewer corners than all others"
    return doubt_of_last_index(data, vertices)


def _quoted(data: bytes, at: int, what: str) -> str:
    """``line 3: '…' is <what>`` for the line at byte ``at``."""
    number = len(re.findall(rb"\r\n|\r|\n", data[:at])) + 1
    line = re.split(rb"[\r\n]", data[at : at + 200], maxsplit=1)[0]
    return f"line {number}: {shown(line)} is {what}{comma_hint(line)}"
