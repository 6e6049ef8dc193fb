"""``onet download``: get the release of a data set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from onet_cli import ui
from onet_cli.commands.prepare import SHOWN_REJECTS, STRICT_STATUS
from onet_cli.options import FOLDER

if TYPE_CHECKING:
    from pix3d_onet.download.pix3d import DownloadResult


@click.group()
def download() -> None:
    """Download a data set's release, unpack the wanted categories, and check its index against its files.

    \b
    Example:
      onet download pix3d --category chair
    """


@download.command()
@click.option("--to", type=FOLDER, default=Path("data/pix3d"), show_default=True, help="Folder for the release.")
@click.option(
    "--category",
    "-c",
    "categories",
    multiple=True,
    default=("all",),
    show_default=True,
    metavar="NAME",
    help="Category to unpack, repeatable; or all.",
)
@click.option("--url", help="Address of the archive, for example of a mirror  [default: that of the authors]")
@click.option("--from-zip", type=FOLDER, help="Unpack this archive and download nothing.")
@click.option("--sha256", default="", metavar="HEX", help="Expected checksum of the archive.")
@click.option("--overwrite", is_flag=True, help="Also use a folder that onet did not make.")
@click.option("--strict", is_flag=True, help=f"Exit with status {STRICT_STATUS} when a file or record is unusable.")
@ui.common_options
def pix3d(
    to: Path,
    categories: tuple[str, ...],
    url: str | None,
    from_zip: Path | None,
    sha256: str,
    overwrite: bool,
    strict: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Download Pix3D (about 3.9 GB), unpack it, and count the records that are complete.

    Run an interrupted command again to continue it. The archive stays in the folder, so that another category can be
    unpacked from it later; you may remove it. Files that are there already are checked and not written again.

    \b
    Example:
      onet download pix3d --category chair --category sofa
      onet download pix3d --url https://mirror.example.org/pix3d.zip
      onet download pix3d --from-zip ~/Downloads/pix3d.zip --to data/pix3d
    """
    from pix3d_onet.download.pix3d import URL, download_pix3d

    if url and from_zip:
        raise click.UsageError("--url and --from-zip exclude each other.")
    with ui.live(quiet=quiet, verbose=verbose) as emit:
        result = download_pix3d(
            to,
            categories=categories,
            url=url or URL,
            from_zip=from_zip,
            sha256=sha256,
            overwrite=overwrite,
            emit=emit,
        )
    if as_json:
        ui.print_json(document(result))
    elif not quiet:
        render(result, verbose=verbose)
    if strict and not result.flawless:
        click.get_current_context().exit(STRICT_STATUS)


def document(result: DownloadResult) -> dict[str, Any]:
    """The ``--json`` document."""
    from dataclasses import asdict

    return {
        "root": str(result.root),
        "archive": str(result.archive),
        "received_bytes": result.received,
        "written": result.unpacked.written,
        "kept": result.unpacked.kept,
        "written_bytes": result.unpacked.bytes,
        "records": sum(c.records for c in result.categories),
        "complete": sum(c.complete for c in result.categories),
        "categories": [asdict(c) for c in result.categories],
        "rejects": [asdict(r) for r in result.unpacked.rejected],
    }


def render(result: DownloadResult, *, verbose: bool) -> None:
    """Print the table of records, the files that were left out, and the next command."""
    from pix3d_onet.escape import shell

    console = ui.out()
    rows = [
        (c.category, c.records, c.complete, ", ".join(f"{n} {reason}" for reason, n in c.problems.items()))
        for c in result.categories
    ]
    unpacked = result.unpacked
    written = f"{ui.counted(unpacked.written, 'file')} ({unpacked.bytes / 1e6:.1f} MB) written"
    console.print(f"{result.root}: {written}, {unpacked.kept} already there", soft_wrap=True)
    console.print(ui.table("", ["category", ">records", ">complete", "others"], rows))
    rejected = unpacked.rejected
    for row in rejected[: None if verbose else SHOWN_REJECTS]:
        console.print(f"left out {row.record_id}: {row.reason}: {row.detail}", style="yellow", soft_wrap=True)
    if len(rejected) > SHOWN_REJECTS and not verbose:
        console.print(f"... and {len(rejected) - SHOWN_REJECTS} more (-v lists all)")
    chosen = "".join(f" --category {shell(c.category)}" for c in result.categories[:1])
    console.print(f"Next: onet prepare pix3d --root {shell(str(result.root))}{chosen}", soft_wrap=True)
