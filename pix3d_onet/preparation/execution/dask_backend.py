"""Connect joblib to a Dask cluster, with a fix for tasks whose workers all died.

Dask schedules the tasks, moves them away from dead workers, and gives up on a task after several of its workers died.
joblib (1.6) loses that last message and would wait forever; here it is raised as the task's error.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from pix3d_onet.machine.cluster import cluster_client

BACKEND = "onet-dask"


class ClusterTaskError(Exception):
    """The cluster could not finish a task, or is gone; the message says which."""


@contextlib.contextmanager
def connected(address: str | None) -> Iterator[None]:
    """Make the Dask scheduler at ``address`` joblib's backend while in the block.

    InputError if it does not answer or has no workers.
    """
    import joblib
    from joblib._dask import DaskDistributedBackend

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

    with cluster_client(address) as client:
        joblib.register_parallel_backend(BACKEND, Backend)
        with joblib.parallel_config(BACKEND, client=client):
            yield


def one_task_at_a_time() -> bool:
    """Whether this is a Dask worker that runs one task at a time, so that a watchdog may end its process."""
    try:
        from distributed import get_worker

        return int(get_worker().state.nthreads) == 1
    except (ImportError, ValueError, AttributeError):
        return False
