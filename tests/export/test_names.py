"""Names of exported files: valid, short enough, and no two alike."""

from __future__ import annotations

from pix3d_onet.export.claimed_folder import LONGEST_NAME, plain_name, unique_names


def test_a_long_name_is_cut_and_stays_its_own() -> None:
    first, second = (plain_name("é" * 300 + end) for end in "ab")
    assert len(first.encode()) <= LONGEST_NAME
    assert first != second
    assert plain_name("a b/c") == "a-b-c"


def test_no_two_files_have_one_name() -> None:
    wanted = {"a": "x/g.h5", "b": "x/G.h5", "c": "y/g.h5", "d": "x/g.h5"}
    assert unique_names(wanted) == {"a": "x/g.h5", "b": "x/G~2.h5", "c": "y/g.h5", "d": "x/g~3.h5"}
