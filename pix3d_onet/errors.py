"""The errors of the library: what went wrong, with which record, at which stage, and what to do.

The library raises only these for problems it expects; the command line turns each into one line and an exit status.
A record that cannot be used is not an error but a :class:`~pix3d_onet.types.Rejected`.

Messages, hints and the notes of :mod:`pix3d_onet.events` name settings in backticks, spelled as in Python (`` `out` ``,
`` `frame='original'` ``), since not every caller is the command line, which replaces them by its flags.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from difflib import get_close_matches
from functools import partial
from typing import Any

MEANT = 3
"""Most names that a hint suggests for a misspelt one."""


def did_you_mean(name: str, known: Iterable[str], write: Callable[[str], object] = str) -> str:
    """A hint with the known names closest to a misspelt one, each written by ``write``; empty if none is close."""
    spelled = {other.lower(): other for other in known}
    close = [write(spelled[match]) for match in get_close_matches(name.lower(), spelled, n=MEANT)]
    return f"Did you mean {alternatives(close)}?" if close else ""


def choose_from(name: str, known: Collection[str]) -> str:
    """A hint with the names closest to a misspelt one, and all the known ones."""
    return f"{did_you_mean(name, known)} Choose from {', '.join(known)}.".lstrip()


def alternatives(choices: Sequence[object]) -> str:
    """``a, b or c``."""
    *first, last = map(str, choices)
    return f"{', '.join(first)} or {last}" if first else last


class OnetError(Exception):
    """Base of all expected errors.

    ``message``: one line that says what is wrong; ``hint``: one line that says what to do (may be empty).
    """

    exit_status = 3

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint)
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[Any, ...]:
        # by default, exceptions are sent between processes without keyword-only arguments
        return partial(type(self), hint=self.hint), (self.message,)

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".rstrip()


class InputError(OnetError):
    """An input (file, folder, dataset, run, image) is missing, unreadable or unusable."""


class ConfigError(OnetError):
    """A setting is out of range or two settings contradict each other."""

    exit_status = 2


class SettingError(ConfigError):
    """A setting has a value that is not allowed: ``setting`` must be ``rule``, not ``value``."""

    def __init__(self, setting: str, rule: str, value: object, *, hint: str = "") -> None:
        super().__init__(f"`{setting}` must be {rule}, not {value!r:.80}.", hint=hint)
        self.setting = setting
        self.rule = rule
        self.value = value

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(type(self), hint=self.hint), (self.setting, self.rule, self.value)


class UnsuitableError(ConfigError):
    """A setting is valid in general but not for this network, or its training step does not fit in memory."""


class RejectError(OnetError):
    """One record or shape cannot be used. The stage's loop catches it and counts a ``Rejected``.

    ``reason``: a short stable code (``empty-mesh``); the message has the detail; ``stage``: where it was rejected.
    """

    def __init__(self, reason: str, message: str = "", stage: str = "") -> None:
        super().__init__(message or reason)
        self.reason = reason
        self.stage = stage
        self.message = message or reason
        self.hint = ""

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.reason, self.message, self.stage)


class MissingDependencyError(OnetError):
    """A library of an optional extra is not installed; the hint names the extra."""


class BusyError(OnetError):
    """Another process is writing to the same output folder."""


class InterruptedRunError(OnetError):
    """The user or the system stopped the run; everything finished so far is kept."""

    exit_status = 130


class DivergedError(OnetError):
    """The training loss became NaN or infinite; the message names the records of the batch."""
