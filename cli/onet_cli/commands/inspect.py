"""``onet inspect``: show what is in a data set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from onet_cli import ui
from pix3d_onet.config import SPLITS
from pix3d_onet.data.store.quality_figures import FIGURES, RULES, direction
from pix3d_onet.escape import shortened

if TYPE_CHECKING:
    from pix3d_onet.inspection.summary import QcRow, Summary

SHOWN = 50
"""Categories, reasons or warnings that are listed; ``--json`` has them all."""
SHEET, QC_SHEET, PAGE = "contact-sheet.png", "worst-shapes.png", "dataset.html"
SHEET_SHAPES = 24


@click.command()
@click.argument("dataset", type=click.Path(path_type=Path))
@click.option("--out", "--sheet", "sheet", type=click.Path(path_type=Path), help=f"Picture to write [DATASET/{SHEET}].")
@click.option("--no-sheet", is_flag=True, help="Print only the table.")
@click.option(
    "--html",
    "page",
    is_flag=False,
    flag_value="",
    metavar="[FILE]",
    help=f"Write a page to browse the shapes in 3D, instead of the sheet [DATASET/{PAGE}].",
)
@click.option("--root", type=click.Path(path_type=Path), help="Folder of the source, to show its meshes on the page.")
@click.option("--qc", is_flag=True, help=f"Show quality figures and the worst shapes [DATASET/{QC_SHEET}].")
@click.option(
    "--split", type=click.Choice(SPLITS), help="Show only pictures of this split, and with --qc its worst shapes."
)
@click.option("--shapes", type=click.IntRange(1, 400), help="Most shapes on the sheet [24] or the page [400].")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed for choosing the shapes.")
@click.option("--overwrite", is_flag=True, help="Replace a file that onet did not write.")
@ui.common_options
def inspect(
    dataset: Path,
    sheet: Path | None,
    no_sheet: bool,
    page: str | None,
    root: Path | None,
    qc: bool,
    split: str | None,
    shapes: int | None,
    seed: int,
    overwrite: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Show what is in a prepared data set: a table, and a sheet of pictures, masks and meshes.

    With --html, one file for a browser: every shape with its pictures, masks, points and meshes in 3D, to search,
    filter and sort by any quality figure, and the rejects with their reasons. It works offline.

    \b
    Example:
      onet inspect data/prepared/pix3d-chair --qc
      onet inspect data/prepared/pix3d-chair --html --root data/pix3d
    """
    from pix3d_onet.data.store.manifest import read_manifest
    from pix3d_onet.inspection.output import output_path
    from pix3d_onet.inspection.summary import choose, summarise

    if page is not None and (sheet or no_sheet):
        raise click.UsageError("--html writes a page instead of a sheet: leave out --out and --no-sheet.")
    if root is not None and page is None:
        raise click.UsageError("--root is for the page: add --html.")
    summary = summarise(dataset)
    path = None
    if not no_sheet:
        default = dataset / (PAGE if page is not None else QC_SHEET if qc else SHEET)
        wanted = Path(page) if page else sheet
        with ui.live(quiet=quiet, verbose=verbose) as emit:
            path = output_path(wanted, default, overwrite=overwrite, emit=emit)
            if path is not None and page is not None:
                from pix3d_onet.inspection.html.page import MOST_SHAPES, write_page

                most = shapes or MOST_SHAPES
                write_page(dataset, path, source_root=root, shapes=most, worst=qc, split=split, seed=seed, emit=emit)
            elif path is not None:
                from pix3d_onet.inspection.contact_sheet import contact_sheet

                contact_sheet(dataset, path, shapes=shapes or SHEET_SHAPES, worst=qc, split=split, seed=seed)
    count = shapes or SHEET_SHAPES
    worst = choose(read_manifest(dataset), count, worst=True, split=split, seed=seed) if qc else []
    named = [(e.object_id, why) for e, why in worst]
    where = ("pictures" if page is None else "page", path)
    ui.print_json(document(summary, where, named)) if as_json else render(summary, where, named)


def document(summary: Summary, written: tuple[str, Path | None], worst: list[tuple[str, str]]) -> dict[str, object]:
    """The JSON document; ``written``: what was written where, see :func:`render`."""
    what, path = written
    return {
        "dataset": str(summary.root),
        "data_hash": summary.data_hash,
        "source": dict(summary.source),
        "config": dict(summary.config),
        "shapes": summary.shapes,
        "pictures": summary.pictures,
        "bytes": summary.bytes,
        "bytes_per_shape": summary.bytes_per_shape,
        "splits": {
            s.name: {"shapes": s.shapes, "pictures": s.pictures, "categories": dict(s.categories)}
            for s in summary.splits
        },
        "categories": dict(summary.categories),
        "rejects": dict(summary.rejects),
        "warnings": dict(summary.warnings),
        "qc": {r.key: figure(r) for r in summary.qc},
        "worst": [{"object_id": name, "why": why} for name, why in worst],
        "sheet": str(path) if path and what == "pictures" else None,
        "page": str(path) if path and what == "page" else None,
    }


def listed(items: Sequence[str]) -> str:
    """The first items and how many more there are."""
    more = f" and {len(items) - SHOWN} more" if len(items) > SHOWN else ""
    return ", ".join(shortened(item, 200) for item in items[:SHOWN]) + more


def figure(row: QcRow) -> dict[str, object]:
    """One figure over all shapes for the JSON document, with what it means where this version knows it."""
    over = {"shapes": row.count, "min": row.least, "median": row.median, "max": row.most, "worst": row.worst}
    known = FIGURES.get(row.key)
    return {**over, "unit": known.unit, "ideal": known.ideal, "meaning": known.meaning} if known else over


def short(value: float) -> str:
    """Three significant digits; all digits of a count."""
    return f"{value:.0f}" if 1000 <= value < 1e8 else f"{value:.3g}"


def quality_rows(summary: Summary) -> list[tuple[str, ...]]:
    """Every figure over all shapes, with its unit, its ideal, and the shape that is farthest from it."""
    rows: list[tuple[str, ...]] = []
    for r in summary.qc:
        known = FIGURES.get(r.key)
        unit, ideal = (known.unit, direction(known).split(",")[0]) if known else ("", "")
        rows.append((r.key, unit, ideal, *map(short, (r.least, r.median, r.most)), r.worst))
    return rows


def render(summary: Summary, written: tuple[str, Path | None], worst: list[tuple[str, str]]) -> None:
    """Print the tables, then the path of the ``pictures`` or the ``page``, None if there is none."""
    console = ui.out()
    names = list(summary.categories)
    rows: list[list[object]] = [
        ["pictures", *(s.pictures for s in summary.splits), summary.pictures],
        ["shapes", *(s.shapes for s in summary.splits), summary.shapes],
    ]
    for name in names[:SHOWN] if len(names) > 1 else ():
        rows.append([f"  {name}", *(s.categories.get(name, 0) for s in summary.splits), summary.categories[name]])
    columns = ["", *(f">{s.name}" for s in summary.splits), ">all"]
    console.print(ui.table(f"{summary.root} ({summary.data_hash})", columns, rows))
    if len(names) > SHOWN:
        console.print(f"{len(names) - SHOWN} more categories; --json lists them all.")
    points, side = summary.config.get("points"), summary.config.get("image_size")
    console.print(
        f"{listed(names)}; {points} labelled points per shape, pictures of {side}×{side}, "
        f"{summary.bytes / 1e6:.1f} MB, {summary.bytes_per_shape / 1e3:.0f} kB per shape",
        soft_wrap=True,
    )
    if summary.rejects:
        console.print(f"rejected: {listed([f'{n} × {k}' for k, n in summary.rejects.items()])}", soft_wrap=True)
    rules = {rule.name: f" ({rule.meaning}). {ui.as_flags(rule.advice)}" for rule in RULES}
    for name, count in list(summary.warnings.items())[:SHOWN]:
        console.print(shortened(f"warning: {count} × {name}{rules.get(name, '')}"), soft_wrap=True)
    if len(summary.warnings) > SHOWN:
        console.print(f"{len(summary.warnings) - SHOWN} more warnings; --json lists them all.")
    if worst:
        columns = ["figure", "unit", ">ideal", ">least", ">median", ">most", "worst"]
        console.print(ui.uncut_table("Quality", columns, quality_rows(summary), fold=["worst"], optional="unit"))
        console.print(ui.uncut_table("Worst shapes", ["shape", "why"], worst, fold=["shape", "why"]))
        console.print("The meaning of each figure: --json, or --html.", style="dim")
    what, path = written
    if path:
        console.print(f"{what}: {path}", soft_wrap=True)
