"""The benchmark of all of Table 1: its figures by numbers worked out by hand, and one tiny call from end to end."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from helpers.datasets import make_dataset
from helpers.scripts import FOLDER, script

from pix3d_onet.config import ModelConfig, TrainConfig
from pix3d_onet.runs.record import HistoryRow, RunRecord

BLOCK = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("open3d", "trimesh", "pymeshfix", "numba"):
            raise ImportError(name + " is not for this machine")
sys.meta_path.insert(0, Absent())
import runpy
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""Runs a script as on a machine without the geometry libraries."""


@pytest.fixture(scope="module")
def module() -> ModuleType:
    return script("gpu_table1")


def row(step: int, shapes_per_second: float) -> HistoryRow:
    return HistoryRow(step, 1.0, 1.0, 0.5, 1e-4, shapes_per_second, 0.0)


def test_a_step_costs_three_forward_passes_of_the_batch(module: ModuleType) -> None:
    cost = {"gflops_image": 2.0, "gflops_point": 0.001}
    assert module.step_flops(cost, TrainConfig(batch_size=10, points_per_shape=1000)) == pytest.approx(3 * 10 * 3e9)


def test_the_steady_rate_leaves_out_what_came_before_the_first_validation(module: ModuleType) -> None:
    # batch 8: ten steps in 20 s (compilation), twenty more in 4 s
    history = [row(10, 8 * 10 / 20), row(20, 8 * 20 / 22), row(30, 8 * 30 / 24)]
    assert module.steady_rate(history, 8) == pytest.approx(5.0)
    assert module.steady_rate(history[:1], 8) is None


def test_utilisation_is_arithmetic_over_the_ceiling(module: ModuleType) -> None:
    config = TrainConfig(batch_size=8, points_per_shape=1000, pretrained=False)
    record = RunRecord(
        name="resnet18", run_id="0" * 12, model=ModelConfig().to_json(), train=config.to_json(), data={}, params=7,
        history=(row(10, 4.0), row(30, 10.0)), best_step=30, best_val_iou=0.5, last_val_iou=0.5,
        shapes_per_second=10.0, steps_done=30, cost={"gflops_image": 2.0, "gflops_point": 0.001},
    )  # fmt: skip
    found = module.row_of(record, ceiling=1.44e12)
    assert found["steps_per_second"] == pytest.approx(5.0)
    assert found["overall_steps_per_second"] == pytest.approx(1.25)
    assert found["flop_utilisation"] == pytest.approx(5 * 72e9 / 1.44e12)


def test_the_ceiling_counts_products(module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    real = torch.matmul
    monkeypatch.setitem(module.CEILING_SIDES, "cpu", 64)
    monkeypatch.setattr(torch, "matmul", lambda *a, **k: (calls.append(0), real(*a, **k))[1])
    clock = iter(float(n) for n in range(100))  # a second between any two looks at the clock
    monkeypatch.setattr(module.time, "perf_counter", lambda: next(clock))
    assert module.product_ceiling(torch.device("cpu"), "fp32", seconds=3.0) == 4 * 2 * 64**3
    assert len(calls) % 4 == 1  # whole rounds after one to warm up


@pytest.mark.slow
def test_one_call_trains_measures_and_stores_without_geometry_libraries(tmp_path: Path) -> None:
    data = make_dataset(tmp_path / "data", shapes=9, points=512, image_size=32)
    arguments = [str(FOLDER / "gpu_table1.py"), str(data), str(tmp_path / "out"), "--variant", "resnet18"]
    arguments += ["--steps", "4", "--batch-size", "4", "--image-size", "32", "--points", "64", "--val-every", "2"]
    arguments += ["--device", "cpu", "--precision", "fp32"]
    command = [sys.executable, "-c", BLOCK, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    document = json.loads((tmp_path / "out" / "gpu_table1.json").read_text())
    assert (document["trained"], document["failed"], document["settings"]["steps"]) == (1, [], 4)
    assert document["device"]["type"] == "cpu"
    assert {"torch", "timm", "python"} <= document["versions"].keys()
    (found,) = document["rows"]
    assert (found["variant"], found["params"], found["steps"]) == ("resnet18", 13_414_465, 4)
    assert 0 <= found["data_wait_share"] < 1
    assert min(found[k] for k in ("steps_per_second", "flop_utilisation", "peak_memory_bytes", "seconds")) > 0
    assert "resnet18 " in done.stdout
    assert "1 of 1 trained in this call" in done.stdout
