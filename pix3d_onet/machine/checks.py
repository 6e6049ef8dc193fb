"""The checks of ``onet doctor``, which work in any installation because they import no optional library.

Versions come from package metadata, shared libraries are opened by name, and GPUs are listed by ``nvidia-smi``.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from pix3d_onet.errors import MissingDependencyError
from pix3d_onet.machine.threads import usable_cores
from pix3d_onet.types import PIX3D_INDEX
from pix3d_onet.version import __version__

OK, ABSENT, FAILED = "ok", "absent", "failed"
"""Results of a check. ``absent``: missing, but nothing installed needs it. ``failed``: something will not work."""

MINIMUM_PYTHON = (3, 11)
MINIMUM_FREE_BYTES = 5 * 10**9
"""Below this free space a run may fail: Table 1 stores a few hundred megabytes per run, mostly checkpoints."""
NVIDIA_SMI_SECONDS = 10.0
"""Time limit for ``nvidia-smi``, so that a driver that hangs does not block the doctor."""

SYSTEM_LIBRARIES = {
    "libusb-1.0.so.0": "libusb-1.0-0",
    "libGL.so.1": "libgl1",
    "libEGL.so.1": "libegl1",
    "libX11.so.6": "libx11-6",
    "libgomp.so.1": "libgomp1",
    "libidn2.so.0": "libidn2-0",
}
"""Shared libraries that Open3D's wheel needs but does not contain → their Debian and Ubuntu packages."""

EXTRAS: dict[str, tuple[str, ...]] = {
    "": ("click", "rich", "numpy", "scipy", "h5py", "pillow", "joblib", "jinja2"),
    "geometry": (
        "trimesh",
        "open3d-cpu|open3d",
        "libigl",
        "pymeshfix",
        "scikit-image",
        "numba",
        "fast-simplification",
        "manifold3d",
        "DracoPy",
    ),
    "train": ("torch", "torchvision", "timm", "tensorboard", "safetensors", "scikit-image", "fast-simplification"),
    "report": ("matplotlib",),
    "dask": ("dask", "distributed"),
    "download": ("requests",),
}
"""Extra (empty = base install) → its packages; ``a|b`` = either. A test compares it with ``pyproject.toml``."""

PURPOSE = {
    "": "the command line, reading data sets, Table 1",
    "geometry": "prepare, synth, verify",
    "train": "train, bench, evaluate, reconstruct",
    "report": "figures",
    "dask": "prepare and bench on several machines",
    "download": "download",
}
"""Extra → the commands that need it."""

CPU_FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
"""Relevant processor features; with one of the last two, bf16 training on the CPU is faster."""


@dataclass(frozen=True, slots=True)
class Check:
    """Result of one check: ``status`` is ``OK``, ``ABSENT`` or ``FAILED``; ``fix`` says what to do, if anything."""

    name: str
    status: str
    detail: str
    fix: str = ""


def check_python() -> Check:
    """The interpreter's version and path."""
    version = platform.python_version()
    detail = f"{version} ({sys.executable})"
    if sys.version_info < MINIMUM_PYTHON:
        return Check("Python", FAILED, detail, "Use Python 3.11 or newer: make setup PYTHON=python3.12")
    return Check("Python", OK, detail)


def installed_version(package: str) -> str | None:
    """Version of an installed distribution (``a|b``: the first one installed), read without importing it."""
    for name in package.split("|"):
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def missing_dependency(error: ModuleNotFoundError) -> MissingDependencyError | None:
    """Says what to install for a missing module; None if it belongs to no extra (then it is a bug of ours)."""
    module = (error.name or "").partition(".")[0]
    package = {"skimage": "scikit-image", "PIL": "pillow", "igl": "libigl"}.get(module, module.replace("_", "-"))
    extras = [key for key, packages in EXTRAS.items() if package in "|".join(packages).split("|")]
    if not extras:
        return None
    target = f"pix3d-onet[{extras[0]}]" if extras[0] else "pix3d-onet"
    return MissingDependencyError(
        f"this needs {package}, which is not installed.",
        hint=f"Install it with: pip install '{target}'",
    )


def versions() -> dict[str, str | None]:
    """Distribution → installed version or None, for every package of every extra, and ``onet`` itself."""
    names = [package for packages in EXTRAS.values() for package in packages]
    return {"onet": __version__} | {name: installed_version(name) for name in names}


def check_packages() -> list[Check]:
    """One check per extra: complete, not installed, or broken (some of its packages are missing)."""
    checks = []
    for extra, packages in EXTRAS.items():
        found = {name: installed_version(name) for name in packages}
        missing = [name.split("|")[0] for name, version in found.items() if version is None]
        name = f"packages [{extra}]" if extra else "packages"
        present = ", ".join(f"{key.split('|')[0]} {value}" for key, value in found.items() if value)
        target = f"pix3d-onet[{extra}]" if extra else "pix3d-onet"
        fix = f"pip install '{target}'"
        if not missing:
            checks.append(Check(name, OK, present))
        elif extra and _untouched(extra):
            checks.append(Check(name, ABSENT, f"not installed; needed for {PURPOSE[extra]}", fix))
        else:
            checks.append(Check(name, FAILED, f"missing {', '.join(missing)}", fix))
    return checks


def _untouched(extra: str) -> bool:
    """Whether no package that belongs only to this extra is installed (scikit-image, say, is in two extras)."""
    others = {name for key, packages in EXTRAS.items() if key != extra for name in packages}
    return all(installed_version(name) is None for name in EXTRAS[extra] if name not in others)


def missing_libraries() -> list[str]:
    """Names of the shared libraries of ``SYSTEM_LIBRARIES`` that the loader does not find."""
    missing = []
    for library in SYSTEM_LIBRARIES:
        try:
            ctypes.CDLL(library)
        except OSError:
            missing.append(library)
    return missing


def check_libraries() -> Check:
    """The shared libraries that Open3D needs; missing ones are a failure only if Open3D is installed."""
    name = "system libraries"
    if sys.platform != "linux":
        return Check(name, OK, f"nothing to install on {platform.system()}")
    missing = missing_libraries()
    if not missing:
        return Check(name, OK, "all libraries that Open3D needs are installed")
    packages = " ".join(SYSTEM_LIBRARIES[library] for library in missing)
    fix = f"{'' if os.geteuid() == 0 else 'sudo '}apt-get install -y --no-install-recommends {packages}"
    needed = installed_version("open3d-cpu|open3d") is not None
    return Check(name, FAILED if needed else ABSENT, f"missing {', '.join(missing)} (Open3D needs them)", fix)


def cpu_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> tuple[str, ...]:
    """The ``CPU_FLAGS`` that the processor has; empty if the system does not list them."""
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return ()
    flags = next((set(line.partition(":")[2].split()) for line in lines if line.startswith("flags")), set())
    return tuple(flag for flag in CPU_FLAGS if flag in flags)


def check_cpu() -> Check:
    """Usable cores, memory, and the processor features that decide the speed of training on the CPU."""
    flags = cpu_flags()
    memory = f", {os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"
    return Check(
        "CPU", OK, f"{platform.machine()}, {usable_cores()} cores{memory}{': ' if flags else ''}{' '.join(flags)}"
    )


def nvidia_gpus() -> list[dict[str, str]]:
    """``name``, ``memory`` and ``driver`` of each NVIDIA GPU that the driver reports."""
    if shutil.which("nvidia-smi") is None:
        return []
    query = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        run = subprocess.run(query, capture_output=True, text=True, timeout=NVIDIA_SMI_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    rows = (line.split(", ") for line in run.stdout.splitlines() if line.strip())
    return [dict(zip(("name", "memory", "driver"), row, strict=False)) for row in rows]


def check_gpu(cuda: tuple[bool, str] | None = None) -> Check:
    """The GPU according to the driver and to PyTorch; ``cuda`` = (usable, CUDA version or the reason why not)."""
    gpus = nvidia_gpus()
    if not gpus:
        return Check("GPU", ABSENT, "no NVIDIA GPU found; training runs on the CPU")
    seen = ", ".join(f"{gpu['name']} {gpu.get('memory', '')}".strip() for gpu in gpus)
    detail = f"{seen}, driver {gpus[0].get('driver', '?')}"
    if cuda is None:
        return Check("GPU", OK, detail)
    usable, told = cuda
    if usable:
        return Check("GPU", OK, f"{detail}, CUDA {told}")
    fix = "Install a CUDA build of PyTorch that this driver supports, or update the driver."
    return Check("GPU", FAILED, f"{detail}, but PyTorch cannot use it ({told})", fix)


def check_disk(folder: Path = Path()) -> Check:
    """Free disk space in the folder for results."""
    free = shutil.disk_usage(folder).free
    detail = f"{free / 1e9:.0f} GB free in {folder.resolve()}"
    if free < MINIMUM_FREE_BYTES:
        fix = f"Free {MINIMUM_FREE_BYTES / 1e9:.0f} GB, or write to another disk."
        return Check("disk", FAILED, detail, fix)
    return Check("disk", OK, detail)


def check_data(default: Path = Path("data/pix3d")) -> Check:
    """Whether a Pix3D release is in the folder that ``onet prepare pix3d`` reads by default."""
    named = os.environ.get("ONET_PIX3D_ROOT")
    root = Path(named) if named else default
    if (root / PIX3D_INDEX).is_file():
        return Check("data", OK, f"Pix3D in {root}")
    fix = f"Download it to {root} with onet download pix3d, or make synthetic data: onet synth pix3d {root}"
    if named:
        return Check("data", FAILED, f"ONET_PIX3D_ROOT is {named}, which holds no {PIX3D_INDEX}", fix)
    return Check("data", ABSENT, f"no Pix3D in {root}", fix)
