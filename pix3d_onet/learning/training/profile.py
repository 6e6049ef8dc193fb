"""Profile training steps: a trace file for a viewer, and the most expensive operations."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from pix3d_onet.errors import ConfigError
from pix3d_onet.events import Emit, OperationTime, Profiled
from pix3d_onet.files import write_text, writing
from pix3d_onet.learning.training.trainer import Trainer
from pix3d_onet.runs.folder import RunFolder

WARM_UP = 2
"""Steps before the traced ones; the first steps include allocation and compilation."""
ROWS = 15
"""Rows of the table."""
NAME_WIDTH = 40
TRACE_FILE = "trace.json"
TABLE_FILE = "table.txt"


def profile_steps(trainer: Trainer, steps: int, folder: Path, emit: Emit) -> None:
    """Trace the next ``steps`` training steps to ``folder/profile``; emit :class:`~pix3d_onet.events.Profiled`.

    They are ordinary steps of the run. The trace opens in Perfetto or chrome://tracing. ConfigError if the run has too
    few steps left.
    """
    left = trainer.config.steps - trainer.progress.step
    if steps + WARM_UP >= left:
        raise ConfigError(f"`profile={steps}` needs more than {steps + WARM_UP} steps; {left} are left.")
    between = trainer.config.val_every - trainer.progress.step % trainer.config.val_every - 1
    if steps + WARM_UP > between:
        raise ConfigError(
            f"`profile={steps}` needs {steps + WARM_UP} steps before the next validation, {WARM_UP} of them "
            f"to warm up; there are {between}.",
            hint="Take a larger `val_every`.",
        )
    trainer.set_training()
    for _ in range(WARM_UP):
        trainer.step(trainer.progress.step + 1)
    activities = [ProfilerActivity.CPU]
    if trainer.setup.device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
        torch.cuda.synchronize()
    else:
        os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # else the tracer prints an error for want of a GPU
    with profile(activities=activities) as recorded:
        for _ in range(steps):
            trainer.step(trainer.progress.step + 1)
        trainer.check_losses()
    side = "device" if len(activities) > 1 else "cpu"
    averages = recorded.key_averages()
    table = averages.table(sort_by=f"self_{side}_time_total", row_limit=ROWS, max_name_column_width=NAME_WIDTH)
    run = RunFolder(folder)
    target = run.writable(run.profile / TRACE_FILE).parent
    with writing(target / TRACE_FILE) as part:
        recorded.export_chrome_trace(str(part))
    write_text(target / TABLE_FILE, table)
    share = trainer.progress.wait_seconds / max(trainer.progress.train_seconds, 1e-9)
    emit(Profiled(steps, str(target / TRACE_FILE), operation_times(averages, side, steps), share))


def operation_times(averages: Iterable[Any], side: str, steps: int) -> tuple[OperationTime, ...]:
    """The ``ROWS`` operations in ``averages``, the profiler's, that took most time on ``side``: cpu or device."""
    own = {a.key: (getattr(a, f"self_{side}_time_total") / 1000, a.count) for a in averages}
    total = max(sum(spent for spent, _ in own.values()), 1e-9)
    slowest = sorted(own.items(), key=lambda item: -item[1][0])[:ROWS]
    return tuple(
        OperationTime(name, spent / steps, spent / total, count / steps)
        for name, (spent, count) in slowest
        if spent > 0
    )
