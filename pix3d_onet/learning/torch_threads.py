"""PyTorch's threads in this process: a fixed number of them, or as many as there are free cores."""

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
"""Where users say how many threads PyTorch shall take; it reads them when it is imported."""
TELL_SECONDS = 60.0
"""Changes that follow sooner on a told one are told as ``debug``: the load of a shared machine comes and goes."""


class Threads:
    """How many threads PyTorch works with while in the block; ``look`` between two pieces of work follows the load.

    ``wanted`` 0 is ``auto``: at most as many as PyTorch is set to, fixed where a variable of the environment says how
    many, and not looked at on a GPU. What others use is measured from here on. The number before is restored.
    """

    def __init__(self, wanted: int = 0, device: torch.device | None = None, emit: Emit = ignore) -> None:
        cores = usable_cores()
        self.emit = emit
        self.told_at = -TELL_SECONDS
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

    def look(self) -> None:
        """Take up what the governor decides; cheap enough for every step."""
        if self.governor is None:
            return
        first = not self.governor.looks
        count = self.governor.look()
        if count != self.count or (first and self.governor.looks):
            self.count = count
            torch.set_num_threads(count)
            self._tell(self.governor.free)

    def _tell(self, free: float | None) -> None:
        now = time.monotonic()
        level = "info" if now - self.told_at >= TELL_SECONDS else "debug"
        if level == "info":
            self.told_at = now
        why = "what others use is not known" if free is None else f"others use {max(0.0, self.cores - free):.1f}"
        self.emit(Note(f"threads: {self.count} of {self.cores} cores, {why}", level))


def spelled(counts: Iterable[int]) -> int | str:
    """2, or 1-2 where the number changed: what a run record keeps."""
    least, most = min(counts), max(counts)
    return most if least == most else f"{least}-{most}"
