"""The machine that training runs on: device, precision, allocator, versions."""

from __future__ import annotations

import ctypes
import ctypes.util
import platform
import resource
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pix3d_onet.errors import ConfigError, SettingError
from pix3d_onet.version import __version__

M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
"""glibc's ``mallopt`` parameters (malloc.h)."""
KEEP_BYTES = 2**31 - 1
"""Freed memory that glibc keeps instead of returning it: all of it, as far as its int reaches."""
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def keep_freed_memory() -> bool:
    """Make glibc keep freed memory for the next tensor instead of handing it back to the system; whether it did.

    By default every large tensor is a fresh ``mmap`` whose pages the kernel zeroes one fault at a time: more
    than half of a CPU training step. Elsewhere than on glibc this does nothing.
    """
    if not sys.platform.startswith("linux") or platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    return bool(libc.mallopt(M_MMAP_THRESHOLD, KEEP_BYTES)) and bool(libc.mallopt(M_TRIM_THRESHOLD, KEEP_BYTES))


@contextmanager
def tuned_process() -> Iterator[None]:
    """Keep freed memory, and while it lasts flush denormal numbers (slow, and worth nothing to a network).

    Flushing is the processor's state, so it is undone afterwards: the caller's own arithmetic is not ours to change.
    """
    keep_freed_memory()
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def choose_device(name: str, local_rank: int = 0) -> torch.device:
    """The device that ``auto``, ``cpu``, ``cuda`` or ``cuda:N`` means here; ConfigError when it is not there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise SettingError("device", "auto, cpu, cuda or cuda:N", name) from None
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise ConfigError(f"`device={name}`: no CUDA device is usable here.", hint="Use `device='cpu'`.")
        index = local_rank if device.index is None else device.index
        if index >= torch.cuda.device_count():
            raise ConfigError(f"`device={name}`: there are only {torch.cuda.device_count()} CUDA devices.")
        device = torch.device("cuda", index)
        torch.cuda.set_device(device)
    elif device.type != "cpu":
        raise SettingError("device", "auto, cpu, cuda or cuda:N", name)
    return device


def devices_of_jobs(name: str, jobs: int) -> tuple[str, ...]:
    """One device per job: the GPUs in turn where there are any and none is named, else the same for all."""
    count = torch.cuda.device_count() if jobs > 1 and name in ("auto", "cuda") else 0
    return tuple(f"cuda:{i % count}" if count else name for i in range(jobs))


def fast_bf16(device: torch.device) -> bool:
    """Whether ``device`` multiplies bfloat16 in hardware."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8  # Ampere and later
    flags = cpu_capabilities()
    return bool(flags.get("avx512_bf16") or flags.get("amx_bf16"))


def cpu_capabilities() -> Mapping[str, Any]:
    """What PyTorch knows of the processor, or what the kernel lists, as name → truth."""
    query = getattr(torch.cpu, "get_capabilities", None)
    if query is not None:
        return dict(query())
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return {}
    return dict.fromkeys(text.split(), True)


def choose_precision(name: str, device: torch.device) -> str:
    """``fp32``, ``bf16`` or ``fp16``: ``auto`` is bf16 where the hardware multiplies it, else fp32."""
    if name == "auto":
        return "bf16" if fast_bf16(device) else "fp32"
    if name == "fp16" and device.type != "cuda":
        raise ConfigError("`precision='fp16'` needs a CUDA device.", hint="Use `precision='bf16'` or fp32.")
    return name


def autocast(device: torch.device, precision: str) -> AbstractContextManager[Any]:
    """The autocast context of a precision; fp32 is no context at all."""
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, dtype=PRECISIONS[precision])


def describe_device(device: torch.device, precision: str, processes: int, threads: int | str) -> dict[str, Any]:
    """``type``, ``name``, ``precision``, ``threads``, ``processes``: what a run record keeps of the machine."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    else:
        name = str(cpu_capabilities().get("cpu_name") or platform.processor() or platform.machine())
    return {
        "type": device.type,
        "name": name,
        "precision": precision,
        "threads": threads,
        "processes": processes,
    }


def versions() -> dict[str, str]:
    """Versions that a run record keeps."""
    return {
        "onet": __version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "timm": metadata.version("timm"),
        "numpy": np.__version__,
    }


def forget_peak(device: torch.device) -> None:
    """Begin to count ``peak_memory`` anew, so that a run is not charged with those before it in the same process.

    On Linux memory that they freed is given back first; elsewhere the process's peak stays what it is.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)
            Path("/proc/self/clear_refs").write_text("5")


def peak_memory(device: torch.device) -> int:
    """Bytes at the peak since ``forget_peak``: allocated on the GPU, or this process's resident memory."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) << 10
    kilobyte = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * kilobyte


def available_memory(device: torch.device) -> int:
    """Bytes that can still be had on ``device``; for the CPU the kernel's estimate, held by the container's limit."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    free = sys.maxsize
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
        limit = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii").strip()
        used = int(Path("/sys/fs/cgroup/memory.current").read_text(encoding="ascii"))
        if limit.isdigit():
            free = min(free, max(0, int(limit) - used))
    except (OSError, StopIteration, ValueError):
        pass
    return free
