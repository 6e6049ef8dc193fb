"""Print a line if a command shows nothing for a while; importing PyTorch alone can take ten seconds."""

from __future__ import annotations

import os
import threading

import click

from onet_cli import streams

SILENCE = 2.0
"""Seconds without output before the line is printed."""


def note_quiet(context: click.Context, parameter: click.Parameter, value: bool) -> bool:
    """Callback of ``-q``, which every command has: without it, start the timer of the line.

    If several processes train one network, only the first prints it.
    """
    if not value and not context.resilient_parsing and os.environ.get("RANK", "0") == "0":
        context.call_on_close(announce_loading(context.command_path))
    return value


def announce_loading(command: str) -> streams.Callback:
    """Print a line after ``SILENCE`` unless something is printed before; return a function that cancels it."""
    timer = threading.Timer(SILENCE, lambda: streams.say(f"{command}: loading ...", err=True))
    timer.daemon = True
    streams.on_next_output(timer.cancel)
    timer.start()
    return timer.cancel
