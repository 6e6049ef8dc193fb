"""A command that shows nothing for a while prints a line, except with ``-q``."""

from __future__ import annotations

import threading

import click
import pytest
from click.testing import CliRunner
from onet_cli import loading_note, streams, ui
from onet_cli.app import cli

from pix3d_onet.events import TrainStep


@click.command()
@click.option("--wait", is_flag=True)
@ui.common_options
def slow(*, wait: bool, as_json: bool, quiet: bool, verbose: bool) -> None:
    """Prints at once, or after the line "loading ..."."""
    if wait:
        said.wait(20)
    streams.say("result")


said = threading.Event()


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """No silence at all, and a sign that is seen."""
    said.clear()
    spoken = streams.say

    def say(text: object, *, err: bool = False) -> None:
        spoken(text, err=err)
        if err:
            said.set()

    monkeypatch.setattr(loading_note, "SILENCE", 0.0)
    monkeypatch.setattr(streams, "say", say)


def test_a_command_that_shows_nothing_says_that_it_works(short: None) -> None:
    done = CliRunner().invoke(slow, ["--wait"], prog_name="onet slow")
    assert done.stderr == "onet slow: loading ...\n"
    assert done.stdout == "result\n"


def test_one_that_has_shown_something_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    cancelled: list[float] = []

    class Timer(threading.Timer):
        def cancel(self) -> None:
            cancelled.append(self.interval)
            super().cancel()

    monkeypatch.setattr(threading, "Timer", Timer)
    assert CliRunner().invoke(slow, []).stderr == ""
    assert cancelled == [loading_note.SILENCE] * 2  # when it was shown, and at the end
    cancelled.clear()
    assert CliRunner().invoke(slow, ["-q"]).stderr == ""
    assert cancelled == []


def test_every_command_promises() -> None:
    """All leaves take the common options, and with them the callback."""
    found = []
    for name in cli.list_commands(click.Context(cli)):
        command = cli.get_command(click.Context(cli), name)
        leaves = command.commands.values() if isinstance(command, click.Group) else [command]
        for leaf in leaves:
            assert leaf is not None
            found.append(any(p.callback is loading_note.note_quiet for p in leaf.params))
    assert found
    assert all(found)


def test_the_time_left_is_the_run_s_own_word() -> None:
    assert ui.eta(TrainStep(10, 100, 1.0, 2.0, seconds_left=3723.4)) == ", 1:02:03 left"
    assert ui.eta(TrainStep(10, 100, 1.0, 2.0)) == ""
