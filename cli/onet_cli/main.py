"""``onet``: parse, call, render. Every command lives in a file of its own and is imported only when it runs."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

import click

from pix3d_onet.errors import ConfigError, OnetError
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
        """The commands in the order of the road."""
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


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave with the contract's exit status; a traceback only under ``-v``."""
    argv = list(sys.argv[1:] if arguments is None else arguments)
    verbose = any(a in ("-v", "-vv", "--verbose") for a in argv)
    try:
        status = cli.main(args=argv, prog_name="onet", standalone_mode=False)
    except click.exceptions.Exit as leave:
        status = leave.exit_code
    except click.ClickException as error:
        error.show()
        status = 2
    except (KeyboardInterrupt, click.Abort):
        click.echo("onet: interrupted; everything finished so far is kept.", err=True)
        status = 130
    except OnetError as error:
        if verbose:
            raise
        word = "usage" if isinstance(error, ConfigError) else "error"
        click.echo(f"onet: {word}: {error}", err=True)
        status = error.exit_status
    except BrokenPipeError:
        sys.stderr.close()
        status = 141
    except Exception as error:
        if verbose:
            raise
        click.echo(f"onet: unexpected {type(error).__name__}: {error} (run again with -v for the traceback)", err=True)
        status = 1
    sys.exit(status if isinstance(status, int) else 0)
