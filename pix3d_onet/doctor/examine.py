"""Run all checks of ``onet doctor``."""

from __future__ import annotations

from pix3d_onet.doctor import selftest
from pix3d_onet.machine import checks as system
from pix3d_onet.machine.checks import Check


def examine(*, self_test: bool = True) -> list[Check]:
    """Check Python, packages, libraries, CPU, GPU, disk and data; with ``self_test`` also run the pipeline on a box."""
    return [
        system.check_python(),
        *system.check_packages(),
        system.check_libraries(),
        system.check_cpu(),
        system.check_gpu(selftest.cuda() if system.nvidia_gpus() else None),
        system.check_disk(),
        system.check_data(),
        *(selftest.run() if self_test else ()),
    ]
