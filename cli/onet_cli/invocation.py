"""What ``run`` must know of a call after it has failed. Apart from ``ui``, so that a help page needs no rich."""

from __future__ import annotations

from dataclasses import dataclass

import click


@dataclass
class Invocation:
    """Click hands it to every command as the context's object."""

    verbose: bool = False


def note_verbose(context: click.Context, parameter: click.Parameter, value: bool) -> bool:
    """Callback of ``-v``: eager, so that it is known when another option is refused."""
    call = context.find_object(Invocation)
    if call is not None:
        call.verbose = value
    return value
