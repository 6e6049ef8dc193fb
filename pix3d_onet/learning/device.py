"""Device, precision and memory of the machine on which networks run; versions of the libraries."""

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
"""Parameters of glibc's ``mallopt`` (malloc.h)."""
KEEP_BYTES = 2**31 - 1
"""Freed memory that glibc keeps instead of returning it to the system: the largest int."""
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def keep_freed_memory() -> bool:
    """Make glibc keep freed memory for the next tensor instead of returning it to the system. True on success.

    By default every large tensor is a new ``mmap``, whose pages the kernel zeroes one fault at a time: more than half
    of a CPU training step. Without glibc this does nothing.
    """
    if not sys.platform.startswith("linux") or platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    return bool(libc.mallopt(M_MMAP_THRESHOLD, KEEP_BYTES)) and bool(libc.mallopt(M_TRIM_THRESHOLD, KEEP_BYTES))


@contextmanager
def cpu_tuning() -> Iterator[None]:
    """Faster training on a CPU: keep freed memory, and in this block treat denormal numbers, which are slow, as 0.

    The second is a setting of the processor, so it is undone for the caller's own arithmetic.
    """
    keep_freed_memory()
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def choose_device(name: str, local_rank: int = 0) -> torch.device:
    """The device for ``auto``, ``cpu``, ``cuda`` or ``cuda:N``; ConfigError if this machine does not have it.

    ``local_rank``: index of this process's GPU for ``auto`` and ``cuda``.
    """
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
    """One device per job, see :func:`nth_device`; a single job gets ``name``."""
    return tuple(nth_device(name, i) for i in range(jobs)) if jobs > 1 else (name,)


def nth_device(name: str, index: int) -> str:
    """The device of process ``index`` on this machine: the GPUs in turn, unless there are none or one is named."""
    count = torch.cuda.device_count() if name in ("auto", "cuda") else 0
    return f"cuda:{index % count}" if count else name


def fast_bf16(device: torch.device) -> bool:
    """Whether ``device`` multiplies bfloat16 in hardware."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8  # Ampere and later
    flags = cpu_capabilities()
    return bool(flags.get("avx512_bf16") or flags.get("amx_bf16"))


def cpu_capabilities() -> Mapping[str, Any]:
    """Features of the processor: PyTorch's table of name → value, or the words in /proc/cpuinfo → True."""
    query = getattr(torch.cpu, "get_capabilities", None)
    if query is not None:
        return dict(query())
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return {}
    return dict.fromkeys(text.split(), True)


def choose_precision(name: str, device: torch.device) -> str:
    """``fp32``, ``bf16`` or ``fp16``; ``auto`` is bf16 if the hardware multiplies it, else fp32. ConfigError."""
    if name == "auto":
        return "bf16" if fast_bf16(device) else "fp32"
    if name == "fp16" and device.type != "cuda":
        raise ConfigError("`precision='fp16'` needs a CUDA device.", hint="Use `precision='bf16'` or fp32.")
    return name


def autocast(device: torch.device, precision: str) -> AbstractContextManager[Any]:
    """PyTorch's autocast for a precision; none for fp32."""
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, dtype=PRECISIONS[precision])


def device_name(device: torch.device) -> str:
    """The model of the GPU or CPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return str(cpu_capabilities().get("cpu_name") or platform.processor() or platform.machine())


def describe_device(
    device: torch.device, precision: str, processes: int, threads: int | str, *, name: str = ""
) -> dict[str, Any]:
    """The ``device`` entry of a run record: ``type``, ``name``, ``precision``, ``threads``, ``processes``.

    ``name`` if it is not that of ``device`` alone.
    """
    return {
        "type": device.type,
        "name": name or device_name(device),
        "precision": precision,
        "threads": threads,
        "processes": processes,
    }


def versions() -> dict[str, str]:
    """The ``versions`` entry of a run record."""
    return {
        "onet": __version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "timm": metadata.version("timm"),
        "numpy": np.__version__,
    }


def reset_peak_memory(device: torch.device) -> None:
    """Reset ``peak_memory``, so that it does not include earlier runs in the same process.

    On Linux, freed memory is first returned to the system; on other systems the peak of a CPU process is not reset.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)
            Path("/proc/self/clear_refs").write_text("5")


def peak_memory(device: torch.device) -> int:
    """Peak in bytes since ``reset_peak_memory``: allocated GPU memory, or this process's resident memory."""
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
    """Free memory on ``device`` in bytes; for the CPU the kernel's estimate, within the container's limit."""
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
