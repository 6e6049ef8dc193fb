"""What lies where in a run's folder, and what is said where nothing does."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.stored_runs import make_run

from pix3d_onet.errors import InputError
from pix3d_onet.learning import checkpoint
from pix3d_onet.runs.folder import RunFolder, check_network, description, finished_runs, network_file, no_network


def touch(*files: Path) -> None:
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()


def test_states(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    assert run.state == "missing"
    touch(run.path / "notes.txt")
    assert run.state == "missing"
    touch(run.config)
    assert run.state == "partial"
    touch(run.record)
    assert run.state == "done"


def test_checkpoints_stand_in_the_order_of_their_steps(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    touch(*(run.step(n) for n in (100, 9, 20)), run.last, description(run.step(9)))
    assert run.steps() == [run.step(9), run.step(20), run.step(100)]


def test_a_network_is_that_of_a_run_or_the_file_itself(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    assert network_file(tmp_path / "run") == run.best
    assert network_file(str(run.last)) == run.last
    touch(run.best, description(run.best))
    assert check_network(run.path) == check_network(run.best) == description(run.best)
    description(run.best).unlink()
    with pytest.raises(InputError, match=r"description of the run's network not found: .*model\.json"):
        check_network(run.path)


def test_where_no_network_is_the_runs_below_are_named(tmp_path: Path) -> None:
    assert str(no_network(tmp_path / "none")).startswith("run not found")
    assert str(no_network(tmp_path)).endswith("after its first validation.")
    touch(*(RunFolder(tmp_path / name).best for name in "abcdef"))
    for look in (check_network, checkpoint.load_model):
        with pytest.raises(InputError) as caught:
            look(tmp_path)
        assert str(caught.value).endswith(f"Name one of its runs: {', '.join(str(tmp_path / n) for n in 'abcd')}, ….")


def test_finished_runs_are_found_at_any_depth(tmp_path: Path) -> None:
    make_run(tmp_path / "deep/er", "resnet18", 0)
    touch(RunFolder(tmp_path / "unfinished").config)
    (found,) = finished_runs(tmp_path)
    assert RunFolder(found).state == "done"
    assert finished_runs(found) == [found]
