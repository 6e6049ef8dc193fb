"""Train runs on the workers of a Dask cluster, one run per worker at a time.

The calling process decides which worker gets which run, instead of Dask, which would start several runs on a worker
with several threads and would queue runs at busy workers. Workers may join and leave at any time: the run of a lost
worker is given to another one, which resumes it from its checkpoint.
"""

from __future__ import annotations

import os
import queue
import secrets
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from pix3d_onet.ablation.parallel import POLL_SECONDS, Job, Outcome, run_job
from pix3d_onet.errors import BusyError, InputError, InterruptedRunError, OnetError
from pix3d_onet.events import Emit, Event, Note, Progress
from pix3d_onet.machine.cluster import cluster_client
from pix3d_onet.version import __version__

PROGRESS_SECONDS = 1.0
"""Least seconds between two progress messages of a run."""
MOST_LOSSES = 3
"""Lost workers after which a run has failed, since it probably was the cause."""
BUSY_SECONDS = 120.0
"""How long a worker waits for the lock of a run's folder. A lost worker may go on until it notices that it was cut off,
and a file server keeps the locks of a dead machine for a while (90 s by default with NFSv4)."""
BUSY_RETRY_SECONDS = 5.0
NO_WORKER_SECONDS = 300.0
"""How long the ablation waits for new workers when all are lost."""
RESULT_SECONDS = 60.0
"""Time to fetch the result of a finished run from its worker."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """The Dask scheduler at ``scheduler``, of whose workers at most ``most`` are used (0 = all).

    ``device_of`` is called on a worker with its number among the workers that see the same GPUs of the same machine,
    and returns the device of its runs.
    """

    scheduler: str
    device_of: Callable[[int], str]
    most: int = 0


def run_on_cluster(
    jobs: Sequence[Job], cluster: Cluster, emit: Emit, started: Callable[[Job], None] = lambda job: None
) -> Iterator[Outcome]:
    """Run ``jobs`` in order, one per worker at a time; yield each job when it ends, with its error if it failed.

    Events are emitted as by :func:`~pix3d_onet.ablation.parallel.run_jobs`. When this generator is closed or this
    process dies, the workers stop. InputError if the scheduler is lost, or all workers are for ``NO_WORKER_SECONDS``.
    """
    with cluster_client(cluster.scheduler) as client:
        yield from _Dispatcher(client, cluster, emit, started).run(jobs)


class _Dispatcher:
    """Assigns jobs to workers. ``running``: worker → its job and future; ``seats``: None = cannot be used."""

    def __init__(self, client: Any, cluster: Cluster, emit: Emit, started: Callable[[Job], None]) -> None:
        self.client, self.cluster, self.emit, self.started = client, cluster, emit, started
        self.running: dict[str, tuple[Job, Any]] = {}
        self.seats: dict[str, _Seat | None] = {}
        self.losses: Counter[str] = Counter()
        self.messages: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.topic = f"onet-bench-{secrets.token_hex(8)}"
        self.seen_worker = time.monotonic()

    def run(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
        """See :func:`run_on_cluster`."""
        waiting = deque(jobs)
        # called in the client's own thread, but events must be emitted from this one
        self.client.subscribe_topic(self.topic, self.messages.put)
        try:
            while waiting or self.running:
                self._update_workers()
                free = [w for w, seat in self.seats.items() if seat is not None and w not in self.running]
                room = (self.cluster.most or len(self.seats)) - len(self.running)
                for worker in free[: max(0, room)]:
                    if waiting:
                        self._start(waiting.popleft(), worker)
                self._forward_messages()
                for job, error in self._ended():
                    if isinstance(error, InterruptedRunError):
                        waiting.appendleft(job)
                    else:
                        yield job, error
        finally:
            self.client.cancel([future for _, future in self.running.values()])
            self.client.unsubscribe_topic(self.topic)

    def _update_workers(self) -> None:
        """Forget lost workers, and give new ones a seat."""
        if self.client.status != "running":
            raise OSError("the scheduler is gone")
        present = set(self.client.nthreads())
        for lost in set(self.seats) - present:
            del self.seats[lost]
        fresh = sorted(present - set(self.seats))
        answers = self.client.run(_introduce, workers=fresh, on_error="return") if fresh else {}
        for worker, answer in answers.items():
            self.seats[worker] = self._seat(worker, answer)
        now = time.monotonic()
        if any(self.seats.values()):
            self.seen_worker = now
        elif now - self.seen_worker > NO_WORKER_SECONDS or (self.seats and not self.running):
            problem = "has no worker that can train" if self.seats else "has lost all its workers"
            hint = "Finished runs are kept: start workers and run the same command."
            raise InputError(f"the Dask scheduler at {self.cluster.scheduler} {problem}.", hint=hint)

    def _seat(self, worker: str, answer: Any) -> _Seat | None:
        """The seat of a new worker; None, with a warning, if it cannot be used."""
        if not isinstance(answer, tuple):
            self.emit(Note(f"worker {worker} is not used: {' '.join(f'{answer!r:.200}'.split())}", "warning"))
            return None
        version, gpus = answer
        if version != __version__:
            self.emit(Note(f"worker {worker} is not used: it has onet {version}, not {__version__}.", "warning"))
            return None
        machine = f"{urlsplit(worker).hostname} {gpus}"
        taken = {seat.number for seat in self.seats.values() if seat is not None and seat.machine == machine}
        return _Seat(machine, next(n for n in range(len(taken) + 1) if n not in taken))

    def _start(self, job: Job, worker: str) -> None:
        seat = self.seats[worker]
        assert seat is not None
        self.started(job)
        future = self.client.submit(
            _work, job, self.cluster.device_of, seat.number, self.topic, workers=[worker], pure=False, retries=0
        )
        self.running[worker] = (job, future)

    def _forward_messages(self) -> None:
        """Emit what has arrived; wait up to ``POLL_SECONDS`` for the first message."""
        try:
            _, content = self.messages.get(timeout=POLL_SECONDS)
            while True:
                self.emit(_event(content))
                _, content = self.messages.get_nowait()
        except queue.Empty:
            pass

    def _ended(self) -> list[Outcome]:
        """The jobs that ended; those of lost workers with InterruptedRunError, unless they lost too many."""
        ended: list[Outcome] = []
        for worker, (job, future) in list(self.running.items()):
            if worker in self.seats and not future.done():
                continue
            del self.running[worker]
            error = self._result(future) if future.done() else InterruptedRunError("its worker is gone.")
            if isinstance(error, InterruptedRunError):
                future.cancel()
                self.losses[job.name] += 1
                if self.losses[job.name] > MOST_LOSSES:
                    error = OnetError(f"{self.losses[job.name]} workers were lost while they trained it.")
                else:
                    self.emit(Note(f"{job.name}: its worker {worker} is lost; another one resumes it.", "warning"))
            ended.append((job, error))
        return ended

    @staticmethod
    def _result(future: Any) -> OnetError | None:
        """The error that the job returned; an InterruptedRunError if the worker was lost before it could be fetched."""
        from distributed import CancelledError, KilledWorker

        try:
            found: OnetError | None = future.result(timeout=RESULT_SECONDS)
        except (CancelledError, KilledWorker, OSError) as error:  # OSError: a broken connection, or too late
            return InterruptedRunError(f"{type(error).__name__}: {error}")
        except Exception as error:  # noqa: BLE001 - the job could not be loaded there, if a library is missing
            return OnetError(f"unexpected {type(error).__name__}: {' '.join(str(error).split())}")
        return found


@dataclass(frozen=True, slots=True)
class _Seat:
    """Place of a worker: its ``number`` among the workers that see the same GPUs of the same ``machine``."""

    machine: str
    number: int


def _introduce() -> tuple[str, str]:
    """On a worker: its version of onet, and the GPUs that it may use."""
    return __version__, os.environ.get("CUDA_VISIBLE_DEVICES", "")


def _work(job: Job, device_of: Callable[[int], str], number: int, topic: str) -> OnetError | None:
    """On a worker: run the job, send its events; returns its error."""
    from distributed import get_worker

    worker = get_worker()
    task = worker.get_current_task()
    sent = -PROGRESS_SECONDS

    def check_wanted() -> None:
        # Dask cannot stop a running task; it only notes that nobody waits for its result any more
        found = worker.state.tasks.get(task)
        if found is None or found.state != "executing":
            raise InterruptedRunError("the ablation was stopped.")

    def emit(event: Event) -> None:
        nonlocal sent
        check_wanted()
        event, now = job.shown(event), time.monotonic()
        if isinstance(event, Note):
            worker.log_event(topic, ["note", event.message, event.level])
        elif isinstance(event, Progress) and event.stage == job.name and now - sent >= PROGRESS_SECONDS:
            sent = now
            worker.log_event(topic, ["progress", event.stage, event.done, event.total, event.item])

    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        error = run_job(job, device_of(number), emit)
        if not isinstance(error, BusyError) or time.monotonic() > deadline:
            return error
        time.sleep(BUSY_RETRY_SECONDS)
        check_wanted()


def _event(message: Sequence[Any]) -> Event:
    """The event that a worker sent; messages are lists of plain values, since Dask sends these without pickling."""
    kind, *values = message
    if kind == "note":
        return Note(*values)
    stage, done, total, item = values
    return Progress(stage, done, total, item=item)
