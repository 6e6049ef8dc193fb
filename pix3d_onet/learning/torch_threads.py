"""Number of PyTorch's CPU threads in this process: fixed, or adjusted to the free cores."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from types import TracebackType
from typing import Self

import torch

from pix3d_onet.events import Emit, Note, ignore
from pix3d_onet.machine.threads import ThreadGovernor, usable_cores

VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""Environment variables that set PyTorch's number of threads when it is imported."""
NOTE_SECONDS = 60.0
"""A change sooner than this after the last note has level ``debug``, since the load of a shared machine varies."""


class Threads:
    """Context manager that sets PyTorch's number of threads; call ``adjust`` between two pieces of work.

    ``wanted`` 0 is ``auto``: at most the number that PyTorch is set to, adjusted to the free cores. It is fixed if an
    environment variable sets it, and on a GPU. Load is measured from the construction on. At the end of the block the
    previous number is restored.
    """

    def __init__(self, wanted: int = 0, device: torch.device | None = None, emit: Emit = ignore) -> None:
        cores = usable_cores()
        self.emit = emit
        self.noted_at = -NOTE_SECONDS
        self.before = torch.get_num_threads()
        variable = next((name for name in VARIABLES if os.environ.get(name)), "")
        fixed = wanted or (self.before if variable else 0)
        most = fixed or min(self.before, cores)
        self.on_cpu = device is None or device.type == "cpu"
        self.governor = ThreadGovernor(most) if self.on_cpu and not fixed and most > 1 else None
        self.count = most
        self.cores = cores
        self.reason = "as `threads` says" if wanted else f"as {variable} says" if variable else "as PyTorch is set"

    def __enter__(self) -> Self:
        torch.set_num_threads(self.count)
        if self.governor is None and self.on_cpu:
            self.emit(Note(f"threads: {self.count}, {self.reason}"))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        torch.set_num_threads(self.before)

    def adjust(self) -> None:
        """Set the number of threads to the governor's decision; cheap enough to call in every step."""
        if self.governor is None:
            return
        first = not self.governor.looks
        count = self.governor.look()
        if count != self.count or (first and self.governor.looks):
            self.count = count
            torch.set_num_threads(count)
            self._note(self.governor.free)

    def _note(self, free: float | None) -> None:
        now = time.monotonic()
        level = "info" if now - self.noted_at >= NOTE_SECONDS else "debug"
        if level == "info":
            self.noted_at = now
        why = "what others use is not known" if free is None else f"others use {max(0.0, self.cores - free):.1f}"
        self.emit(Note(f"threads: {self.count} of {self.cores} cores, {why}", level))


def as_range(counts: Iterable[int]) -> int | str:
    """2, or 1-2 if the number changed: the ``threads`` entry of a run record."""
    least, most = min(counts), max(counts)
    return most if least == most else f"{least}-{most}"
