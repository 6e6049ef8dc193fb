"""The table of an ablation in the terminal: fits 80 columns, readable on light and dark, no colour if ``NO_COLOR``."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from onet_cli import ui
from pix3d_onet.report import formats
from pix3d_onet.report.table import Row, Table

LONG_HEADING = 8
"""Headings longer than this and than their cells are broken before a slash or at a space."""
LEAST_LABEL = 14
"""On a narrow terminal, labels are cut to this many characters before a column is left out, or to as many as tell them
apart."""
GAP = 2
"""Characters between two columns."""
EDGE = 1
"""Characters left of the first column."""


def print_table(console: Console, table: Table, *, statistics: bool = False, costs: bool = False) -> None:
    """Print the table with its caption and notes, then the statistics and costs if wanted."""
    _print_columns(console, table, formats.MAIN_COLUMNS, title=table.title)
    for sentence in (table.caption, *table.notes):
        console.print(ui.as_flags(sentence), style="dim")
    for wanted, title, columns in (
        (statistics, "Statistics", formats.STATISTICS_COLUMNS),
        (costs, "Cost", formats.COST_COLUMNS),
    ):
        if wanted:
            console.print()
            _print_columns(console, table, columns, title=title)


def _print_columns(console: Console, table: Table, columns: Sequence[formats.Column], *, title: str) -> None:
    """Print the columns that fit the terminal, and name those that do not."""
    filled = formats.filled(table, columns)
    kept = fitting(table, filled, console.width)
    console.print(grid(table, kept, title=title, width=console.width))
    if len(kept) < len(filled):
        left_out = ", ".join(dict.fromkeys(column[0] for column in filled if column not in kept))
        advice = "Widen the terminal, or use `onet report --format markdown`."
        console.print(f"Too narrow for: {left_out}. {advice}", style="dim")


def fitting(table: Table, columns: Sequence[formats.Column], width: int) -> tuple[formats.Column, ...]:
    """The columns that fit ``width`` uncut. Left out first: the report's, then the others, each from the right."""
    kept = list(columns)
    expendable = [
        *(c for c in columns[1:] if c[0] != formats.PUBLISHED),
        *(c for c in columns[1:] if c[0] == formats.PUBLISHED),
    ]
    while len(kept) > 1 and sum(_width(table, c, index=i) + GAP for i, c in enumerate(kept)) > width:
        kept.remove(expendable.pop())
    return tuple(kept)


def _width(table: Table, column: formats.Column, *, index: int) -> int:
    texts = [column[1](row, table) for row in table.rows]
    if index == 0:  # on a narrow terminal labels may be cut, numbers never
        return min(max(map(len, texts)), _least_label(texts))
    return max(len(part) for part in (*texts, *_heading(column[0], texts)))


def _least_label(labels: Sequence[str]) -> int:
    """The width that labels may be cut to, with an ellipsis."""
    distinct = len(set(labels))
    longest = max(map(len, labels))
    return next((n for n in range(LEAST_LABEL, longest) if len({x[: n - 1] for x in labels}) == distinct), longest)


def _heading(heading: str, texts: Sequence[str]) -> list[str]:
    """The lines of the heading: two if it is longer than the cells below it."""
    if len(heading) <= max(LONG_HEADING, *map(len, texts)):
        return [heading]
    return heading.replace("/", "\n/").split("\n") if "/" in heading else heading.rsplit(" ", 1)


def grid(table: Table, columns: Sequence[formats.Column], *, title: str, width: int) -> RichTable:
    """The columns as a rich table; the best Val IoU is bold. Labels are cut to what the others leave of ``width``."""
    texts = formats.cells(table, columns)
    result = RichTable(
        title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False
    )
    others = sum(_width(table, column, index=i) + GAP for i, column in enumerate(columns) if i)
    for index, column in enumerate(columns):
        heading = column[0]
        result.add_column(
            ui.stacked(*_heading(heading, [row[index] for row in texts])),
            justify="right" if index else "left",
            style="dim" if heading == formats.PUBLISHED else "",
            header_style="dim" if heading == formats.PUBLISHED else "bold",
            min_width=_width(table, column, index=index) if index else None,
            max_width=None if index else max(_width(table, column, index=0), width - others - EDGE),
            no_wrap=True,
        )
    best = max((r.val_iou for r in table.rows if r.val_iou is not None), default=None)
    for row in table.rows:
        result.add_row(*(_cell(heading, spell(row, table), row, best) for heading, spell in columns))
    return result


def _cell(heading: str, text: str, row: Row, best: float | None) -> Text:
    if heading == "Val IoU" and row.val_iou is not None and row.val_iou == best:
        return ui.styled((text, "bold"))
    if heading == "Rel." and row.relative is not None:
        return ui.styled((text, "green" if row.relative > 0 else "red"))
    return ui.styled(text)
