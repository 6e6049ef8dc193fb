"""Table 1 in the terminal: 80 columns, readable on light and dark, plain under ``NO_COLOR``."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from pix3d_onet.results import formats
from pix3d_onet.results.table import Row, Table

LONG_HEADING = 8
"""Headings longer than this break before a slash."""


def print_table(console: Console, table: Table, *, statistics: bool = False, costs: bool = False) -> None:
    """Print Table 1 with its caption and notes, and what else is asked for."""
    console.print(grid(table, formats.MAIN_COLUMNS, title="Table 1"))
    for sentence in (table.caption, *table.notes):
        console.print(Text(sentence, style="dim"))
    for wanted, title, columns in (
        (statistics, "Statistics", formats.STATISTICS_COLUMNS),
        (costs, "Cost", formats.COST_COLUMNS),
    ):
        if wanted:
            console.print()
            console.print(grid(table, columns, title=title))


def grid(table: Table, columns: Sequence[formats.Column], *, title: str) -> RichTable:
    """The columns that are filled, as a rich table; the best value of the main column is bold."""
    kept = formats.filled(table, columns)
    texts = formats.cells(table, kept)
    result = RichTable(
        title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False
    )
    for index, (heading, _) in enumerate(kept):
        paper = heading == "paper"
        # only the labels may be cut on a narrow terminal, never a number
        width = max(len(row[index]) for row in texts) if index else None
        result.add_column(
            heading.replace("/", "\n/") if len(heading) > LONG_HEADING else heading,
            justify="right" if index else "left",
            style="dim" if paper else "",
            header_style="dim" if paper else "bold",
            min_width=width,
            no_wrap=True,
        )
    best = max((r.val_iou for r in table.rows if r.val_iou is not None), default=None)
    for row in table.rows:
        result.add_row(*(_cell(heading, spell(row, table), row, best) for heading, spell in kept))
    return result


def _cell(heading: str, text: str, row: Row, best: float | None) -> Text:
    if heading == "Val IoU" and row.val_iou is not None and row.val_iou == best:
        return Text(text, style="bold")
    if heading == "Rel." and row.relative is not None:
        return Text(text, style="green" if row.relative > 0 else "red")
    return Text(text)
