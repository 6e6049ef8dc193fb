"""What this machine has: the checks behind ``onet doctor``. Standard library only, so that it works in any install.

Nothing here imports a heavy library to look at it: versions come from the installed packages' metadata, shared
libraries are opened by name, the GPU is asked through ``nvidia-smi``.
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
from pix3d_onet.threads import usable_cores
from pix3d_onet.version import __version__

OK, ABSENT, FAILED = "ok", "absent", "failed"
"""Outcomes of a check. ``absent``: not here, and nothing installed needs it. ``failed``: something will not work."""

MINIMUM_PYTHON = (3, 11)
MINIMUM_FREE_BYTES = 5 * 10**9
"""Free space below which a run is likely to stop: Table 1 keeps a few hundred megabytes a run, checkpoints mostly."""
NVIDIA_SMI_SECONDS = 10.0
"""Time limit for asking the driver: a wedged driver must not hang the doctor."""

SYSTEM_LIBRARIES = {
    "libusb-1.0.so.0": "libusb-1.0-0",
    "libGL.so.1": "libgl1",
    "libEGL.so.1": "libegl1",
    "libX11.so.6": "libx11-6",
    "libgomp.so.1": "libgomp1",
    "libidn2.so.0": "libidn2-0",
}
"""Shared libraries that Open3D's wheel links to but does not carry → their Debian and Ubuntu packages."""

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
}
"""Extra (empty = the base install) → its packages; ``a|b`` = either. Held equal to the package's metadata by a test."""

PURPOSE = {
    "": "the command line, reading data sets, Table 1",
    "geometry": "prepare, synth, verify",
    "train": "train, bench, evaluate, reconstruct",
    "report": "figures",
    "dask": "prepare on several machines",
}
"""What an extra is for, in a few words."""

CPU_FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
"""Processor features that matter here: with one of the last two, bf16 training on the CPU pays."""


@dataclass(frozen=True, slots=True)
class Check:
    """One finding: ``status`` is ``OK``, ``ABSENT`` or ``FAILED``; ``fix`` is the exact remedy, where there is one."""

    name: str
    status: str
    detail: str
    fix: str = ""


def check_python() -> Check:
    """The interpreter's version and place."""
    version = platform.python_version()
    detail = f"{version} ({sys.executable})"
    if sys.version_info < MINIMUM_PYTHON:
        return Check("Python", FAILED, detail, "Use Python 3.11 or newer: make setup PYTHON=python3.12")
    return Check("Python", OK, detail)


def installed_version(package: str) -> str | None:
    """Version of an installed distribution (``a|b``: of the first that is there), read without importing it."""
    for name in package.split("|"):
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def missing_dependency(error: ModuleNotFoundError) -> MissingDependencyError | None:
    """What to install for a module that is not there; None where it belongs to no extra (a fault of ours)."""
    module = (error.name or "").partition(".")[0]
    package = {"skimage": "scikit-image", "PIL": "pillow", "igl": "libigl"}.get(module, module.replace("_", "-"))
    extras = [key for key, packages in EXTRAS.items() if package in "|".join(packages).split("|")]
    if not extras:
        return None
    target = f"pix3d-onet[{extras[0]}]" if extras[0] else "pix3d-onet"
    return MissingDependencyError(
        f"this needs {package}, which is not installed.",
        hint=f"Install it and what goes with it: pip install '{target}'",
    )


def versions() -> dict[str, str | None]:
    """Distribution → installed version or None, for every package of every extra, and ``onet`` itself."""
    names = [package for packages in EXTRAS.values() for package in packages]
    return {"onet": __version__} | {name: installed_version(name) for name in names}


def check_packages() -> list[Check]:
    """One finding an extra: complete, not installed at all, or broken (some of its packages are missing)."""
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
    """Whether nothing that only this extra brings is installed (scikit-image alone does not make a half install)."""
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
    """The shared libraries that Open3D needs; a failure only where Open3D is installed."""
    name = "system libraries"
    if sys.platform != "linux":
        return Check(name, OK, f"nothing to install on {platform.system()}")
    missing = missing_libraries()
    if not missing:
        return Check(name, OK, "Open3D's are all here")
    packages = " ".join(SYSTEM_LIBRARIES[library] for library in missing)
    fix = f"{'' if os.geteuid() == 0 else 'sudo '}apt-get install -y --no-install-recommends {packages}"
    needed = installed_version("open3d-cpu|open3d") is not None
    return Check(name, FAILED if needed else ABSENT, f"missing {', '.join(missing)} (Open3D needs them)", fix)


def cpu_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> tuple[str, ...]:
    """Those of ``CPU_FLAGS`` that the processor has; empty where the system does not say."""
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return ()
    flags = next((set(line.partition(":")[2].split()) for line in lines if line.startswith("flags")), set())
    return tuple(flag for flag in CPU_FLAGS if flag in flags)


def check_cpu() -> Check:
    """Usable cores, memory and the features that decide how fast training on the CPU is."""
    flags = cpu_flags()
    memory = f", {os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"
    return Check(
        "CPU", OK, f"{platform.machine()}, {usable_cores()} cores{memory}{': ' if flags else ''}{' '.join(flags)}"
    )


def nvidia_gpus() -> list[dict[str, str]]:
    """``name``, ``memory`` and ``driver`` of each NVIDIA GPU that the driver reports; empty when there is none."""
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
    """The GPU as the driver sees it and as PyTorch does: ``cuda`` = (usable, its CUDA version or why not)."""
    gpus = nvidia_gpus()
    if not gpus:
        return Check("GPU", ABSENT, "no NVIDIA GPU in sight; training runs on the CPU")
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
    """Free space where results would be written."""
    free = shutil.disk_usage(folder).free
    detail = f"{free / 1e9:.0f} GB free in {folder.resolve()}"
    if free < MINIMUM_FREE_BYTES:
        fix = f"Free {MINIMUM_FREE_BYTES / 1e9:.0f} GB, or write to another disk."
        return Check("disk", FAILED, detail, fix)
    return Check("disk", OK, detail)


def check_data(default: Path = Path("data/pix3d")) -> Check:
    """Whether a Pix3D release is where ``onet prepare pix3d`` looks for it."""
    named = os.environ.get("ONET_PIX3D_ROOT")
    root = Path(named) if named else default
    if (root / "pix3d.json").is_file():
        return Check("data", OK, f"Pix3D in {root}")
    fix = f"Unpack pix3d.zip into {root}, or make synthetic data: onet synth pix3d {root}"
    if named:
        return Check("data", FAILED, f"ONET_PIX3D_ROOT is {named}, which holds no pix3d.json", fix)
    return Check("data", ABSENT, f"no Pix3D in {root}", fix)
