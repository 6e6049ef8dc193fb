"""Several processes are one training: gradients, statistics, curves and files (gloo on the CPU)."""

from __future__ import annotations

import csv
import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from helpers.datasets import make_dataset
from helpers.programs import two_processes
from safetensors.torch import load_file

from pix3d_onet.config import TrainConfig
from pix3d_onet.errors import ConfigError
from pix3d_onet.learning import distributed
from pix3d_onet.runs.record import read_run

ONET = Path(sys.executable).with_name("onet")
LOSS_TOLERANCE = 1e-3
"""Relative difference of losses after eight steps in float32: rounding, which Adam's division amplifies."""
IOU_TOLERANCE = 0.02
"""Absolute difference of validation IoU: a point or two of 512 that lies on the threshold."""
ENVIRONMENT = {**os.environ, "GLOO_SOCKET_IFNAME": "lo"}


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


# -- one step, exactly --


@pytest.fixture(scope="module")
def shares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What each of two processes found, for both paths of the decoder."""
    out = tmp_path_factory.mktemp("shares")
    meet = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    command = [sys.executable, str(Path(two_processes.__file__)), str(out)]
    ranks = [subprocess.Popen(command, env={**ENVIRONMENT, **meet, "RANK": str(rank)}) for rank in (0, 1)]
    try:
        assert [process.wait(200) for process in ranks] == [0, 0]
    finally:
        for process in ranks:
            process.kill()
    return out


@pytest.mark.parametrize("path", two_processes.PATHS)
def test_two_halves_give_the_gradient_of_the_whole(shares: Path, path: str) -> None:
    whole = two_processes.gradients(path, distributed.Group())
    for rank in (0, 1):
        half = load_file(shares / f"{path}-{rank}.safetensors")
        assert half.keys() == whole.keys()
        for name, value in whole.items():
            scale = float(value.abs().max()) + 1e-6
            assert float((half[name] - value).abs().max()) <= 1e-8 * scale, (name, rank)


# -- a whole run --


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("data") / "chairs", shapes=12, points=512, image_size=64)


SETTINGS = [
    "--no-pretrained", "--steps", "8", "--batch-size", "8", "--points-per-shape", "128", "--image-size", "64",
    "--val-every", "2", "--precision", "fp32", "--device", "cpu", "--json",
]  # fmt: skip


def command(data: Path, out: Path, processes: int) -> list[str]:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes)]
    torchrun += ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{free_port()}"]
    onet = [str(ONET), "train", "--data", str(data), "--out", str(out), *SETTINGS]
    return (torchrun if processes > 1 else []) + onet


def files(run: Path) -> list[str]:
    """Names in a run folder; TensorBoard's carry the time and the process."""
    found = (p.relative_to(run) for p in run.rglob("*") if p.is_file())
    return sorted("tensorboard/events" if p.parts[0] == "tensorboard" else p.as_posix() for p in found)


def history(run: Path) -> list[dict[str, str]]:
    with (run / "history.csv").open() as handle:
        return list(csv.DictReader(handle))


@pytest.mark.slow
def test_torchrun_with_two_processes_is_the_run_of_one(data: Path, tmp_path: Path) -> None:
    done = {
        n: subprocess.run(
            command(data, tmp_path / str(n), n), env=ENVIRONMENT, capture_output=True, text=True, check=False
        )
        for n in (1, 2)
    }
    assert [d.returncode for d in done.values()] == [0, 0], done[2].stderr
    said = json.loads(done[2].stdout)  # one document: the second process is silent
    assert said["device"]["processes"] == 2
    one, two = read_run(tmp_path / "1"), read_run(tmp_path / "2")
    assert one.run_id == two.run_id
    assert files(tmp_path / "1") == files(tmp_path / "2")
    assert [row["step"] for row in history(tmp_path / "2")] == ["2", "4", "6", "8"]  # nobody else appended
    for a, b in zip(one.history, two.history, strict=True):
        assert b.train_loss == pytest.approx(a.train_loss, rel=LOSS_TOLERANCE)
        assert b.val_loss == pytest.approx(a.val_loss, rel=LOSS_TOLERANCE)
        assert b.val_iou == pytest.approx(a.val_iou, abs=IOU_TOLERANCE)
    assert one.history[-1].train_loss < 0.9 * one.history[0].train_loss  # there is a curve to follow
    assert one.val_scores.keys() == two.val_scores.keys()


@pytest.mark.slow
def test_two_processes_stop_together_and_resume_exactly(data: Path, tmp_path: Path) -> None:
    subprocess.run(command(data, tmp_path / "whole", 2), env=ENVIRONMENT, capture_output=True, check=True)
    out = tmp_path / "pieces"
    process = subprocess.Popen(command(data, out, 2), env=ENVIRONMENT, stderr=subprocess.PIPE, stdout=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while not (out / "history.csv").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=120)
    assert not (out / "run.json").exists()
    assert list((out / "last").glob("step-*.safetensors"))
    subprocess.run([*command(data, out, 2), "--resume"], env=ENVIRONMENT, capture_output=True, check=True)
    a, b = (load_file(run / "last" / "model.safetensors") for run in (tmp_path / "whole", out))
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)


# -- the group --


def test_a_group_is_read_from_torchrun_s_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert distributed.environment_group() == distributed.Group(0, 1, 0)
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(ConfigError, match="RANK"):
        distributed.environment_group()
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("LOCAL_RANK", "1")
    group = distributed.environment_group()
    assert (group, group.leads) == (distributed.Group(3, 4, 1), False)


def test_a_batch_that_cannot_be_shared_is_refused(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pix3d_onet.learning.training import run as module

    monkeypatch.setattr(distributed, "environment_group", lambda: distributed.Group(0, 3, 0))
    monkeypatch.setattr(distributed, "joined", lambda *_: nullcontext())
    config = TrainConfig(batch_size=8, pretrained=False)
    with pytest.raises(ConfigError, match="divisible by the 3 processes"):
        module.train(two_processes.MODEL, config, data, tmp_path / "run", name="x", device="cpu")
    assert not (tmp_path / "run").exists()


def test_an_automatic_batch_can_be_shared_by_any_number(monkeypatch: pytest.MonkeyPatch) -> None:
    from pix3d_onet.learning.network.model import build_model
    from pix3d_onet.learning.training import batch_size

    monkeypatch.setattr(batch_size, "kept_bytes", lambda *a: 1e6 * a[4])
    monkeypatch.setattr(batch_size, "available_memory", lambda _: 2**34)
    model, cpu = build_model(two_processes.MODEL), torch.device("cpu")
    found = [
        batch_size.largest_batch(model, TrainConfig(pretrained=False), cpu, "fp32", world) for world in (1, 2, 3, 5)
    ]
    assert found == [64, 64, 63, 60]
