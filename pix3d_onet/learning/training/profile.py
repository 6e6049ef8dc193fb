"""Profile training steps: a trace file for a viewer, and a table of the most expensive operations."""

from __future__ import annotations

from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from pix3d_onet.errors import ConfigError
from pix3d_onet.events import Emit, Note
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
    """Trace the next ``steps`` training steps to ``folder/profile``; emit the table of operations.

    They are ordinary steps of the run. The trace opens in Perfetto or chrome://tracing. ConfigError if the run has too
    few steps left.
    """
    left = trainer.config.steps - trainer.progress.step
    if steps + WARM_UP >= left:
        raise ConfigError(f"`profile={steps}` needs more than {steps + WARM_UP} steps; {left} are left.")
    if trainer.config.val_every <= trainer.progress.step + steps + WARM_UP:
        raise ConfigError(f"`profile={steps}` must end before the first validation (`val_every`).")
    trainer.set_training()
    for _ in range(WARM_UP):
        trainer.step(trainer.progress.step + 1)
    activities = [ProfilerActivity.CPU]
    if trainer.setup.device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
        torch.cuda.synchronize()
    with profile(activities=activities) as recorded:
        for _ in range(steps):
            trainer.step(trainer.progress.step + 1)
        trainer.check_losses()
    key = "self_cuda_time_total" if len(activities) > 1 else "self_cpu_time_total"
    table = recorded.key_averages().table(sort_by=key, row_limit=ROWS, max_name_column_width=NAME_WIDTH)
    run = RunFolder(folder)
    target = run.writable(run.profile / TRACE_FILE).parent
    with writing(target / TRACE_FILE) as part:
        recorded.export_chrome_trace(str(part))
    write_text(target / TABLE_FILE, table)
    share = trainer.progress.wait_seconds / max(trainer.progress.train_seconds, 1e-9)
    emit(Note(f"{table}\n{steps} steps traced to {target / TRACE_FILE}; {share:.1%} of them waiting for data"))
