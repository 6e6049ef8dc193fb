"""``onet export``: write a data set in another layout."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from onet_cli import ui

if TYPE_CHECKING:
    from pix3d_onet.export.original_layout import ExportResult


@click.group()
def export() -> None:
    """Write a prepared data set in another layout.

    \b
    Example:
      onet export onet data/prepared/pix3d-chair exported/
    """


@export.command()
@click.argument("dataset", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--image-size", default=137, show_default=True, type=click.IntRange(0, 4096), help="Pixels; 0 = as stored."
)
@click.option(
    "--overwrite",
    is_flag=True,
    help="Replace an earlier export, or files of others in OUT.",
)
@ui.common_options
def onet(dataset: Path, out: Path, image_size: int, overwrite: bool, as_json: bool, quiet: bool, verbose: bool) -> None:
    """Write DATASET to OUT in the layout that the original Occupancy Networks code loads unchanged.

    \b
    Example:
      onet export onet data/prepared/pix3d-chair exported/
      onet prepare onet exported/ --out data/prepared/back
    """
    from pix3d_onet.export.original_layout import export_onet, to_json

    with ui.live(quiet=quiet, verbose=verbose) as emit:
        result = export_onet(dataset, out, image_size=image_size, overwrite=overwrite, emit=emit)
    if as_json:
        ui.print_json(to_json(result))
    elif not quiet:
        render(result)


def render(result: ExportResult) -> None:
    """Print models per class and split, pictures, changed labels, and the next command."""
    from pix3d_onet.escape import shell

    console = ui.out()
    rows = [(name, *splits.values(), sum(splits.values())) for name, splits in result.splits.items()]
    console.print(ui.table(str(result.out), ["class", ">train", ">val", ">test", ">all"], rows))
    labels = f"{result.relabelled} of {result.points} labels changed as their points were rounded to float16."
    console.print(f"{ui.counted(result.pictures, 'picture')}; {labels}", soft_wrap=True)
    console.print(f"Next: onet prepare onet {shell(str(result.out))}", soft_wrap=True)
