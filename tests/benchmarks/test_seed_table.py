"""The table of stored evaluations: seeds are averaged picture by picture, other data are refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STORED = ROOT / "benchmarks/results/best/before-tint"


def table(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "benchmarks/seed_table.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def test_the_stored_evaluations_give_the_stored_means(tmp_path: Path) -> None:
    made = table(STORED / "best.json", "--against", "oracle", "--json", tmp_path / "t.json")
    assert made.returncode == 0, made.stderr
    rows = {row["name"]: row for row in json.loads((tmp_path / "t.json").read_text())["rows"]}
    seeds = [row for row in json.loads((STORED / "best.json").read_text())["rows"] if "run" in row["settings"]]
    means = [sum(shape["iou"] for shape in row["shapes"]) / len(row["shapes"]) for row in seeds]
    assert rows["best"]["iou_of_each"] == pytest.approx(means)
    assert rows["best"]["means"]["iou"][0] == pytest.approx(sum(means) / 3)
    assert "| best | 3 | 0.4162, 0.4087, 0.4137 | 0.4129 ± " in made.stdout


def test_evaluations_of_other_data_are_refused(tmp_path: Path) -> None:
    document = json.loads((STORED / "best.json").read_text())
    for row in document["rows"]:
        row["data_hash"] = "another"
    (tmp_path / "other.json").write_text(json.dumps(document))
    made = table(STORED / "best.json", tmp_path / "other.json")
    assert made.returncode != 0
    assert "not of one kind" in made.stderr
