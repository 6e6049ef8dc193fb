from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pix3d_onet.data.store.encoding import DISTANCE_STEP, decode_distances, encode_distances


@given(st.lists(st.tuples(st.floats(0, 1.5), st.booleans()), min_size=1, max_size=50))
def test_a_stored_distance_is_half_a_step_off_and_has_the_sign_of_its_label(rows: list[tuple[float, bool]]) -> None:
    distances, inside = np.array([d for d, _ in rows]), np.array([i for _, i in rows])
    decoded = decode_distances(encode_distances(distances, inside))
    assert ((decoded < 0) == inside).all()
    assert (decoded != 0).all()
    assert np.abs(np.abs(decoded) - distances).max() <= DISTANCE_STEP / 2 + 1e-7


def test_a_distance_out_of_range_saturates() -> None:
    codes = encode_distances(np.array([9.0, 9.0]), np.array([False, True]))
    assert codes.tolist() == [32767, -32768]
