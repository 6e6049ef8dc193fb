"""Kernels are compiled before the first shape, once; the list of them is sound."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pix3d_onet.events import Event, Note, Progress
from pix3d_onet.preparation import kernels
from pix3d_onet.preparation.kernels import STAMP, compile_kernels, compile_one

numba = pytest.importorskip("numba")
SMALL = ("pix3d_onet.geometry.mesh.kernels.topology", "areas")


def called_from_cache(cache: Path) -> bool:
    """Whether a call in another process finds the kernel in ``cache`` instead of compiling it."""
    module, function = SMALL
    code = (
        f"import numpy as np; from {module} import {function} as kernel;"
        "kernel(np.zeros((3, 3)), np.zeros((1, 3), int));"
        "print(bool(kernel.stats.cache_hits) and not kernel.stats.cache_misses)"
    )
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache)}
    said = subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True)
    return said.stdout.strip().endswith("True")


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> tuple[tuple[str, str, str], ...]:
    """One quick kernel of the list, and an empty cache."""
    (kernel,) = [k for k in kernels.kernels() if k[:2] == SMALL][:1]
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(kernels, "kernels", lambda: (kernel,))
    monkeypatch.setattr(kernels, "stamp_of", lambda listed: (tmp_path / STAMP, "key\n"))
    return (kernel,)


def test_every_listed_kernel_exists_and_its_types_are_numbas() -> None:
    from numba.core import sigutils

    found = kernels.kernels()
    assert len(set(found)) == len(found) > 20
    for module, function, signature in found:
        dispatcher = getattr(importlib.import_module(module), function)
        arguments, returned = sigutils.normalize_signature(signature)
        assert returned is None
        assert len(arguments) == dispatcher.py_func.__code__.co_argcount


def test_a_second_call_has_nothing_to_do(listed: object, tmp_path: Path) -> None:
    events: list[Event] = []
    assert compile_kernels(jobs=1, emit=events.append)
    assert isinstance(events[0], Note)
    assert [(e.stage, e.done, e.total) for e in events[1:] if isinstance(e, Progress)] == [
        ("compile", 0, 1),
        ("compile", 1, 1),
    ]
    assert called_from_cache(tmp_path / "cache")
    events.clear()
    assert not compile_kernels(jobs=1, emit=events.append)
    assert not events


def test_a_kernel_that_fails_is_left_to_its_first_call(
    listed: object, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bad = (*SMALL, "(UniTuple(int64, 2),)")
    assert compile_one(bad)
    monkeypatch.setattr(kernels, "kernels", lambda: (bad,))
    assert compile_kernels(jobs=1)
    assert not (tmp_path / STAMP).exists()


def test_the_stamp_follows_what_compiled_code_depends_on(monkeypatch: pytest.MonkeyPatch) -> None:
    found = kernels.kernels()
    stamp, key = kernels.stamp_of(found)
    assert stamp.name == STAMP
    assert kernels.stamp_of(found[:5])[1] != key
    monkeypatch.setattr(kernels, "version", lambda name: "0")
    assert kernels.stamp_of(found)[1] != key
