"""The pipeline in miniature: passes here, and a broken part is a finding."""

from __future__ import annotations

from typing import Any

import pytest

from pix3d_onet.doctor import selftest
from pix3d_onet.machine.checks import FAILED, OK


def test_self_test_passes_here() -> None:
    checks = selftest.run()
    assert [check.status for check in checks] == [OK, OK], checks


def test_a_broken_part_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> str:
        raise OSError("libGL.so.1: cannot open shared object file\nmore")

    monkeypatch.setattr(selftest, "training_step", broken)
    check = selftest.run()[1]
    assert check.status == FAILED
    assert check.detail == "OSError: libGL.so.1: cannot open shared object file"
    assert "package that holds libGL.so.1" in check.fix


def test_wrong_labels_fail_the_self_test(monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy as np

    import pix3d_onet

    def all_outside(_: object, n: int, seed: int) -> tuple[Any, Any]:
        points = np.random.default_rng(seed).uniform(-0.55, 0.55, (n, 3))
        return points, np.zeros(n, dtype=bool)

    monkeypatch.setattr(pix3d_onet, "make_watertight", lambda mesh, **_: mesh)
    monkeypatch.setattr(pix3d_onet, "sample_occupancy", all_outside)
    with pytest.raises(ValueError, match="labels are wrong"):
        selftest.watertight_and_labels()
