"""What ``app.run`` needs to know about a failed call. Not in ``ui``, so that a help page does not import rich."""

from __future__ import annotations

from dataclasses import dataclass

import click


@dataclass
class Invocation:
    """The object of click's context, shared by all commands; ``command`` is the one that was called."""

    verbose: bool = False
    command: click.Command | None = None


def note_verbose(context: click.Context, parameter: click.Parameter, value: bool) -> bool:
    """Callback of ``-v``, which every command has. Eager: it runs before another option can be refused."""
    call = context.find_object(Invocation)
    if call is not None:
        call.verbose, call.command = value, context.command
    return value
