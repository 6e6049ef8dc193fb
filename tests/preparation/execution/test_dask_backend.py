"""A real Dask scheduler and real workers: same bytes as here, and a killed worker costs nothing."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.preparing import CONFIG, contents, run
from helpers.programs.cluster import Cluster, cluster_in
from helpers.releases import box_geometry, write_box, write_release

from pix3d_onet.data.sources.pix3d import list_pix3d
from pix3d_onet.errors import InputError
from pix3d_onet.events import Event, Progress
from pix3d_onet.preparation.job import Execution, PrepareResult, prepare

pytest.importorskip("distributed")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with cluster_in(tmp_path / "cluster") as made:
        yield made


def run_there(root: Path, out: Path, address: str, kill: subprocess.Popen[bytes] | None = None) -> PrepareResult:
    def watch(event: Event) -> None:
        if kill is not None and kill.poll() is None and isinstance(event, Progress) and event.done >= 2:
            os.killpg(kill.pid, signal.SIGKILL)

    execution = Execution(backend="dask", scheduler=address, geometry=box_geometry, time_limit=5)
    return prepare(list_pix3d(root, CONFIG), CONFIG, out, execution, emit=watch)


def test_two_workers_one_killed(cluster: Cluster, tmp_path: Path) -> None:
    root = tmp_path / "root"
    write_release(root, 12)
    for index in range(12):
        write_box(root / f"model/chair/BOX_{index:03d}/model.obj", (1, 0.5, 0.3 + index / 50), "slow 0.3")
    run(root, tmp_path / "here")
    first, _ = cluster.worker(), cluster.worker()
    result = run_there(root, tmp_path / "there", cluster.address, kill=first)
    assert first.wait() is not None
    assert result.manifest.counts["prepared"] == 12
    assert contents(tmp_path / "there") == contents(tmp_path / "here")


def test_a_shape_that_kills_workers_is_the_only_reject(cluster: Cluster, tmp_path: Path) -> None:
    root = tmp_path / "root"
    write_release(root, 5)
    write_box(root / "model/chair/BOX_001/model.obj", (1, 1, 1), "die")
    write_box(root / "model/chair/BOX_003/model.obj", (1, 1, 1), "bug")
    cluster.worker()
    result = run_there(root, tmp_path / "out", cluster.address)
    assert [(r.object_id, r.reason) for r in result.rejected] == [
        ("chair-BOX_001", "worker-died"),
        ("chair-BOX_003", "unexpected"),
    ]
    assert result.manifest.counts["prepared"] == 3


def test_no_scheduler_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pix3d_onet.machine import cluster as module

    monkeypatch.setattr(module, "CONNECT_SECONDS", 1.0)
    write_release(tmp_path / "root", 1)
    with pytest.raises(InputError, match="no Dask scheduler answers"):
        run_there(tmp_path / "root", tmp_path / "out", "tcp://127.0.0.1:9")


def test_no_workers_is_one_line(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pix3d_onet.machine import cluster as module

    monkeypatch.setattr(module, "CONNECT_SECONDS", 3.0)
    write_release(tmp_path / "root", 1)
    with pytest.raises(InputError, match="no workers"):
        run_there(tmp_path / "root", tmp_path / "out", cluster.address)


def test_a_lost_scheduler_ends_the_run(cluster: Cluster, tmp_path: Path) -> None:
    root = tmp_path / "root"
    write_release(root, 8)
    for index in range(8):
        write_box(root / f"model/chair/BOX_{index:03d}/model.obj", (1, 1, 1), "slow 1")
    cluster.worker()
    with pytest.raises(InputError, match="Dask scheduler"):
        run_there(root, tmp_path / "out", cluster.address, kill=cluster.processes[0])
    assert len(list((tmp_path / "out" / ".parts").glob("*.npz"))) >= 2
