"""SECURITY.md says what the code does: its table of limits holds the constants."""

from __future__ import annotations

import importlib
import re

import pytest
from helpers.source_tree import ROOT

ROW = re.compile(r"^\| (.+?) \| (.+?) \| `([\w.]+):(\w+)` \|$", re.MULTILINE)
UNITS = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "million": 10**6, "billion": 10**9}
ROWS = ROW.findall((ROOT / "SECURITY.md").read_text(encoding="utf-8"))


def amount(text: str) -> float:
    """``256 MiB`` → 268435456; other words after the number are what it counts."""
    number, unit = (*text.replace(",", "").split(), "")[:2]
    return float(number) * UNITS.get(unit, 1)


def test_there_is_a_table_of_limits() -> None:
    assert len(ROWS) >= 15


@pytest.mark.parametrize("row", ROWS, ids=[row[3] for row in ROWS])
def test_a_stated_limit_is_the_code_s(row: tuple[str, str, str, str]) -> None:
    _, stated, module, name = row
    assert amount(stated) == getattr(importlib.import_module(f"pix3d_onet.{module}"), name)
