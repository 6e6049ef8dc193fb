"""What ``benchmarks/rescore.py`` adds to an older record is what training writes today, and nothing to another's."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

from helpers.datasets import make_dataset
from helpers.stored_runs import without_own

from pix3d_onet.config import ModelConfig, TrainConfig
from pix3d_onet.learning.training.run import train
from pix3d_onet.runs.record import read_run, write_run

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "rescore.py"
MODEL = ModelConfig("test_resnet", c_dim=8, hidden_dim=16, blocks=1)
CONFIG = TrainConfig(
    steps=6, batch_size=4, points_per_shape=64, image_size=32, pretrained=False, val_every=3, lr=1e-3, precision="fp32",
    val_points=100, threshold=0.9,
)  # fmt: skip


def test_an_older_record_gets_what_training_writes(tmp_path: Path) -> None:
    data = make_dataset(tmp_path / "data", shapes=12, points=128, image_size=32)
    runs = {seed: tmp_path / f"run-{seed}" for seed in (0, 1)}
    for seed, run in runs.items():
        config = dataclasses.replace(CONFIG, seed=seed)
        train(MODEL, config, data, run, name="tiny", device="cpu", examples=False)
    whole = {seed: read_run(run) for seed, run in runs.items()}
    assert whole[0].test_scores_at_threshold
    wrong = {"val_iou_at_threshold": (whole[0].val_iou_at_threshold or 0) + 1e-4, "constant_at_threshold": "inside"}
    write_run(runs[0], dataclasses.replace(without_own(whole[0]), **wrong))
    write_run(runs[1], dataclasses.replace(without_own(whole[1]), val_scores=dict.fromkeys(whole[1].val_scores, 0.7)))
    before = (runs[1] / "run.json").read_bytes()
    copy = tmp_path / "stored" / "tiny"
    write_run(copy, dataclasses.replace(without_own(whole[0]), label="Mine"))
    command = [sys.executable, str(SCRIPT), *map(str, (*runs.values(), tmp_path / "none"))]
    done = subprocess.run(
        [*command, "--data", str(data), "--records", str(copy.parent)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stderr
    assert read_run(runs[0]) == whole[0]
    assert read_run(copy) == dataclasses.replace(whole[0], label="Mine")
    assert (runs[1] / "run.json").read_bytes() == before
    assert "run-1: left as it was: a val IoU differs" in done.stdout
    assert "none: left as it was: " in done.stdout
