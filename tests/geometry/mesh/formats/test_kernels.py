"""The compiled loops of the readers against their line-by-line and face-by-face references."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from helpers.references import formats as reference
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("numba")

from pix3d_onet.geometry.mesh.formats._obj_kernels import scan_obj
from pix3d_onet.geometry.mesh.formats._ply_kernels import gather, walk_rows
from pix3d_onet.geometry.mesh.formats._polygon_kernels import OVERLAP, SLIVER, fans, last_verdict, verdict_of

NUMBERS = st.one_of(
    st.floats(-1e6, 1e6).map(repr), st.sampled_from(["1e", ".5", "5.", "+2", "1x", "--1", "nan", "1e-320", "1e5", "#"])
)
CORNERS = st.one_of(st.integers(-5, 9).map(str), st.sampled_from(["1/2/3", "2//1", "-1/1", "x", "1x", "#", "+3"]))
BLANKS = st.sampled_from([" ", "\t", "  "])
LINES = st.one_of(
    st.tuples(st.just("v"), st.lists(NUMBERS, max_size=5)), st.tuples(st.just("f"), st.lists(CORNERS, max_size=6))
).flatmap(lambda line: BLANKS.map(lambda blank: blank.join([line[0], *line[1]])))
TEXTS = st.lists(
    st.one_of(LINES, st.sampled_from(["", "# v 1 2 3", "vt 1 2", "v", "f ", " v 1 2 3", "g a"])), max_size=12
)


@pytest.mark.kernel("scan_obj")
@settings(max_examples=200, deadline=None)
@given(TEXTS, st.sampled_from(["\n", "\r\n"]))
def test_obj_text(lines: list[str], end: str) -> None:
    text = end.join(lines)
    vertices, corners, sizes, _ = scan_obj(np.frombuffer(text.encode(), dtype=np.uint8))
    expected_vertices, faces = reference.scan_obj(text)
    assert np.allclose(vertices, expected_vertices, rtol=1e-14, atol=1e-300, equal_nan=True)
    assert [part.tolist() for part in np.split(corners, np.cumsum(sizes)[:-1])] == (faces or [[]])


@pytest.mark.kernel("fans", "verdict_of", "last_verdict")
@pytest.mark.parametrize("seed", range(20))
def test_fans_and_their_verdicts(seed: int) -> None:
    rng = np.random.default_rng(seed)
    vertices = rng.normal(size=(30, 3)) * (1, 1, 0.05)
    polygons = [rng.choice(30, int(rng.integers(3, 7)), replace=False).tolist() for _ in range(40)]
    polygons[7] = [0, 1, 99, 2]
    sizes = np.array([len(p) for p in polygons])
    faces, verdicts = np.empty((int((sizes - 2).sum()), 3), dtype=np.int64), np.empty(40, dtype=np.int8)
    fans(vertices, np.concatenate(polygons), sizes, faces, verdicts)
    expected_faces, expected_verdicts = reference.fans(vertices, polygons, OVERLAP)
    assert faces.tolist() == expected_faces
    assert verdicts.tolist() == expected_verdicts
    assert len(set(expected_verdicts)) > 1
    normal = reference.newell(vertices[polygons[0]])
    own = faces[: sizes[0] - 2]
    assert verdict_of(vertices, own, tuple(normal)) == reference.verdict(vertices, own, normal, OVERLAP)
    for flat in (1, 1e-2, 1e-5):
        bow = rng.normal(size=(4, 3)) * (1, flat, 0)
        own, normal = np.array([[0, 1, 2], [0, 2, 3]]), reference.newell(bow)
        expected = reference.last_verdict(bow, own, normal, OVERLAP, SLIVER)
        assert last_verdict(bow, own, tuple(normal)) == expected


@pytest.mark.kernel("walk_rows", "gather")
@pytest.mark.parametrize("order", ["<", ">"])
def test_rows_with_lists(order: str) -> None:
    properties, rng = [("", "d"), ("B", "i"), ("H", "h"), ("", "b")], np.random.default_rng(0)
    data = b"\0\0\0"  # rows may begin anywhere
    for _ in range(50):
        first, second = (rng.integers(-9, 9, int(n)).tolist() for n in rng.integers(0, 300, 2) % (9, 300))
        row = f"dB{len(first)}iH{len(second)}hb"
        data += struct.pack(order + row, 1.5, len(first), *first, len(second), *second, -1)
    widths, counts = np.array([8, 4, 2, 1]), np.array([0, 1, 2, 0])
    raw = np.frombuffer(data, dtype=np.uint8)
    for wanted, code in ((1, "i4"), (2, "i2")):
        offsets, lengths, end = walk_rows(raw, 3, 50, widths, counts, wanted, order == "<")
        expected = reference.walk_rows(data[3:], 50, properties, order, wanted)
        assert end == len(data)
        assert lengths.tolist() == [len(row) for row in expected]
        items = gather(raw, offsets, lengths, int(code[1])).view(order + code)
        assert items.tolist() == [value for row in expected for value in row]
    for cut in (1, 20, len(data) // 2):
        assert walk_rows(raw[:-cut], 3, 50, widths, counts, 1, order == "<")[2] < 0
