"""Read PLY (Turk 1994): text and binary, any elements and properties, polygons and triangle strips."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from pix3d_onet.geometry.mesh.formats.kernels.ply import gather, walk_rows
from pix3d_onet.geometry.mesh.formats.polygons import triangulate
from pix3d_onet.geometry.mesh.formats.soup import Soup, damaged, truncated, unsupported
from pix3d_onet.geometry.mesh.formats.strips import strips_in_lists
from pix3d_onet.geometry.mesh.formats.text import doubt_of_last_index, numbers, plain, shown
from pix3d_onet.types import Float64, Int64, UInt8

TYPES = {
    **{"char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4", "float": "f4"},
    **{"double": "f8", "int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4"},
    **{"int64": "i8", "uint64": "u8", "float32": "f4", "float64": "f8"},
}
"""Type names of the format, old and new → NumPy types."""
ENCODINGS = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}
INDEX_LISTS = ("vertex_indices", "vertex_index")
HEADER_END = re.compile(rb"(?:\A|[\r\n])end_header[ \t]*(\r\n|\r|\n)")
MAX_HEADER_BYTES = 1 << 20
"""Longest header that is read; real ones have a few hundred bytes."""
_NONE = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class _Property:
    """``kind``: NumPy type of an item; ``count``: NumPy type of a list's length, empty for a scalar."""

    name: str
    kind: str
    count: str = ""

    @property
    def width(self) -> int:
        return int(self.kind[1:])


@dataclass(frozen=True, slots=True)
class _Element:
    name: str
    rows: int
    properties: tuple[_Property, ...]

    def index_of(self, *names: str) -> int | None:
        """Index of the first property with one of these names."""
        return next((k for k, p in enumerate(self.properties) if p.name in names), None)


@dataclass(frozen=True, slots=True, eq=False)
class _Table:
    """The used part of an element: ``columns`` (rows, 3) of scalars, or ``sizes`` (rows,) and ``items`` of a list."""

    columns: Float64
    sizes: Int64
    items: Int64


def parse_ply(data: bytes) -> Soup:
    """Triangles of a PLY file. RejectError if the content is not what the header declares."""
    order, elements, body = _header(data)
    data_view = lengths = np.frombuffer(body, dtype=np.uint8)
    is_text = not order
    if is_text:
        order, (elements, data_view, lengths) = "<", _as_binary(body, elements)
    tables, end = _tables(elements, order, data_view, lengths)
    if is_text and end < len(lengths):
        raise damaged(f"{(len(lengths) - end) // 8} numbers follow the last element that its header declares")
    if not is_text and (rest := body[end:].strip(b"\x00 \t\r\n")):
        raise damaged(f"{len(rest)} bytes follow the last element that its header declares")
    if "vertex" not in tables:
        raise damaged("it declares no vertices")
    vertices = tables["vertex"].columns
    left_out = {e.name: e.rows for e in elements if e.name not in tables and e.rows}
    none = _Table(vertices, _NONE, _NONE)
    polygons, strips = tables.get("face", none), tables.get("tristrips", none)
    cut = triangulate(vertices, polygons.items, polygons.sizes)
    faces = np.concatenate([cut.faces, strips_in_lists(strips.items, strips.sizes)]) if len(strips.items) else cut.faces
    doubt = doubt_of_last_index(body, len(vertices)) if is_text else ""
    return Soup(vertices, faces, cut.lost, left_out, doubt=doubt)


def _header(data: bytes) -> tuple[str, tuple[_Element, ...], bytes]:
    """Byte order (empty for text), elements, and the bytes after the header."""
    if data.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        data = plain(data)
    end = HEADER_END.search(data, 0, MAX_HEADER_BYTES)
    if not re.match(rb"ply[ \t]*[\r\n]", data) or end is None:
        raise damaged(f"no PLY header in its first {MAX_HEADER_BYTES >> 20} MiB")
    order = None
    elements: list[tuple[str, int, list[_Property]]] = []
    for line in re.split(rb"[\r\n]+", data[: end.start()])[1:]:
        words = line.decode("latin-1").split()
        match words:
            case [] | ["comment" | "obj_info", *_]:
                pass
            case ["format", encoding, _] if encoding in ENCODINGS:
                order = ENCODINGS[encoding]
            case ["element", name, rows] if rows.isascii() and rows.isdigit() and len(rows) < 19:
                elements.append((name, int(rows), []))
            case ["property", "list", count, kind, name] if elements and {count, kind} <= TYPES.keys():
                if TYPES[count].startswith("f"):
                    raise unsupported(f"the list lengths of {shown(name.encode())} are not integers")
                elements[-1][2].append(_Property(name, TYPES[kind], TYPES[count]))
            case ["property", kind, name] if elements and kind in TYPES:
                elements[-1][2].append(_Property(name, TYPES[kind]))
            case _:
                raise damaged(f"{shown(line)} is not a header line of the format")
    if order is None:
        raise damaged("the header names no encoding")
    names = Counter(name for name, _, _ in elements)
    if twice := next((n for n, count in names.items() if count > 1), ""):
        raise damaged(f"element {twice!r:.60} is declared twice")
    # if lines end in CR alone, a LF after the header belongs to the first number
    begin = end.end() - (end[1] == b"\r\n" and b"\n" not in data[: end.start()])
    return order, tuple(_Element(n, rows, tuple(ps)) for n, rows, ps in elements), data[begin:]


def _wanted(element: _Element) -> list[int] | int | None:
    """Indices of the properties x, y, z, or of the index list; None for an element that is not used."""
    if element.name == "vertex":
        found = [element.index_of(axis) for axis in "xyz"]
        if None in found or any(element.properties[k].count for k in found if k is not None):
            raise damaged("its vertices have no x, y and z")
        return [k for k in found if k is not None]
    if element.name in ("face", "tristrips") and element.rows:
        k = element.index_of(*INDEX_LISTS)
        if k is None or not element.properties[k].count:
            raise unsupported(f"element {element.name} has no list of vertex indices")
        return k
    return None


def _as_binary(text: bytes, elements: tuple[_Element, ...]) -> tuple[tuple[_Element, ...], UInt8, UInt8]:
    """A text body in binary form, so that it is read by the same code: elements, values (float64) and the same values
    as int64, for the lengths of lists.

    RejectError unless every row is a line, because with a wrong count the first face could be read as a vertex.
    """
    text = plain(text)
    rows, lines = sum(e.rows for e in elements if e.properties), sum(1 for line in text.splitlines() if line.strip())
    if rows != lines:
        raise (truncated if lines < rows else damaged)(f"its header declares {rows} rows, {lines} lines follow it")
    tokens = numbers(text.split())
    with np.errstate(invalid="ignore"):
        # -1 is no length: a row whose length is not an integer cannot be read
        whole = np.where(tokens == np.trunc(tokens), tokens, -1).astype("<i8")
    wide = [tuple(_Property(p.name, "f8", p.count and "u8") for p in e.properties) for e in elements]
    wider = tuple(_Element(e.name, e.rows, properties) for e, properties in zip(elements, wide, strict=True))
    return wider, tokens.astype("<f8").view(np.uint8), whole.view(np.uint8)


def _tables(elements: tuple[_Element, ...], order: str, data: UInt8, lengths: UInt8) -> tuple[dict[str, _Table], int]:
    """The used part of each element by name, and the offset after the last one. ``lengths``: the bytes from which list
    lengths are read (binary: ``data``; text: see :func:`_as_binary`)."""
    tables, at = {}, 0
    for element in elements:
        wanted, kinds = _wanted(element), element.properties
        least = sum(int(p.count[1:]) if p.count else p.width for p in kinds)
        if element.rows * least > len(data) - at:  # before anything is allocated
            raise truncated(f"it declares {element.rows} rows of element {element.name}, more than its size allows")
        if not any(p.count for p in kinds):
            record = np.dtype([(f"p{k}", order + p.kind) for k, p in enumerate(kinds)])
            if isinstance(wanted, list):
                rows = np.frombuffer(data, dtype=record, count=element.rows, offset=at)
                columns = np.stack([rows[f"p{k}"].astype(np.float64) for k in wanted], axis=1)
                tables[element.name] = _Table(columns, _NONE, _NONE)
            at += element.rows * record.itemsize
            continue
        widths = np.array([p.width for p in kinds], dtype=np.int64)
        counts = np.array([int(p.count[1:]) if p.count else 0 for p in kinds], dtype=np.int64)
        found = []
        for column in wanted if isinstance(wanted, list) else [-1 if wanted is None else wanted]:
            offsets, sizes, end = walk_rows(lengths, at, element.rows, widths, counts, column, order == "<")
            if end < 0:
                raise truncated(f"it declares {element.rows} rows of element {element.name}; {-1 - end} can be read")
            if column >= 0:
                found.append(gather(data, offsets, sizes, kinds[column].width).view(order + kinds[column].kind))
        if isinstance(wanted, list):
            columns = np.stack([items.astype(np.float64) for items in found], axis=1)
            tables[element.name] = _Table(columns, _NONE, _NONE)
        elif found:
            tables[element.name] = _Table(np.zeros((0, 3)), sizes, _indices(found[0]))
        at = end
    return tables, at


def _indices(items: Any) -> Int64:
    """Indices as int64; RejectError for fractions."""
    with np.errstate(invalid="ignore"):
        found = items.astype(np.int64)
    if items.dtype.kind == "f" and not np.array_equal(found, items):
        raise damaged("a face's corner is not an index")
    return np.ascontiguousarray(found)
