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

PROGRAM = ROOT / "tests" / "helpers" / "programs" / "hostile_reads.py"
MAX_KIB = 1 << 20
"""Memory that a file under 10 MB may cost, above what the process has anyway."""
MAX_SAID = 25_000
"""Characters that a command may say on stderr."""


def outcomes(folder: Path, first: int, count: int) -> Iterator[dict[str, Any]]:
    """What became of each case, from a process of its own."""
    paths = os.pathsep.join(map(str, (ROOT, ROOT / "cli", ROOT / "tests")))
    command = [sys.executable, "-W", "ignore", str(PROGRAM), str(folder), str(first), str(count)]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, check=False)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    ended = [line for line in lines if "kind" in line]
    assert done.returncode == 0, f"case {lines[-1:]} ended the process\n{done.stderr[-2000:]}"
    assert len(ended) == count
    yield from ended


def check(folder: Path, first: int, count: int) -> None:
    for case in outcomes(folder, first, count):
        shown = json.dumps(case)[:3000]
        assert not case["failed"], shown
        assert not any("unexpected" in said or "Traceback" in said for said in case["said"]), shown
        assert max(map(len, case["said"])) < MAX_SAID, shown
        assert case["kib"] < MAX_KIB, shown


def test_a_hundred_odd_files_are_refused_or_taken(tmp_path: Path) -> None:
    check(tmp_path, 0, 105)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_two_thousand_odd_files_are_refused_or_taken(tmp_path: Path) -> None:
    check(tmp_path, 105, 2100)
