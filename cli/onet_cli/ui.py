"""What a person sees: the only room that imports rich. Progress and logs go to stderr, documents to stdout."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from pix3d_onet.events import Emit, Event, Note
from pix3d_onet.events import Progress as ProgressEvent

F = TypeVar("F", bound=Callable[..., Any])


def common_options(function: F) -> F:
    """The options that every command has: ``--json``, ``-q``, ``-v``. Passed as ``as_json``, ``quiet``, ``verbose``."""
    function = click.option("-v", "--verbose", is_flag=True, help="Say more; show tracebacks.")(function)
    function = click.option("-q", "--quiet", is_flag=True, help="Say nothing but the result and errors.")(function)
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")(function)


def out() -> Console:
    """The console for documents (stdout)."""
    return Console(highlight=False)


def err() -> Console:
    """The console for progress and logs (stderr)."""
    return Console(stderr=True, highlight=False)


def print_json(document: Mapping[str, Any] | Sequence[Any]) -> None:
    """Write the one machine-readable document to stdout."""
    sys.stdout.write(json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def styled(*parts: str | tuple[str, str]) -> Text:
    """A line of plain and ``(text, style)`` parts; nothing in it is read as markup."""
    return Text.assemble(*parts)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Table:
    """A plain rich table; a column whose name starts with ``>`` is right-aligned; None is blank."""
    result = Table(title=title, title_justify="left")
    for name in columns:
        result.add_column(name.lstrip(">"), justify="right" if name.startswith(">") else "left")
    for row in rows:
        result.add_row(*("" if cell is None else str(cell) for cell in row))
    return result


class _RateColumn(TextColumn):
    def __init__(self) -> None:
        super().__init__("")

    def render(self, task: Any) -> Any:
        rate = task.finished_speed or task.speed
        return Text(f"{rate:.2f}/s" if rate else "-/s", style="progress.data.speed")


@contextmanager
def live(*, quiet: bool = False, verbose: bool = False) -> Iterator[Emit]:
    """Yield an ``emit`` that shows progress: a live bar in a terminal, sparse lines elsewhere, nothing when quiet."""
    console = err()
    if quiet:
        yield lambda event: None
        return
    if not console.is_terminal or os.environ.get("TERM") == "dumb":
        yield _Lines(console, verbose)
        return
    progress = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        _RateColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[extra]}"),
        console=console,
    )
    tasks: dict[str, Any] = {}

    def emit(event: Event) -> None:
        if isinstance(event, ProgressEvent):
            if event.stage not in tasks:
                tasks[event.stage] = progress.add_task(event.stage, total=event.total or None, extra="")
            extra = f"[yellow]{event.rejected} rejected[/]" if event.rejected else ""
            progress.update(tasks[event.stage], completed=event.done, total=event.total or None, extra=extra)
        elif isinstance(event, Note) and (event.level != "debug" or verbose):
            style = {"warning": "yellow", "debug": "dim"}.get(event.level, "")
            progress.console.print(event.message, style=style)

    with progress:
        yield emit


class _Lines:
    """Progress as plain lines, at most one every few seconds a stage, and always the last."""

    def __init__(self, console: Console, verbose: bool, every: float = 10.0) -> None:
        self.console = console
        self.verbose = verbose
        self.every = every
        self.last: dict[str, float] = {}

    def __call__(self, event: Event) -> None:
        if isinstance(event, Note):
            if event.level != "debug" or self.verbose:
                self.console.print(event.message, markup=False, soft_wrap=True)
        elif isinstance(event, ProgressEvent):
            now = time.monotonic()
            if event.done == event.total or now - self.last.get(event.stage, now - self.every - 1) > self.every:
                self.last[event.stage] = now
                rejected = f", {event.rejected} rejected" if event.rejected else ""
                line = f"{event.stage}: {event.done}/{event.total or '?'}{rejected}"
                self.console.print(line, markup=False, soft_wrap=True)
