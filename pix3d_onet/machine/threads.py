"""How many cores this process may use, and how many of them others leave free: thread counts follow that.

OpenMP's threads wait for each other by spinning. Two of them on two cores are faster than one, until somebody else
computes there, too: then the one that is ready spins while the one it waits for is not running, and both together are
several times slower than one alone. So as many threads are taken as there are free cores, and that is looked at again
while they work. Standard library only.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

LOOK_SECONDS = 1.0
"""Between two looks: the kernel counts in hundredths of a second, and a lost second is cheap."""
FIRST_SECONDS = 0.25
"""Before the first look: what was measured while files were read and a network was built."""
SLACK = 0.35
"""Of a core that is taken, others may use so much: a desktop's own work, and the error of the kernel's ticks. Beside a
process that computes a third of the time two threads are still as fast as one."""
CALM_LOOKS = 3
"""Looks in a row that find a core free before it is taken. A core is given up at once: of two threads, one too few
costs a third of the speed, one too many two thirds and more (``benchmarks/shared_machine.py``)."""

CGROUP = Path("/sys/fs/cgroup")
STAT = Path("/proc/stat")
BUSY_COLUMNS = (1, 2, 3, 6, 7, 8)
"""user, nice, system, irq, softirq, steal of a line of ``/proc/stat`` (proc(5)); guests are in user already."""


def usable_cores(cgroup: Path = CGROUP) -> int:
    """Cores that this process may use: its affinity, held by the container's quota (a part of a core counts as one)."""
    quota = core_quota(cgroup)
    cores = len(affinity())
    return cores if quota is None else max(1, min(cores, math.ceil(quota)))


def affinity() -> frozenset[int]:
    """The numbers of the cores that the scheduler may put this process on."""
    if hasattr(os, "sched_getaffinity"):
        return frozenset(os.sched_getaffinity(0))
    return frozenset(range(os.cpu_count() or 1))


def core_quota(cgroup: Path = CGROUP) -> float | None:
    """Cores' worth of time that the container may use (cgroup v2, else v1); None = no limit, or none to be read."""
    for names in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            quota, period = " ".join((cgroup / name).read_text(encoding="ascii") for name in names).split()
            if int(quota) > 0 and int(period) > 0:
                return int(quota) / int(period)
        except (OSError, ValueError):  # not there, or ``max``
            continue
    return None


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU seconds used so far, at a moment ``at`` (monotonic seconds).

    ``own``: by this process, all threads together. ``pools``: sets of cores that it draws from with others, each the
    number of cores (a quota may be a fraction) and the seconds used there by anybody, this process included.
    """

    at: float
    own: float
    pools: tuple[tuple[float, float], ...]


def read_usage(stat: Path = STAT, cgroup: Path = CGROUP) -> Usage:
    """The usage now: of the cores in the affinity, and of the container's quota. No pool where the system says nothing.

    In a container ``/proc/stat`` is the whole machine's: others outside of it are seen there, others inside of it in
    the container's own account.
    """
    found = (_cores_pool(stat), _quota_pool(cgroup))
    return Usage(time.monotonic(), time.process_time(), tuple(pool for pool in found if pool is not None))


def _cores_pool(stat: Path) -> tuple[float, float] | None:
    """(cores, busy seconds) of the cores in the affinity."""
    names = {f"cpu{number}" for number in affinity()}
    try:
        rows = [line.split() for line in stat.read_text(encoding="ascii").splitlines() if line.startswith("cpu")]
        ticks = [sum(int(row[column]) for column in BUSY_COLUMNS) for row in rows if row[0] in names]
        return (len(ticks), sum(ticks) / os.sysconf("SC_CLK_TCK")) if len(ticks) == len(names) else None
    except (OSError, ValueError, IndexError):
        return None


def _quota_pool(cgroup: Path) -> tuple[float, float] | None:
    """(quota in cores, seconds used) of the container; None without a quota, or without an account of it."""
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
    """Decides the number of threads, 1 to ``most``, from what others use of the cores.

    ``count`` is the decision in force; ``free`` the cores that others left in the last window (None = not known: then
    ``most`` are taken), ``looks`` the number of windows so far.
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
        """The number of threads to go on with. Costs a microsecond, once a second some ten of them."""
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
    """Cores that others left free between two readings; None where nothing is known."""
    seconds = now.at - before.at
    if seconds <= 0 or not now.pools or len(now.pools) != len(before.pools):
        return None
    own = now.own - before.own
    others = [max(0.0, used - earlier - own) for (_, used), (_, earlier) in zip(now.pools, before.pools, strict=True)]
    return min(cores - busy / seconds for (cores, _), busy in zip(now.pools, others, strict=True))
