"""Output of ``onet evaluate``: the JSON document and the tables."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onet_cli import ui
from pix3d_onet.evaluation.request import CSV_START
from pix3d_onet.files import open_regular, own_json

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from pix3d_onet.evaluation.evaluate import Evaluation
    from pix3d_onet.evaluation.paired import Difference
    from pix3d_onet.metrics import Interval

LEAST_NAME = 16
"""Row names of at most this many characters are not folded on a narrow terminal; the headings are."""
OPTIONAL_COLUMNS = (("chamfer_l1_x10",), ("accuracy", "completeness"), ("iou_mesh",), ("normal_consistency",))
"""Columns left out on a narrow terminal, in this order; the JSON and CSV documents always have them."""


def is_score_document(path: Path) -> bool:
    """Whether a file is a JSON document of :func:`to_document`."""
    return {"dataset", "metrics", "rows"} <= own_json(path).keys()


def is_score_table(path: Path) -> bool:
    """Whether a file is a CSV of earlier scores."""
    start = ",".join(CSV_START).encode()
    try:
        with open_regular(path, follow=False) as file:
            return file.read(len(start)) == start
    except OSError:
        return False


def to_document(
    results: Sequence[Evaluation], differences: Sequence[Difference], *, split: str, protocol: str
) -> dict[str, Any]:
    """The JSON document: metric definitions, one entry per row, and the differences between rows."""
    from pix3d_onet.metrics import IOU_PIX3D, METRICS

    described = ("name", "label", "unit", "higher_is_better", "definition", "source")
    metrics = METRICS.values() if protocol == "onet" else (IOU_PIX3D,)
    defined = [{key: getattr(m, key) for key in described} for m in metrics]
    paired = [
        {"name": d.name, "against": d.against, "metric": d.metric}
        | {
            key: None if d.test is None else getattr(d.test, key)
            for key in ("difference", "low", "high", "p", "shapes")
        }
        | {"p_corrected": d.corrected}
        for d in differences
    ]
    return {
        "dataset": results[0].data,
        "split": split,
        "protocol": protocol,
        "align": results[0].settings["align"],
        "metrics": defined,
        "rows": [e.to_json() for e in results],
        "differences": paired,
    }


def render(results: Sequence[Evaluation], differences: Sequence[Difference], *, protocol: str) -> None:
    """Print the means with half the width of their confidence intervals, then the differences between rows."""
    first, screen = results[0], ui.out()
    most = max(len(e.rows) for e in results)
    limit = f", first {ui.counted(first.settings['limit'], 'shape')}" if first.settings["limit"] else ""
    title = f"{first.data}, {first.split}{limit}: {ui.counted(most, 'picture')}, protocol {protocol}"
    if first.settings["align"] != "none":
        title += f"; every mesh aligned with the true one: {first.settings['align']}"
    screen.print(title, style="italic")
    shown, missing = fitting(lambda columns: scores_table(results, columns), list(first.means))
    screen.print(shown)
    if missing:
        names = ", ".join(heading(c)[:-2] for c in missing)
        screen.print(f"Too narrow for: {names}. Widen the terminal, or use --csv or --json.", style="dim")
    fewer = [f"{e.name}: {len(e.rows)}" for e in results if len(e.rows) < most]
    if fewer:
        screen.print(f"Scored only on the pictures with a camera: {', '.join(fewer)}.")
    screen.print(caption(results, protocol), style="dim")
    for line in mesh_lines(results):
        screen.print(line)
    if any(e.cameras for e in results):
        screen.print()
        screen.print("Predicted cameras, over the pictures whose true camera is known", style="italic")
        screen.print(cameras_table(results))
    if any(d.test is not None for d in differences):
        against = differences[0].against
        screen.print()
        screen.print(f"Row minus {against}, over the shapes that both have", style="italic")
        screen.print(fitting(lambda columns: differences_table(differences, columns), list(first.means))[0])
        screen.print(
            "*+ better, *− worse: sign-flip test over shapes, p < 0.05, Holm-corrected over rows. It is about these "
            "networks; others of the same kind, from other seeds, may differ.",
            style="dim",
        )


def mesh_lines(results: Sequence[Evaluation]) -> list[str]:
    """For each row of another method's meshes: the pictures without a usable mesh, the meshes that are open, and
    whether they seem to be in another frame."""
    lines = []
    for e in results:
        rejected, opened = e.settings.get("rejected"), e.settings.get("open")
        if rejected:
            reasons = Counter(r["reason"] for r in rejected).most_common()
            counts = ", ".join(f"{reason} {n}" for reason, n in reasons)
            lines.append(f"{e.name}: {len(rejected)} of {ui.counted(len(e.rows), 'picture')} count as empty: {counts}.")
        if opened:
            lines.append(f"{e.name}: meshes that are not closed, so that solid angles decide: {opened}.")
        if e.settings.get("in_frame") is False and e.settings["align"] == "none":
            longest, shift = e.settings["longest_side"], e.settings["shift"]
            lines.append(
                f"{e.name}: the median mesh is {longest:.3g} long and {shift:.3g} off the origin, not 1 and 0: it may "
                "be in another frame, see --mesh-frame and --align."
            )
    return lines


def caption(results: Sequence[Evaluation], protocol: str) -> str:
    """Notes below the table: interval, threshold, units, empty predictions."""
    first = results[0]
    parts = []
    if any(not math.isnan(i.low) for i in first.means.values()):
        parts.append("±: half of the 95 % interval over shapes.")
    if protocol == "pix3d":
        found = ", ".join(f"{e.name} {e.settings['threshold']:.2f}" for e in results)
        parts.append(f"Threshold chosen on these pictures: {found}. Not comparable with continuous IoU.")
    else:
        parts.append("Unit of length: longest side of the true bounding box;")
        parts.append(f"at most {first.settings['samples']:,} samples per surface.")
        own = [f"{e.name} {e.settings['threshold']:g}" for e in results if "run" in e.settings]
        if own:
            parts.append(f"Threshold: {', '.join(own)}.")
    if full := [f"{e.name} on {e.full}" for e in results if e.full]:
        where = f"{', '.join(full)} of {ui.counted(len(first.rows), 'picture')}"
        parts.append(f"Every point is predicted inside by {where}: IoU is only the share of inside points.")
    if any(e.empty for e in results):
        parts.append("empty: pictures without any predicted surface; they get the worst values.")
    return " ".join(parts)


def fitting(make: Callable[[list[str]], Table], columns: list[str]) -> tuple[Table, list[str]]:
    """The table with the columns that fit the terminal, and the columns left out."""
    kept, optional = list(columns), list(OPTIONAL_COLUMNS)
    while ui.natural_width(make(kept)) > ui.out().width and optional:
        names = optional.pop(0)
        kept = [name for name in kept if name not in names]
    return make(kept), [name for name in columns if name not in kept]


def scores_table(results: Sequence[Evaluation], columns: Sequence[str]) -> Table:
    """One line per predictor: the means of ``columns``, and its number of empty predictions if there are any."""
    rows = [[e.name, *(cell(e.means[c]) for c in columns)] for e in results]
    headings = ["row", *(f">{heading(c)}" for c in columns)]
    if any(e.empty for e in results):
        headings.append(">empty")
        rows = [[*row, e.empty or None] for row, e in zip(rows, results, strict=True)]  # type: ignore[list-item]
    return whole_numbers(ui.table("", headings, rows))


def cameras_table(results: Sequence[Evaluation]) -> Table:
    """One line per network that predicts cameras: their errors, and the IoU with each camera."""
    from pix3d_onet.evaluation.cameras import CLOSE, COLUMNS

    headings = [
        "row",
        ">degrees ↓",
        f">< {CLOSE:.0f}° ↑",
        ">mask IoU ↑",
        *(f">IoU {c} ↑" for c in ("given", "pred.", "mean")),
    ]
    rows = [
        [e.name, f"{c['median_degrees']:.1f}", f"{c['below_30']:.0%}", *(f"{c[name]:.3f}" for name in COLUMNS[1:])]
        for e in results
        if (c := e.cameras)
    ]
    table = ui.table("", headings, rows)
    for column in table.columns[1:]:
        column.min_width = len("0.000")  # the headings are folded, the numbers are not
    table.columns[0].no_wrap = max(len(row[0]) for row in rows) <= LEAST_NAME
    table.columns[0].overflow = "fold"
    return table


def differences_table(differences: Sequence[Difference], columns: Sequence[str]) -> Table:
    """One line per predictor: its differences from the reference row."""
    found = {(d.name, d.metric): d for d in differences}
    names = dict.fromkeys(d.name for d in differences)
    rows = [[name, *(difference_cell(found[name, c]) for c in columns)] for name in names]
    return whole_numbers(ui.table("", ["row", *(f">{heading(c)}" for c in columns)], rows))


def whole_numbers(table: Table) -> Table:
    """The table with numbers kept on one line; long names are folded."""
    for column in table.columns[1:]:
        column.no_wrap = True
    table.columns[0].overflow = "fold"
    return table


def heading(column: str) -> str:
    """The label of a metric, with an arrow that says which direction is better."""
    from pix3d_onet.metrics import IOU_PIX3D, METRICS

    metric = METRICS.get(column, IOU_PIX3D)
    return f"{metric.label} {metric.arrow}"


def cell(interval: Interval) -> str | Text:
    """The mean; on a second line half the width of its interval, if there is one."""
    if math.isnan(interval.mean):
        return ""
    half = (interval.high - interval.low) / 2
    mean = f"{interval.mean:.3f}"
    return mean if math.isnan(half) else ui.stacked(mean, f"±{half:.3f}")


def difference_cell(difference: Difference) -> str:
    """The difference with its sign; if it is significant, an asterisk and whether it is for the better."""
    from pix3d_onet.metrics import IOU_PIX3D, METRICS

    if difference.test is None:
        return ""
    higher = METRICS.get(difference.metric, IOU_PIX3D).higher_is_better
    better = (difference.test.difference > 0) == higher
    note = "  " if not difference.significant else "*+" if better else "*−"
    return f"{difference.test.difference:+.3f}".replace("-", "−") + note
