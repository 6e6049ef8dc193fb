"""The tables about watertighting are what the stored measurement says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.scripts import FOLDER, script

ROOT = FOLDER.parent


def row(method: str, mesh: str, seconds: float, error: float, **more: float) -> dict[str, object]:
    return {"method": method, "mesh": mesh, "wall_seconds": seconds, "mean": error, "watertight": True, **more}


DOCUMENT = {
    "machine": {"threads": 1},
    "repeats": 3,
    "inside_points": 400_000,
    "memory_mesh": "chair (9 faces)",
    "peak_memory_mb": {"onet tight": 321},
    "rows": [
        row("onet tight", "box", 0.1, 1e-6, iou=1.0, volume_ratio=1.0),
        row("peer", "box", 0.4, 2e-3, iou=0.9, volume_ratio=1.25),
        row("onet tight", "ball", 0.2, 3e-6, iou=0.99994, volume_ratio=0.9996),
        row("onet tight", "chair", 0.3, 5e-5),
        row("peer", "chair", 1.8, 4e-3) | {"watertight": False},
    ],
}


def test_tables_by_hand() -> None:
    lines = script("watertight_report").markdown(DOCUMENT).splitlines()
    assert "|  | box | ball |" in lines
    assert "| onet tight: IoU | 1.0000 | 0.9999 |" in lines
    assert "| peer: volume | ×1.250 | failed |" in lines
    assert "| peer: error ×10⁻³ | 2.000 | failed |" in lines
    assert "| onet tight | 0.200 | 1.0× | 0.002 | 0.050 | 3 of 3 | 321 |" in lines
    assert "| peer | 1.100 | 5.0× | 2.000 | 4.000 | 1 of 3 |  |" in lines


def test_a_page_without_markers_is_refused_and_the_rest_of_a_page_is_left_alone() -> None:
    report = script("watertight_report")
    page = f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n"
    assert report.replaced(page, "new") == f"before\n{report.BEGIN}\n\nnew\n\n{report.END}\nafter\n"
    with pytest.raises(SystemExit, match="lacks the lines"):
        report.replaced("before\nafter\n", "new")


def test_the_documentation_holds_what_was_measured() -> None:
    report = script("watertight_report")
    document = json.loads((ROOT / "benchmarks/results/watertight.json").read_text())
    page = (ROOT / "docs/watertight.md").read_text()
    assert report.replaced(page, report.markdown(document)) == page


def test_the_plot_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    target = tmp_path / "plot.png"
    script("watertight_report").plot(DOCUMENT["rows"], target)
    assert target.read_bytes()[:4] == b"\x89PNG"
