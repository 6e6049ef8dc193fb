from __future__ import annotations

import operator
import os
import time
from pathlib import Path

import pytest

from pix3d_onet.errors import MissingDependencyError
from pix3d_onet.preparation.execution.pool import Failure, Limits, Plan, run


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that workers import from."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_worker_that_cannot_start_is_nobodys_reject(jobs: int, modules: Path) -> None:
    (modules / "broken_install.py").write_text('raise RuntimeError("cannot cache function")\n')
    plan = Plan(operator.neg, Limits(), jobs, warm_up="broken_install")
    with pytest.raises(MissingDependencyError, match="cannot start: cannot cache function"):
        list(run([1, 2], plan))


def test_a_worker_that_dies_while_it_starts_is_one_clear_line(modules: Path) -> None:
    (modules / "deadly_install.py").write_text("import os\nos._exit(7)\n")
    with pytest.raises(MissingDependencyError, match=r"cannot start: its process died \(EXIT\(7\)\)"):
        list(run([1], Plan(operator.neg, Limits(), 1, warm_up="deadly_install")))


def test_a_worker_that_is_replaced_because_it_grew_is_not_warned_of(
    modules: Path, recwarn: pytest.WarningsRecorder
) -> None:
    pytest.importorskip("psutil")  # without it loky does not measure its workers
    (modules / "growing.py").write_text(
        "import os, time\nkept = []\n"
        "def grow(n):\n    kept.append(b'x' * (320 << 20))\n    time.sleep(1.1)\n    return os.getpid()\n"
    )
    import growing

    results = [result for _, result in run(range(4), Plan(growing.grow, Limits(), 1))]
    assert len(set(results)) > 1  # it was replaced
    assert not [str(w.message) for w in recwarn if "worker" in str(w.message)]


@pytest.mark.parametrize("codes", ["{EXIT(1)}", "{}"], ids=["known", "not-known-in-time"])
def test_a_task_beyond_its_time_is_a_timeout_whether_or_not_the_exit_code_is_known(
    monkeypatch: pytest.MonkeyPatch, codes: str
) -> None:
    """On a busy machine loky does not wait until it knows the exit code of the process that the watchdog ended."""
    from joblib.externals.loky import process_executor

    monkeypatch.setattr(process_executor, "get_exitcodes_terminated_worker", lambda _: codes)
    ((_, late),) = run([5.0], Plan(time.sleep, Limits(seconds=0.3), 1))
    assert isinstance(late, Failure)
    assert late.reason == "timeout"


def test_a_process_that_dies_within_its_time_is_no_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    from joblib.externals.loky import process_executor

    monkeypatch.setattr(process_executor, "get_exitcodes_terminated_worker", lambda _: "{}")
    ((_, dead),) = run([9], Plan(os._exit, Limits(seconds=60), 1))
    assert isinstance(dead, Failure)
    assert dead.reason == "worker-died"
