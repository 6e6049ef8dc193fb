"""Many tasks on many processes or machines with joblib, such that none of them can take the run down.

Tasks run in joblib's workers (loky's processes, or a Dask cluster's). A worker may die (a crash in a library, the
kernel's memory killer) or hang: each one carries a watchdog that ends the process when a task exceeds its time. A dead
worker breaks loky's whole pool, so whatever was in flight is run again one by one, each alone in a process: a task that
dies there is the culprit and becomes a failure; the rest goes on in a new pool.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import importlib
import os
import resource
import signal
import sys
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing import resource_tracker
from typing import Any, Generic, TypeVar

from pix3d_onet.errors import MissingDependencyError, OnetError
from pix3d_onet.machine.threads import ThreadGovernor, usable_cores
from pix3d_onet.preparation.execution.dask_backend import ClusterTaskError, connected, one_task_at_a_time

T = TypeVar("T")
R = TypeVar("R")

PR_SET_PDEATHSIG = 1
"""``prctl`` option (linux/prctl.h): the signal that this process gets when its parent dies."""
STARTUP_SECONDS = 120.0
"""Time a fresh worker gets for its imports, on top of a task's limit, before the run looks after it itself."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one task may use: wall seconds, and bytes of private memory of its process (0 = no limit)."""

    seconds: float = 0.0
    memory: int = 0


@dataclass(frozen=True, slots=True)
class Failure:
    """A task that produced nothing: ``worker-died`` or ``timeout``, and one line about it."""

    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Plan(Generic[T, R]):
    """What to run and how: ``function`` must be importable in the workers and is given one task; ``warm_up`` is a
    module that local workers import before any task's clock runs."""

    function: Callable[[T], R]
    limits: Limits = Limits()
    jobs: int = 1
    backend: str = "loky"
    scheduler: str | None = None
    warm_up: str = ""


def run(tasks: Iterable[T], plan: Plan[T, R]) -> Generator[tuple[T, R | Failure], None, None]:
    """Yield (task, result or Failure) for every task, in the order in which they finish.

    Errors that ``function`` raises itself end the run and come out here. Closing the generator stops the workers.
    """
    waiting = deque(tasks)
    if plan.backend == "inline":
        governor = ThreadGovernor(usable_cores())
        for task in waiting:
            with kernel_threads(governor.look()):
                result = plan.function(task)
            yield task, result
        return
    if plan.backend == "loky" and plan.jobs == 1:
        yield from _one_by_one(waiting, plan)
        return
    with _backend(plan):
        while waiting:
            suspects: dict[int, tuple[T, float]] = {}
            broken = yield from _pooled(waiting, suspects, plan)
            if not broken:
                return
            if not suspects:  # the pool cannot even start
                suspects = {0: (waiting.popleft(), time.monotonic())}
            yield from _investigate(suspects, broken, plan)


@contextlib.contextmanager
def kernel_threads(most: int) -> Iterator[None]:
    """Let compiled kernels use ``most`` threads in this process while in the block, or fewer where numba is set so.

    Their results do not depend on it. A worker's kernels have one thread: there the number of workers is what counts.
    """
    try:
        import numba
    except ImportError:  # what stands in for the geometry needs none
        yield
        return
    before = numba.get_num_threads()
    numba.set_num_threads(min(most, before))
    try:
        yield
    finally:
        numba.set_num_threads(before)


def _pooled(
    waiting: deque[T], in_flight: dict[int, tuple[T, float]], plan: Plan[T, R]
) -> Generator[tuple[T, R | Failure], None, str | None]:
    """Run ``waiting`` in a pool; return the pool's error (and leave ``in_flight`` filled), or None when all is done."""
    import joblib
    from joblib.externals.loky.process_executor import BrokenProcessPool

    frame = _Frame(plan.limits.seconds, plan.backend == "loky", os.getpid())

    def feed() -> Iterator[Any]:
        # runs in the pool's own threads, whenever a worker is free
        while waiting:
            task = waiting.popleft()
            number = len(waiting)
            in_flight[number] = (task, time.monotonic())
            yield joblib.delayed(_guarded)(plan.function, number, task, frame)

    with deaf_to_ctrl_c():
        results = joblib.Parallel(
            n_jobs=plan.jobs, return_as="generator_unordered", batch_size=1, pre_dispatch="2*n_jobs", max_nbytes=None
        )(feed())
    try:
        for number, result in results:
            task, _ = in_flight.pop(number)
            yield task, result
    except (BrokenProcessPool, ClusterTaskError) as error:
        return str(error) or type(error).__name__
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            results.close()
    return None


def _investigate(
    suspects: dict[int, tuple[T, float]], broken: str, plan: Plan[T, R]
) -> Iterator[tuple[T, R | Failure]]:
    """Settle the tasks that were in flight when a pool broke."""
    oldest_first = deque(sorted(suspects.values(), key=lambda pair: pair[1]))
    limit = plan.limits.seconds
    if limit and oldest_first and "EXIT(1)" in broken and time.monotonic() - oldest_first[0][1] >= limit:
        # tasks start in the order in which they were dispatched, so the first watchdog to bite was the oldest's
        yield oldest_first.popleft()[0], _timeout(limit)
    yield from _one_by_one(deque(task for task, _ in oldest_first), plan)


def _one_by_one(waiting: deque[T], plan: Plan[T, R]) -> Iterator[tuple[T, R | Failure]]:
    """Run tasks one after the other in one process apart, replaced whenever it dies."""
    from joblib.externals.loky import ProcessPoolExecutor
    from joblib.externals.loky.process_executor import BrokenProcessPool

    executor: Any = None
    frame = _Frame(plan.limits.seconds, True, os.getpid())
    limit = plan.limits.seconds
    try:
        while waiting:
            task = waiting.popleft()
            if executor is None:
                executor = ProcessPoolExecutor(1, env=_thread_limits(), **_birth(plan))
                _start(executor)
            started = time.monotonic()
            with deaf_to_ctrl_c():
                future = executor.submit(_guarded, plan.function, 0, task, frame)
            try:
                yield task, future.result(timeout=limit + STARTUP_SECONDS if limit else None)[1]
                continue
            except BrokenProcessPool as error:
                timed_out = limit and "EXIT(1)" in str(error) and time.monotonic() - started >= limit
                failure = _timeout(limit) if timed_out else Failure("worker-died", _cause(str(error)))
            except TimeoutError:
                failure = _timeout(limit)
            executor.shutdown(wait=False, kill_workers=True)
            executor = None
            yield task, failure
    finally:
        if executor is not None:
            executor.shutdown(wait=False, kill_workers=True)


def _start(executor: Any) -> None:
    """Wait for the worker; MissingDependencyError where it dies before it has a task."""
    from joblib.externals.loky.process_executor import BrokenProcessPool

    with deaf_to_ctrl_c():
        started = executor.submit(_alive)
    try:
        started.result(timeout=STARTUP_SECONDS)
    except (BrokenProcessPool, TimeoutError) as error:
        why = _cause(str(error)) if isinstance(error, BrokenProcessPool) else "it takes too long"
        raise _cannot_start(why) from None


def _timeout(limit: float) -> Failure:
    return Failure("timeout", f"took longer than the {limit:g} s that a shape may take")


def _cause(message: str) -> str:
    """The exit codes in loky's message, as one line."""
    found = message[message.rfind("{") + 1 : message.rfind("}")] if "{" in message else ""
    return f"its process died ({found})" if found else "its process died"


@dataclass(frozen=True, slots=True)
class _Frame:
    """What a task needs around it. ``own``: the worker is this run's, not a cluster's; ``home``: the run's process."""

    seconds: float
    own: bool
    home: int


_unfit: list[OnetError] = []
"""In a worker that could not start: why. It would fail every task, for no fault of theirs."""


def _cannot_start(why: OnetError | str) -> OnetError:
    if isinstance(why, OnetError):
        return why
    hint = "Give workers more memory (`memory_limit`), or run `onet doctor`."
    return MissingDependencyError(f"a worker process cannot start: {why}.", hint=hint)


def _alive() -> None:
    """The first task of a worker: to have started."""
    if _unfit:
        raise _unfit[0]


def _guarded(function: Callable[[T], R], number: int, task: T, frame: _Frame) -> tuple[int, R]:
    """In the worker: run one task under its watchdog."""
    _alive()
    at_home = os.getpid() == frame.home  # where joblib may not start workers, it works in the caller's own process
    if not frame.seconds or at_home or not (frame.own or one_task_at_a_time()):
        return number, function(task)
    with open(os.devnull, "w") as nowhere:  # noqa: PTH123 — a plain descriptor for a C thread
        # a thread in C that ends the process even while a library holds the interpreter
        faulthandler.dump_traceback_later(frame.seconds, exit=True, file=nowhere)
        try:
            return number, function(task)
        finally:
            faulthandler.cancel_dump_traceback_later()


@contextlib.contextmanager
def deaf_to_ctrl_c() -> Iterator[None]:
    """Start workers in here: a new process inherits that Ctrl-C is blocked, which is the parent's business alone.

    Blocked and not ignored: a Ctrl-C that comes to the parent meanwhile waits for the end and is not lost.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    from joblib.externals.loky.backend import resource_tracker as of_loky

    for tracker in (resource_tracker, of_loky):
        tracker.ensure_running()  # its start would unblock Ctrl-C
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _settle_in(memory: int, warm_up: str, home: int) -> None:
    """As a worker starts: die with the run (process ``home``), bound the memory, import before any clock runs."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != home:  # the run died while this process was starting
        os._exit(1)
    if memory:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_DATA, (memory, resource.getrlimit(resource.RLIMIT_DATA)[1]))
    warnings.simplefilter("ignore")
    if warm_up:
        try:
            importlib.import_module(warm_up)
        except (ImportError, OSError):  # the task itself will say it better
            pass
        except (OnetError, MemoryError, RuntimeError) as error:
            _unfit.append(_cannot_start(error if isinstance(error, OnetError) else str(error) or type(error).__name__))


def _birth(plan: Plan[T, R]) -> dict[str, Any]:
    return {"initializer": _settle_in, "initargs": (plan.limits.memory, plan.warm_up, os.getpid())}


THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)


def _thread_limits() -> dict[str, str]:
    """Environment of a worker: one thread each, since a worker is one job's share of the machine."""
    return dict.fromkeys(THREAD_VARIABLES, "1")


@contextlib.contextmanager
def _backend(plan: Plan[T, R]) -> Iterator[None]:
    import joblib
    from joblib.externals.loky import get_reusable_executor

    if plan.backend == "loky":
        with joblib.parallel_config("loky", inner_max_num_threads=1, **_birth(plan)):
            try:
                yield
            finally:  # these workers are bounded and deaf to Ctrl-C: nobody else may inherit them
                get_reusable_executor(reuse=True).shutdown(wait=True, kill_workers=True)
        return
    with connected(plan.scheduler):
        yield
