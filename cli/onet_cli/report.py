"""``onet report``: Table 1 and the figures from stored runs alone, without torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from onet_cli import ui
from pix3d_onet.report.formats import FORMATS

if TYPE_CHECKING:
    from pix3d_onet.report.build import Report


@click.command()
@click.argument("runs", default="runs", type=click.Path(path_type=Path))
@click.option(
    "--format",
    "format_",
    type=click.Choice(["table", *FORMATS, "html"]),
    default="table",
    show_default=True,
    help="What to print.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), help="Also write all formats, the page and figures to this folder."
)
@click.option("--suite", help="Rows of a suite (table1, backbones, pose, pyramid, views, recipe).")
@click.option("--setting", help="Key of the setting to report, where the runs have more than one.")
@click.option("--base", help="Variant that the others are compared with.")
@click.option("--data", type=click.Path(path_type=Path), help="Data set, for its quality figures on the HTML page.")
@click.option(
    "--examples/--no-examples",
    default=True,
    show_default=True,
    help="Show pictures and meshes of the data set (not where it may not be passed on).",
)
@click.option("--figures/--no-figures", default=True, help="Write PNG, SVG and PDF figures.", show_default=True)
@click.option("--overwrite", is_flag=True, help="Replace files of a report's names in a strange folder.")
@click.option("--costs", is_flag=True, help="Print statistics and costs, too (markdown always does).")
@ui.common_options
def report(
    *,
    runs: Path,
    format_: str,
    out: Path | None,
    suite: str | None,
    setting: str | None,
    base: str | None,
    data: Path | None,
    examples: bool,
    figures: bool,
    overwrite: bool,
    costs: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Table 1 and the figures from the stored runs in RUNS.

    It only prints, unless --out is given or the format is html: then it also writes a folder (--out, or RUNS/report)
    with the table in every format, the figures and one self-contained HTML page.

    \b
    Example:
      onet report runs
      onet report runs --format markdown > TABLE.md
      onet report runs --format html --data data/prepared/pix3d-chair
    """
    from pix3d_onet.report.build import read_report, report_folder, write_report

    format_ = "json" if as_json else format_
    with ui.live(quiet=quiet, verbose=verbose) as emit:
        made = read_report(runs, setting=setting, suite_name=suite, base=base, data=data, examples=examples, emit=emit)
    folder = out or (report_folder(runs) if format_ == "html" else None)
    written: Sequence[Path] = ()
    try:  # files before anything is printed: a closed pipe must not cost them
        if folder is not None:
            with ui.live(quiet=quiet, verbose=verbose) as emit:
                written = write_report(made, folder, figures=figures, overwrite=overwrite, emit=emit)
    finally:  # nor a place that cannot be written to the table
        if format_ != "html":
            render(made, format_, costs=costs)
    if format_ == "html":
        ui.say(next(p for p in written if p.suffix == ".html"))
    if folder is not None and not quiet:
        ui.say(f"Report: {folder} ({len(written)} files)", err=True)


def render(made: Report, format_: str, *, costs: bool) -> None:
    """Print the report in one format."""
    from onet_cli.tables import print_table

    if format_ == "table":
        print_table(ui.out(), made.table, statistics=costs, costs=costs)
    elif format_ == "json":
        ui.print_json(made.table.to_json())
    else:
        ui.write(FORMATS[format_].text(made.table))
