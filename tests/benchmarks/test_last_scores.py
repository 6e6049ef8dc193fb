"""``benchmarks/last_scores.py``: the network after the last step, which with one checkpoint is also the best one."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.datasets import make_dataset

from pix3d_onet.config import ModelConfig, TrainConfig
from pix3d_onet.learning.training.run import train
from pix3d_onet.runs.record import read_run

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "last_scores.py"
MODEL = ModelConfig("test_resnet", c_dim=8, hidden_dim=16, blocks=1)
CONFIG = TrainConfig(
    steps=4, batch_size=4, points_per_shape=64, image_size=32, pretrained=False, val_every=4, lr=1e-3, precision="fp32",
    val_points=100, threshold=0.9,
)  # fmt: skip


def test_the_last_network_is_scored_at_its_own_threshold(tmp_path: Path) -> None:
    data = make_dataset(tmp_path / "data", shapes=30, points=128, image_size=32)
    runs = [tmp_path / "a", tmp_path / "b"]
    for seed, run in enumerate(runs):
        train(MODEL, dataclasses.replace(CONFIG, seed=seed), data, run, name="tiny", device="cpu", examples=False)
    out = tmp_path / "last.json"
    command = [sys.executable, str(SCRIPT), *map(str, runs), "--data", str(data), "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = json.loads(out.read_text())["rows"]
    for row, run in zip(rows, runs, strict=True):
        record = read_run(run)
        assert (row["run_id"], row["step"], row["val_threshold"]) == (record.run_id, 4, record.val_threshold)
        assert row["val_iou"] == pytest.approx(record.val_iou_at_threshold)
        own = record.test_scores_at_threshold
        assert row["test_iou"] == pytest.approx(sum(own.values()) / len(own))
    difference = rows[1]["test_iou"] - rows[0]["test_iou"]
    assert rows[1]["minus_first"]["iou"] == pytest.approx(difference)
    assert "minus_first" not in rows[0]
    assert done.stdout.count("tiny, step 4: val ") == 2
