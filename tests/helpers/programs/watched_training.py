"""Training for a cluster's workers that saves at every validation, and tells which process took which step."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from pix3d_onet.config import ModelConfig, TrainConfig
from pix3d_onet.events import Emit, Event, TrainStep
from pix3d_onet.runs.record import RunRecord

STEP_SECONDS = 0.05
"""A pause after each step, so that there is time to kill a worker in the middle of a run."""


def log_of(out: Path) -> Path:
    """The file with a line per step taken: ``NAME/SEED STEP PROCESS``."""
    return out.parent / "steps.log"


def train_watched(
    model: ModelConfig, config: TrainConfig, data: Path, out: Path, *, name: str, device: str, emit: Emit, **more: Any
) -> RunRecord:
    """``learning.training.run.train``; ``out`` is two folders below that of the ablation."""
    from pix3d_onet.learning.training import trainer
    from pix3d_onet.learning.training.run import train

    trainer.SAVE_SECONDS = 0.0
    log = log_of(out.parents[1])

    def watched(event: Event) -> None:
        if isinstance(event, TrainStep) and event.val_iou is None:
            with log.open("a") as file:
                file.write(f"{name}/{config.seed} {event.step} {os.getpid()}\n")
            time.sleep(STEP_SECONDS)
        emit(event)

    assert device == "cpu"
    return train(model, config, data, out, name=name, device=device, examples=False, emit=watched, **more)


def train_elsewhere(*arguments: Any, **options: Any) -> None:
    """A training whose run is not visible in ``out``."""


def the_cpu(number: int) -> str:
    """``device_of`` of a cluster whose workers train on their CPU."""
    return "cpu"
