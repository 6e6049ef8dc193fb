"""The stored runs are those of the variants that the docs say they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from pix3d_onet.ablation.stored_runs import find_runs
from pix3d_onet.ablation.suite_file import read_suite

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(("folder", "suite"), [("best", "best"), ("table1-112", "table1")])
def test_each_run_is_a_row_of_the_suite_as_it_is_now(folder: str, suite: str) -> None:
    """A variant that is changed needs new runs, or another name; else a table silently loses its row."""
    rows = {variant.name for variant in read_suite(ROOT / "benchmarks" / "suites" / f"{suite}.toml").variants}
    runs = find_runs(ROOT / "benchmarks" / "results" / folder / "runs")
    assert runs
    assert {run.variant for run in runs} <= rows
