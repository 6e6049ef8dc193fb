"""Connect to a Dask cluster, with one line for each way in which that fails."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pix3d_onet.errors import InputError, MissingDependencyError

CONNECT_SECONDS = 20.0
"""Time to reach the scheduler, and to see the first worker."""


@contextmanager
def cluster_client(address: str | None) -> Iterator[Any]:
    """A ``distributed.Client`` of the scheduler at ``address`` while in the block.

    InputError if the scheduler does not answer, has no workers, or is lost while in the block; then calls of the
    client fail with an OSError or RuntimeError, which is replaced.
    """
    try:
        from distributed import Client
    except ImportError:
        raise MissingDependencyError("`backend=dask` needs dask.", hint="pip install 'pix3d-onet[dask]'") from None
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
        try:
            yield client
        except (OSError, RuntimeError):
            if client.status == "running":
                raise
            hint = "What is finished is kept: start the scheduler again and run the same command."
            raise InputError(f"the Dask scheduler at {address} is gone.", hint=hint) from None
