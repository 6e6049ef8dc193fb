"""The planner: only what is missing, resumed where it was, one folder a run."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.stored_runs import make_record

from pix3d_onet.ablation import parallel
from pix3d_onet.ablation.bench import PlannedRun, bench, missing_start, plan_runs
from pix3d_onet.ablation.recipes import RECIPES
from pix3d_onet.ablation.stored_runs import group_runs
from pix3d_onet.ablation.variants import SUITES, Variant, variant
from pix3d_onet.config import ModelConfig, TrainConfig
from pix3d_onet.errors import BusyError, ConfigError, DivergedError, InputError, InterruptedRunError, UnsuitableError
from pix3d_onet.events import Event, Note, Progress, RunFinished, RunStarted, TrainStep
from pix3d_onet.locks import locked
from pix3d_onet.runs.record import RunRecord, write_run

CONFIG = TrainConfig(steps=30, val_every=10)


def identity(v: Variant, config: TrainConfig) -> str:
    return f"{make_record(v.name, config.seed, config=config).run_id}"


def never(name: str, seed: int) -> Exception | None:
    return None


class FakeTraining:
    """Stands in for ``learning.training.run.train``: writes a record, or fails as told."""

    def __init__(self, fails: Callable[[str, int], Exception | None] = never) -> None:
        self.calls: list[tuple[str, int, bool]] = []
        self.fails = fails

    def __call__(
        self,
        model: ModelConfig,
        config: TrainConfig,
        data: Path,
        out: Path,
        *,
        name: str,
        resume: bool,
        device: str,
        emit: Any,
    ) -> RunRecord:
        self.calls.append((name, config.seed, out.exists()))
        out.mkdir(parents=True, exist_ok=True)
        (out / "config.json").write_text("{}")
        error = self.fails(name, config.seed)
        if error:
            raise error
        record = make_record(name, config.seed, config=config)
        write_run(out, record)
        return record


def plan(
    out: Path,
    names: tuple[str, ...] = ("resnet18", "convnext"),
    seeds: tuple[int, ...] = (0, 1),
    config: TrainConfig = CONFIG,
) -> tuple[PlannedRun, ...]:
    return plan_runs([variant(n) for n in names], seeds, config, out, identity)


def test_the_plan_is_every_variant_with_every_seed_seed_by_seed(tmp_path: Path) -> None:
    made = plan(tmp_path)
    assert [(p.variant.name, p.config.seed) for p in made] == [
        ("resnet18", 0),
        ("convnext", 0),
        ("resnet18", 1),
        ("convnext", 1),
    ]
    assert len({p.folder for p in made}) == 4
    assert made[0].folder == tmp_path / "resnet18" / f"0-{made[0].run_id}"
    assert all(p.state == "missing" for p in made)


def test_the_folder_follows_the_settings(tmp_path: Path) -> None:
    longer = dataclasses.replace(CONFIG, steps=31)
    assert not {p.folder for p in plan(tmp_path)} & {p.folder for p in plan(tmp_path, config=longer)}
    assert [p.folder for p in plan(tmp_path)] == [p.folder for p in plan(tmp_path)]


def test_a_second_call_trains_nothing(tmp_path: Path) -> None:
    first, second = FakeTraining(), FakeTraining()
    result = bench(plan(tmp_path), tmp_path, first, out=tmp_path)
    assert (result.trained, len(result.runs)) == (4, 4)
    events: list[Event] = []
    again = bench(plan(tmp_path), tmp_path, second, out=tmp_path, emit=events.append)
    assert second.calls == []
    assert (again.trained, len(again.runs)) == (0, 4)
    assert sum(isinstance(e, RunFinished) and e.skipped for e in events) == 4
    assert not any(isinstance(e, RunStarted) for e in events)


def test_what_a_variant_is_called_and_changes_is_kept_with_its_runs(tmp_path: Path) -> None:
    def planned(label: str) -> tuple[PlannedRun, ...]:
        own = Variant("resnet34", label, ModelConfig("resnet34"), train={"ema": 0.99})
        return plan_runs([variant("resnet18"), own], (0,), CONFIG, tmp_path, identity)

    result = bench(planned("Mine"), tmp_path, FakeTraining(), out=tmp_path)
    assert [(r.record.label, r.record.replaced) for r in result.runs] == [("", {}), ("Mine", {"ema": 0.0})]
    stamp = (result.runs[0].folder / "run.json").stat().st_mtime_ns
    again = bench(planned("Renamed"), tmp_path, FakeTraining(), out=tmp_path)
    assert again.trained == 0
    assert [r.record.label for r in again.runs] == ["", "Renamed"]
    assert (result.runs[0].folder / "run.json").stat().st_mtime_ns == stamp


def test_variants_that_start_from_a_file_get_it_or_are_left_out(tmp_path: Path) -> None:
    """And their runs are in one table with those that start as all do."""
    names = (*SUITES["pretrain"].variants, "resnet18")
    chosen, paths = [variant(n) for n in names], {"weights": tmp_path / "a", "init_from": tmp_path / "b"}
    made = plan_runs(chosen, (0,), CONFIG, tmp_path, identity, paths)
    assert [dict(p.start) for p in made] == [
        {},
        *[{"weights": tmp_path / "a"}] * 2,
        {"init_from": tmp_path / "b"},
        {},
        {"weights": tmp_path / "a"},
        {},
    ]  # fmt: skip
    some = plan_runs(chosen, (0,), CONFIG, tmp_path, identity, {"weights": tmp_path / "a"})
    assert [p.variant.name for p in some] == [
        "lite0",
        "lite0-weights",
        "lite0-frozen",
        "lite0-pixel",
        "lite0-pixel-weights",
        "resnet18",
    ]
    assert [missing_start(v, {}) for v in chosen] == ["", "weights", "weights", "init_from", "", "weights", ""]
    with pytest.raises(ConfigError, match="no chosen variant starts from `weights`"):
        plan_runs([variant("resnet18")], (0,), CONFIG, tmp_path, identity, paths)
    given: dict[str, dict[str, Any]] = {}

    class Starts(FakeTraining):
        def __call__(self, *arguments: Any, name: str, **options: Any) -> RunRecord:
            given[name] = {key: options.pop(key) for key in paths if key in options}
            record = super().__call__(*arguments, name=name, **options)
            weights = {"lite0": "", "lite0-pixel": "", "resnet18": "pretrained"}.get(name, "of its own")
            write_run(arguments[3], replaced := dataclasses.replace(record, weights=weights))
            return replaced

    runs = bench(made, tmp_path, Starts(), out=tmp_path).runs
    assert given == {p.variant.name: dict(p.start) for p in made}
    assert len(group_runs(runs)) == 1


def test_interrupted_twice_no_run_is_trained_twice(tmp_path: Path) -> None:
    def stop_at(name: str, seed: int) -> Callable[[str, int], Exception | None]:
        return lambda n, s: InterruptedRunError("stopped") if (n, s) == (name, seed) else None

    calls: list[tuple[str, int, bool]] = []
    for stop in (("convnext", 0), ("resnet18", 1), ("nothing", 9)):
        training = FakeTraining(stop_at(*stop))
        try:
            result = bench(plan(tmp_path), tmp_path, training, out=tmp_path)
        except InterruptedRunError:
            pass
        finally:
            calls += training.calls
    assert len(result.runs) == 4
    finished = [c[:2] for c in calls]
    assert sorted(set(finished)) == [("convnext", 0), ("convnext", 1), ("resnet18", 0), ("resnet18", 1)]
    assert len(finished) == 6
    assert [c for c in calls if c[2]] == [("convnext", 0, True), ("resnet18", 1, True)]


def test_a_diverged_run_stays_blank_and_the_rest_goes_on(tmp_path: Path) -> None:
    training = FakeTraining(lambda n, s: DivergedError("the loss is NaN") if n == "resnet18" else None)
    events: list[Event] = []
    result = bench(plan(tmp_path), tmp_path, training, out=tmp_path, emit=events.append)
    assert [f.run.name for f in result.failures] == ["resnet18/0", "resnet18/1"]
    assert [r.variant for r in result.runs] == ["convnext", "convnext"]
    assert sum(isinstance(e, Note) and "NaN" in e.message for e in events) == 2


def test_an_unusable_input_ends_the_ablation_at_once(tmp_path: Path) -> None:
    training = FakeTraining(lambda n, s: InputError("no weights"))
    with pytest.raises(InputError, match="no weights"):
        bench(plan(tmp_path), tmp_path, training, out=tmp_path)
    assert len(training.calls) == 1


@pytest.mark.parametrize("error", [UnsuitableError("out of memory"), RuntimeError("CUDA error"), OSError(28, "full")])
def test_what_ends_one_run_does_not_end_the_others(tmp_path: Path, error: Exception) -> None:
    training = FakeTraining(lambda name, seed: error if name == "resnet34" else None)
    runs = plan(tmp_path, names=("resnet18", "resnet34", "convnext"), seeds=(0,))
    result = bench(runs, tmp_path / "data", training, out=tmp_path)
    assert [name for name, _, _ in training.calls] == ["resnet18", "resnet34", "convnext"]
    assert [failure.run.variant.name for failure in result.failures] == ["resnet34"]
    assert result.trained == 2


def test_a_damaged_record_does_not_end_the_others_and_is_never_replaced(tmp_path: Path) -> None:
    runs = plan(tmp_path, names=("resnet18", "convnext"), seeds=(0, 1))
    bench(runs[:2], tmp_path, FakeTraining(), out=tmp_path)
    damaged = runs[0].folder / "run.json"
    damaged.write_text("{")
    again = FakeTraining()
    events: list[Event] = []
    result = bench(runs, tmp_path, again, out=tmp_path, emit=events.append)
    assert [failure.run.name for failure in result.failures] == ["resnet18/0"]
    assert [name for name, _, _ in again.calls] == ["resnet18", "convnext"]  # of seed 1
    assert (len(result.runs), result.trained) == (3, 2)
    assert damaged.read_text() == "{"
    (note,) = (e.message for e in events if isinstance(e, Note))
    assert note.startswith("resnet18/0 cannot be used, its cells are blank: ")


def test_when_all_fail_the_first_error_is_the_answer(tmp_path: Path) -> None:
    training = FakeTraining(lambda n, s: DivergedError(f"{n} is NaN"))
    with pytest.raises(DivergedError, match="resnet18"):
        bench(plan(tmp_path), tmp_path, training, out=tmp_path)


def test_two_ablations_do_not_share_a_folder(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(BusyError, match="another onet"):
        bench(plan(tmp_path), tmp_path, FakeTraining(), out=tmp_path)
    assert bench(plan(tmp_path), tmp_path, FakeTraining(), out=tmp_path).trained == 4


def test_nothing_named_or_named_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="seeds"):
        plan(tmp_path, seeds=())
    with pytest.raises(ConfigError, match="seeds"):
        plan(tmp_path, seeds=(1, 1))
    with pytest.raises(ConfigError, match="variant"):
        plan(tmp_path, names=("resnet18", "resnet18"))


def test_presets_hold_the_reports_recipe_and_a_small_one() -> None:
    paper, quick = RECIPES["paper"].train, RECIPES["quick"].train
    assert (paper.steps, paper.batch_size, paper.image_size, paper.points_per_shape, paper.lr, paper.val_every) == (
        3000,
        64,
        224,
        2048,
        1e-4,
        100,
    )
    assert quick.steps % quick.val_every == 0
    assert all(variant(n).recipe(quick) for n in SUITES["recipe"].variants)


class SlowTraining(FakeTraining):
    """Runs in a process of its own: emits steps, and fails or dies by seed."""

    def __call__(self, model: ModelConfig, config: TrainConfig, data: Path, out: Path, **options: Any) -> RunRecord:
        import os

        options["emit"](TrainStep(1, config.steps, 99.0, 8.0, best_iou=0.25))
        if config.seed == 7:
            raise DivergedError("the loss is NaN", hint="Lower `lr`.")
        if config.seed == 8:
            os._exit(9)
        if config.seed == 9:
            raise InterruptedRunError("stopped")
        record = super().__call__(model, config, data, out, **options)
        (out / "device").write_text(options["device"])
        return record


def test_side_by_side_runs_use_every_device_and_lose_nothing(tmp_path: Path) -> None:
    events: list[Event] = []
    made = plan(tmp_path, seeds=(0, 7, 8))
    result = bench(made, tmp_path, SlowTraining(), out=tmp_path, devices=("cuda:0", "cuda:1"), emit=events.append)
    assert [(r.variant, r.seed) for r in result.runs] == [("resnet18", 0), ("convnext", 0)]
    assert {(r.folder / "device").read_text() for r in result.runs} == {"cuda:0", "cuda:1"}
    reasons = {f.run.name: str(f.error) for f in result.failures}
    assert set(reasons) == {"resnet18/7", "convnext/7", "resnet18/8", "convnext/8"}
    assert reasons["resnet18/7"] == "the loss is NaN Lower `lr`."
    assert "status 9" in reasons["convnext/8"]
    steps = {e.stage: e for e in events if isinstance(e, Progress)}
    assert {p.name for p in made if p.config.seed != 8} <= set(steps) <= {p.name for p in made}
    assert steps["resnet18/0"].item == "loss 99, best IoU 0.2500"
    assert sum(isinstance(e, RunStarted) for e in events) == 6
    assert bench(made[:2], tmp_path, SlowTraining(), out=tmp_path, devices=("cpu", "cpu")).trained == 0


def test_an_interrupted_run_stops_the_others(tmp_path: Path) -> None:
    with pytest.raises(InterruptedRunError):
        bench(plan(tmp_path, seeds=(9, 0)), tmp_path, SlowTraining(), out=tmp_path, devices=("cpu", "cpu"))


def test_processes_side_by_side_share_the_cores_unless_the_user_said_how(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    with parallel.thread_share(3) as shared:
        assert shared
        assert os.environ["OMP_NUM_THREADS"] == "3"
    assert "OMP_NUM_THREADS" not in os.environ
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    with parallel.thread_share(3) as shared:
        assert not shared
        assert os.environ["OMP_NUM_THREADS"] == "5"
    assert os.environ["OMP_NUM_THREADS"] == "5"
