"""Profiled training steps: the operations that they spent their time on, and nothing else changed."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
import torch
from helpers.command_line import onet
from helpers.datasets import make_dataset
from safetensors.torch import load_file
from torch.profiler import ProfilerActivity, profile

from pix3d_onet.config import ModelConfig, TrainConfig
from pix3d_onet.errors import ConfigError, InterruptedRunError
from pix3d_onet.events import Event, Profiled, TrainStep
from pix3d_onet.learning.training.profile import ROWS, operation_times
from pix3d_onet.learning.training.run import train
from pix3d_onet.runs.record import read_run

SMALL = (
    "--encoder", "test_resnet", "--no-pretrained", "--steps", "8", "--val-every", "8", "--batch-size", "4",
    "--image-size", "32", "--points-per-shape", "64", "--device", "cpu", "--threads", "1", "--no-examples",
)  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("data") / "data", shapes=6, points=512, image_size=32)


def test_the_table_and_the_trace_are_of_the_steps_and_the_run_is_the_same(
    data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert onet("train", *SMALL, "--data", data, "--out", tmp_path / "plain").status == 0
    capfd.readouterr()
    answer = onet("train", *SMALL, "--data", data, "--out", tmp_path / "traced", "--profile", 3)
    assert answer.status == 0
    lines = answer.err.splitlines()
    rows = [line for line in lines if "aten::convolution_backward" in line]
    assert len(rows) == 1
    assert rows[0].split("│")[4].strip().isdigit()  # a whole number of calls a step, the same in each
    assert not any("\\n" in line for line in lines)  # a table, not one line with escapes
    assert "ERROR" not in capfd.readouterr().err  # by the tracer, for want of a GPU
    assert any(str(tmp_path / "traced" / "profile" / "trace.json") in line for line in lines)
    assert json.loads((tmp_path / "traced" / "profile" / "trace.json").read_bytes())["traceEvents"]
    plain, traced = (load_file(tmp_path / name / "last" / "model.safetensors") for name in ("plain", "traced"))
    assert all(torch.equal(plain[key], traced[key]) for key in plain)
    assert read_run(tmp_path / "plain").run_id == read_run(tmp_path / "traced").run_id


def test_steps_are_counted_to_the_next_validation_also_in_a_run_that_goes_on(data: Path, tmp_path: Path) -> None:
    """A run stopped after 9 of 16 steps, with a validation every 8: 6 steps are left before that at 16."""
    model = ModelConfig("test_resnet", c_dim=8, hidden_dim=16, blocks=1)
    config = TrainConfig(
        steps=20, val_every=8, batch_size=4, image_size=32, points_per_shape=64, pretrained=False, precision="fp32"
    )

    def stop(event: Event) -> None:
        if isinstance(event, TrainStep) and event.step == 9:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(InterruptedRunError):
        train(model, config, data, tmp_path / "run", name="tiny", device="cpu", examples=False, emit=stop)
    with pytest.raises(
        ConfigError, match="needs 7 steps before the next validation, 2 of them to warm up; there are 6"
    ):
        train(model, config, data, tmp_path / "run", name="tiny", device="cpu", resume=True, profile=5, examples=False)
    told: list[Event] = []
    train(
        model,
        config,
        data,
        tmp_path / "run",
        name="tiny",
        device="cpu",
        resume=True,
        profile=4,
        examples=False,
        emit=told.append,
    )
    assert [e.steps for e in told if isinstance(e, Profiled)] == [4]
    assert [e.step for e in told if isinstance(e, TrainStep) and e.val_iou is not None] == [16, 20]


def test_resuming_where_nothing_is_says_that_a_run_begins(data: Path, tmp_path: Path) -> None:
    command = ("train", *SMALL, "--data", data, "--out", tmp_path / "mistyped", "--resume")
    told = f"{tmp_path / 'mistyped'} has no run to continue; a new one is started."
    assert told in onet(*command).err.splitlines()
    assert told not in onet(*command).err.splitlines()


def test_shares_are_of_all_operations_and_times_of_one_step() -> None:
    a, b = torch.ones(64, 64), torch.ones(64)
    with profile(activities=[ProfilerActivity.CPU]) as recorded:
        for _ in range(4):
            torch.mm(a, a)
            torch.mm(a, a)
            torch.relu(b)
    averages = recorded.key_averages()
    times = {t.name: t for t in operation_times(averages, "cpu", 4)}
    assert times["aten::mm"].calls == 2
    assert times["aten::relu"].calls == 1
    assert len(times) <= ROWS
    assert sum(t.share for t in times.values()) == pytest.approx(1)
    own = next(e for e in averages if e.key == "aten::mm").self_cpu_time_total
    assert times["aten::mm"].milliseconds == pytest.approx(own / 1000 / 4)
