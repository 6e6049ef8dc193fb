"""A tiny training run that a test kills: ``killable_run.py DATA OUT EVERY`` starts or continues it.

Prints the number of each finished step, so that the test knows when to kill it. It saves at every EVERYth validation
(0: only at the end), so that checkpoints are older than the history.
"""

from __future__ import annotations

import sys
from pathlib import Path

from pix3d_onet.config import ModelConfig, TrainConfig
from pix3d_onet.events import Event, TrainStep
from pix3d_onet.learning.training import trainer
from pix3d_onet.learning.training.run import train

STEPS = 60
MODEL = ModelConfig("test_resnet", c_dim=8, hidden_dim=16, blocks=1)
CONFIG = TrainConfig(
    steps=STEPS, batch_size=4, points_per_shape=64, image_size=32, pretrained=False, val_every=2, lr=1e-3,
    precision="fp32", ema=0.9, augment=("color", "crop", "flip"), schedule="cosine",
)  # fmt: skip


def tell(event: Event) -> None:
    if isinstance(event, TrainStep) and event.val_iou is None:
        sys.stdout.write(f"{event.step}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    every, validate = int(sys.argv[3]), trainer.Trainer.validate

    def validate_and_save(self: trainer.Trainer, seconds: float) -> None:
        number = self.progress.step // CONFIG.val_every
        trainer.SAVE_SECONDS = 0.0 if every and number % every == 0 else float("inf")
        validate(self, seconds)

    trainer.Trainer.validate = validate_and_save  # type: ignore[method-assign]
    train(MODEL, CONFIG, Path(sys.argv[1]), Path(sys.argv[2]), name="tiny", device="cpu", resume=True, emit=tell)
