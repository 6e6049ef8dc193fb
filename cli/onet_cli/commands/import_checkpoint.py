"""``onet import-checkpoint``: turn a checkpoint of the original implementation into a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from onet_cli import ui


@click.command("import-checkpoint")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="Run folder to write [default: runs/imported/NAME].")
@ui.common_options
def import_checkpoint(file: Path, out: Path | None, as_json: bool, quiet: bool, verbose: bool) -> None:
    """Turn a checkpoint of the original implementation (ResNet-18, conditional batch norm) into a run.

    Code in the file is never executed. The run gives the same logits as the original. Use it with
    `onet reconstruct` and `onet evaluate`, or continue training with `onet train --init-from`.

    \b
    Example:
      onet import-checkpoint onet_img2mesh.pt --out runs/original
      onet reconstruct runs/original photo.jpg -o chair.glb
    """
    from pix3d_onet.learning.import_original import import_checkpoint as run

    result = run(file, out or Path("runs/imported") / file.stem)
    render(result, as_json=as_json, quiet=quiet)


def render(result: dict[str, Any], *, as_json: bool, quiet: bool) -> None:
    """Print one line, or the JSON document."""
    if as_json:
        ui.print_json(result)
    elif not quiet:
        ui.say(f"{result['run']}: {result['params']:,} parameters from {result['imported']['file']}")
