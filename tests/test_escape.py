"""Hostile names through every medium, each read back by the medium's own reader."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
import unicodedata
from pathlib import Path

import pytest
from helpers.hostile import HOSTILE, names
from hypothesis import given
from hypothesis import strategies as st

from pix3d_onet import escape

SEEN = re.compile(r"[^\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]*")


@given(names)
def test_what_is_shown_is_one_line_that_moves_nothing(name: str) -> None:
    shown = escape.visible(name)
    assert SEEN.fullmatch(shown)
    assert len(shown.splitlines()) <= 1
    assert escape.visible(shown) == shown
    shown.encode()


def test_plain_names_are_shown_as_they_are() -> None:
    for name in ("chair/IKEA_ÄPPLARÖ", "椅子", "a b", "ResNet18 (base)", "−0.5 ± 0.1", "می‌خواهم"):
        assert escape.visible(name) == name
    assert escape.visible("\x1b[2J\n\u202eab\U000e0041") == r"\x1b[2J\n\u202eab\U000e0041"


@given(st.recursive(names, lambda inner: st.lists(inner) | st.dictionaries(names, inner), max_leaves=4))
def test_a_json_document_keeps_its_meaning(value: object) -> None:
    text = escape.json_text(json.dumps(value, ensure_ascii=False, indent=1))
    assert json.loads(text) == json.loads(json.dumps(value))
    assert all(SEEN.fullmatch(line) for line in text.split("\n"))


@given(st.lists(st.lists(names, min_size=2, max_size=4), max_size=4))
def test_no_cell_of_a_csv_file_is_a_formula(rows: list[list[str]]) -> None:
    read = list(csv.reader(io.StringIO(escape.csv_text(rows))))
    assert [len(row) for row in read] == [len(row) for row in rows]
    for cell in (cell for row in read for cell in row):
        assert re.fullmatch(r"[-+]?[\d.]+(e[-+]?\d+)?", cell, re.IGNORECASE) or cell.lstrip()[:1] not in tuple(
            "=+-@＝＋－＠"
        )
        assert not set("\t\r\n") & set(cell)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_in_a_csv_file_stay_numbers(number: float) -> None:
    as_number, as_text = next(csv.reader(io.StringIO(escape.csv_text([[number, repr(number)]]))))
    assert float(as_number) == float(as_text) == number


def test_what_is_missing_in_a_csv_file_is_empty() -> None:
    assert escape.csv_text([[None, "", 0, True, "+ Pose"]]) == ",,0,True,'+ Pose\n"


@given(st.lists(names, min_size=1, max_size=3))
def test_a_markdown_table_is_not_torn_and_holds_text_alone(cells: list[str]) -> None:
    """markdown-it-py (CommonMark and GFM tables) finds one row of as many cells, with nothing but text in them."""
    parser = pytest.importorskip("markdown_it", reason="markdown-it-py is not installed").MarkdownIt(
        "gfm-like", {"linkify": False}
    )
    head, rule = "| " + " | ".join("h" for _ in cells) + " |", "|" + " --- |" * len(cells)
    tokens = parser.parse(f"{head}\n{rule}\n| {' | '.join(map(escape.markdown, cells))} |\n\nend\n")
    body = tokens[next(i for i, t in enumerate(tokens) if t.type == "tbody_open") :]
    found = [t for t in body if t.type == "inline"][:-1]
    assert sum(t.type == "tr_open" for t in body) == 1
    assert len(found) == len(cells)
    for token, cell in zip(found, cells, strict=True):
        assert {child.type for child in token.children or ()} <= {"text", "text_special"}
        assert "".join(child.content for child in token.children or ()).strip() == escape.visible(cell).strip()


@given(names)
def test_latex_is_ascii_with_balanced_braces(name: str) -> None:
    text = escape.latex(name)
    assert text.isascii()
    depth = 0
    for brace in re.findall(r"\\.|[{}]", text):
        depth += {"{": 1, "}": -1}.get(brace, 0)
        assert depth >= 0
    assert depth == 0
    assert not re.search(r"(?<!\\)[%#&$_]", re.sub(r"\$(-|\\[a-zA-Z]+)\$", "", text))


def test_latex_spells_what_it_knows() -> None:
    assert escape.latex(r"50%_of\{#}") == r"50\%\_of\textbackslash{}\{\#\}"
    assert escape.latex("[ours] é Š --") == r"{[}ours{]} \'{e} \v{S} -{}-"
    assert escape.latex("椅") == "U+6905"


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_every_hostile_name_compiles_in_pdflatex(tmp_path: Path) -> None:
    """At the start of a table row, in the middle, and in a caption, which is a moving argument."""
    letters = [chr(c) for c in range(0xA0, 0x180) if unicodedata.category(chr(c))[0] != "C"]
    rows = [f"{escape.latex(n)} & x{escape.latex(n)} \\\\" for n in (*HOSTILE, *letters)]
    caption = " ".join(escape.latex(n) for n in HOSTILE)
    halves = [(r"\begin{tabular}{lr}", *part, r"\end{tabular}", "") for part in (rows[:70], rows[70:])]
    document = (
        r"\documentclass{article}",
        r"\begin{document}",
        *(line for half in halves for line in half),
        rf"\begin{{table}}x\caption{{{caption}}}\end{{table}}",
        r"\end{document}",
    )
    text = "\n".join(document)
    (tmp_path / "t.tex").write_text(text)
    for _ in range(2):  # the second time with the captions of the first
        done = subprocess.run(
            ["pdflatex", "-halt-on-error", "-no-shell-escape", "-interaction=nonstopmode", "t.tex"],
            cwd=tmp_path, capture_output=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout.decode(errors="replace")[-2000:]


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
@given(st.lists(names, min_size=1, max_size=4))
def test_a_pasted_argument_is_the_argument(arguments: list[str]) -> None:
    arguments = [a.replace("\0", "").encode(errors="ignore").decode() for a in arguments]  # what an argument can hold
    line = " ".join(map(escape.shell, arguments))
    assert SEEN.fullmatch(line)
    environment = {"LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(["bash", "-c", f"printf '%s\\0' {line}"], capture_output=True, env=environment, check=True)
    assert done.stdout.decode().split("\0")[:-1] == arguments
