"""``onet verify``: check a data set."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from onet_cli import ui
from pix3d_onet.escape import shortened

if TYPE_CHECKING:
    from pix3d_onet.inspection.checks import Verification

SHOWN = 20
"""Findings printed per check; ``--json`` has them all."""
STYLES = {"passed": "green", "warning": "yellow", "failed": "red", "skipped": "dim"}


@click.command()
@click.argument("dataset", type=click.Path(path_type=Path))
@click.option(
    "--root", type=click.Path(path_type=Path), help="Folder of the source, to check that its meshes are unchanged."
)
@click.option("--all", "everything", is_flag=True, help="Check every shape and label instead of a sample.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the sample.")
@ui.common_options
def verify(
    dataset: Path, root: Path | None, everything: bool, seed: int, as_json: bool, quiet: bool, verbose: bool
) -> None:
    """Check a prepared data set: checksums, schema, leakage between splits, labels, cameras, duplicates.

    It changes nothing. The exit status is 3 if a check fails.

    \b
    Example:
      onet verify data/prepared/pix3d-chair --root data/pix3d
    """
    from pix3d_onet.inspection.verify import verify as run

    with ui.live(quiet=quiet, verbose=verbose) as emit:
        result = run(dataset, source_root=root, everything=everything, seed=seed, emit=emit)
    ui.print_json(document(result)) if as_json else render(result)
    if not result.ok:
        raise click.exceptions.Exit(3)


def document(result: Verification) -> dict[str, object]:
    """The JSON document."""
    return {
        "dataset": str(result.root),
        "data_hash": result.data_hash,
        "ok": result.ok,
        "checks": [
            {
                "name": c.name,
                "status": c.status,
                "checked": c.checked,
                "summary": c.summary,
                "figures": dict(c.figures),
                "findings": [asdict(f) for f in c.findings],
            }
            for c in result.checks
        ],
    }


def render(result: Verification) -> None:
    """Print a table of checks, then the findings, then the verdict."""
    console = ui.out()
    rows = [(c.name, ui.styled((c.status, STYLES[c.status])), c.checked, c.summary) for c in result.checks]
    console.print(ui.table(f"{result.root} ({result.data_hash})", ["check", "status", ">checked", "summary"], rows))
    for check in result.checks:
        for finding in check.findings[:SHOWN]:
            line = f"{check.name}: {finding.level}: {finding.subject}: {finding.message} {finding.fix}".rstrip()
            console.print(shortened(line), soft_wrap=True)
        if len(check.findings) > SHOWN:
            more = len(check.findings) - SHOWN
            console.print(f"{check.name}: {ui.counted(more, 'more finding')}; --json lists them all.")
    failed = [c.name for c in result.checks if c.status == "failed"]
    console.print(f"failed: {', '.join(failed)}" if failed else "No check failed.")
