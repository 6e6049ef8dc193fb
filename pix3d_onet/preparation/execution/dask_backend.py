"""Connect joblib to a Dask cluster, with a fix for tasks whose workers all died.

Dask schedules the tasks, moves them away from dead workers, and gives up on a task after several of its workers died.
joblib (1.6) loses that last message and would wait forever; here it is raised as the task's error.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from typing import Any

from pix3d_onet.errors import InputError, MissingDependencyError

CONNECT_SECONDS = 20.0
"""Time to reach the scheduler, and to see the first worker."""
BACKEND = "onet-dask"


class ClusterTaskError(Exception):
    """The cluster could not finish a task, or is gone; the message says which."""


@contextlib.contextmanager
def connected(address: str | None) -> Iterator[None]:
    """Make the Dask scheduler at ``address`` joblib's backend while in the block.

    InputError if it does not answer or has no workers.
    """
    try:
        import joblib
        from distributed import Client
        from joblib._dask import DaskDistributedBackend
    except ImportError:
        raise MissingDependencyError("`backend=dask` needs dask.", hint="pip install 'pix3d-onet[dask]'") from None

    class Backend(DaskDistributedBackend):  # type: ignore[misc]
        def effective_n_jobs(self, n_jobs: int) -> int:
            return max(2, int(super().effective_n_jobs(n_jobs)))  # with 1, joblib would run tasks in this process

        def submit(self, func: Any, callback: Callable[[Any], Any] | None = None) -> Any:
            future = super().submit(func, callback)

            def relay(done: Any) -> None:
                error = done.exception()
                if error is not None and callback is not None:
                    callback(ClusterTaskError(" ".join(str(error).split())[:300]))

            future.add_done_callback(relay)
            return future

        def retrieve_result_callback(self, out: Any) -> Any:
            if isinstance(out, ClusterTaskError):
                raise out
            if isinstance(out, BaseException):
                raise ClusterTaskError(f"{type(out).__name__}: {out}")
            return super().retrieve_result_callback(out)

    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    try:
        client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        text = " ".join(str(error).split())[:200]
        hint = "Start one with `dask scheduler`, and workers with `dask worker ADDRESS --nthreads 1`."
        raise InputError(f"no Dask scheduler answers at {address}: {text}.", hint=hint) from None
    with client:
        try:
            client.wait_for_workers(1, timeout=CONNECT_SECONDS)
        except TimeoutError:
            hint = f"Start some with `dask worker {address} --nthreads 1`."
            raise InputError(f"the Dask scheduler at {address} has no workers.", hint=hint) from None
        joblib.register_parallel_backend(BACKEND, Backend)
        try:
            with joblib.parallel_config(BACKEND, client=client):
                yield
        except (OSError, RuntimeError):
            if client.status == "running":
                raise
            hint = "Finished shapes are kept: start the scheduler again and run the same command."
            raise InputError(f"the Dask scheduler at {address} is gone.", hint=hint) from None


def one_task_at_a_time() -> bool:
    """Whether this is a Dask worker that runs one task at a time, so that a watchdog may end its process."""
    try:
        from distributed import get_worker

        return int(get_worker().state.nthreads) == 1
    except (ImportError, ValueError, AttributeError):
        return False
