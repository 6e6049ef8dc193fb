"""What prepare survives: workers that die, hang or eat memory, kills, Ctrl-C, a full disk."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers.preparing import CONFIG, contents, run
from helpers.releases import box_geometry, write_box, write_release

from pix3d_onet.data.sources.pix3d import list_pix3d
from pix3d_onet.errors import InputError
from pix3d_onet.preparation.execution.pool import sigint_blocked
from pix3d_onet.preparation.job import Execution, prepare
from pix3d_onet.preparation.staging import Staging

SMALL = ("--resolution", "32", "--points", "4096", "--surface-points", "512", "--image-size", "32", "--mesh-error", "0")
ALLOWED_SECONDS = 120


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_release(tmp_path / "root", 10)
    return tmp_path / "root"


def spoil(root: Path, index: int, note: str) -> None:
    mesh = root / f"model/chair/BOX_{index:03d}/model.obj"
    write_box(mesh, np.random.default_rng(index).uniform(0.4, 1.0, 3), note)


@pytest.mark.parametrize("jobs", [1, 2])
def test_no_shape_takes_the_run_down(root: Path, tmp_path: Path, jobs: int) -> None:
    for index, note in ((1, "die"), (4, "spin"), (6, "bug"), (8, "greedy")):
        spoil(root, index, note)
    result = run(root, tmp_path / "out", backend="loky", jobs=jobs, time_limit=2.0, memory_limit=2 << 30)
    rows = {r.object_id: (r.stage, r.reason) for r in result.rejected}
    assert rows == {
        "chair-BOX_001": ("worker", "worker-died"),
        "chair-BOX_004": ("worker", "timeout"),
        "chair-BOX_006": ("worker", "unexpected"),
        "chair-BOX_008": ("worker", "memory"),
    }
    details = {r.object_id: r.detail for r in result.rejected}
    assert "SIGKILL" in details["chair-BOX_001"]
    assert details["chair-BOX_006"] == "ZeroDivisionError: a bug of ours"
    assert result.manifest.counts["prepared"] == 6


def test_innocent_shapes_beside_a_dying_one_are_the_same(root: Path, tmp_path: Path) -> None:
    run(root, tmp_path / "calm")
    spoil(root, 3, "die")
    run(root, tmp_path / "out", backend="loky", jobs=2)
    calm, out = contents(tmp_path / "calm"), contents(tmp_path / "out")
    assert calm["shard-00002.h5"] != out["shard-00002.h5"]  # everything moved up by one
    from pix3d_onet.data.store.reader import load_dataset

    mine = {s.object_id: s for s in load_dataset(tmp_path / "out", None)}
    for sample in load_dataset(tmp_path / "calm", None):
        if sample.object_id != "chair-BOX_003":
            assert (mine[sample.object_id].occupancy == sample.occupancy).all()
            assert (mine[sample.object_id].images[0].rgb == sample.images[0].rgb).all()


def command(root: Path, out: Path, jobs: int = 2, *more: str) -> list[str]:
    where = ["--root", str(root), "--out", str(out), "--jobs", str(jobs)]
    return [sys.executable, "-m", "onet_cli.main", "prepare", "pix3d", *where, *SMALL, *more]


def start(arguments: list[str]) -> subprocess.Popen[str]:
    code = "import sys; from onet_cli.main import main; main(sys.argv[1:])"
    line = [sys.executable, "-c", code, *arguments[3:]]
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def wait_for_parts(out: Path, process: subprocess.Popen[str], count: int = 1) -> None:
    deadline = time.monotonic() + ALLOWED_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        if len(list((out / ".parts").glob("[!.]*"))) >= count:
            return
        time.sleep(0.01)


def children(pid: int) -> list[int]:
    """Process ids of the children, from /proc: a bare system has no ps."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and f"PPid:\t{pid}\n" in (entry / "status").read_text():
                found.append(int(entry.name))
        except OSError:  # gone meanwhile
            continue
    return found


def alive(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


@pytest.mark.parametrize(("number", "whole_group"), [(signal.SIGINT, True), (signal.SIGTERM, False)])
def test_an_interrupt_keeps_what_is_finished(root: Path, tmp_path: Path, number: int, whole_group: bool) -> None:
    out = tmp_path / "out"
    process = start(command(root, out))
    wait_for_parts(out, process)
    (os.killpg if whole_group else os.kill)(process.pid, number)
    _, errors = process.communicate(timeout=ALLOWED_SECONDS)
    if process.returncode == 0:
        pytest.skip("finished before the signal came")
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert "interrupted" in errors.splitlines()[-1]
    assert list((out / ".parts").glob("[!.]*"))


def kill_and_resume(root: Path, out: Path, reference: dict[str, bytes], delays: list[float]) -> None:
    """Kill -9 after each of ``delays`` seconds, then finish, and compare."""
    for delay in delays:
        process = start(command(root, out))
        time.sleep(delay)
        workers = children(process.pid)
        process.kill()
        process.communicate(timeout=ALLOWED_SECONDS)
        deadline = time.monotonic() + 10
        while any(map(alive, workers)) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not any(map(alive, workers)), "workers outlive a killed run"
    process = start(command(root, out))
    _, errors = process.communicate(timeout=ALLOWED_SECONDS)
    assert process.returncode == 0, errors
    assert contents(out) == reference
    assert {p.name for p in out.iterdir()} == {*reference, "timings.csv"}


def reference_run(root: Path, out: Path) -> tuple[dict[str, bytes], float]:
    begin = time.monotonic()
    process = start(command(root, out, 1))
    _, errors = process.communicate(timeout=ALLOWED_SECONDS)
    assert process.returncode == 0, errors
    return contents(out), time.monotonic() - begin


def test_killed_runs_end_in_the_same_bytes(root: Path, tmp_path: Path) -> None:
    reference, seconds = reference_run(root, tmp_path / "calm")
    kill_and_resume(root, tmp_path / "out", reference, [seconds * f for f in (0.5, 0.75)])


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_twenty_kills_at_random_moments(tmp_path: Path) -> None:
    write_release(tmp_path / "root", 24)
    reference, seconds = reference_run(tmp_path / "root", tmp_path / "calm")
    rng = np.random.default_rng(20)
    for round_ in range(5):
        delays = [float(d) for d in rng.uniform(0.1, 1.0, 4) * seconds]
        kill_and_resume(tmp_path / "root", tmp_path / f"out{round_}", reference, delays)


def test_a_kill_while_assembling(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(root, tmp_path / "calm")
    reference = contents(tmp_path / "calm")
    from pix3d_onet.preparation import assemble as module

    original = module.write_shard

    def stop_at_second(path: Path, shapes: object) -> object:
        if path.name == "shard-00001.h5":
            raise SystemExit
        return original(path, shapes)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "write_shard", stop_at_second)
    with pytest.raises(SystemExit):
        run(root, tmp_path / "out")
    monkeypatch.undo()
    assert not (tmp_path / "out" / "manifest.json").exists()
    result = run(root, tmp_path / "out")
    assert result.resumed == 10
    assert contents(tmp_path / "out") == reference


def test_parts_left_by_a_kill_after_the_manifest_go_away(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(root, out)
    Staging(out).open()
    (out / ".parts" / "x.json").write_text("{}")
    assert run(root, out).up_to_date
    assert not (out / ".parts").exists()


def test_a_full_disk_is_one_line_and_keeps_parts(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original, saved = Staging.save, []

    def save(self: Staging, outcome: object) -> None:
        if len(saved) == 5:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        saved.append(1)
        original(self, outcome)  # type: ignore[arg-type]

    monkeypatch.setattr(Staging, "save", save)
    with pytest.raises(InputError, match="no space left"):
        run(root, tmp_path / "out")
    monkeypatch.undo()
    result = run(root, tmp_path / "out")
    assert result.resumed == 5


@pytest.mark.parametrize("points", [2048, 65536])
def test_a_really_full_disk(small_disk: Callable[[str], Path], tmp_path: Path, points: int) -> None:
    """With few points the disk fills while shards are assembled, with many while the first parts are kept."""
    write_release(tmp_path / "root", 16)
    config = CONFIG.from_json({**CONFIG.to_json(), "points": points})
    execution = Execution(backend="inline", geometry=box_geometry)
    disk = small_disk("600k")
    with pytest.raises(InputError, match="no space left on the disk"):
        prepare(list_pix3d(tmp_path / "root", config), config, disk / "out", execution)
    assert not (disk / "out" / "manifest.json").exists()
    assert not list(disk.rglob("*.part"))


def test_ctrl_c_while_workers_start_is_late_and_not_lost() -> None:
    steps = []

    def start_workers() -> None:
        with sigint_blocked():
            signal.raise_signal(signal.SIGINT)
            steps.append("went on")

    with pytest.raises(KeyboardInterrupt):
        start_workers()
    assert steps == ["went on"]
