"""``onet doctor``: what is installed, what is missing, and the command that fixes it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from onet_cli import ui

if TYPE_CHECKING:
    from pix3d_onet.machine.checks import Check

SIGNS = {"ok": ("✓", "green"), "absent": ("–", "dim"), "failed": ("✗", "bold red")}
"""Status → sign and colour."""


@click.command()
@click.option("--self-test/--no-self-test", default=True, help="Also run the pipeline on a small box (takes seconds).")
@click.option("--warm-up", is_flag=True, help="Only compile the kernels, which else happens at their first use.")
@ui.common_options
def doctor(self_test: bool, warm_up: bool, as_json: bool, quiet: bool, verbose: bool) -> None:
    """Check Python, packages, CPU, GPU, system libraries, disk and data; say how to fix what is broken.

    The exit status is 3 if something is broken, else 0. An optional package that is not installed is not an error.

    \b
    Example:
      onet doctor
      onet doctor --no-self-test --json
      onet doctor --warm-up
    """
    from pix3d_onet.doctor.examine import examine
    from pix3d_onet.preparation.kernels import compile_kernels

    if self_test or warm_up:
        with ui.live(quiet=quiet or as_json, verbose=verbose) as emit:
            compiled = compile_kernels(emit=emit)
    if warm_up:
        if as_json:
            ui.print_json({"compiled": compiled})
        elif not (quiet or compiled):
            ui.say("The kernels were compiled before.")
        return
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
    from pix3d_onet.machine import checks as system

    return {
        "ok": all(check.status != system.FAILED for check in checks),
        "versions": system.versions(),
        "checks": [{k: getattr(check, k) for k in ("name", "status", "detail", "fix")} for check in checks],
    }


def render(checks: Sequence[Check], *, quiet: bool) -> None:
    """One line per check, and its fix on the next line; if quiet, only failed checks."""
    console = ui.out()
    for check in checks:
        if quiet and check.status != "failed":
            continue
        sign, style = SIGNS[check.status]
        console.print(ui.styled((sign, style), " ", (check.name, "bold"), "  ", check.detail), soft_wrap=True)
        if check.fix and check.status != "ok":
            style = "dim" if check.status == "absent" else "yellow"
            console.print(ui.styled(("  → " + check.fix, style)), soft_wrap=True)
