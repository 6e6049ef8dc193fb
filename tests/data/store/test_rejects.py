"""``rejects.jsonl``: one writer, one reader."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pix3d_onet.data.store.rejects import REJECTS_FILE, read_rejects, scan_rejects, write_rejects
from pix3d_onet.errors import InputError
from pix3d_onet.types import Rejected

WORDS = st.text(st.characters(codec="utf-8"), max_size=8)  # line separators of Unicode among them


@given(st.lists(st.builds(Rejected, WORDS, WORDS, WORDS, WORDS, WORDS)))
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, rows: list[Rejected]) -> None:
    folder = tmp_path_factory.mktemp("rejects")
    written = write_rejects(folder, rows)
    assert sorted(map(str, written)) == sorted(map(str, rows))
    assert list(read_rejects(folder)) == list(scan_rejects(folder)) == written
    again = (folder / REJECTS_FILE).read_bytes()
    write_rejects(folder, reversed(rows))
    assert (folder / REJECTS_FILE).read_bytes() == again


def test_a_damaged_row_is_named_and_a_missing_file_is_empty(tmp_path: Path) -> None:
    assert read_rejects(tmp_path) == ()
    row = Rejected("chair", "0001", "mesh", "empty-mesh", "no face")
    write_rejects(tmp_path, [row, row])
    for damage in ("{broken", "[1]", '{"object_id": "chair"}', "[" * 100_000):
        with (tmp_path / REJECTS_FILE).open("a") as file:
            file.write(f"{damage}\n")
    assert list(scan_rejects(tmp_path)) == [row, row, None, None, None, None]
    with pytest.raises(InputError, match=r"rejects\.jsonl is damaged \(line 3 is not a reject\)"):
        read_rejects(tmp_path)
