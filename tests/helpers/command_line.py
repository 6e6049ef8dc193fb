"""Call ``onet`` in the test's process, and list its commands."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from typing import Any, NamedTuple

import click
from onet_cli.app import cli
from onet_cli.main import main


class Answer(NamedTuple):
    """What a command left with and what it said."""

    status: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one JSON document on stdout."""
        return json.loads(self.out)


def onet(*arguments: object) -> Answer:
    """Run ``onet ARGUMENTS``. What it says is passed on, so that pytest shows it where a test fails."""
    out, err = io.StringIO(), io.StringIO()
    status: Any = 0
    try:
        with redirect_stdout(out), redirect_stderr(err):
            main([str(a) for a in arguments])
    except SystemExit as left:
        status = left.code
    sys.stdout.write(out.getvalue())
    sys.stderr.write(err.getvalue())
    return Answer(int(status or 0), out.getvalue(), err.getvalue())


def status(*arguments: object) -> int:
    """The exit status of ``onet ARGUMENTS``."""
    return onet(*arguments).status


def commands() -> dict[str, click.Command]:
    """Every command that does something, by its full name (``prepare pix3d``); groups are walked through."""
    context = click.Context(cli)
    found = ((name, cli.get_command(context, name)) for name in cli.list_commands(context))
    return {full: leaf for name, command in found for full, leaf in _leaves(name, command)}


def _leaves(name: str, command: click.Command | None) -> Iterator[tuple[str, click.Command]]:
    assert command is not None, name
    if not isinstance(command, click.Group):
        yield name, command
        return
    context = click.Context(command)
    for child in command.list_commands(context):
        yield from _leaves(f"{name} {child}", command.get_command(context, child))
