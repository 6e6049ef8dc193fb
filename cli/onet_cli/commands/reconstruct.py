"""``onet reconstruct``: turn photos into meshes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click

from onet_cli import ui
from onet_cli.options import FOLDER, Threshold, setting, settings, threads_option
from pix3d_onet.config import ExtractionConfig
from pix3d_onet.reconstruction.outcome import Reconstruction, no_mesh, reasons
from pix3d_onet.reconstruction.plan import Request, make_plan

EXTRACTION = ("resolution", "coarse", "threshold", "refine", "simplify", "precision")


@click.command()
@click.argument("run", type=FOLDER)
@click.argument("images", nargs=-1, required=True, type=FOLDER, metavar="IMAGE...")
@setting(Request, "masks", "--mask")
@setting(Request, "out", "-o", "--out")
@setting(Request, "format")
@settings(
    ExtractionConfig,
    *EXTRACTION,
    threshold={"type": Threshold(), "metavar": "NUMBER|val"},
    simplify={"metavar": "FACES"},
)
@setting(Request, "poses", "--pose")
@setting(Request, "pose_from")
@setting(Request, "frame")
@setting(Request, "preview")
@setting(Request, "sheet")
@click.option(
    "--open", "page", is_flag=True, help="Write an interactive HTML view beside each mesh and open the first."
)
@setting(Request, "device")
@threads_option
@click.option("--strict", is_flag=True, help="Exit with status 4 if a picture could not be used.")
@ui.common_options
def reconstruct(*, strict: bool, as_json: bool, quiet: bool, verbose: bool, **options: Any) -> None:
    """Turn photos into closed meshes with the trained network RUN.

    The object must be separated from its background: by --mask FILE, by the picture's alpha channel, or by
    --mask auto, which keeps what differs from the colours along the picture's border. Only networks trained with
    --pose matrix, --pose 6d or --conditioning pixel need a camera file; with --pose predicted they take one, but need
    none. It is JSON: a 4×4 matrix (normalised frame to camera), or {"pose": …, "focal": …} with the focal length
    divided by the photo's width.

    \b
    Example:
      onet reconstruct runs/convnext chair.jpg --mask chair_mask.png -o chair.glb
      onet reconstruct runs/convnext photos/*.jpg --mask auto -o meshes --format obj
      onet reconstruct runs/convnext-fp3-pose img/chair/0001.png --pose-from pix3d.json
    """
    extraction = ExtractionConfig(**{name: options.pop(name) for name in EXTRACTION})
    plan = make_plan(Request(**options, extraction=extraction))
    made: list[Reconstruction] = []
    document: dict[str, Any] = {}
    try:
        with ui.live(quiet=quiet, verbose=verbose) as emit:
            from pix3d_onet.reconstruction.job import open_job

            job = open_job(plan, emit)
            document["run"] = dict(job.settings)
            for one in job.run(emit):
                message = ui.as_flags(one.error) if one.error else None
                made.append(replace(one, error=message))  # one by one: finished meshes are kept on Ctrl-C
    finally:
        if made:
            finish(made, document, plan.request.sheet, as_json=as_json, quiet=quiet)
    failed = [m for m in made if m.error]
    if len(failed) == len(made):
        raise no_mesh(failed)
    show_page(made, quiet=quiet)
    if failed and strict:
        raise click.exceptions.Exit(4)


def finish(
    made: Sequence[Reconstruction], document: dict[str, Any], sheet: Path | None, *, as_json: bool, quiet: bool
) -> None:
    """Write the sheet; print one line per mesh or the JSON ``document``, and with ``-q`` the failed pictures."""
    if sheet is not None:
        from pix3d_onet.reconstruction.writing import write_sheet

        write_sheet(sheet, made)
    if as_json:
        ui.print_json(document | {"meshes": [asdict(m) for m in made]})
    elif not quiet:
        for m in made:
            if m.mesh is not None:
                beside = "".join(f", {Path(p).name}" for p in (m.preview, m.page) if p)
                ui.say(f"{m.mesh}: {m.vertices} vertices, {m.faces} faces{beside}")
    failed = [m for m in made if m.error]
    if quiet and 0 < len(failed) < len(made):  # without -q each had a warning; if all failed, the error names them
        ui.say(f"{len(failed)} of {ui.counted(len(made), 'picture')} could not be used: {reasons(failed)}", err=True)


def show_page(made: Sequence[Reconstruction], *, quiet: bool) -> None:
    """Open the first interactive page in a browser, and print its path: the system may not tell that none appeared."""
    page = next((Path(m.page).resolve() for m in made if m.page), None)
    if page is not None:
        if click.launch(page.as_uri()):
            ui.say(f"open {page} in a browser", err=True)
        elif not quiet:
            ui.say(f"opening {page}; if no browser appears, open it by hand", err=True)
