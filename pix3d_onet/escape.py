"""Escape text from data for output: one function per medium, applied where the medium is written.

Ids, names, categories and error texts come from untrusted files. In a terminal they could move the cursor, in a
spreadsheet run as a formula, in markdown or LaTeX break the table, in a shell run a command. HTML is escaped by
jinja2's autoescape (``pages.templating``), which calls :func:`visible` first.
"""

from __future__ import annotations

import csv
import io
import re
import shlex
import unicodedata
from collections.abc import Iterable

_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff"
    "\U000e0000-\U000e007f]"
)
"""Control characters, line and paragraph separators, bidirectional and other invisible marks, lone surrogates."""
_NAMED = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}
_FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠")
"""First characters of a formula in Excel, LibreOffice and Google Sheets, including full-width forms."""
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", re.ASCII)


def _code(match: re.Match[str]) -> str:
    point = ord(match[0])
    if point < 128:
        return _NAMED.get(match[0]) or f"\\x{point:02x}"
    return f"\\u{point:04x}" if point < 0x10000 else f"\\U{point:08x}"


def visible(text: str) -> str:
    r"""``text`` on one line, with invisible characters escaped: ESC as ``\x1b``, a newline as ``\n``.

    This is the rule for terminals and plain text; all other functions here apply it first.
    """
    return _UNSEEN.sub(_code, text)


def shortened(text: str, most: int = 2000) -> str:
    """``text``, or of a longer one its beginning and end, ``most`` characters in all."""
    if len(text) <= most:
        return text
    kept = (most - 3) // 2
    return f"{text[:kept]} … {text[len(text) - kept :]}"


def json_text(text: str) -> str:
    r"""A JSON document with invisible characters as ``\u`` escapes; a parser reads the same document."""

    def code(match: re.Match[str]) -> str:
        units = match[0].encode("utf-16-be", "surrogatepass")
        return "".join(f"\\u{units[i : i + 2].hex()}" for i in range(0, len(units), 2))

    return "\n".join(_UNSEEN.sub(code, line) for line in text.split("\n"))


def csv_cell(value: object) -> object:
    """A cell that no spreadsheet interprets as a formula: text that starts like one is prefixed with an apostrophe.

    Numbers, also as text, are not changed; None becomes empty.
    """
    if not isinstance(value, str):
        return "" if value is None else value
    text = visible(value)
    return f"'{text}" if text.lstrip().startswith(_FORMULA) and not _NUMBER.fullmatch(text) else text


def csv_text(rows: Iterable[Iterable[object]]) -> str:
    """A CSV file with ``\\n`` at the end of every line; cells are escaped by :func:`csv_cell`."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows([csv_cell(cell) for cell in row] for row in rows)
    return buffer.getvalue()


_MARKDOWN = re.compile(r"[\\`*_\[\]<>|~&!#$]|:(?=//)|(?<=www)\.", re.IGNORECASE)


def markdown(text: str) -> str:
    """``text`` as literal text inside a line or a table cell of GitHub-flavoured markdown: no markup, HTML or link."""
    return _MARKDOWN.sub(r"\\\g<0>", visible(text).strip(" "))


_LATEX = {
    **{c: "\\" + c for c in "&%#_${}"},
    **{"~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}", "|": r"\textbar{}"},
    **{"<": r"\textless{}", ">": r"\textgreater{}", "[": "{[}", "]": "{]}", '"': r"\char34{}"},
    **{"'": "{'}", "`": r"\char96{}", "*": r"\textsuperscript{*}"},
    **{"−": "$-$", "±": r"$\pm$", "×": r"$\times$", "Δ": r"$\Delta$", "²": r"\textsuperscript{2}"},
    **{"–": "--", "…": r"\dots{}", "“": "``", "”": "''", "’": "'", "→": r"$\to$", "³": r"\textsuperscript{3}"},
    **{"ß": r"\ss{}", "æ": r"\ae{}", "Æ": r"\AE{}", "ø": r"\o{}", "Ø": r"\O{}", "œ": r"\oe{}", "ł": r"\l{}"},
}
_ACCENTS = {
    **{"\u0300": "`", "\u0301": "'", "\u0302": "^", "\u0303": "~", "\u0304": "=", "\u0306": "u", "\u0307": "."},
    **{"\u0308": '"', "\u030a": "r", "\u030b": "H", "\u030c": "v", "\u0327": "c"},
}
"""Combining mark → LaTeX command of the accent, available in every font encoding."""


def latex(text: str) -> str:
    r"""``text`` for any place in a LaTeX document, including table cells after ``\\``; needs no package.

    Characters that plain pdfLaTeX does not know are written as their code point, ``U+4E2D``.
    """
    text = visible(text)
    return "".join("-{}" if text[i : i + 2] == "--" else _latex_character(c) for i, c in enumerate(text))


def _latex_character(character: str) -> str:
    if (known := _LATEX.get(character)) is not None:
        return known
    if character.isascii():
        return character
    base, *marks = list(unicodedata.normalize("NFD", character))
    if base.isascii() and base.isalpha() and len(marks) == 1 and marks[0] in _ACCENTS:
        return f"\\{_ACCENTS[marks[0]]}{{{base}}}"
    return f"U+{ord(character):04X}"


def shell(argument: str) -> str:
    """One argument of a command to be pasted into a shell; invisible characters as in bash's ``$'…'``."""
    if not _UNSEEN.search(argument):
        return shlex.quote(argument)
    coded = _UNSEEN.sub(_code, argument.replace("\\", r"\\").replace("'", r"\'"))
    return f"$'{coded}'"
