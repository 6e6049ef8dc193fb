"""All checks of a machine, in the order in which a person would look."""

from __future__ import annotations

from pix3d_onet import system
from pix3d_onet.doctor import selftest
from pix3d_onet.system import Check


def examine(*, self_test: bool = True) -> list[Check]:
    """Python, packages, libraries, CPU, GPU, disk and data; ``self_test`` closes, labels and trains on a small box."""
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
