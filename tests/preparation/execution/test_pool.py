"""The threads of compiled kernels in a run's own process."""

from __future__ import annotations

import pytest

from pix3d_onet.preparation.execution.pool import kernel_threads


def test_kernels_take_no_more_threads_than_they_are_given_and_get_theirs_back() -> None:
    numba = pytest.importorskip("numba")
    before = numba.get_num_threads()
    for most, used in ((1, 1), (before, before), (before + 5, before)):
        with kernel_threads(most):
            assert numba.get_num_threads() == used
        assert numba.get_num_threads() == before
