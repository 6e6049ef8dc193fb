"""Run many tasks in parallel with joblib, so that no task can end the run.

Tasks run in joblib's workers (loky's processes, or a Dask cluster's). A worker may die (a crash in a library, the
kernel's out-of-memory killer) or hang; a watchdog ends a worker whose task exceeds its time limit. A dead worker breaks
loky's whole pool. Then each task that was running is run again alone in a process: a task that ends its process becomes
a failure, and the remaining tasks continue in a new pool.
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
from pix3d_onet.preparation.execution.dask_backend import ClusterTaskError, connected, one_task_at_a_time

T = TypeVar("T")
R = TypeVar("R")

PR_SET_PDEATHSIG = 1
"""``prctl`` option (linux/prctl.h): the signal that this process receives when its parent dies."""
STARTUP_SECONDS = 120.0
"""Time for a new worker's imports, added to a task's limit before the parent ends the worker."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits per task: wall seconds, and bytes of private memory of its process (0 = no limit)."""

    seconds: float = 0.0
    memory: int = 0


@dataclass(frozen=True, slots=True)
class Failure:
    """A task without a result: ``reason`` is ``worker-died`` or ``timeout``, ``detail`` one line."""

    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Plan(Generic[T, R]):
    """What to run and how.

    ``function`` takes one task and must be importable in the workers. ``warm_up``: a module that local workers import
    before their first task, so that this time does not count towards its limit.
    """

    function: Callable[[T], R]
    limits: Limits = Limits()
    jobs: int = 1
    backend: str = "loky"
    scheduler: str | None = None
    warm_up: str = ""


def run(tasks: Iterable[T], plan: Plan[T, R]) -> Generator[tuple[T, R | Failure], None, None]:
    """Yield (task, result or Failure) for every task, in the order in which they finish.

    An error raised by ``function`` ends the run and is raised here. Closing the generator stops the workers.
    """
    waiting = deque(tasks)
    if plan.backend == "inline":
        for task in waiting:
            yield task, plan.function(task)
        return
    with warnings.catch_warnings():
        # loky replaces a worker whose memory has grown, as it does from shape to shape, and warns of it each time
        warnings.filterwarnings("ignore", "A worker stopped while some jobs were given to the executor")
        yield from _in_processes(waiting, plan)


def _in_processes(waiting: deque[T], plan: Plan[T, R]) -> Generator[tuple[T, R | Failure], None, None]:
    if plan.backend == "loky" and plan.jobs == 1:
        yield from _one_by_one(waiting, plan)
        return
    with _backend(plan):
        while waiting:
            suspects: dict[int, tuple[T, float]] = {}
            broken = yield from _pooled(waiting, suspects, plan)
            if not broken:
                return
            if not suspects:  # the pool broke before it started a task
                suspects = {0: (waiting.popleft(), time.monotonic())}
            yield from _run_suspects(suspects, broken, plan)


def _pooled(
    waiting: deque[T], in_flight: dict[int, tuple[T, float]], plan: Plan[T, R]
) -> Generator[tuple[T, R | Failure], None, str | None]:
    """Run ``waiting`` in a pool. Returns None when all are done; if the pool breaks, its error as text, and
    ``in_flight`` has the unfinished tasks with their start times."""
    import joblib
    from joblib.externals.loky.process_executor import BrokenProcessPool

    context = _WorkerContext(plan.limits.seconds, plan.backend == "loky", os.getpid())

    def feed() -> Iterator[Any]:
        # called by the pool's threads when a worker is free
        while waiting:
            task = waiting.popleft()
            number = len(waiting)
            in_flight[number] = (task, time.monotonic())
            yield joblib.delayed(_run_task)(plan.function, number, task, context)

    with sigint_blocked():
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


def _run_suspects(
    suspects: dict[int, tuple[T, float]], broken: str, plan: Plan[T, R]
) -> Iterator[tuple[T, R | Failure]]:
    """Run the tasks that were unfinished when a pool broke, each alone in a process."""
    oldest_first = deque(sorted(suspects.values(), key=lambda pair: pair[1]))
    limit = plan.limits.seconds
    if limit and oldest_first and "EXIT(1)" in broken and time.monotonic() - oldest_first[0][1] >= limit:
        # tasks start in the order of their dispatch, so the watchdog of the oldest ended its worker first
        yield oldest_first.popleft()[0], _timeout(limit)
    yield from _one_by_one(deque(task for task, _ in oldest_first), plan)


def _one_by_one(waiting: deque[T], plan: Plan[T, R]) -> Iterator[tuple[T, R | Failure]]:
    """Run tasks one after the other in a separate process, which is replaced when it dies."""
    from joblib.externals.loky import ProcessPoolExecutor
    from joblib.externals.loky.process_executor import BrokenProcessPool

    executor: Any = None
    context = _WorkerContext(plan.limits.seconds, True, os.getpid())
    limit = plan.limits.seconds
    try:
        while waiting:
            task = waiting.popleft()
            if executor is None:
                executor = ProcessPoolExecutor(1, env=_thread_limits(), **_initialiser(plan))
                _start(executor)
            started = time.monotonic()
            with sigint_blocked():
                future = executor.submit(_run_task, plan.function, 0, task, context)
            try:
                yield task, future.result(timeout=limit + STARTUP_SECONDS if limit else None)[1]
                continue
            except BrokenProcessPool as error:
                timed_out = limit and _by_watchdog(str(error)) and time.monotonic() - started >= limit
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
    """Wait until the worker has started; MissingDependencyError if it cannot."""
    from joblib.externals.loky.process_executor import BrokenProcessPool

    with sigint_blocked():
        started = executor.submit(_check_started)
    try:
        started.result(timeout=STARTUP_SECONDS)
    except (BrokenProcessPool, TimeoutError) as error:
        why = _cause(str(error)) if isinstance(error, BrokenProcessPool) else "it takes too long"
        raise _cannot_start(why) from None


def _by_watchdog(message: str) -> bool:
    """Whether loky's message is that of a process that the watchdog can have ended.

    loky waits 0.25 s for the exit code, on a busy machine not long enough, and then names none.
    """
    return "EXIT(1)" in message or "{}" in message


def _timeout(limit: float) -> Failure:
    return Failure("timeout", f"took longer than the limit of {limit:g} s per shape")


def _cause(message: str) -> str:
    """How the process died, with the exit codes from loky's message."""
    found = message[message.rfind("{") + 1 : message.rfind("}")] if "{" in message else ""
    return f"its process died ({found})" if found else "its process died"


@dataclass(frozen=True, slots=True)
class _WorkerContext:
    """Settings of the watchdog. ``seconds``: time limit; ``local``: the worker was started by this run, not a cluster;
    ``parent``: the run's process id."""

    seconds: float
    local: bool
    parent: int


_startup_errors: list[OnetError] = []
"""In a worker whose initialisation failed: the error, which is raised for its first task and ends the run."""


def _cannot_start(why: OnetError | str) -> OnetError:
    if isinstance(why, OnetError):
        return why
    hint = "Give workers more memory (`memory_limit`), or run `onet doctor`."
    return MissingDependencyError(f"a worker process cannot start: {why}.", hint=hint)


def _check_started() -> None:
    """In a worker: raise the error of its initialisation, if it failed."""
    if _startup_errors:
        raise _startup_errors[0]


def _run_task(function: Callable[[T], R], number: int, task: T, context: _WorkerContext) -> tuple[int, R]:
    """In the worker: run one task under its watchdog."""
    _check_started()
    in_parent = os.getpid() == context.parent  # joblib runs tasks in the caller's process if it cannot start workers
    if not context.seconds or in_parent or not (context.local or one_task_at_a_time()):
        return number, function(task)
    with open(os.devnull, "w") as nowhere:  # noqa: PTH123 — a plain descriptor for a C thread
        # a C thread, which ends the process even while a library holds the interpreter lock
        faulthandler.dump_traceback_later(context.seconds, exit=True, file=nowhere)
        try:
            return number, function(task)
        finally:
            faulthandler.cancel_dump_traceback_later()


@contextlib.contextmanager
def sigint_blocked() -> Iterator[None]:
    """Block SIGINT while workers are started in the block: they inherit it, so that only the parent handles Ctrl-C.

    It is blocked, not ignored, so a Ctrl-C during the block is delivered to the parent at its end.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    from joblib.externals.loky.backend import resource_tracker as of_loky

    sys.warnoptions.append("ignore:resource_tracker")  # of a semaphore that went away by itself after Ctrl-C
    try:
        for tracker in (resource_tracker, of_loky):
            tracker.ensure_running()  # starting it later would unblock SIGINT
    finally:
        sys.warnoptions.pop()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _initialise_worker(memory: int, warm_up: str, parent: int) -> None:
    """Initialise a worker: end it with the run (process ``parent``), limit its memory, import ``warm_up``."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # the run ended while this process was starting
        os._exit(1)
    if memory:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_DATA, (memory, resource.getrlimit(resource.RLIMIT_DATA)[1]))
    warnings.simplefilter("ignore")
    if warm_up:
        try:
            importlib.import_module(warm_up)
        except (ImportError, OSError):  # the first task raises it again, with a better message
            pass
        except (OnetError, MemoryError, RuntimeError) as error:
            _startup_errors.append(
                _cannot_start(error if isinstance(error, OnetError) else str(error) or type(error).__name__)
            )


def _initialiser(plan: Plan[T, R]) -> dict[str, Any]:
    """Arguments of joblib and loky that make workers call :func:`_initialise_worker`."""
    return {"initializer": _initialise_worker, "initargs": (plan.limits.memory, plan.warm_up, os.getpid())}


THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)


def _thread_limits() -> dict[str, str]:
    """Environment of a worker: one thread per library, since there may be a worker per core."""
    return dict.fromkeys(THREAD_VARIABLES, "1")


@contextlib.contextmanager
def _backend(plan: Plan[T, R]) -> Iterator[None]:
    """Make the plan's backend joblib's default while in the block."""
    import joblib
    from joblib.externals.loky import get_reusable_executor

    if plan.backend == "loky":
        with joblib.parallel_config("loky", inner_max_num_threads=1, **_initialiser(plan)):
            try:
                yield
            finally:  # these workers have limits and block SIGINT: other users of loky's pool must not get them
                get_reusable_executor(reuse=True).shutdown(wait=True, kill_workers=True)
        return
    with connected(plan.scheduler):
        yield
