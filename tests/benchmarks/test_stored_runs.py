"""The stored runs are those of the variants that the docs say they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from pix3d_onet.ablation.stored_runs import find_runs
from pix3d_onet.ablation.suite_file import read_suite

ROOT = Path(__file__).resolve().parents[2]


QUESTIONS = ("augment", "norm", "pose", "sampling", "views")


@pytest.mark.parametrize(
    ("folder", "suites"),
    [
        ("best/runs", ("best",)),
        ("table1-112/runs", ("table1",)),
        ("questions/runs", QUESTIONS),
    ],
)
def test_each_run_is_a_row_of_a_suite_as_it_is_now(folder: str, suites: tuple[str, ...]) -> None:
    """A variant that is changed needs new runs, or another name; else a table silently loses its row."""
    read = [read_suite(ROOT / "benchmarks" / "suites" / f"{suite}.toml") for suite in suites]
    rows = {variant.name for suite in read for variant in suite.variants}
    runs = find_runs(ROOT / "benchmarks" / "results" / folder)
    assert runs
    assert {run.variant for run in runs} <= rows
