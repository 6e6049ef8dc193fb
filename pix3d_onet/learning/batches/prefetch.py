"""Make batches ahead in a background thread."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

from pix3d_onet.learning.batches.batch import RawBatch

DEPTH = 4
"""Number of batches made ahead."""


class Prefetch:
    """Make the batches of the next steps ahead, in one thread. ``make``: step → batch, a function of the step alone."""

    def __init__(self, make: Callable[[int], RawBatch], depth: int = DEPTH) -> None:
        self.make = make
        self.depth = depth
        self.expected = 0
        self._queue: queue.Queue[RawBatch | BaseException] = queue.Queue()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def get(self, step: int) -> RawBatch:
        """The batch of ``step``; restarts the thread if it is not the next step. Raises what ``make`` raised."""
        if self._thread is None or step != self.expected:
            self._start(step)
        item = self._queue.get()
        self.expected = step + 1
        if isinstance(item, BaseException):
            self.close()
            raise item
        return item

    def _start(self, step: int) -> None:
        self.close()
        self._stop = threading.Event()
        self._queue = queue.Queue(maxsize=self.depth)
        self._thread = threading.Thread(target=self._work, args=(step, self._stop, self._queue), daemon=True)
        self._thread.start()

    def _work(self, step: int, stop: threading.Event, out: queue.Queue[RawBatch | BaseException]) -> None:
        while not stop.is_set():
            item: RawBatch | BaseException
            try:
                item = self.make(step)
            except Exception as error:  # noqa: BLE001 - raised again in the calling thread
                item = error
            while not stop.is_set():
                try:
                    out.put(item, timeout=0.1)
                    break
                except queue.Full:
                    continue
            if isinstance(item, BaseException):
                return
            step += 1

    def close(self) -> None:
        """Stop the thread."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
