"""``onet report``: the table and the figures from stored runs; does not need torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from onet_cli import ui
from onet_cli.options import SUITE_HELP
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
    help="Output format.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Also write all formats, the HTML page and the figures to this folder.",
)
@click.option("--suite", help=f"Report only these rows: {SUITE_HELP}")
@click.option("--all-rows", is_flag=True, help="Also show rows without a finished run, blank.")
@click.option(
    "--reference/--no-reference",
    default=None,
    help="Show the numbers published in the report beside yours  [default: only for the whole Table 1]",
)
@click.option(
    "--threshold",
    type=click.Choice(["training", "val"]),
    default="training",
    show_default=True,
    help="Compare IoUs at the threshold of training, or at each run's best one on validation.",
)
@click.option("--setting", help="Key of the setting to report, if the runs have more than one.")
@click.option("--base", help="Variant to compare the others with.")
@click.option("--data", type=click.Path(path_type=Path), help="Data set whose quality figures the HTML page shows.")
@click.option(
    "--examples/--no-examples",
    default=True,
    show_default=True,
    help="Include pictures and meshes of the data set. Leave them out if you may not redistribute them.",
)
@click.option("--figures/--no-figures", default=True, help="Write PNG, SVG and PDF figures.", show_default=True)
@click.option("--overwrite", is_flag=True, help="Also write to a folder that onet did not make.")
@click.option("--costs", is_flag=True, help="Also print statistics and costs (all other formats but LaTeX have them).")
@ui.common_options
def report(
    *,
    runs: Path,
    format_: str,
    out: Path | None,
    suite: str | None,
    all_rows: bool,
    reference: bool | None,
    threshold: str,
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
    """Print the table of an ablation from the stored runs in RUNS.

    Its rows are the variants with a finished run, under the names and labels that they were given.

    With --out or --format html, it also writes a folder with the table in every format, the figures and one
    self-contained HTML page: --out, or RUNS/report, with -SUITE and -at-val at its end for a suite and --threshold val.

    Networks differ in how sure they are, and one threshold for all suits some better than others: with --threshold val
    each run has the IoUs, and the tests, at the threshold that is best on its own validation pictures.

    \b
    Example:
      onet report runs
      onet report runs --format markdown > TABLE.md
      onet report runs --suite my.toml --base mine
      onet report runs --format html --data data/prepared/pix3d-chair
      onet report runs --threshold val --costs
    """
    from pix3d_onet.ablation.selection import select
    from pix3d_onet.report.build import TableOptions, read_report, report_folder, write_report

    format_ = "json" if as_json else format_
    if costs and format_ == "latex":
        raise click.UsageError("the LaTeX table has no costs: take --format markdown or csv for them.")
    with ui.live(quiet=quiet, verbose=verbose) as emit:
        options = TableOptions(select([suite]) if suite else None, base, all_rows, reference, threshold == "val")
        made = read_report(runs, setting=setting, options=options, data=data, examples=examples, emit=emit)
    folder = out
    if folder is None and format_ == "html":
        folder = report_folder(runs, made.table.name, own_thresholds=made.table.own_thresholds)
    written: Sequence[Path] = ()
    try:  # before printing, so that the files are also written if the output pipe is closed
        if folder is not None:
            with ui.live(quiet=quiet, verbose=verbose) as emit:
                written = write_report(made, folder, figures=figures, overwrite=overwrite, emit=emit)
    finally:  # print the table even if the files cannot be written
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
