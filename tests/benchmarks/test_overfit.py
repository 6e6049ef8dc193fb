"""The overfitting benchmark: a few shapes, each of them in both splits, with the same labels; and a short run."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.datasets import make_dataset
from helpers.scripts import script

from pix3d_onet.data.store.reader import Dataset


def test_overfit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = make_dataset(tmp_path / "data", shapes=5, points=64, image_size=32)
    arguments = ["x", str(data), str(tmp_path / "out"), "--shapes", "2", "--steps", "2", "--image-size", "32"]
    monkeypatch.setattr(sys, "argv", [*arguments, "--points", "32", "--first"])
    script("overfit").main()
    assert 0 <= json.loads((tmp_path / "out" / "overfit.json").read_text())["best_iou"] <= 1
    with Dataset(tmp_path / "out" / "data") as made:
        train, val = (made.arrays(split) for split in ("train", "val"))
        assert len(made.entries("train")) == len(made.entries("val")) == 2
    np.testing.assert_array_equal(train.occupancy, val.occupancy)
    np.testing.assert_array_equal(train.rgb, val.rgb)
