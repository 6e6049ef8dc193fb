"""``onet``: parse, call, render. Every command lives in a file of its own and is imported only when it runs."""

from __future__ import annotations

import importlib
import io
import traceback
from collections.abc import Sequence

import click

from onet_cli import streams
from onet_cli.flags import in_flags
from onet_cli.invocation import Invocation
from pix3d_onet.errors import ConfigError, InterruptedRunError, OnetError
from pix3d_onet.escape import shortened
from pix3d_onet.files import refused
from pix3d_onet.system import missing_dependency
from pix3d_onet.version import __version__

COMMANDS: dict[str, tuple[str, str]] = {
    "doctor": ("onet_cli.doctor:doctor", "Check versions, GPU, system libraries; say what to install."),
    "synth": ("onet_cli.synth:synth", "Generate procedural furniture in the Pix3D layout."),
    "prepare": ("onet_cli.prepare:prepare", "Photos, masks and CAD models -> a data set of labelled points."),
    "verify": ("onet_cli.verify:verify", "Check a data set: checksums, leakage, labels, cameras."),
    "inspect": ("onet_cli.inspect:inspect", "Show what is in a data set."),
    "export": ("onet_cli.export:export", "Write a data set in another layout."),
    "train": ("onet_cli.train:train", "Train one network."),
    "bench": ("onet_cli.bench:bench", "Run the ablation and print Table 1."),
    "report": ("onet_cli.report:report", "Table 1 and the figures from stored runs."),
    "evaluate": ("onet_cli.evaluate:evaluate", "IoU, Chamfer-L1, normal consistency, F-score of a run."),
    "reconstruct": ("onet_cli.reconstruct:reconstruct", "A photo to a mesh."),
    "import-checkpoint": ("onet_cli.import_checkpoint:import_checkpoint", "Turn an original checkpoint into a run."),
}
"""Name → (``module:attribute``, one line of help): the help page needs no command's own imports."""


class LazyGroup(click.Group):
    """A group that imports a command only when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands in the order of the pipeline."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command."""
        if cmd_name not in COMMANDS:
            return None
        module, attribute = COMMANDS[cmd_name][0].split(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands from the table, without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


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
    """Run the command line; the contract's exit status. A traceback is shown only under ``-v``."""
    streams.tolerate()
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
    except Exception as error:  # noqa: BLE001 — the last resort: report() names it, and -v has the traceback
        status = report(error, call)
    streams.settle()
    return status if isinstance(status, int) else 0


def report(error: Exception, call: Invocation) -> int:
    """Say in one line what went wrong, after the traceback if that was asked for; the exit status."""
    found: Exception | None = refused(error) if isinstance(error, OSError) else error
    if isinstance(error, ModuleNotFoundError):
        found = missing_dependency(error)
    if call.verbose and not isinstance(found, InterruptedRunError):
        for line in "".join(traceback.format_exception(error)).splitlines():
            streams.say(line, err=True)
    if isinstance(found, OnetError):
        word = "usage" if isinstance(found, ConfigError) else "error"
        streams.say(shortened(f"onet: {word}: {in_flags(str(found), call.command)}"), err=True)
        return found.exit_status
    name = type(error).__name__
    streams.say(f"onet: unexpected {name}: {shortened(str(error))} (run again with -v for the traceback)", err=True)
    return 1
