"""Compile the geometry's kernels before the first shape: in parallel, announced, and in no shape's seconds.

numba compiles a kernel at its first call and keeps the result on disk. Within one shape the kernels come one after the
other, on one core and without a sign of life. ``kernel_signatures.json`` lists those that Python calls with the types
of their arguments, slowest first (``scripts/kernel_signatures.py`` writes it), so that all cores can share them.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
from collections.abc import Sequence
from contextlib import closing, suppress
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

from pix3d_onet.errors import OnetError
from pix3d_onet.events import Emit, Note, Progress, ignore
from pix3d_onet.files import digest, read_text, write_text
from pix3d_onet.machine.threads import usable_cores
from pix3d_onet.preparation.execution.pool import Failure, Plan, run

Kernel = tuple[str, str, str]
"""Module, function, and the types of its arguments as numba writes them."""
STAMP = "onet-compiled"
"""File beside the compiled code that says for what all of it was compiled."""
STAGE = "compile"


def kernels() -> tuple[Kernel, ...]:
    """The listed kernels, slowest to compile first."""
    text = files("pix3d_onet.preparation").joinpath("kernel_signatures.json").read_text(encoding="utf-8")
    return tuple((module, function, signature) for module, function, signature in json.loads(text))


def compile_kernels(*, jobs: int = 0, emit: Emit = ignore) -> bool:
    """Compile what the cache lacks, in ``jobs`` processes (0 = one per core); whether there was anything to do.

    A kernel that fails is left to its first call, whose error says more.
    """
    if importlib.util.find_spec("numba") is None:
        return False
    listed = kernels()
    with suppress(OnetError, OSError):
        stamp, wanted = stamp_of(listed)
        if _content(stamp) == wanted:
            return False
        emit(Note("compiling kernels (first use; later runs find them on disk)."))
        emit(Progress(STAGE, 0, len(listed)))
        plan: Plan[Kernel, str] = Plan(compile_one, jobs=min(jobs or usable_cores(), len(listed)))
        whole = True
        results = run(listed, plan)
        with closing(results):
            for done, (kernel, result) in enumerate(results, 1):
                whole = whole and not isinstance(result, Failure) and not result
                emit(Progress(STAGE, done, len(listed), item=kernel[1]))
        if whole:
            write_text(stamp, wanted)
        return True
    return False


def compile_one(kernel: Kernel) -> str:
    """Compile one kernel into the cache, or find it there; what went wrong, or nothing."""
    module, function, signature = kernel
    try:
        sigutils: Any = importlib.import_module("numba.core.sigutils")
        arguments, _ = sigutils.normalize_signature(signature)
        _dispatcher(module, function).compile(arguments)  # as a call has them: a text would be another key of the cache
    except Exception as error:  # noqa: BLE001 - its first call raises it again, where it is understood
        return f"{type(error).__name__}: {error}"
    return ""


def _dispatcher(module: str, function: str) -> Any:
    return getattr(importlib.import_module(module), function)


def stamp_of(listed: Sequence[Kernel]) -> tuple[Path, str]:
    """The stamp's place and text: a digest of what numba's compiled code depends on, and of the list of kernels."""
    from pix3d_onet.geometry.compiled_code import choose_cache

    choose_cache()
    from llvmlite import binding

    first = _dispatcher(*listed[0][:2])
    sources = [Path(str(importlib.util.find_spec(name).origin)) for name in sorted({k[0] for k in listed})]  # type: ignore[union-attr]
    states = [(p.name, p.stat().st_mtime_ns, p.stat().st_size) for p in sources]
    cpu = (binding.get_host_cpu_name(), binding.get_host_cpu_features().flatten())
    key = digest(repr((listed, states, cpu, version("numba"), version("llvmlite"))).encode())
    return Path(first.stats.cache_path) / STAMP, f"{key}\n"


def _content(path: Path) -> str:
    try:
        return read_text(path, follow=False)
    except OSError:
        return ""
