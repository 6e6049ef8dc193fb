"""``onet export``: write a data set in another layout."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from onet_cli import ui
from onet_cli.options import FOLDER

if TYPE_CHECKING:
    from pix3d_onet.export.original_layout import ExportResult
    from pix3d_onet.export.signed_distances import DistanceExport


@click.group()
def export() -> None:
    """Write a prepared data set in another layout.

    \b
    Example:
      onet export onet data/prepared/pix3d-chair exported/
      onet export sdf-grid data/prepared/pix3d-chair grids/
    """


def _arguments(function: Any) -> Any:
    """DATASET, OUT and ``--overwrite`` of every layout."""
    overwrite_help = "Replace an earlier export, or files of others in OUT."
    decorated = click.option("--overwrite", is_flag=True, help=overwrite_help)(ui.common_options(function))
    decorated = click.argument("out", type=FOLDER)(decorated)
    return click.argument("dataset", type=FOLDER)(decorated)


@export.command()
@click.option(
    "--image-size", default=137, show_default=True, type=click.IntRange(0, 4096), help="Pixels; 0 = as stored."
)
@_arguments
def onet(dataset: Path, out: Path, image_size: int, overwrite: bool, as_json: bool, quiet: bool, verbose: bool) -> None:
    """Write DATASET to OUT in the layout that the original Occupancy Networks code loads unchanged.

    \b
    Example:
      onet export onet data/prepared/pix3d-chair exported/
      onet prepare onet exported/ --out data/prepared/back
    """
    from pix3d_onet.export.original_layout import export_onet

    with ui.live(quiet=quiet, verbose=verbose) as emit:
        result = export_onet(dataset, out, image_size=image_size, overwrite=overwrite, emit=emit)
    if as_json:
        ui.print_json(asdict(result))
    elif not quiet:
        render(result, dataset)


@export.command("sdf-grid")
@click.option(
    "--resolution", default=64, show_default=True, type=click.IntRange(8, 256), help="Grid points along each axis."
)
@_arguments
def sdf_grid(
    dataset: Path, out: Path, resolution: int, overwrite: bool, as_json: bool, quiet: bool, verbose: bool
) -> None:
    """Write a regular grid of signed distances per shape, as HDF5 that SDFusion and AutoSDF load.

    \b
    Example:
      onet export sdf-grid data/prepared/pix3d-chair grids/
    """
    from pix3d_onet.export.signed_distances import export_sdf_grid

    with ui.live(quiet=quiet, verbose=verbose) as emit:
        result = export_sdf_grid(dataset, out, resolution=resolution, overwrite=overwrite, emit=emit)
    render_distances(result, as_json=as_json, quiet=quiet)


@export.command()
@_arguments
def deepsdf(dataset: Path, out: Path, overwrite: bool, as_json: bool, quiet: bool, verbose: bool) -> None:
    """Write points and signed distances (prepare with --sdf) as DeepSDF loads them.

    \b
    Example:
      onet export deepsdf data/prepared/pix3d-chair-near deepsdf/
    """
    from pix3d_onet.export.signed_distances import export_deepsdf

    with ui.live(quiet=quiet, verbose=verbose) as emit:
        result = export_deepsdf(dataset, out, overwrite=overwrite, emit=emit)
    render_distances(result, as_json=as_json, quiet=quiet)


def render_distances(result: DistanceExport, *, as_json: bool, quiet: bool) -> None:
    """Print the shapes per split, or the JSON document."""
    if as_json:
        ui.print_json(asdict(result))
    elif not quiet:
        splits = ", ".join(f"{split} {count}" for split, count in result.splits.items())
        ui.out().print(f"{ui.counted(result.shapes, 'shape')} in {result.out} ({splits}).", soft_wrap=True)


def render(result: ExportResult, dataset: Path) -> None:
    """Print models per class and split, pictures, changed labels, and the command that reads them again."""
    from pix3d_onet.config import PrepareConfig
    from pix3d_onet.data.store.manifest import read_manifest
    from pix3d_onet.escape import shell

    console = ui.out()
    rows = [(name, *splits.values(), sum(splits.values())) for name, splits in result.splits.items()]
    console.print(ui.table(str(result.out), ["class", ">train", ">val", ">test", ">all"], rows))
    labels = f"{result.relabelled} of {result.points} labels changed as their points were rounded to float16."
    console.print(f"{ui.counted(result.pictures, 'picture')}; {labels}", soft_wrap=True)
    stored, usual = read_manifest(dataset).config, PrepareConfig()
    samples = ("points", "surface_points")  # prepare wants as many as a file has
    if not stored["surface_points"]:
        return  # pointcloud.npz has no points, which prepare needs
    options = [f" --{n.replace('_', '-')} {stored[n]}" for n in samples if stored[n] != getattr(usual, n)]
    console.print(f"Next: onet prepare onet {shell(str(result.out))}{''.join(options)}", soft_wrap=True)
