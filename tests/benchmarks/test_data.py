"""The benchmark scripts of the data set run and report what they promise (their figures are not judged here)."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from helpers.datasets import make_dataset
from helpers.scripts import script


def test_read_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = make_dataset(tmp_path / "data", shapes=3, points=4096, image_size=32)
    out = tmp_path / "result.json"
    arguments = ["x", str(data), "--seconds", "0.01", "--repeats", "1", "--shapes", "2", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", arguments)
    script("read_samples").main()
    found = json.loads(out.read_text())
    assert set(found["samples_per_second"]) == {"original", "original-lean", "hdf5", "mmap", "ram", "torch"}
    assert all(value > 0 for value in found["samples_per_second"].values())
    assert found["bytes_per_shape"]["ours"] == 4096 * 6 + 512 + 1024 * 8


def test_render_views(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "t.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\nf 1 3 2\nf 1 2 4\nf 1 4 3\nf 2 3 4\n")
    out = tmp_path / "result.json"
    arguments = ["x", str(tmp_path), "--size", "32", "--views", "2", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", arguments)
    script("render_views").main()
    rows = json.loads(out.read_text())["rows"]
    assert [row["faces"] for row in rows] == [4]
    assert rows[0]["views_per_second"] > 0
