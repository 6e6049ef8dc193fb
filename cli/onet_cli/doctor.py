"""``onet doctor``: what is here, what is missing, and the exact command that mends it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from onet_cli import ui

if TYPE_CHECKING:
    from pix3d_onet.system import Check

SIGNS = {"ok": ("✓", "green"), "absent": ("–", "dim"), "failed": ("✗", "bold red")}
"""Status → sign and colour."""


@click.command()
@click.option("--self-test/--no-self-test", default=True, help="Close, label and train on a small box (seconds).")
@ui.common_options
def doctor(self_test: bool, as_json: bool, quiet: bool, verbose: bool) -> None:
    """Check Python, packages, CPU, GPU, system libraries, disk and data; say how to mend what is broken.

    Leaves with 0 when nothing is broken (what is merely not installed is no fault), with 3 otherwise.

    \b
    Example:
      onet doctor
      onet doctor --no-self-test --json
    """
    from pix3d_onet.doctor.examine import examine

    checks = examine(self_test=self_test)
    broken = any(check.status == "failed" for check in checks)
    if as_json:
        ui.print_json(document(checks))
    else:
        render(checks, quiet=quiet)
    if broken:
        raise click.exceptions.Exit(3)


def document(checks: Sequence[Check]) -> dict[str, object]:
    """The JSON document: ``ok``, ``versions``, ``checks``."""
    from pix3d_onet import system

    return {
        "ok": all(check.status != system.FAILED for check in checks),
        "versions": system.versions(),
        "checks": [{k: getattr(check, k) for k in ("name", "status", "detail", "fix")} for check in checks],
    }


def render(checks: Sequence[Check], *, quiet: bool) -> None:
    """One line a finding, its remedy below it; when quiet, only what is broken."""
    console = ui.out()
    for check in checks:
        if quiet and check.status != "failed":
            continue
        sign, style = SIGNS[check.status]
        console.print(ui.styled((sign, style), " ", (check.name, "bold"), "  ", check.detail), soft_wrap=True)
        if check.fix and check.status != "ok":
            style = "dim" if check.status == "absent" else "yellow"
            console.print(ui.styled(("  → " + check.fix, style)), soft_wrap=True)
