"""OBJ, OFF, PLY and STL as they come: a solid in every dialect is read rightly, or refused by a reason that is true."""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("numba")
pytest.importorskip("manifold3d")

from pix3d_onet.errors import RejectError
from pix3d_onet.geometry.mesh.reading import ReadMesh, read_mesh
from pix3d_onet.geometry.mesh.topology import unbalanced_edges, volume

BEAM = [(0, 0), (4, 0), (4, 3), (3, 3), (3, 1), (1, 1), (1, 3), (0, 3)]
"""Outline of a U-beam of length 2; its volume is 16."""
VERTICES = np.array([(x, y, z) for z in (0, 2) for x, y in BEAM], dtype=np.float64)
FACES = [list(range(8))[::-1], list(range(8, 16)), *([k, (k + 1) % 8, (k + 1) % 8 + 8, k + 8] for k in range(8))]
BOX = np.array([(x, y, z) for x in (0, 1) for y in (0, 2) for z in (0, 3)], dtype=np.float64)
BOX_FACES = [[0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1]]
BOX_FACES += [[2, 3, 7], [2, 7, 6], [0, 2, 6], [0, 6, 4], [1, 5, 7], [1, 7, 3]]


def obj(vertices: Any = VERTICES, faces: Any = FACES) -> str:
    lines = [f"v {x:g} {y:g} {z:g}" for x, y, z in vertices]
    return "\n".join(["# a beam", *lines, *("f " + " ".join(str(v + 1) for v in face) for face in faces)]) + "\n"


def read(folder: Path, name: str, data: bytes | str) -> ReadMesh:
    path = folder / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return read_mesh(path)


def refused(folder: Path, name: str, data: bytes | str) -> RejectError:
    with pytest.raises(RejectError) as caught:
        read(folder, name, data)
    assert "Error" not in caught.value.message
    assert "no usable face" not in caught.value.message
    return caught.value


def assert_beam(found: ReadMesh) -> None:
    assert volume(found.mesh) == pytest.approx(16, rel=1e-6)
    assert found.mesh.bounds.tolist() == [[0, 0, 0], [4, 3, 2]]
    assert found.figures["faces_dropped"] == 0


SECOND_LINE = obj().split("\n")[1]
SOUND_OBJ: dict[str, bytes] = {
    "plain": obj().encode(),
    "byte order mark": b"\xef\xbb\xbf" + obj().split("\n", 1)[1].encode(),
    "a mark in the middle": obj().replace("f ", "\ufefff ", 1).encode(),
    "UTF-16 with a mark": obj().encode("utf-16"),
    "UTF-16 without": obj().encode("utf-16-le"),
    "UTF-16 the other way round": obj().encode("utf-16-be"),
    "UTF-32": obj().encode("utf-32"),
    "comment that ends in a backslash": obj().replace("# a beam", "# C:\\models\\").encode(),
    "names that end in a backslash": obj().replace("# a beam", "mtllib C:\\\ng left\\").encode(),
    "comment behind a face": obj().replace("f 9 10", "f 9 10 \\\n").replace("16\n", "16 # C:\\\n", 1).encode(),
    "continued faces": obj().replace("f 9 10 11 12", "f 9 10 \\\n 11 \\  \n12").encode(),
    "continued with CR LF": obj().replace("\n", "\r\n").replace("f 9 10", "f 9 \\\r\n10").encode(),
    "continued, then a comment": obj().replace("f 9 10", "f 9 \\\n10").replace("16\n", "16 # C:\\\n", 1).encode(),
    "continued texture coordinates in CR LF": (obj() + "vt 0 \\\n0.5\n").replace("\n", "\r\n").encode(),
    "continued before a blank line": obj().replace("15 16\n", "15 16 \\\n\n").encode(),
    "a backslash behind a vertex and a face": obj()
    .replace("v 4 3 0", "v 4 3 0 \\")
    .replace("15 16\n", "15 16\\\n")
    .encode(),
    "a backslash behind a face, then a material": obj().replace("15 16\n", "15 16 \\\nusemtl a\n").encode(),
    "continued vertex": obj().replace("v 4 3 0", "v 4 \\\n3 0").encode(),
    "CR only": obj().replace("\n", "\r").encode(),
    "CR LF": obj().replace("\n", "\r\n").encode(),
    "no end of the last line": obj().rstrip("\n").encode(),
    "padded with NUL": obj().encode() + bytes(500),
    "lines padded with NUL": obj().replace("\n", "\0\0\n").encode(),
    "end-of-file character": obj().encode() + b"\x1a",
    "tabs and blanks": obj().replace(" ", " \t ").replace("\n", " \t\n  ").encode(),
    "colours": obj().replace("v 4 3 0\n", "v 4 3 0 0.5 0.5 0.5\n").encode(),
    "weight 1": obj().replace("v 4 3 0\n", "v 4 3 0 1.0\n").encode(),
    "faces before vertices": "".join(sorted(obj().splitlines(keepends=True), key=lambda s: s[0] != "f")).encode(),
    "negative indices": obj(faces=[[v - 17 for v in face] for face in FACES]).encode(),
    "normals and textures": "".join(
        " ".join(f"{w}/1/1" if k else w for k, w in enumerate(line.split())) + "\n" if line[:1] == "f" else line
        for line in obj().splitlines(keepends=True)
    ).encode(),
    "repeated corners": obj().replace("f 9 10 11", "f 9 9 10 11 11").encode(),
    "lines and points": (obj() + "l 1 2\np 3\nvt 0 0\nvn 0 0 1\ns off\nusemtl a\n").encode(),
    "continued name of a group": obj().replace("# a beam", "g a \\\n 1 2 3").encode(),
    "curves": (obj() + "cstype bezier\ncurv 0 1 1 2 3\nend\n").encode(),
}


@pytest.mark.parametrize("name", SOUND_OBJ)
def test_sound_obj(tmp_path: Path, name: str) -> None:
    assert_beam(read(tmp_path, "a.obj", SOUND_OBJ[name]))


BROKEN_OBJ: dict[str, tuple[bytes, str, str]] = {
    "decimal commas": (obj(VERTICES + 0.5).replace(".", ",").encode(), "empty-mesh", "decimal comma"),
    "one index out of range": (obj().replace("f 9 10", "f 99 10").encode(), "damaged-mesh", "bad-index"),
    "a negative index before the start": (obj().replace("f 9 10", "f -99 10").encode(), "damaged-mesh", "bad-index"),
    "index 0": (obj().replace("f 9 10", "f 0 10").encode(), "damaged-mesh", "bad-index"),
    "a word for an index": (obj().replace("f 9 10", "f 9 x").encode(), "damaged-mesh", "bad-index"),
    "a vertex of two numbers": (obj().replace("v 4 3 0\n", "v 4 3\n").encode(), "damaged-mesh", "not a vertex"),
    "a word for a number": (obj().replace("v 4 3 0\n", "v 4 3 zero\n").encode(), "damaged-mesh", "'v 4 3 zero'"),
    "an exponent cut off": (obj().replace("v 4 3 0\n", "v 4 3e 0\n").encode(), "damaged-mesh", "'v 4 3e 0'"),
    "NUL within": (obj().replace("v 4 3", "v 4\0 3").encode(), "unreadable-mesh", "NUL"),
    "glued keyword": (obj().replace("v 4 3 0", "v4 3 0", 1).encode(), "unreadable-mesh", "'v4 3 0'"),
    "upper case": (obj().replace("v 4 3 0", "V 4 3 0", 1).encode(), "unreadable-mesh", "'V 4 3 0'"),
    "two vertices in a line": (obj().replace("v 4 3 0\n", "v 4 3 0 ").encode(), "unreadable-mesh", "'v 4 3 0 v"),
    "a face broken in two lines": (obj().replace("f 9 10 11", "f 9 10\n11").encode(), "unreadable-mesh", "'11 12"),
    "a free-form surface": ((obj() + "surf 0 1 0 1 1 2 3 4\n").encode(), "mesh-feature", "surf"),
    "weights": (obj().replace("v 4 3 0\n", "v 4 3 0 0.5\n").encode(), "mesh-feature", "weight"),
    "half of UTF-16": (obj().encode("utf-16")[:-1], "unreadable-mesh", "UTF-16"),
    "no face": (obj(faces=[]).encode(), "empty-mesh", "no faces"),
}


@pytest.mark.parametrize("name", BROKEN_OBJ)
def test_broken_obj(tmp_path: Path, name: str) -> None:
    data, reason, said = BROKEN_OBJ[name]
    found = refused(tmp_path, "a.obj", data)
    assert (found.reason, said in found.message) == (reason, True), found.message


def test_an_obj_cut_off_within_a_line_is_never_another_solid(tmp_path: Path) -> None:
    """At every byte: refused, or an open surface that ends with a line (which no reader can tell from a whole file)."""
    data = obj().encode()
    for length in range(len(data) - 1):
        if data[length : length + 1] == b"\n" or data[length - 1 : length] == b"\n":
            continue
        try:
            found = read(tmp_path, "a.obj", data[:length])
        except RejectError:
            continue
        else:
            assert unbalanced_edges(found.mesh), length


@pytest.mark.parametrize("suffix", ["obj", "off", "ply"])
def test_a_last_index_that_may_lack_digits_condemns_an_open_surface_alone(tmp_path: Path, suffix: str) -> None:
    """``11`` cut to ``1`` is the index of another vertex."""
    data = {"obj": obj(), "off": off(), "ply": ply().decode()}[suffix].rstrip("\n")
    if suffix == "obj":  # a last face that names no corner twice when it is cut
        data = data.replace("f 2 3 11 10\n", "") + "\nf 10 2 3 11"
    assert_beam(read(tmp_path, f"a.{suffix}", data))
    found = refused(tmp_path, f"a.{suffix}", data[:-1])
    assert (found.reason, "may lack digits" in found.message) == ("truncated-mesh", True), found.message


def test_few_lost_faces_are_counted_and_many_are_a_reject(tmp_path: Path) -> None:
    boxes = [obj(np.add(BOX, (2 * k, 0, 0)), []) for k in range(20)]
    faces = [[v + 8 * k for v in face] for k in range(20) for face in BOX_FACES]
    faces[30] = [*faces[30][:2], 999]
    faces[40] = [*faces[40][:2], faces[40][1]]
    text = "".join(boxes) + obj([], faces) + "f 1 2\n"
    figures = read(tmp_path, "a.obj", text).figures
    assert figures["faces_dropped"] == figures["dropped_bad_index"] == 1
    assert figures["dropped_degenerate"] == figures["dropped_few_corners"] == 1
    faces[31:33] = [[999, 1, 2]] * 2
    found = refused(tmp_path, "a.obj", "".join(boxes) + obj([], faces))
    assert (found.reason, "bad-index 3 of 240" in found.message) == ("damaged-mesh", True)


def off(header: str = "OFF\n{counts}", vertex: str = "", face: str = "", vertices: Any = VERTICES) -> str:
    lines = [f"{x:g} {y:g} {z:g}{vertex}" for x, y, z in vertices]
    lines += [f"{len(f)} " + " ".join(map(str, f)) + face for f in FACES]
    return header.replace("{counts}", f"{len(VERTICES)} {len(FACES)} 24") + "\n" + "\n".join(lines) + "\n"


SOUND_OFF = {
    "plain": off(),
    "no keyword": off("{counts}"),
    "counts beside the keyword": off("OFF {counts}"),
    "counts glued to it": off("OFF{counts}"),
    "comments": off("# before\nOFF # here\n\n{counts} # there\n# and\n", face=" # a face"),
    "colours of faces": off(face=" 255 0 0"),
    "colours of vertices": off("COFF\n{counts}", vertex=" 0.1 0.2 0.3 1"),
    "integer colours without alpha": off("COFF\n{counts}", vertex=" 255 0 3"),
    "normals": off("NOFF\n{counts}", vertex=" 0 0 1"),
    "all of it": off("STCNOFF\n{counts}", vertex=" 0 0 1 1 1 1 1 0.5 0.5", face=" 0.1 0.1 0.1 1"),
    "two counts": off().replace(" 24\n", "\n", 1),
    "CR LF": off().replace("\n", "\r\n"),
    "one line": " ".join(off().split()),
    "byte order mark": "\ufeff" + off(),
}


@pytest.mark.parametrize("name", SOUND_OFF)
def test_sound_off(tmp_path: Path, name: str) -> None:
    assert_beam(read(tmp_path, "a.off", SOUND_OFF[name]))


BROKEN_OFF = {
    "four dimensions": (off("4OFF\n{counts}", vertex=" 1"), "mesh-feature"),
    "n dimensions": (off("nOFF\n{counts}"), "mesh-feature"),
    "binary": ("OFF BINARY\n\0\0\0\x08", "mesh-feature"),
    "no counts": (off("OFF\nabc"), "unreadable-mesh"),
    "more faces declared": (off().replace("16 10 24", "16 11 24"), "truncated-mesh"),
    "more vertices declared": (off().replace("16 10 24", "17 10 24"), "unreadable-mesh"),
    "a vertex for a face": (off().replace("16 10 24", "17 9 24"), "unreadable-mesh"),
    "a number as in Python": (off().replace("0 0 0\n4 0 0", "0 0 0\n4_0 0 0"), "unreadable-mesh"),
    "a number moved to the next vertex": (off().replace("0 0 0\n4 0 0", "0 0\n0 4 0 0"), "unreadable-mesh"),
    "fewer faces declared": (off().replace("16 10 24", "16 9 24"), "unreadable-mesh"),
    "fewer vertices declared": (off().replace("16 10 24", "15 10 24"), "unreadable-mesh"),
    "decimal commas": (off(vertices=VERTICES + 0.5).replace(".", ","), "unreadable-mesh"),
    "an index of a fraction": (off().replace("8 8 9", "8 8.5 9"), "unreadable-mesh"),
    "an index out of range": (off().replace("8 8 9", "8 16 9"), "damaged-mesh"),
    "a face without its corners": (off().replace("\n4 0 1 9 8\n", "\n4 0 1 9\n"), "unreadable-mesh"),
    "empty": ("", "unreadable-mesh"),
}


@pytest.mark.parametrize("name", BROKEN_OFF)
def test_broken_off(tmp_path: Path, name: str) -> None:
    text, reason = BROKEN_OFF[name]
    found = refused(tmp_path, "a.off", text)
    assert found.reason == reason, found.message


def ply(order: str = "", number: str = "float", count: str = "uchar", index: str = "int", extra: bool = False) -> bytes:
    """The beam as text (no ``order``) or binary of order ``<`` or ``>``; ``extra``: more properties and elements."""
    names = {"": "ascii", "<": "binary_little_endian", ">": "binary_big_endian"}
    codes = {
        "float": "f",
        "double": "d",
        "int": "i",
        "uint": "I",
        "uchar": "B",
        "ushort": "H",
        "short": "h",
        "char": "b",
    }
    head = ["ply", f"format {names[order]} 1.0", "comment made by hand", "obj_info x"]
    if extra:
        head += ["element camera 1", "property list uchar float view", "property short id"]
    head += [f"element vertex {len(VERTICES)}", *(["property uchar red"] if extra else [])]
    head += [f"property {number} {axis}" for axis in ("zyx" if extra else "xyz")]
    head += [f"element face {len(FACES)}", *(["property uchar flag", "property list uchar float uv"] if extra else [])]
    head += [f"property list {count} {index} vertex_ind{'ex' if extra else 'ices'}"]
    head += ["element edge 1", "property int vertex1", "property int vertex2"] if extra else []
    rows: list[list[tuple[str, float]]] = []
    if extra:
        rows.append([("B", 2), ("f", 0.5), ("f", 1.5), ("h", -3)])
    for point in VERTICES:
        axes = [(codes[number], x) for x in (point[::-1] if extra else point)]
        rows.append(([("B", 255)] if extra else []) + axes)
    for face in FACES:
        before = [("B", 7), ("B", 1), ("f", 0.25)] if extra else []
        rows.append([*before, (codes[count], len(face)), *((codes[index], v) for v in face)])
    if extra:
        rows.append([("i", 0), ("i", 1)])
    header = "\n".join([*head, "end_header", ""]).encode()
    if not order:
        return header + "".join(" ".join(f"{value:g}" for _, value in row) + "\n" for row in rows).encode()
    items = [item for row in rows for item in row]
    whole = [int(v) if c not in "fd" else v for c, v in items]
    return header + struct.pack(order + "".join(c for c, _ in items), *whole)


@pytest.mark.parametrize("extra", [False, True])
@pytest.mark.parametrize("types", [("float", "uchar", "int"), ("double", "int", "uint"), ("short", "ushort", "uchar")])
@pytest.mark.parametrize("order", ["", "<", ">"])
def test_sound_ply(tmp_path: Path, order: str, types: tuple[str, str, str], extra: bool) -> None:
    assert_beam(read(tmp_path, "a.ply", ply(order, *types, extra)))


def test_ply_with_cr_lf(tmp_path: Path) -> None:
    assert_beam(read(tmp_path, "a.ply", ply().replace(b"\n", b"\r\n")))
    head, body = ply("<").split(b"end_header\n")
    assert_beam(read(tmp_path, "a.ply", head.replace(b"\n", b"\r\n") + b"end_header\r\n" + body))


@pytest.mark.parametrize("order", ["", "<", ">"])
def test_ply_vertices_with_lists_and_a_long_header(tmp_path: Path, order: str) -> None:
    data = ply(order)
    start = data.index(b"end_header\n") + 11
    head = data[:start].replace(b"property float y", b"property list uchar short near\nproperty float y")
    head = head.replace(b"obj_info x\n", b"comment " + b"x" * 100_000 + b"\n")
    near = [list(range(k % 3)) for k in range(len(VERTICES))]
    if order:
        rows = (
            struct.pack(f"{order}fB{len(n)}hff", x, len(n), *n, y, z)
            for (x, y, z), n in zip(VERTICES, near, strict=True)
        )
        body = b"".join(rows) + data[start + 12 * len(VERTICES) :]
    else:
        lines = [
            f"{x:g} {len(n)} {' '.join(map(str, n))} {y:g} {z:g}" for (x, y, z), n in zip(VERTICES, near, strict=True)
        ]
        body = "\n".join(lines).encode() + b"\n" + b"\n".join(data[start:].split(b"\n")[len(VERTICES) :])
    assert_beam(read(tmp_path, "a.ply", head + body))


def test_a_ply_header_in_cr_does_not_swallow_a_byte_of_its_body(tmp_path: Path) -> None:
    """The first number may begin with the byte of a line feed."""
    head, body = ply("<").split(b"end_header\n")
    assert_beam(read(tmp_path, "a.ply", head.replace(b"\n", b"\r") + b"end_header\r\n" + body[1:]))


@pytest.mark.parametrize("count", ["-1", "-9", "4.5", "nan", "99999999999999999999", "9223372036854775808"])
def test_lengths_of_ply_lists_that_are_none_are_refused(tmp_path: Path, count: str) -> None:
    """They wrap when read as 64 bits; nothing may be written outside of its array."""
    data = ply().replace(b"\n4 0 1 9 8\n", f"\n{count} 0 1 9 8\n".encode())
    assert refused(tmp_path, "a.ply", data).reason == "truncated-mesh"


def test_rows_of_a_ply_text_are_lines(tmp_path: Path) -> None:
    """A vertex too many is not made of the first face, even where the rest fits."""
    more = ply().replace(b"element vertex 16", b"element vertex 17")
    assert "declares 27 rows, 26 lines" in refused(tmp_path, "a.ply", more).message
    found = refused(tmp_path, "a.ply", ply().rstrip() + b" 1 2 3 4 5 6")
    assert "6 numbers follow" in found.message


@pytest.mark.parametrize("order", ["", "<"])
def test_a_ply_that_is_cut_off_or_lies_about_its_counts_is_refused(tmp_path: Path, order: str) -> None:
    data = ply(order)
    start = data.index(b"end_header") + 11
    for length in range(start, len(data) - 2):
        assert refused(tmp_path, "a.ply", data[:length]).reason in ("truncated-mesh", "unreadable-mesh")
    fewer, more = (data.replace(b"element face 10", b"element face %d" % n) for n in (9, 11))
    assert refused(tmp_path, "a.ply", fewer).reason == "unreadable-mesh"
    assert refused(tmp_path, "a.ply", more).reason == "truncated-mesh"
    huge = data.replace(b"element vertex 16", b"element vertex 16000000000000")
    assert refused(tmp_path, "a.ply", huge).reason == "truncated-mesh"


@pytest.mark.parametrize("order", ["", "<", ">"])
def test_ply_strips_with_restarts(tmp_path: Path, order: str) -> None:
    """A box in two strips of one list: a belt of four sides, and the two ends."""
    belt, ends = [0, 1, 4, 5, 6, 7, 2, 3, 0, 1], [[4, 6, 0, 2], [1, 3, 5, 7]]
    strip = [*belt, -1, *ends[0], -1, *ends[1]]
    names = {"": "ascii", "<": "binary_little_endian", ">": "binary_big_endian"}
    header = f"ply\nformat {names[order]} 1.0\nelement vertex 8\nproperty float x\nproperty float y\nproperty float z\n"
    header += "element tristrips 1\nproperty list int int vertex_indices\nend_header\n"
    if order:
        body = struct.pack(f"{order}24f", *BOX.reshape(-1)) + struct.pack(
            f"{order}{len(strip) + 1}i", len(strip), *strip
        )
    else:
        body = "\n".join(" ".join(f"{x:g}" for x in row) for row in [*BOX, [len(strip), *strip]]).encode()
    mesh = read(tmp_path, "a.ply", header.encode() + body).mesh
    assert abs(volume(mesh)) == pytest.approx(6)
    assert unbalanced_edges(mesh) == 0


def stl_text(end: str = "endsolid box\n", vertices: Any = BOX) -> str:
    rows = ["solid box"]
    for face in BOX_FACES:
        corners = [f"      vertex {x:e} {y:e} {z:e}" for x, y, z in vertices[face]]
        rows += ["  facet normal 0 0 0", "    outer loop", *corners, "    endloop", "  endfacet"]
    return "\n".join(rows) + "\n" + end


def stl_binary(count: int = 12, header: bytes = b"made by hand", tail: bytes = b"") -> bytes:
    body = b"".join(struct.pack("<12fH", 0, 0, 0, *BOX[face].reshape(-1), 0) for face in BOX_FACES)
    return header.ljust(80, b"\0") + struct.pack("<I", count) + body + tail


SOUND_STL: dict[str, bytes] = {
    "text": stl_text().encode(),
    "text, upper case": stl_text().upper().encode(),
    "text in CR LF": stl_text().replace("\n", "\r\n").encode(),
    "text in UTF-16": stl_text().encode("utf-16"),
    "text without endsolid": stl_text(end="").encode(),
    "text of two solids": stl_text().replace("  facet", "endsolid a\nsolid b vertex facet\n  facet", 3).encode(),
    "text in one line": stl_text().replace("\n", " ").encode(),
    "text of two facets in a line": re.sub(r"(endfacet)\n(.*?endfacet)", r"\1 \2", stl_text(), flags=re.S)
    .replace("\n ", " ")
    .encode(),
    "text without solid": stl_text().split("\n", 1)[1].encode(),
    "text without normals": stl_text().replace(" normal 0 0 0", "").encode(),
    "binary": stl_binary(),
    "binary that begins with solid": stl_binary(header=b"solid facet normal"),
    "binary with a tail": stl_binary(tail=b"made by"),
    "binary with a tail of zeros": stl_binary(tail=bytes(700)),
    "binary with count 0": stl_binary(count=0),
    "binary with the largest count": stl_binary(count=0xFFFFFFFF),
}


@pytest.mark.parametrize("name", SOUND_STL)
def test_sound_stl(tmp_path: Path, name: str) -> None:
    assert volume(read(tmp_path, "a.stl", SOUND_STL[name]).mesh) == pytest.approx(6)


CORNER = "      vertex 0.000000e+00 0.000000e+00 0.000000e+00\n"
OPEN = stl_binary(count=0)[:-50]
BROKEN_STL: dict[str, tuple[bytes, str]] = {
    "count too small": (stl_binary(count=8), "unreadable-mesh"),
    "count too large": (stl_binary(count=13), "truncated-mesh"),
    "count 0 and a side missing": (OPEN, "truncated-mesh"),
    "text without endsolid and a side missing": (stl_text(end="").rsplit("  facet", 1)[0].encode(), "truncated-mesh"),
    "text cut off within a triangle": (stl_text()[:-60].encode(), "truncated-mesh"),
    "text cut off within a number": (stl_text(end="")[:-45].encode(), "truncated-mesh"),
    "decimal commas": (stl_text().replace(".", ",").encode(), "unreadable-mesh"),
    "a facet of four corners": (stl_text().replace("    endl", CORNER + "    endl", 1).encode(), "unreadable-mesh"),
    "a facet of two corners": (stl_text().replace(CORNER, "", 1).encode(), "unreadable-mesh"),
    "NUL within text": (stl_text().replace("outer", "ou\0er", 1).encode(), "unreadable-mesh"),
    "a page of the web": (b"<!DOCTYPE html><html>" * 9, "truncated-mesh"),
    "empty": (b"", "truncated-mesh"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN_STL)
def test_broken_stl(tmp_path: Path, name: str) -> None:
    data, reason = BROKEN_STL[name]
    found = refused(tmp_path, "a.stl", data)
    assert found.reason == reason, found.message
