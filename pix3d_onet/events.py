"""Progress events that long calls send to their caller; the command line shows them.

A long call takes ``emit: Emit = ignore`` and calls it from its own thread. A caller may ignore any event.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Event:
    """Base of all events."""


@dataclass(frozen=True, slots=True)
class Note(Event):
    """A line of text for the user. ``level`` is ``info``, ``warning`` or ``debug``."""

    message: str
    level: str = "info"


@dataclass(frozen=True, slots=True)
class Progress(Event):
    """``done`` of ``total`` units of ``stage`` are done (``total`` 0 = unknown), ``rejected`` of them unusable.

    ``unit``: ``B`` for bytes, or what is counted (``shapes``); may be empty.
    """

    stage: str
    done: int
    total: int
    rejected: int = 0
    item: str = ""
    unit: str = ""


@dataclass(frozen=True, slots=True)
class TrainStep(Event):
    """One optimiser step is done. Losses are per shape (BCE summed over its points), rates in shapes/s.

    ``seconds_left`` includes the remaining validations and the final scoring; None if it is not known yet.
    """

    step: int
    total: int
    loss: float
    shapes_per_second: float
    learning_rate: float = 0.0
    val_iou: float | None = None
    best_iou: float | None = None
    seconds_left: float | None = None


@dataclass(frozen=True, slots=True)
class OperationTime:
    """One operation: its own ``milliseconds`` per training step, their ``share`` of all, its ``calls`` per step."""

    name: str
    milliseconds: float
    share: float
    calls: float


@dataclass(frozen=True, slots=True)
class Profiled(Event):
    """``steps`` training steps were traced to the file ``trace``. ``operations``: the most expensive first.

    ``waiting``: share of the training time so far that was spent waiting for data.
    """

    steps: int
    trace: str
    operations: Sequence[OperationTime]
    waiting: float


@dataclass(frozen=True, slots=True)
class RunStarted(Event):
    """The ablation starts run ``index`` of ``total`` (1-based)."""

    name: str
    index: int
    total: int
    details: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RunFinished(Event):
    """The ablation has finished a run; ``skipped``: it was already finished before."""

    name: str
    index: int
    total: int
    skipped: bool = False
    val_iou: float | None = None


Emit = Callable[[Event], None]


def ignore(event: Event) -> None:
    """Default ``emit``: does nothing."""
