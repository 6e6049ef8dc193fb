"""Choose the number of threads from the cores that this process may use and that other processes leave free.

OpenMP threads wait for each other in busy loops. If other processes use the same cores, a thread spins while the one it
waits for is not running, so that several threads can be several times slower than one. So there are only as many
threads as free cores, and the number is adapted while they work.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

LOOK_SECONDS = 1.0
"""Seconds between two measurements; the kernel counts in steps of 0.01 s."""
FIRST_SECONDS = 0.25
"""Seconds before the first measurement, in which files are read and a network is built."""
SLACK = 0.35
"""Fraction of a core that others may use while it counts as free: a desktop's own work, and the error of the kernel's
counters. If another process computes a third of the time, two threads are still as fast as one."""
CALM_LOOKS = 3
"""Number of successive measurements in which a core must be free before it is used. A core is given up at once: of two
threads, one too few costs a third of the speed, one too many two thirds or more (``benchmarks/shared_machine.py``)."""

CGROUP = Path("/sys/fs/cgroup")
STAT = Path("/proc/stat")
BUSY_COLUMNS = (1, 2, 3, 6, 7, 8)
"""user, nice, system, irq, softirq, steal of a line of ``/proc/stat`` (proc(5)); guests are in user already."""


def usable_cores(cgroup: Path = CGROUP) -> int:
    """Number of cores that this process may use: of its affinity, limited by the container's quota (rounded up)."""
    quota = core_quota(cgroup)
    cores = len(affinity())
    return cores if quota is None else max(1, min(cores, math.ceil(quota)))


def affinity() -> frozenset[int]:
    """Numbers of the cores on which the scheduler may run this process."""
    if hasattr(os, "sched_getaffinity"):
        return frozenset(os.sched_getaffinity(0))
    return frozenset(range(os.cpu_count() or 1))


def core_quota(cgroup: Path = CGROUP) -> float | None:
    """Number of cores (a fraction is possible) that the container may use, from cgroup v2, else v1; None: no limit."""
    for names in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            quota, period = " ".join((cgroup / name).read_text(encoding="ascii") for name in names).split()
            if int(quota) > 0 and int(period) > 0:
                return int(quota) / int(period)
        except (OSError, ValueError):  # the file is missing, or holds ``max``
            continue
    return None


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU seconds used so far, at time ``at`` (monotonic seconds).

    ``own``: by all threads of this process. ``pools``: sets of cores shared with other processes, each (number of
    cores, CPU seconds used there by all processes, including this one).
    """

    at: float
    own: float
    pools: tuple[tuple[float, float], ...]


def read_usage(stat: Path = STAT, cgroup: Path = CGROUP) -> Usage:
    """Current usage of the cores in the affinity and of the container's quota; without information, no pool.

    In a container, ``/proc/stat`` covers the whole machine, and so processes outside; the container's own counter
    covers processes inside.
    """
    found = (_cores_pool(stat), _quota_pool(cgroup))
    return Usage(time.monotonic(), time.process_time(), tuple(pool for pool in found if pool is not None))


def _cores_pool(stat: Path) -> tuple[float, float] | None:
    """(number of cores, busy seconds) of the cores in the affinity; None if unknown."""
    names = {f"cpu{number}" for number in affinity()}
    try:
        rows = [line.split() for line in stat.read_text(encoding="ascii").splitlines() if line.startswith("cpu")]
        ticks = [sum(int(row[column]) for column in BUSY_COLUMNS) for row in rows if row[0] in names]
        return (len(ticks), sum(ticks) / os.sysconf("SC_CLK_TCK")) if len(ticks) == len(names) else None
    except (OSError, ValueError, IndexError):
        return None


def _quota_pool(cgroup: Path) -> tuple[float, float] | None:
    """(quota in cores, seconds used) of the container; None without a quota or a counter."""
    quota = core_quota(cgroup)
    if quota is None:
        return None
    try:
        if (cgroup / "cpu.stat").exists():
            words = (cgroup / "cpu.stat").read_text(encoding="ascii").split()
            return quota, int(words[words.index("usage_usec") + 1]) / 1e6
        return quota, int((cgroup / "cpuacct/cpuacct.usage").read_text(encoding="ascii")) / 1e9
    except (OSError, ValueError, IndexError):
        return None


class ThreadGovernor:
    """Chooses the number of threads, 1 to ``most``, from other processes' use of the cores.

    ``count``: current number of threads; ``free``: cores that others left free in the last interval (None: unknown,
    then ``most`` threads are used); ``looks``: number of measurements so far.
    """

    def __init__(self, most: int, read: Callable[[], Usage] = read_usage, clock: Callable[[], float] = time.monotonic):
        self.most = self.count = most
        self.free: float | None = None
        self.looks = 0
        self._read, self._clock = read, clock
        self._last = read()
        self._due = self._last.at + FIRST_SECONDS
        self._calm = 0

    def look(self) -> int:
        """The number of threads to use now; measures once per second (about 10 µs, else 1 µs)."""
        if self._clock() < self._due:
            return self.count
        now = self._read()
        self.free = free_cores(self._last, now)
        self.looks += 1
        self._last, self._due = now, now.at + LOOK_SECONDS
        wanted = self.most if self.free is None else max(1, min(self.most, math.floor(self.free + SLACK)))
        self._calm = self._calm + 1 if wanted > self.count else 0
        if wanted < self.count or self._calm >= CALM_LOOKS:
            self.count, self._calm = wanted, 0
        return self.count


def free_cores(before: Usage, now: Usage) -> float | None:
    """Number of cores that other processes left free between two readings; None if unknown."""
    seconds = now.at - before.at
    if seconds <= 0 or not now.pools or len(now.pools) != len(before.pools):
        return None
    own = now.own - before.own
    others = [max(0.0, used - earlier - own) for (_, used), (_, earlier) in zip(now.pools, before.pools, strict=True)]
    return min(cores - busy / seconds for (cores, _), busy in zip(now.pools, others, strict=True))
