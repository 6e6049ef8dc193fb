"""Train several runs at the same time, one process each, on machines with several GPUs (or many cores)."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.context import SpawnProcess
from queue import Empty
from typing import Any

from pix3d_onet.errors import InterruptedRunError, OnetError
from pix3d_onet.events import Emit, Event, Progress, TrainStep
from pix3d_onet.machine.threads import usable_cores

POLL_SECONDS = 0.5
"""Seconds between checks for dead processes."""
GRACE_SECONDS = 60.0
"""Seconds that interrupted runs have to save their state."""


@dataclass(frozen=True, slots=True)
class Job:
    """One call for a process of its own: ``function(*arguments, device=…, emit=…)``. All must be picklable."""

    name: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]

    def shown(self, event: Event) -> Event:
        """``event`` as it is emitted for one of several jobs: a training step as ``Progress`` of the job."""
        if not isinstance(event, TrainStep):
            return event
        score = "" if event.best_iou is None else f", best IoU {event.best_iou:.4f}"
        return Progress(self.name, event.step, event.total, item=f"loss {event.loss:.4g}{score}")


Outcome = tuple[Job, OnetError | None]


def run_jobs(
    jobs: Sequence[Job], devices: Sequence[str], emit: Emit, started: Callable[[Job], None] = lambda job: None
) -> Iterator[Outcome]:
    """Run ``jobs`` in order, one per device at a time; yield each job when it ends, with its error if it failed.

    Training steps are emitted as ``Progress`` with the job's name as stage, so that each run has its own line. If a
    process dies without a message (killed for memory, for example), its job has an error. On KeyboardInterrupt the
    processes save and stop, and InterruptedRunError is raised. If this process dies, they stop by themselves.
    """
    context = multiprocessing.get_context("spawn")
    messages: Any = context.Queue()
    free, waiting = list(devices), list(jobs)
    running: dict[str, tuple[Job, SpawnProcess, str]] = {}
    try:
        while waiting or running:
            while waiting and free:
                job, device = waiting.pop(0), free.pop(0)
                started(job)
                with thread_share(max(1, usable_cores() // len(devices))) as shared:
                    process = context.Process(target=_work, args=(job, device, messages, shared), name=job.name)
                    process.start()
                running[job.name] = (job, process, device)
            for name, error in _next(messages, running, emit):
                job, process, device = running.pop(name)
                process.join(GRACE_SECONDS)
                free.append(device)
                yield job, error
    except (KeyboardInterrupt, GeneratorExit, InterruptedRunError):
        _stop([process for _, process, _ in running.values()], messages)
        raise
    finally:
        messages.close()


def _next(
    messages: Any, running: dict[str, tuple[Job, SpawnProcess, str]], emit: Emit
) -> list[tuple[str, OnetError | None]]:
    """Forward one message; return the jobs that it ended, and those whose process died."""
    try:
        kind, name, content = messages.get(timeout=POLL_SECONDS)
    except Empty:
        return [
            (name, OnetError(f"its process ended with status {process.exitcode} without a message."))
            for name, (_, process, _) in running.items()
            if process.exitcode is not None
        ]
    if kind == "event":
        emit(content)
        return []
    return [(name, content)] if name in running else []


def _stop(processes: Sequence[SpawnProcess], messages: Any) -> None:
    """Ask the processes to save and stop; kill those that take longer than ``GRACE_SECONDS``."""
    for process in processes:
        if process.is_alive():
            process.terminate()
    deadline = time.monotonic() + GRACE_SECONDS
    while any(p.is_alive() for p in processes) and time.monotonic() < deadline:
        with suppress(Empty):  # a process cannot exit before its messages are read
            messages.get(timeout=POLL_SECONDS / 5)
    for process in processes:
        if process.is_alive():
            process.kill()
        process.join()


@contextmanager
def thread_share(count: int) -> Iterator[bool]:
    """Limit processes started in this block to ``count`` threads, unless the user has set a number.

    Yields whether the limit was set. It is an environment variable, because PyTorch reads it when it is imported.
    """
    if "OMP_NUM_THREADS" in os.environ:
        yield False
        return
    os.environ["OMP_NUM_THREADS"] = str(count)
    try:
        yield True
    finally:
        del os.environ["OMP_NUM_THREADS"]


def _work(job: Job, device: str, messages: Any, shared: bool) -> None:
    """Main function of a process: run the job, send its events and its end. ``shared``: see ``thread_share``."""
    _end_with_parent()
    if shared:  # PyTorch has read it; if it stayed, it would look like a number fixed by the user
        os.environ.pop("OMP_NUM_THREADS", None)

    error = run_job(job, device, lambda event: messages.put(("event", job.name, job.shown(event))))
    messages.put(("end", job.name, error))
    messages.close()
    messages.join_thread()


def run_job(job: Job, device: str, emit: Emit) -> OnetError | None:
    """Run ``job`` in this process; returns its error, since one failing job must not stop the others."""
    try:
        job.function(*job.arguments, device=device, emit=emit)
    except OnetError as error:
        return error
    except KeyboardInterrupt:
        return InterruptedRunError("interrupted.")
    except Exception as error:  # noqa: BLE001 - the caller must get every error
        return OnetError(f"unexpected {type(error).__name__}: {' '.join(str(error).split())}")
    return None


def _end_with_parent() -> None:
    """Stop this process as soon as its parent has died."""
    parent = multiprocessing.parent_process()

    def watch() -> None:
        while parent is not None and parent.is_alive():
            time.sleep(POLL_SECONDS)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
