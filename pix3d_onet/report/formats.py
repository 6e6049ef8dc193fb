"""A :class:`Table` as markdown, CSV, LaTeX or JSON, and the format of each kind of number."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from pix3d_onet import escape
from pix3d_onet.ablation.selection import NOT_IN_A_NAME, TABLE1
from pix3d_onet.ablation.variants import BASE
from pix3d_onet.files import to_json

if TYPE_CHECKING:  # importing it takes a second (scipy), and the command line needs only the names of formats
    from pix3d_onet.report.table import Row, Table

MINUS = "−"
BLANK = ""


def number(value: float | None, digits: int = 4) -> str:
    """A number with fixed digits; blank for None."""
    return BLANK if value is None else f"{value:.{digits}f}".replace("-", MINUS)


def millions(count: int | None) -> str:
    """A parameter count in millions with two digits (the published ones are truncated to one)."""
    return BLANK if count is None else f"{count / 1e6:.2f}M"


def percent(fraction: float | None, *, base: bool = False) -> str:
    """A signed percentage with one digit; a dash for the base, blank for None."""
    if base:
        return "–"
    return BLANK if fraction is None else f"{fraction * 100:+.1f}%".replace("-", MINUS)


def plus_minus(half: float | None) -> str:
    """Half the width of an interval; blank for None."""
    return BLANK if half is None else f"±{half:.4f}"


def asterisk(row: Row) -> str:
    """``*+`` for significantly better than the base over shapes and over seeds, ``*−`` for significantly worse."""
    return {1: "*+", 0: "", -1: f"*{MINUS}"}[row.mark]


def p_text(p: float | None) -> str:
    """A p value; ``<0.001`` instead of 0."""
    if p is None:
        return BLANK
    text = f"{p:.3f}"
    if text == "0.050":  # on which side of the usual bound it is
        text = f"{p:.4f}"
    return "<0.001" if p < 0.001 else text


def size(count: float | None) -> str:
    """Bytes in MiB or GiB; blank for None."""
    if count is None:
        return BLANK
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


def duration(seconds: float | None) -> str:
    """Seconds in a readable unit; blank for None."""
    if seconds is None:
        return BLANK
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


Column = tuple[str, "Callable[[Row, Table], str]"]
"""Heading of a column, and the text of its cell for a row."""

OWN = "-at-val"
"""End of the names of a table at own thresholds, which may stand beside the one at the thresholds of training."""
PUBLISHED = "report"
"""Heading of columns with the numbers of the report that is reproduced."""

MAIN_COLUMNS: tuple[Column, ...] = (
    ("Variant", lambda r, t: r.label),
    ("Params", lambda r, t: millions(r.params)),
    (PUBLISHED, lambda r, t: r.params_paper or BLANK),
    ("Val IoU", lambda r, t: number(r.val_iou) + asterisk(r)),
    ("±95 %", lambda r, t: plus_minus(r.val_iou_ci)),
    (PUBLISHED, lambda r, t: number(r.val_iou_paper)),
    ("Rel.", lambda r, t: percent(r.relative, base=r.variant == t.base and bool(r.runs))),
    (PUBLISHED, lambda r, t: percent(r.relative_paper, base=t.reference and r.variant == BASE)),
    ("Best step", lambda r, t: BLANK if r.best_step is None else str(r.best_step)),
)
"""The main table, with the published numbers beside its own; "Best step" is the median over seeds."""

STATISTICS_COLUMNS: tuple[Column, ...] = (
    ("Variant", lambda r, t: r.label),
    ("Seeds", lambda r, t: ", ".join(map(str, r.seeds))),
    ("Test IoU", lambda r, t: number(r.test_iou)),
    ("IoU − base", lambda r, t: number(r.difference)),
    (
        "95 % interval",
        lambda r, t: (
            BLANK if r.difference_low is None else f"{number(r.difference_low, 3)} … {number(r.difference_high, 3)}"
        ),
    ),
    ("p (Holm)", lambda r, t: p_text(r.p_adjusted)),
    ("p seeds", lambda r, t: p_text(r.p_seeds)),
    ("Last IoU", lambda r, t: number(r.last_val_iou)),
    ("Own thr.", lambda r, t: ", ".join(f"{value:g}" for value in sorted({v for v in r.val_thresholds if v}))),
    ("Val IoU there", lambda r, t: number(r.val_iou_best_threshold)),
)

COST_COLUMNS: tuple[Column, ...] = (
    ("Variant", lambda r, t: r.label),
    ("Parameters", lambda r, t: BLANK if r.params is None else f"{r.params:,}"),
    ("GFLOP/img", lambda r, t: number(r.gflops_image, 2)),
    ("MFLOP/pt", lambda r, t: number(None if r.gflops_point is None else r.gflops_point * 1e3, 2)),
    ("Shapes/sec", lambda r, t: number(r.shapes_per_second, 1)),
    ("Latency", lambda r, t: duration(r.latency_seconds)),
    ("Memory", lambda r, t: size(r.peak_memory_bytes)),
    ("Run", lambda r, t: duration(r.seconds)),
)


def cells(table: Table, columns: Sequence[Column]) -> list[list[str]]:
    """The texts of all cells, row by row."""
    return [[spell(row, table) for _, spell in columns] for row in table.rows]


def filled(table: Table, columns: Sequence[Column]) -> tuple[Column, ...]:
    """The ``columns`` that are not blank in every row."""
    return tuple(c for c in columns if any(c[1](row, table) for row in table.rows))


def markdown(table: Table) -> str:
    """GitHub-flavoured markdown: the table with its caption and notes, then statistics and costs."""
    sentences = map(escape.markdown, (table.caption, *table.notes))
    parts = [_markdown_table(table, filled(table, MAIN_COLUMNS)), *sentences]
    for heading, columns in (("Statistics", STATISTICS_COLUMNS), ("Cost", COST_COLUMNS)):
        kept = filled(table, columns)
        if len(kept) > 1:
            parts += [f"### {heading}", _markdown_table(table, kept)]
    return "\n\n".join(parts) + "\n"


def _markdown_table(table: Table, columns: Sequence[Column]) -> str:
    def line(values: Sequence[str]) -> str:
        return f"| {' | '.join(map(escape.markdown, values))} |"

    rule = "|" + "|".join([" --- ", *[" ---: "] * (len(columns) - 1)]) + "|"
    return "\n".join([line([c[0] for c in columns]), rule, *(line(row) for row in cells(table, columns))])


CSV_LISTS = ("runs", "best_steps", "seeds", "thresholds", "val_thresholds")
"""Fields of a row that are lists; their columns are last."""


def csv_text(table: Table) -> str:
    """One row per variant with full precision; missing values are empty, values of lists separated by spaces, in
    the order of ``seeds`` ("nan" for a missing one)."""
    from pix3d_onet.report.table import Row

    names = [f.name for f in fields(Row) if f.name not in CSV_LISTS]
    rows = [[*names, "seeds", "best_steps", "thresholds", "val_thresholds", "run_ids"]]
    for row in table.rows:
        own = ["nan" if value is None else value for value in row.val_thresholds]
        lists = (row.seeds, row.best_steps, row.thresholds, own, [r.run_id for r in row.runs])
        rows.append([*(getattr(row, name) for name in names), *(" ".join(map(str, x)) for x in lists)])
    return escape.csv_text(rows)


def latex(table: Table) -> str:
    """A ``table`` float (needs ``\\usepackage{booktabs}``) with the layout of the published Table 1."""
    columns = filled(table, MAIN_COLUMNS)
    body = [" & ".join(map(escape.latex, row)) + r" \\" for row in cells(table, columns)]
    head = " & ".join(escape.latex(c[0]) for c in columns) + r" \\"
    title = "" if table.name == TABLE1 else f"{table.title}{'' if table.title.endswith(('.', '?')) else '.'} "
    caption = title + " ".join((table.caption, *table.notes))
    label = f"tab:{NOT_IN_A_NAME.sub('-', table.name) or 'ablation'}{OWN * table.own_thresholds}"
    lines = [
        r"% \usepackage{booktabs}",
        r"\begin{table}",
        r"  \centering",
        rf"  \caption{{{escape.latex(caption)}}}",
        rf"  \label{{{label}}}",
        rf"  \begin{{tabular}}{{l{'r' * (len(columns) - 1)}}}",
        r"    \toprule",
        f"    {head}",
        r"    \midrule",
        *(f"    {line}" for line in body),
        r"    \bottomrule",
        r"  \end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def json_text(table: Table) -> str:
    """The JSON document."""
    return escape.json_text(to_json(table.to_json()))


@dataclass(frozen=True, slots=True)
class Format:
    """A text format of the table. ``text``: table → text; its file is ``table1`` + ``suffix``."""

    suffix: str
    text: Callable[[Table], str]


FORMATS: Mapping[str, Format] = {
    "markdown": Format(".md", markdown),
    "csv": Format(".csv", csv_text),
    "latex": Format(".tex", latex),
    "json": Format(".json", json_text),
}
"""Name → text format. ``onet report`` prints and writes all of them; a new one is one line here."""
