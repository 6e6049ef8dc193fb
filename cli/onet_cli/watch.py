"""The live table of a running ablation: state, progress and best IoU of every run in the plan."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich import box
from rich.console import Group
from rich.live import Live
from rich.table import Table

from onet_cli import ui
from pix3d_onet.events import Emit, Event, Note, Progress, RunFinished, RunStarted, TrainStep

if TYPE_CHECKING:
    from pix3d_onet.ablation.bench import PlannedRun

BAR_WIDTH = 10
REFRESHES = 4
"""Redraws per second."""
LOOKS = {
    "done": ("✓", "green"),
    "training": ("▸", "bold"),
    "failed": ("✗", "red"),
    "waiting": ("·", "dim"),
    "interrupted": ("◦", "yellow"),
}
"""State → sign and style; the signs differ, so that the states can be distinguished without colour."""


@dataclass(slots=True)
class State:
    """State of one run; ``since``: its step when it was (re)started at the time ``started``."""

    label: str
    state: str
    step: int = 0
    total: int = 0
    detail: str = ""
    iou: float | None = None
    started: float | None = None
    since: int = 0
    ends: float | None = None

    def left(self, now: float) -> str:
        """The time left: the run's own estimate, else at the mean speed since the run was (re)started."""
        if self.state != "training":
            return ""
        if self.ends is not None:
            return ui.clock(max(0.0, self.ends - now))
        if self.started is None or self.step <= self.since:
            return ""
        return ui.clock((now - self.started) / (self.step - self.since) * (self.total - self.step))


class Board:
    """Collects the events of an ablation and draws them as a table."""

    def __init__(self, plan: Sequence[PlannedRun]) -> None:
        names = {"missing": "waiting", "partial": "interrupted", "done": "done"}
        self.states = {p.name: State(p.name, names[p.state], total=p.config.steps) for p in plan}
        self.current = ""
        self.notes: list[str] = []

    def __call__(self, event: Event) -> None:
        """Update the state with one event."""
        if isinstance(event, RunStarted):
            self.current = event.name
            self.states[event.name].state = "training"
        elif isinstance(event, RunFinished):
            state = self.states[event.name]
            state.state, state.iou, state.step, state.detail = "done", event.val_iou, state.total, ""
        elif isinstance(event, TrainStep) and self.current in self.states:
            self._advance(self.states[self.current], event.step, event.total, f"loss {event.loss:.4g}")
            self.states[self.current].iou = event.best_iou
            if event.seconds_left is not None:
                self.states[self.current].ends = time.monotonic() + event.seconds_left
        elif isinstance(event, Progress) and event.stage in self.states:
            self._advance(self.states[event.stage], event.done, event.total, event.item)
        elif isinstance(event, Note) and event.level == "warning":
            self.notes = [*self.notes[-3:], event.message]
            name = event.message.split(" failed", maxsplit=1)[0]
            if name in self.states:
                self.states[name].state = "failed"

    @staticmethod
    def _advance(state: State, step: int, total: int, detail: str) -> None:
        if state.started is None:
            state.started, state.since = time.monotonic(), step
        state.step, state.total, state.detail = step, total, detail

    def table(self) -> Table:
        """The current table."""
        done = sum(s.state == "done" for s in self.states.values())
        result = Table(
            title=f"{done} of {len(self.states)} runs done", title_justify="left", caption_justify="left",
            box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False,
        )  # fmt: skip
        # on a narrow terminal names are folded and the last column is cut, never a number
        result.add_column("Run", overflow="fold", min_width=ui.LEAST_FOLDED)
        result.add_column("Progress", no_wrap=True, min_width=BAR_WIDTH + 10)
        result.add_column("Best IoU", no_wrap=True, min_width=8, justify="right")
        result.add_column("Left", no_wrap=True, min_width=7, justify="right")
        result.add_column("", no_wrap=True, overflow="ellipsis")
        now = time.monotonic()
        for state in self.states.values():
            filled = round(BAR_WIDTH * state.step / state.total) if state.total else 0
            bar = "━" * filled + "╌" * (BAR_WIDTH - filled)
            sign, style = LOOKS[state.state]
            result.add_row(
                ui.styled((f"{sign} {state.label}", style)),
                f"{bar} {state.step}/{state.total}" if state.step else "",
                "" if state.iou is None else f"{state.iou:.4f}",
                state.left(now),
                ui.styled((state.detail, "dim")),
            )
        return result

    def screen(self) -> Group:
        """The current table, and below it the latest warnings, whole."""
        return Group(self.table(), *map(ui.styled, self.notes))


@contextmanager
def live_table(plan: Sequence[PlannedRun], *, verbose: bool = False) -> Iterator[Emit]:
    """Yield an ``emit`` that updates the live table of ``plan``, or prints plain lines if there is no terminal."""
    console = ui.err()
    if not console.is_terminal or os.environ.get("TERM") == "dumb":
        with ui.live(verbose=verbose) as emit:
            yield emit
        return
    board = Board(plan)
    with Live(get_renderable=board.screen, console=console, refresh_per_second=REFRESHES):
        yield ui.with_flags(board)
