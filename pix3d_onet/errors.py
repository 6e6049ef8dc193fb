"""The errors of the library: what went wrong, with which record, at which stage, and what to do.

The library raises these and nothing else for trouble it foresees; the command line turns each into one
line and an exit status. A record that cannot be used is not an error but a :class:`~pix3d_onet.types.Rejected`.

Messages, hints and the notes of :mod:`pix3d_onet.events` name settings in backticks as Python has them (`` `out` ``,
`` `frame='original'` ``), since not every caller is a command line; that one spells them as its own flags.
"""

from __future__ import annotations

from functools import partial
from typing import Any


class OnetError(Exception):
    """Base of all foreseen errors.

    ``message`` says what is wrong in one line; ``hint`` says in one line what to do about it (may be empty).
    """

    exit_status = 3

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint)
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[Any, ...]:
        # the hint is keyword-only, which plain pickling between processes would not respect
        return partial(type(self), hint=self.hint), (self.message,)

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".rstrip()


class InputError(OnetError):
    """An input (file, folder, dataset, run, image) is missing, unreadable or unusable."""


class ConfigError(OnetError):
    """A setting is out of range or two settings contradict each other."""

    exit_status = 2


class SettingError(ConfigError):
    """The value of one setting breaks its rule: ``setting`` must be ``rule``, and is ``value``."""

    def __init__(self, setting: str, rule: str, value: object, *, hint: str = "") -> None:
        super().__init__(f"`{setting}` must be {rule}, not {value!r:.80}.", hint=hint)
        self.setting = setting
        self.rule = rule
        self.value = value

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(type(self), hint=self.hint), (self.setting, self.rule, self.value)


class UnsuitableError(ConfigError):
    """A setting that suits other networks does not suit this one, or its step does not fit in memory."""


class RejectError(OnetError):
    """One record or shape cannot be used. Caught by the stage's loop and counted as a ``Rejected``.

    ``reason`` is a short stable code (``empty-mesh``); the message has the detail; ``stage`` is where it fell out.
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
    """The user or the system asked the run to stop; everything finished so far is kept."""

    exit_status = 130


class DivergedError(OnetError):
    """The training loss became NaN or infinite; the message names the records of the batch."""
