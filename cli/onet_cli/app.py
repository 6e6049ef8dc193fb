"""The ``onet`` command group. Each command is in a file of ``commands/`` and is imported only when it is called."""

from __future__ import annotations

import importlib
import io
import traceback
from collections.abc import Sequence

import click

from onet_cli import streams
from onet_cli.flags import in_flags
from onet_cli.invocation import Invocation
from pix3d_onet.errors import ConfigError, InterruptedRunError, OnetError, did_you_mean
from pix3d_onet.escape import shortened
from pix3d_onet.files import refused
from pix3d_onet.machine.checks import missing_dependency
from pix3d_onet.version import __version__

COMMANDS = {
    "doctor": "Check versions, GPU and system libraries; say what to install.",
    "download": "Download a data set's release, unpack it and check it.",
    "synth": "Generate procedural furniture in the Pix3D layout.",
    "prepare": "Turn photos, masks and CAD models into a data set.",
    "verify": "Check a data set: checksums, leakage, labels, cameras.",
    "inspect": "Show what is in a data set.",
    "export": "Write a data set in another layout.",
    "train": "Train one network.",
    "bench": "Train the variants of an ablation and print its table.",
    "report": "Print the table and write figures from stored runs.",
    "evaluate": "Score runs: IoU, Chamfer-L1, normal consistency, F-score.",
    "reconstruct": "Turn photos into meshes.",
    "import-checkpoint": "Turn a checkpoint of the original code into a run.",
}
"""Name → one line of help, so that ``onet --help`` imports no command. ``x-y`` is ``commands/x_y.py``, ``x_y``."""


class LazyGroup(click.Group):
    """A group that imports a command only when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Command names in the order of the pipeline."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command."""
        if cmd_name not in COMMANDS:
            return None
        name = cmd_name.replace("-", "_")
        command: click.Command = getattr(importlib.import_module(f"onet_cli.commands.{name}"), name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; a usage error that suggests one for an unknown name."""
        if args[0] not in COMMANDS:
            ctx.fail(f"No such command {args[0]!r}. {did_you_mean(args[0], COMMANDS)}".rstrip())
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands from the table, without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="onet")
def cli() -> None:
    """Occupancy Networks from raw CAD models and photos to an ablation table one can trust.

    \b
    Example:
      onet synth pix3d data/pix3d
      onet prepare pix3d --root data/pix3d --out data/prepared/pix3d-chair
      onet bench --all --data data/prepared/pix3d-chair --preset quick
    """


def run(arguments: Sequence[str]) -> int:
    """Run the command line and return the documented exit status. A traceback is shown only with ``-v``."""
    streams.replace_missing_characters()
    call = Invocation()
    try:
        status = cli.main(args=list(arguments), prog_name="onet", standalone_mode=False, obj=call)
    except click.exceptions.Exit as leave:
        status = leave.exit_code
    except click.ClickException as error:
        shown = io.StringIO()
        error.show(shown)
        for line in shown.getvalue().splitlines():
            streams.say(line, err=True)
        status = 2
    except click.Abort:
        raise KeyboardInterrupt from None
    except SystemExit:  # ours, click's and rich's answer to a closed pipe
        status = streams.CLOSED_PIPE
    except Exception as error:  # noqa: BLE001 — last resort: report() prints one line, and -v the traceback
        status = report(error, call)
    streams.flush_all()
    return status if isinstance(status, int) else 0


def report(error: Exception, call: Invocation) -> int:
    """Print one line that says what went wrong (with ``-v`` after the traceback); return the exit status."""
    found: Exception | None = refused(error) if isinstance(error, OSError) else error
    if isinstance(error, ModuleNotFoundError):
        found = missing_dependency(error)
    if call.verbose and not isinstance(found, InterruptedRunError):
        for line in "".join(traceback.format_exception(error)).splitlines():
            streams.say(line, err=True)
    if isinstance(found, OnetError):
        word = "usage: " if isinstance(found, ConfigError) else "error: "
        if isinstance(found, InterruptedRunError):
            word = ""  # to stop was asked for
        streams.say(shortened(f"onet: {word}{in_flags(str(found), call.command)}"), err=True)
        return found.exit_status
    name = type(error).__name__
    streams.say(f"onet: unexpected {name}: {shortened(str(error))} (run again with -v for the traceback)", err=True)
    return 1
