"""Settings of all tests, and what many of them read: made once per session, never written to.

Libraries are imported where they are used: each fixture needs only the extra of the tests that ask for it.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from pix3d_onet.machine.threads import usable_cores

settings.register_profile("fixed", derandomize=True)
settings.register_profile("random")
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))
"""The same examples every time: a change must not fail for what it did not touch. HYPOTHESIS_PROFILE=random looks for
new ones."""

WORKERS = 8
"""At most, on any number of cores: each imports PyTorch and Open3D (1.6 GB of memory, 10 s)."""

# There is a worker per core, so that more threads would wait for each other; children inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell ignores Ctrl-C for what it starts in the background, and so do all children: the tests of Ctrl-C need it.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """The value of ``-n auto``."""
    return min(usable_cores(), WORKERS)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared data set of six analytic shapes: four train, one val, one test, a picture each."""
    from helpers.datasets import make_dataset

    return make_dataset(tmp_path_factory.mktemp("data") / "shapes", shapes=6, points=1024, image_size=32)


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stored run with a tiny untrained network."""
    from helpers.stored_run import store_run

    return store_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="session")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A synthetic Pix3D release of six chairs."""
    from pix3d_onet.geometry.synth.release import synth_pix3d

    out = tmp_path_factory.mktemp("release") / "pix3d"
    synth_pix3d(out, objects=6, seed=3)
    return out


@pytest.fixture(scope="session")
def prepared(release: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``release`` prepared with ``helpers.preparing.SMALL``."""
    from helpers.preparing import prepared

    return prepared(release, tmp_path_factory.mktemp("prepared") / "data")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A release of four boxes, for a test to spoil."""
    from helpers.releases import write_release

    write_release(tmp_path / "root", 4)
    return tmp_path / "root"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """A function that mounts a real file system of a size, or gives that one another size, where one may be mounted."""
    folder = tmp_path / "disk"

    def mount(size: str) -> Path:
        options = f"remount,size={size}" if folder.exists() else f"size={size}"
        folder.mkdir(exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        if not shutil.which("mount") or subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("may not mount a small file system here")
        return folder

    yield mount
    if folder.is_mount():
        subprocess.run(["umount", str(folder)], capture_output=True, check=True)
