"""A command that has shown nothing for a while says that it works: importing PyTorch alone can take ten seconds."""

from __future__ import annotations

import os
import threading

import click

from onet_cli import streams

SILENCE = 2.0
"""Seconds of nothing on the screen before the line is printed."""


def note_quiet(context: click.Context, parameter: click.Parameter, value: bool) -> bool:
    """Callback of ``-q``, which every command has: unless it is given, something is shown soon.

    Of several processes of one training, the first speaks.
    """
    if not value and not context.resilient_parsing and os.environ.get("RANK", "0") == "0":
        context.call_on_close(promise(context.command_path))
    return value


def promise(command: str) -> streams.Callback:
    """Print a line after ``SILENCE`` unless something else is printed before; the result takes the promise back."""
    timer = threading.Timer(SILENCE, lambda: streams.say(f"{command}: loading ...", err=True))
    timer.daemon = True
    streams.when_written(timer.cancel)
    timer.start()
    return timer.cancel
