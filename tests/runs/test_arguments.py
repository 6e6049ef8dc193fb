"""A run's folder has all that ``resume`` needs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pix3d_onet.config import ModelConfig, TrainConfig
from pix3d_onet.runs.arguments import PATHS, relative_paths, stored_arguments
from pix3d_onet.runs.folder import RunFolder

MODEL, TRAIN = ModelConfig("resnet34", c_dim=16), TrainConfig(steps=7, augment=("flip",))


def write(run: Path, **changed: object) -> None:
    run.mkdir(parents=True, exist_ok=True)
    document = {"name": "mine", "model": MODEL.to_json(), "train": TRAIN.to_json(), **changed}
    RunFolder(run).config.write_text(json.dumps(document))


def test_settings_and_paths_come_back(tmp_path: Path) -> None:
    run, data = tmp_path / "runs/a", tmp_path / "data/chairs"
    write(run, **{PATHS: relative_paths(run, data=data, weights=None)})
    found = stored_arguments(run)
    assert (found["encoder"], found["c_dim"], found["steps"], found["augment"]) == ("resnet34", 16, 7, ("flip",))
    assert (found["name"], found["data"]) == ("mine", data)
    assert "weights" not in found
    (tmp_path / "moved").mkdir()
    (tmp_path / "runs").rename(tmp_path / "moved/runs")
    assert stored_arguments(tmp_path / "moved/runs/a")["data"] == tmp_path / "moved/data/chairs"


@pytest.mark.parametrize("changed", [{"model": 3}, {"train": {"steps": 0}}, {"model": {"what": 1}}], ids=str)
def test_a_damaged_configuration_has_none(tmp_path: Path, changed: dict[str, object]) -> None:
    assert stored_arguments(tmp_path) == {}
    write(tmp_path, **changed)
    assert stored_arguments(tmp_path) == {}
    write(tmp_path, **{PATHS: {"data": "a\0b", "weights": 3}})
    assert {"data", "weights"} & stored_arguments(tmp_path).keys() == set()
