"""The compiled OBJ scanner against a line-by-line reference."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.references import formats as reference
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("numba")

from pix3d_onet.geometry.mesh.formats.kernels.obj import scan_obj

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
