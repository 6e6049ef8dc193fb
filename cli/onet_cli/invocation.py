"""What ``run`` must know of a call after it has failed. Apart from ``ui``, so that a help page needs no rich."""

from __future__ import annotations

from dataclasses import dataclass

import click


@dataclass
class Invocation:
    """Click hands it to every command as the context's object; ``command`` is the one that was called."""

    verbose: bool = False
    command: click.Command | None = None


def note_verbose(context: click.Context, parameter: click.Parameter, value: bool) -> bool:
    """Callback of ``-v``, which every command has: eager, so that it is known when another option is refused."""
    call = context.find_object(Invocation)
    if call is not None:
        call.verbose, call.command = value, context.command
    return value
