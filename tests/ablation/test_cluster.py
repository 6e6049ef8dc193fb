"""An ablation on a real Dask scheduler and real workers: one that is lost costs nothing that was finished."""

from __future__ import annotations

import os
import signal
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.datasets import make_dataset
from helpers.programs.cluster import Cluster, cluster_in
from helpers.programs.watched_training import log_of, the_cpu, train_elsewhere, train_watched

from pix3d_onet.ablation import cluster as module
from pix3d_onet.ablation.bench import BenchResult, PlannedRun, bench, plan_runs
from pix3d_onet.ablation.variants import Variant
from pix3d_onet.config import ModelConfig, TrainConfig
from pix3d_onet.data.store.manifest import read_manifest
from pix3d_onet.errors import InputError, OnetError
from pix3d_onet.events import Event, Note, Progress, RunFinished, RunStarted

pytest.importorskip("distributed")
pytest.importorskip("torch")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

STEPS = 40
CONFIG = TrainConfig(
    steps=STEPS, batch_size=4, points_per_shape=64, image_size=32, pretrained=False, val_every=4, precision="fp32"
)
TINY = ModelConfig("mobilenetv3_small_050", c_dim=8, hidden_dim=16, blocks=1)
VARIANTS = (Variant("small", "Small", TINY), Variant("wide", "Wide", ModelConfig("mobilenetv3_small_050", c_dim=16)))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("data") / "chairs", shapes=9, points=512, image_size=32)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with cluster_in(tmp_path / "cluster") as made:
        yield made


def plan(data: Path, out: Path, seeds: tuple[int, ...] = (0, 1)) -> tuple[PlannedRun, ...]:
    from pix3d_onet.learning.training.run import run_identity

    data_hash = read_manifest(data).data_hash
    return plan_runs(VARIANTS, seeds, CONFIG, out, lambda v, c: run_identity(v.model, c, data_hash, None))


def run_there(data: Path, out: Path, cluster: Cluster, emit: Any, *, seeds: tuple[int, ...] = (0, 1)) -> BenchResult:
    there = module.Cluster(cluster.address, the_cpu)
    return bench(plan(data, out, seeds), data, train_watched, out=out, cluster=there, emit=emit)


def scores(result: BenchResult) -> list[Any]:
    """All of the runs that a table is made from, but their speed and place."""
    same = ("run_id", "params", "best_val_iou", "best_step", "val_scores", "test_scores", "val_threshold")
    return [(r.variant, r.seed, *(getattr(r.record, name) for name in same)) for r in result.runs]


def kill(process: subprocess.Popen[bytes]) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def steps_taken(out: Path) -> dict[str, list[tuple[int, str]]]:
    """Run → its steps and the processes that took them, in order."""
    taken = defaultdict(list)
    for line in log_of(out).read_text().splitlines():
        name, step, process = line.split()
        taken[name].append((int(step), process))
    return taken


def test_a_worker_lost_twice_costs_no_finished_run(cluster: Cluster, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "there" / "runs"
    events: list[Event] = []
    workers = [cluster.worker(), cluster.worker()]
    killed: list[str] = []

    def watch(event: Event) -> None:
        events.append(event)
        # the worker that trains the third run is killed in its middle, and the one that replaces it, too
        if isinstance(event, Progress) and event.stage == "small/1" and event.done >= 10 and len(killed) < 2:
            process = steps_taken(out)["small/1"][-1][1]
            victim = next(w for w in workers if process in descendants(w.pid))
            if process not in killed:
                killed.append(process)
                kill(victim)
                workers.append(cluster.worker())

    result = run_there(data, out, cluster, watch)
    assert len(killed) == 2
    here = tmp_path / "here" / "runs"
    local = bench(plan(data, here), data, train_watched, out=here, devices=("cpu",))
    assert scores(result) == scores(local)
    assert not result.failures
    taken = steps_taken(out)
    assert all([s for s, _ in taken[name]] == list(range(1, STEPS + 1)) for name in ("small/0", "wide/0"))
    resumed = taken["small/1"]
    assert len({process for _, process in resumed}) == 3
    assert sum(step == 1 for step, _ in resumed) == 1, "a run was started again instead of resumed"
    assert sorted(e.name for e in events if isinstance(e, RunFinished)) == ["small/0", "small/1", "wide/0", "wide/1"]
    assert sum(isinstance(e, RunStarted) for e in events) >= 6
    assert sum(isinstance(e, Note) and "is lost; another one resumes it" in e.message for e in events) >= 2
    again = run_there(data, out, cluster, watch)
    assert (again.trained, scores(again)) == (0, scores(local))


def descendants(pid: int) -> set[str]:
    """Process ids of ``pid`` and all below it."""
    found = {str(pid)}
    listed = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    parents = [line.split() for line in listed.splitlines()]
    while more := {child for child, parent in parents if parent in found} - found:
        found |= more
    return found


def test_a_stopped_ablation_stops_its_workers_and_is_continued(cluster: Cluster, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "runs"
    cluster.worker()

    def interrupt(event: Event) -> None:
        if isinstance(event, Progress) and event.done >= 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_there(data, out, cluster, interrupt, seeds=(0,))
    result = run_there(data, out, cluster, lambda event: None, seeds=(0,))
    assert result.trained == 2
    steps = [step for step, _ in steps_taken(out)["small/0"]]
    assert steps.count(1) == 1
    assert steps[-1] == STEPS


def test_lost_workers_and_a_lost_scheduler_are_one_line(
    cluster: Cluster, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "NO_WORKER_SECONDS", 1.0)
    worker = cluster.worker()

    def lose(process: subprocess.Popen[bytes]) -> Any:
        def watch(event: Event) -> None:
            if isinstance(event, Progress) and event.done >= 2 and process.poll() is None:
                kill(process)

        return watch

    with pytest.raises(InputError, match="lost all its workers"):
        run_there(data, tmp_path / "runs", cluster, lose(worker), seeds=(0,))
    cluster.worker()
    with pytest.raises(InputError, match=r"scheduler at .* is gone"):
        run_there(data, tmp_path / "runs", cluster, lose(cluster.processes[0]), seeds=(0,))


class NeedsMore:
    """A training that cannot be loaded elsewhere, as where a library is missing; Dask's scheduler tries first."""

    def __reduce__(self) -> tuple[Any, ...]:
        return __import__, ("no_such_library",)

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """Never called."""


def test_what_workers_do_not_share_is_told(
    cluster: Cluster, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pix3d_onet.ablation.bench.VISIBLE_SECONDS", 0.0)
    cluster.worker()
    there = module.Cluster(cluster.address, the_cpu)
    out = tmp_path / "runs"
    with pytest.raises(OnetError, match=r"unexpected RuntimeError: .*different environments"):
        bench(plan(data, out), data, NeedsMore(), out=out, cluster=there)
    with pytest.raises(InputError, match="has no record of it"):
        bench(plan(data, out), data, train_elsewhere, out=out, cluster=there)
