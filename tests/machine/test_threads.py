"""Thread counts follow the cores that others leave free: on simulated machines, and by what the kernel's files say."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pix3d_onet.machine.threads import (
    CALM_LOOKS,
    LOOK_SECONDS,
    ThreadGovernor,
    Usage,
    affinity,
    core_quota,
    free_cores,
    read_usage,
    usable_cores,
)


class Machine:
    """``cores`` cores in simulated time: ours spin, others ask for ``load`` cores, and the scheduler is fair.

    ``quota``: this process and ``inside`` cores' worth of others share that much of them.
    """

    def __init__(self, cores: int, load: float = 0.0, quota: float = 0.0, inside: float = 0.0) -> None:
        self.cores, self.load, self.quota, self.inside = cores, load, quota, inside
        self.now = self.own = self.others = self.others_inside = 0.0

    def pass_by(self, seconds: float, threads: int) -> None:
        crowd = max(1.0, (threads + self.load) / self.cores)
        self.now += seconds
        self.own += seconds * threads / crowd
        self.others += seconds * self.load / crowd
        self.others_inside += seconds * self.inside

    def read(self) -> Usage:
        pools: tuple[tuple[float, float], ...] = ((self.cores, self.own + self.others),)
        if self.quota:
            pools += ((self.quota, self.own + self.others_inside),)
        return Usage(self.now, self.own, pools)

    def governor(self, most: int = 0) -> ThreadGovernor:
        return ThreadGovernor(most or self.cores, self.read, lambda: self.now)

    def work(self, governor: ThreadGovernor, looks: int) -> list[int]:
        """The counts after each of some looks; a step takes a tenth of the time between them."""
        counts = []
        for _ in range(looks):
            before = governor.looks
            while governor.looks == before:
                self.pass_by(LOOK_SECONDS / 10, governor.count)
                governor.look()
            counts.append(governor.count)
        return counts


@pytest.mark.parametrize(
    ("cores", "load", "expected"),
    [
        (2, 0.0, 2),  # alone
        (2, 0.2, 2),  # a desktop
        (2, 1.0, 1),  # one busy loop
        (2, 2.0, 1),  # two
        (2, 8.0, 1),  # a machine that is overrun
        (1, 0.0, 1),
        (8, 1.0, 7),
        (8, 3.0, 5),
        (64, 60.0, 7),  # what others want is seen in part only while nothing is idle
    ],
)
def test_as_many_threads_as_there_are_free_cores(cores: int, load: float, expected: int) -> None:
    machine = Machine(cores, load)
    counts = machine.work(machine.governor(), 30)
    assert counts[20:] == [expected] * 10


def test_a_core_is_given_up_at_once_and_taken_back_when_it_stays_free() -> None:
    machine = Machine(2)
    governor = machine.governor()
    assert machine.work(governor, 5) == [2] * 5
    machine.load = 1.0
    assert machine.work(governor, 5) == [1] * 5
    machine.load = 0.0
    assert machine.work(governor, CALM_LOOKS + 1) == [1] * (CALM_LOOKS - 1) + [2, 2]


def test_a_load_that_comes_and_goes_does_not_make_the_count_flutter() -> None:
    machine = Machine(2, 1.0)
    governor = machine.governor()
    counts = []
    for _ in range(20):
        machine.load = 1.0 - machine.load
        counts += machine.work(governor, 1)
    assert set(counts[2:]) == {1}


def test_two_trainings_that_both_look_share_the_cores_and_the_one_left_takes_all() -> None:
    one, other = Machine(2), Machine(2)
    pair = ((one, one.governor(), other), (other, other.governor(), one))
    for _ in range(60):
        threads = [governor.count for _, governor, _ in pair]
        for (machine, _, _), theirs, ours in zip(pair, reversed(threads), threads, strict=True):
            machine.load = theirs
            machine.pass_by(LOOK_SECONDS / 10, ours)
        for _, governor, _ in pair:
            governor.look()
    assert [governor.count for _, governor, _ in pair] == [1, 1]
    one.load = 0.0
    assert one.work(pair[0][1], CALM_LOOKS + 1)[-1] == 2


def test_what_is_not_known_holds_nothing_back_and_most_is_never_passed() -> None:
    blind = ThreadGovernor(3, lambda: Usage(time.monotonic(), 0.0, ()), time.monotonic)
    assert (blind.look(), blind.free) == (3, None)
    machine = Machine(16)
    assert machine.work(machine.governor(most=4), 6) == [4] * 6
    assert free_cores(Usage(1.0, 0.0, ((2, 0.0),)), Usage(1.0, 0.0, ((2, 0.0),))) is None  # no time has passed


def test_a_container_is_held_by_its_quota_and_by_who_shares_it() -> None:
    roomy = Machine(64, load=40.0, quota=4.0)  # the host is busy, but not with the container's share
    assert roomy.work(roomy.governor(4), 6)[-1] == 4
    shared = Machine(64, quota=4.0, inside=2.0)
    assert shared.work(shared.governor(4), 6)[-1] == 2
    overrun = Machine(64, load=100.0, quota=4.0)
    assert overrun.work(overrun.governor(4), 9)[-1] == 1


def test_looks_cost_no_reading_before_they_are_due() -> None:
    machine = Machine(2)
    readings = []

    def read() -> Usage:
        readings.append(machine.now)
        return machine.read()

    governor = ThreadGovernor(2, read, lambda: machine.now)
    for _ in range(1000):
        machine.pass_by(LOOK_SECONDS / 100, 2)
        governor.look()
    assert len(readings) <= 12


# -- the kernel's files --


def stat_file(folder: Path, busy: Callable[[int], int]) -> Path:
    """A ``/proc/stat`` in which core n was busy for ``busy(n)`` ticks in user mode, and idle for many."""
    rows = [f"cpu{n} {busy(n)} 0 0 123456 7 0 0 0 5 0" for n in sorted({*affinity(), 900})]
    path = folder / "stat"
    path.write_text("\n".join(["cpu  1 2 3 4 5 6 7 8 9 10", *rows, "intr 1 2", "ctxt 5", ""]))
    return path


def test_only_the_cores_of_this_process_count(tmp_path: Path) -> None:
    tick = os.sysconf("SC_CLK_TCK")
    usage = read_usage(stat_file(tmp_path, lambda n: 10_000 * tick if n == 900 else 3 * tick), tmp_path / "none")
    assert usage.pools == ((len(affinity()), 3.0 * len(affinity())),)


@pytest.mark.parametrize("text", ["", "cpu0 1 2\n", "cpu0 a b c d e f g h\n", "no such thing\n"])
def test_a_strange_stat_file_says_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "stat").write_text(text)
    assert read_usage(tmp_path / "stat", tmp_path / "none").pools == ()
    assert read_usage(tmp_path / "absent", tmp_path / "none").pools == ()


def test_quotas_are_read_of_either_version(tmp_path: Path) -> None:
    new, old, free = (tmp_path / name for name in ("new", "old", "free"))
    for folder in (new, old / "cpu", old / "cpuacct", free):
        folder.mkdir(parents=True)
    (new / "cpu.max").write_text("150000 100000\n")
    (new / "cpu.stat").write_text("usage_usec 2500000\nuser_usec 1\n")
    (old / "cpu" / "cpu.cfs_quota_us").write_text("50000\n")
    (old / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    (old / "cpuacct" / "cpuacct.usage").write_text("3000000000\n")
    (free / "cpu.max").write_text("max 100000\n")
    assert [core_quota(p) for p in (new, old, free, tmp_path / "none")] == [1.5, 0.5, None, None]
    assert [read_usage(tmp_path / "absent", p).pools for p in (new, old, free)] == [((1.5, 2.5),), ((0.5, 3.0),), ()]
    assert usable_cores(new) == min(2, len(affinity()))
    assert (usable_cores(old), usable_cores(free)) == (1, len(affinity()))


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="the system has no /proc/stat")
def test_another_process_is_seen_and_ones_own_work_is_not() -> None:
    loop = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        before = read_usage()
        while (now := read_usage()).own - before.own < 0.5:
            sum(range(10_000))
    finally:
        loop.kill()
        loop.wait()
    ((cores, used), *_), ((_, earlier), *_) = now.pools, before.pools
    free = free_cores(before, now)
    assert free is not None
    assert used - earlier > 0.4
    assert free < cores - 0.1
