"""``onet synth``: generate synthetic data sets."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from onet_cli import ui

if TYPE_CHECKING:
    from pix3d_onet.geometry.synth.release import SynthResult


@click.group()
def synth() -> None:
    """Generate procedural furniture in the layout of a real data set.

    \b
    Example:
      onet synth pix3d data/pix3d --objects 24
    """


@synth.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--category",
    "categories",
    multiple=True,
    default=("chair",),
    show_default=True,
    help="Category, repeatable; or all.",
)
@click.option("--objects", default=24, show_default=True, help="Shapes per category.")
@click.option("--images-per-object", default=1, show_default=True, help="Pictures per shape.")
@click.option("--seed", default=0, show_default=True, help="Same seed, same files.")
@click.option("--overwrite", is_flag=True, help="Replace an earlier synthetic data set, or files of others in OUT.")
@ui.common_options
def pix3d(
    out: Path,
    categories: tuple[str, ...],
    objects: int,
    images_per_object: int,
    seed: int,
    overwrite: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Write furniture models with pictures, masks and poses to OUT, in the exact Pix3D layout.

    Like real CAD models, they have defects: open sheets, overlapping parts, doubled faces, inverted winding.

    \b
    Example:
      onet synth pix3d data/pix3d --category chair --category table --objects 24
    """
    from pix3d_onet.geometry.synth.release import synth_pix3d
    from pix3d_onet.preparation.kernels import compile_kernels

    with ui.live(quiet=quiet, verbose=verbose) as emit:
        compile_kernels(emit=emit)
        result = synth_pix3d(
            out,
            category="all" if "all" in categories else categories,
            objects=objects,
            images_per_object=images_per_object,
            seed=seed,
            overwrite=overwrite,
            emit=emit,
        )
    if as_json:
        ui.print_json(asdict(result))
    elif not quiet:
        render(result)


def render(result: SynthResult) -> None:
    """Print what was written, and the next command."""
    from pix3d_onet.escape import shell

    state = "written to" if result.written else "already there in"
    console = ui.out()
    console.print(
        f"{ui.counted(result.objects, 'shape')} ({', '.join(result.categories)}), "
        f"{ui.counted(result.records, 'picture')} {state} {result.out}",
        soft_wrap=True,
    )
    console.print(f"Next: onet prepare pix3d --root {shell(str(result.out))}", soft_wrap=True)
