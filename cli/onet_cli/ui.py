"""Terminal output, drawn with rich: progress and logs go to stderr, documents to stdout."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar

import click
from rich.console import Console, Group
from rich.filesize import decimal
from rich.live import Live
from rich.measure import Measurement
from rich.panel import Panel
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from onet_cli import streams
from onet_cli.flags import in_flags
from onet_cli.invocation import note_verbose
from onet_cli.loading_note import note_quiet
from onet_cli.streams import print_json, say, write
from pix3d_onet.escape import shortened, visible
from pix3d_onet.events import Emit, Event, Note, Profiled, RunFinished, RunStarted, TrainStep
from pix3d_onet.events import Progress as ProgressEvent

__all__ = ["print_json", "say", "write"]

F = TypeVar("F", bound=Callable[..., Any])

LEAST_FOLDED = 12
"""A name is folded to no fewer characters than this per line on a narrow terminal."""
LONGEST = 20_000
"""Most characters shown of a note. Lists of pictures may be long; a text from a file may have any length."""
REFRESHES = 4
"""Redraws of the live lines per second."""


def common_options(function: F) -> F:
    """The options that every command has: ``--json``, ``-q``, ``-v``. Passed as ``as_json``, ``quiet``, ``verbose``.

    With ``-q``, a command that writes files (a data set, a run, a mesh) prints nothing; a command that answers a
    question (``report``, ``evaluate``, ``verify``, ...) prints only the answer.
    """
    verbose = click.option(
        "-v",
        "--verbose",
        is_flag=True,
        is_eager=True,
        callback=note_verbose,
        help="Print more, and tracebacks of errors.",
    )
    function = verbose(function)
    quiet = click.option(
        "-q", "--quiet", is_flag=True, callback=note_quiet, help="Print only errors and requested tables."
    )
    function = quiet(function)
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")(function)


class Screen(Console):
    """A console that prints every string as data: no markup, no emoji codes; invisible characters are escaped.

    This includes strings in tables, titles and panels. Only a ``Text``, as made by :func:`styled`, is not changed.
    """

    def __init__(self, *, stderr: bool = False, width: int | None = None) -> None:
        super().__init__(stderr=stderr, width=width, markup=False, emoji=False, highlight=False)

    def render_str(self, text: str, **options: Any) -> Text:
        """Escape a string; rich calls this before it measures or prints any."""
        return super().render_str(visible(text), **options)

    def print(self, *objects: Any, **options: Any) -> None:
        """Print. If that fails (closed pipe, full disk), raise for stdout; for stderr, print nothing from now on."""
        streams.run_callbacks()
        try:
            super().print(*objects, **options)
        except OSError as error:
            if not self.stderr:
                raise streams.output_error(error) from None
            self.quiet = True

    def on_broken_pipe(self) -> None:
        """Let :meth:`print` handle it."""
        raise BrokenPipeError


def out() -> Screen:
    """The console for documents (stdout)."""
    return Screen()


def err() -> Screen:
    """The console for progress and logs (stderr)."""
    return Screen(stderr=True)


class Amount(click.FloatRange):
    """A finite number from 0 to a million; ``click.FloatRange`` alone accepts NaN."""

    def __init__(self) -> None:
        super().__init__(min=0, max=1e6)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Parse ``value``; anything else is a usage error."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number.", param, ctx)
        return number


def counted(count: int, noun: str) -> str:
    """``1 run``, ``2 runs``."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def styled(*parts: str | tuple[str, str]) -> Text:
    """A line of plain and ``(text, style)`` parts; markup and control characters in them have no effect."""
    return Text.assemble(*(visible(p) if isinstance(p, str) else (visible(p[0]), p[1]) for p in parts))


def stacked(*parts: str | tuple[str, str]) -> Text:
    """As :func:`styled`, with each part on its own line."""
    return Text("\n").join(styled(part) for part in parts)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Table:
    """A plain rich table; a column whose name starts with ``>`` is right-aligned; None is blank."""
    result = Table(title=title, title_justify="left")
    for name in columns:
        result.add_column(name.lstrip(">"), justify="right" if name.startswith(">") else "left")
    for row in rows:
        result.add_row(*("" if c is None else c if isinstance(c, Text) else str(c) for c in row))
    return result


def uncut_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], *, fold: Sequence[str], optional: str = ""
) -> Table:
    """As :func:`table`, with only the columns ``fold`` folded, so that no text is cut where there is little room.

    On a narrower terminal, the column ``optional`` is left out.
    """
    shown = table(title, columns, rows)
    for column in shown.columns:
        column.no_wrap = column.header not in fold
        column.overflow = "ellipsis" if column.no_wrap else "fold"
    if optional in columns and natural_width(shown) > out().width:
        kept = [k for k, name in enumerate(columns) if name != optional]
        return uncut_table(title, [columns[k] for k in kept], [[row[k] for k in kept] for row in rows], fold=fold)
    return shown


def natural_width(shown: Table) -> int:
    """Width of a table in characters if only foldable columns shrink, each to ``LEAST_FOLDED``."""
    wide = Screen(width=10_000)
    whole = Measurement.get(wide, wide.options, shown).maximum
    for column in shown.columns:
        if column.overflow == "fold":
            longest = max((Measurement.get(wide, wide.options, cell).maximum for cell in column.cells), default=0)
            whole -= max(0, longest - LEAST_FOLDED)
    return whole


class _CountColumn(MofNCompleteColumn):
    """``12/40``, or ``1.2 GB/3.6 GB``."""

    def render(self, task: Task) -> Text:
        """What is done, and the total if it is known."""
        if task.fields["unit"] != "B":
            return super().render(task)
        return Text(of_total(int(task.completed), int(task.total or 0), "B"), style="progress.download")


class _RateColumn(ProgressColumn):
    """Items or bytes per second."""

    def render(self, task: Task) -> Text:
        """The current speed; the mean once the stage is finished."""
        rate = task.finished_speed or task.speed
        shown = "-" if not rate else decimal(int(rate)) if task.fields["unit"] == "B" else f"{rate:.2f}"
        return Text(f"{shown}/s", style="progress.data.speed")


@contextmanager
def live(*, quiet: bool = False, verbose: bool = False) -> Iterator[Emit]:
    """Yield an ``emit`` that shows progress: live lines in a terminal, few plain lines elsewhere, none if quiet."""
    console = err()
    if quiet:
        yield lambda event: None
    elif not console.is_terminal or os.environ.get("TERM") == "dumb":
        yield with_flags(_Lines(console, verbose))
    else:
        bars = Bars(console, verbose)
        with Live(bars.group, console=console, refresh_per_second=REFRESHES):
            yield with_flags(bars)


def as_flags(text: str) -> str:
    """A message of the library with its settings written as flags of the running command."""
    context = click.get_current_context(silent=True)
    return in_flags(text, context.command if context is not None else None)


def with_flags(emit: Emit) -> Emit:
    """``emit``, with the settings in notes written as flags."""

    def passed_on(event: Event) -> None:
        emit(replace(event, message=shortened(as_flags(event.message), LONGEST)) if isinstance(event, Note) else event)

    return passed_on


class Bars:
    """One live line per stage and one for the current training; finished runs are printed above."""

    def __init__(self, console: Console, verbose: bool) -> None:
        self.verbose = verbose
        self.console = console
        self.stages = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            _CountColumn(),
            _RateColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[extra]}", style="yellow", markup=False),
            console=console,
        )
        self.training = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=8),
            MofNCompleteColumn(),
            TextColumn("{task.fields[left]}", style="progress.remaining", markup=False),
            TextColumn("{task.fields[extra]}", markup=False),
            console=console,
        )
        self.group = Group(self.stages, self.training)
        self.tasks: dict[str, TaskID] = {}
        self.run: TaskID | None = None
        self.name = "train"
        self.iou: float | None = None

    def __call__(self, event: Event) -> None:
        """Show one event."""
        streams.run_callbacks()
        if isinstance(event, ProgressEvent):
            if event.stage not in self.tasks:
                self.tasks[event.stage] = self.stages.add_task(
                    visible(event.stage), total=event.total or None, extra="", unit=event.unit
                )
            extra = event.unit if event.unit != "B" else ""
            if event.rejected:
                extra = f"{extra}, {event.rejected} rejected".lstrip(", ")
            self.stages.update(self.tasks[event.stage], completed=event.done, total=event.total or None, extra=extra)
        elif isinstance(event, TrainStep):
            self.step(event)
        elif isinstance(event, RunStarted):
            self.finish()
            self.name = f"{event.index}/{event.total} {event.name}"
            self.run = self.training.add_task(visible(self.name), total=None, extra="", left="")
        elif isinstance(event, RunFinished):
            self.finish()
            self.console.print(finished_line(event), style="dim" if event.skipped else "green")
        elif isinstance(event, Note) and (event.level != "debug" or self.verbose):
            style = {"warning": "yellow", "debug": "dim"}.get(event.level, "")
            self.console.print(event.message, style=style)
        elif isinstance(event, Profiled):
            show_profile(self.console, event)

    def step(self, event: TrainStep) -> None:
        """Update the training line."""
        if self.run is None:
            self.run = self.training.add_task(visible(self.name), total=event.total, extra="", left="")
        self.iou = event.val_iou if event.val_iou is not None else self.iou
        extra, left = step_line(event, self.iou), clock(event.seconds_left)
        self.training.update(self.run, completed=event.step, total=event.total, extra=extra, left=left)

    def finish(self) -> None:
        """Remove the lines of a finished run."""
        if self.run is not None:
            self.training.remove_task(self.run)
        for task in self.tasks.values():
            self.stages.remove_task(task)
        self.run, self.tasks, self.iou = None, {}, None


def step_line(event: TrainStep, iou: float | None) -> str:
    """Loss, current and best IoU, speed: the text after the step count of a training line."""
    parts = [f"loss {event.loss:.4g}"]
    if iou is not None:
        best = event.best_iou if event.best_iou is not None else iou
        parts.append(f"IoU {iou:.4f} best {best:.4f}")
    return " ".join([*parts, f"{event.shapes_per_second:.3g} shapes/s"])


def finished_line(event: RunFinished) -> str:
    """One line for a finished run of an ablation."""
    score = "" if event.val_iou is None else f"  val IoU {event.val_iou:.4f}"
    return f"{event.index}/{event.total} {event.name}{score}{'  (already done)' if event.skipped else ''}"


def show_profile(console: Console, event: Profiled) -> None:
    """Print the most expensive operations of a training step, and where its trace is."""
    rows = [(visible(o.name), f"{o.milliseconds:,.1f}", f"{o.share:.1%}", f"{o.calls:,.6g}") for o in event.operations]
    rest = 1 - sum(o.share for o in event.operations)
    columns = ("operation", ">ms a step", ">share", ">calls a step")
    title = f"Operations of a training step, mean of {event.steps}"
    console.print(uncut_table(title, columns, [*rows, ("others", "", f"{rest:.1%}", "")], fold=("operation",)))
    line = f"Trace for Perfetto or chrome://tracing: {event.trace} ({event.waiting:.1%} of the time waiting for data)"
    console.print(visible(line), soft_wrap=True)


class _Lines:
    """Progress as plain lines: per stage at most one per ``every`` seconds, plus all validations and the last."""

    def __init__(self, console: Console, verbose: bool, every: float = 10.0) -> None:
        self.console = console
        self.verbose = verbose
        self.every = every
        self.last: dict[str, float] = {}
        self.began: dict[str, tuple[float, int]] = {}
        self.name = "train"

    def __call__(self, event: Event) -> None:
        """Show one event, unless its stage had a line a short time ago."""
        if isinstance(event, Note):
            if event.level != "debug" or self.verbose:
                self.line(event.message)
        elif isinstance(event, ProgressEvent):
            if self.due(event.stage) or event.done == event.total:
                rejected = f", {event.rejected} rejected" if event.rejected else ""
                done = of_total(event.done, event.total, event.unit)
                self.line(f"{event.stage}: {done}{rejected}{self.speed(event)}")
        elif isinstance(event, TrainStep):
            if event.val_iou is not None or self.due(self.name):
                self.line(f"{self.name}: {event.step}/{event.total} {step_line(event, event.val_iou)}{eta(event)}")
        elif isinstance(event, RunStarted):
            self.name = f"{event.index}/{event.total} {event.name}"
            self.line(f"{self.name}: loading ...")
        elif isinstance(event, RunFinished):
            self.line(finished_line(event))
        elif isinstance(event, Profiled):
            show_profile(self.console, event)

    def due(self, key: str) -> bool:
        """Whether ``key`` had no line in the last ``every`` seconds; if so, restart its clock."""
        now = time.monotonic()
        if now - self.last.get(key, now - self.every - 1) <= self.every:
            return False
        self.last[key] = now
        return True

    def speed(self, event: ProgressEvent) -> str:
        """Speed and time left of a stage that is counted in bytes, since its first event."""
        started, done = self.began.setdefault(event.stage, (time.monotonic(), event.done))
        rate = (event.done - done) / max(time.monotonic() - started, 1e-9)
        if event.unit != "B" or rate <= 0:
            return ""
        left = f", {clock((event.total - event.done) / rate)} left" if event.done < event.total else ""
        return f", {decimal(int(rate))}/s{left}"

    def line(self, text: str) -> None:
        """Print a line without markup or wrapping."""
        self.console.print(text, soft_wrap=True)


def of_total(done: int, total: int, unit: str) -> str:
    """``12/40 shapes``, ``12/?``, or of bytes (``unit`` B) ``1.2 GB/3.6 GB``."""
    shown = decimal if unit == "B" else str
    return f"{shown(done)}/{shown(total) if total else '?'} {unit if unit != 'B' else ''}".rstrip()


def clock(seconds: float | None) -> str:
    """``1:02:03``; empty for None."""
    if seconds is None:
        return ""
    whole = round(seconds)
    return f"{whole // 3600}:{whole % 3600 // 60:02d}:{whole % 60:02d}"


def eta(event: TrainStep) -> str:
    """The time left until the run's record, validations and scoring included; empty if unknown."""
    return "" if event.seconds_left is None else f", {clock(event.seconds_left)} left"


def panel(title: str, rows: Sequence[tuple[str, object]]) -> Panel:
    """Names and values in a frame that is no wider than they need."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim")
    grid.add_column()
    for name, value in rows:
        grid.add_row(name, str(value))
    return Panel(grid, title=styled(title), title_align="left", expand=False)
