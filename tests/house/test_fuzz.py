"""Odd files of every kind that onet reads: refused in a line or taken, within seconds and memory, never a crash."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.source_tree import ROOT

FUZZ, ATTACKS = (ROOT / "tests" / "helpers" / "programs" / name for name in ("hostile_reads.py", "attack_list.py"))
MAX_KIB = 1 << 20
"""Memory that a file under 10 MB may cost, above what the process has anyway."""
MAX_PRINTED = 30_000
"""Characters that a command may print for a person."""
COST_ONE_ITEM = (
    "f7_f8_cells",
    "f7_f8_files",
    "f9_examples",
    "rough_deep_record",
    "rough_long_history",
    "rough_deep_picture",
)
"""Attacks after which the command goes on, without the item or with it."""
CONTENT: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "f4_f5_f6_names": (("\\x1b[2J[/red]$(touch x)\\u202e",), ("\x1b", "\u202e")),
    "f7_f8_cells": (("'=1+1",), (",=1+1", "\n=1+1")),
    "f7_f8_files": (
        (
            *("'=1+1<img src=x>[a,", "| =1+1\\<img src=x\\>\\[a |", "=1+1\\textless{}img src=x\\textgreater{}{[}a &"),
            *('<th scope="row">=1+1&lt;img src=x&gt;[a</th>', '<option value="=1+1&lt;img src=x&gt;[a">'),
        ),
        (">=1+1<img", "\n=1+1<img", '"=1+1<img', "| =1+1<img", " =1+1<img"),
    ),
}
"""Attack → what reaches a person of a stranger's words, and what must not."""
MAX_SAID = 25_000
"""Characters that a command may say on stderr."""


def run_program(program: Path, *arguments: object) -> Iterator[dict[str, Any]]:
    """The lines of a program that runs cases in a process of its own."""
    paths = os.pathsep.join(map(str, (ROOT, ROOT / "cli", ROOT / "tests")))
    command = [sys.executable, "-W", "ignore", str(program), *map(str, arguments)]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, check=False)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, f"{lines[-1:]} ended the process\n{done.stderr[-2000:]}"
    yield from lines


def check(folder: Path, first: int, count: int) -> None:
    ended = [case for case in run_program(FUZZ, folder, first, count) if "kind" in case]
    assert len(ended) == count
    for case in ended:
        shown = json.dumps(case)[:3000]
        assert not case["failed"], shown
        assert not any("unexpected" in said or "Traceback" in said for said in case["said"]), shown
        assert max(map(len, case["said"])) < MAX_SAID, shown
        assert case["kib"] < MAX_KIB, shown


def test_seventy_odd_files_are_refused_or_taken(tmp_path: Path) -> None:
    check(tmp_path, 0, 70)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_two_thousand_odd_files_are_refused_or_taken(tmp_path: Path) -> None:
    check(tmp_path, 105, 2100)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_kind_of_attack_is_refused_or_bounded(tmp_path: Path) -> None:
    """Run with ``-s`` to see the table: what a person reads, memory above the baseline, seconds."""
    found = list(run_program(ATTACKS, tmp_path))
    for case in found:
        line = case["line"].replace(str(tmp_path) + "/", "")[:160].replace("\n", " | ")
        sys.stdout.write(f"| {case['case']} | {line} | {case['kib'] >> 10} MiB | {case['seconds']} s |\n")
        assert case["kib"] < MAX_KIB, case
        assert "unexpected" not in case["line"], case
        assert len(case["line"]) < MAX_SAID, case
        assert case["printed"] < MAX_PRINTED, case
        assert case["refused"] or case["case"] in COST_ONE_ITEM, case
        there, not_there = CONTENT.get(case["case"], ((), ()))
        assert [text for text in there if text not in case["line"]] == [], case
        assert [text for text in not_there if text in case["line"]] == [], case
    assert len(found) >= 22
