"""The compiled PLY row reader against a row-by-row reference."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from helpers.references import formats as reference

pytest.importorskip("numba")

from pix3d_onet.geometry.mesh.formats.kernels.ply import gather, walk_rows


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
