"""``onet doctor`` and the checks behind it."""

from __future__ import annotations

import ctypes
import importlib.metadata
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from helpers.command_line import status

from pix3d_onet.machine import checks as system
from pix3d_onet.machine.checks import ABSENT, FAILED, OK
from pix3d_onet.preparation import kernels


def hide(monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
    real = importlib.metadata.version

    def version(name: str) -> str:
        if name in packages:
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)


def without_libraries(monkeypatch: pytest.MonkeyPatch, *missing: str) -> None:
    def load(name: str, *_: Any) -> None:
        if name in missing:
            raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", load)


def test_json_document(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ONET_PIX3D_ROOT", raising=False)
    left = status("doctor", "--no-self-test", "--json")
    document = json.loads(capsys.readouterr().out)
    assert left == (0 if document["ok"] else 3)
    assert document["versions"]["numpy"] == importlib.metadata.version("numpy")
    assert {check["status"] for check in document["checks"]} <= {OK, ABSENT, FAILED}
    assert all(check["fix"] for check in document["checks"] if check["status"] == FAILED)


def test_warm_up_says_what_it_did(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "compile_kernels", lambda **_: False)
    assert status("doctor", "--warm-up", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"compiled": False}
    assert status("doctor", "--warm-up") == 0
    assert capsys.readouterr().out == "The kernels were compiled before.\n"
    assert status("doctor", "--warm-up", "-q") == 0
    assert capsys.readouterr().out == ""


def test_quiet_says_only_what_is_broken(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "check_disk", lambda: system.Check("disk", FAILED, "full", "free some [bold]space"))
    assert status("doctor", "--no-self-test", "-q") == 3
    out = capsys.readouterr().out
    assert "✗ disk" in out
    assert "free some [bold]space" in out
    assert "Python" not in out


def test_missing_extra_is_no_fault_but_half_an_extra_is(monkeypatch: pytest.MonkeyPatch) -> None:
    hide(monkeypatch, "torch", "torchvision", "timm", "tensorboard", "safetensors")
    train = {check.name: check for check in system.check_packages()}["packages [train]"]
    assert train.status == ABSENT
    assert train.fix == "pip install 'pix3d-onet[train]'"
    monkeypatch.undo()
    hide(monkeypatch, "timm")
    train = {check.name: check for check in system.check_packages()}["packages [train]"]
    assert train.status == FAILED
    assert "timm" in train.detail


def test_missing_libraries_give_the_exact_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(system, "installed_version", lambda _: "0.20.0")
    monkeypatch.setattr(system.os, "geteuid", lambda: 1000)
    without_libraries(monkeypatch, "libGL.so.1", "libusb-1.0.so.0")
    check = system.check_libraries()
    assert check.status == FAILED
    assert check.fix == "sudo apt-get install -y --no-install-recommends libusb-1.0-0 libgl1"


def test_missing_libraries_do_not_matter_without_open3d(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(system, "installed_version", lambda _: None)
    without_libraries(monkeypatch, "libGL.so.1")
    assert system.check_libraries().status == ABSENT


def test_cpu_flags_are_read(tmp_path: Path) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text("processor\t: 0\nflags\t\t: fpu avx2 avx512f avx512_bf16\nprocessor : 1\n")
    assert system.cpu_flags(file) == ("avx2", "avx512f", "avx512_bf16")
    assert system.cpu_flags(tmp_path / "none") == ()


def smi(output: str) -> Callable[..., subprocess.CompletedProcess[str]]:
    return lambda *_, **__: subprocess.CompletedProcess([], 0, stdout=output, stderr="")


def test_gpu_states(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert system.check_gpu().status == ABSENT
    monkeypatch.setattr(shutil, "which", lambda name: name)
    monkeypatch.setattr(subprocess, "run", smi("NVIDIA X, 81559 MiB, 570.1\n"))
    assert system.check_gpu((True, "13.2")).detail == "NVIDIA X 81559 MiB, driver 570.1, CUDA 13.2"
    broken = system.check_gpu((False, "a CPU build"))
    assert broken.status == FAILED
    assert "a CPU build" in broken.detail


def test_a_wedged_driver_does_not_hang_the_doctor(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(*_: Any, **options: Any) -> None:
        raise subprocess.TimeoutExpired("nvidia-smi", options["timeout"])

    monkeypatch.setattr(shutil, "which", lambda name: name)
    monkeypatch.setattr(subprocess, "run", hang)
    assert system.nvidia_gpus() == []


def test_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage(NamedTuple):
        total: int
        used: int
        free: int

    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(2, 1, system.MINIMUM_FREE_BYTES - 1))
    assert system.check_disk().status == FAILED
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(2, 1, system.MINIMUM_FREE_BYTES))
    assert system.check_disk().status == OK


def test_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("ONET_PIX3D_ROOT", raising=False)
    assert system.check_data(tmp_path).status == ABSENT
    monkeypatch.setenv("ONET_PIX3D_ROOT", str(tmp_path))
    assert system.check_data().status == FAILED
    (tmp_path / "pix3d.json").write_text("[]")
    assert system.check_data().status == OK


def test_checks_need_only_the_standard_library() -> None:
    """The file alone, without the package's own numpy import, so that a broken install can still be examined."""
    source = Path(system.__file__).read_text()
    imported = {line.split()[1].split(".")[0] for line in source.splitlines() if line.startswith(("import ", "from "))}
    assert imported <= sys.stdlib_module_names | {"pix3d_onet", "__future__"}
