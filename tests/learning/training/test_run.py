"""Training runs: what they leave, that they resume exactly, stop cleanly, and refuse what they should."""

from __future__ import annotations

import csv
import dataclasses
import itertools
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.datasets import make_dataset
from safetensors.torch import load_file

from pix3d_onet.config import ModelConfig, TrainConfig
from pix3d_onet.errors import BusyError, ConfigError, DivergedError, InputError, InterruptedRunError
from pix3d_onet.events import Event, Note, TrainStep
from pix3d_onet.learning.checkpoint import load_model
from pix3d_onet.learning.device import peak_memory, reset_peak_memory
from pix3d_onet.learning.training import batch_size, trainer
from pix3d_onet.learning.training import run as training
from pix3d_onet.learning.training.optim import learning_rate, moving_average
from pix3d_onet.learning.training.run import run_identity, train
from pix3d_onet.locks import locked
from pix3d_onet.runs.record import RunRecord, read_run

MODEL = ModelConfig("test_resnet", c_dim=8, hidden_dim=16, blocks=1)
CONFIG = TrainConfig(
    steps=6, batch_size=4, points_per_shape=64, image_size=32, pretrained=False, val_every=3, lr=1e-3, precision="fp32"
)  # fmt: skip


@pytest.fixture(autouse=True)
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures for the figures have tests of their own and take longer than the training here."""
    from pix3d_onet.learning.training import examples

    monkeypatch.setattr(examples, "write_examples", lambda *_, **__: None)


def run(data: Path, out: Path, config: TrainConfig = CONFIG, **options: Any) -> RunRecord:
    return train(options.pop("model", MODEL), config, data, out, name="tiny", device="cpu", **options)


def at_step(step: int, action: Callable[[], None]) -> Callable[[Event], None]:
    def emit(event: Event) -> None:
        if isinstance(event, TrainStep) and event.step == step and event.val_iou is None:
            action()

    return emit


def tensors(out: Path, which: str) -> dict[str, torch.Tensor]:
    return load_file(out / which / "model.safetensors")


def assert_same_weights(one: Path, other: Path) -> None:
    for which in ("best", "last"):
        a, b = tensors(one, which), tensors(other, which)
        assert a.keys() == b.keys()
        assert all(torch.equal(a[key], b[key]) for key in a), which


# -- what a run leaves --


def test_a_run_leaves_its_record_curves_and_checkpoints(data: Path, tmp_path: Path) -> None:
    events: list[Event] = []
    record = run(data, tmp_path / "run", emit=events.append)
    assert read_run(tmp_path / "run") == dataclasses.replace(record, history=read_run(tmp_path / "run").history)
    assert record.params == sum(p.numel() for p in load_model(tmp_path / "run").parameters())
    assert [row.step for row in record.history] == [3, 6]
    assert (record.steps_done, record.stopped) == (6, "completed")
    assert record.best_val_iou == max(row.val_iou for row in record.history)
    assert (record.data["train"], record.data["val"], record.data["test"]) == (7, 1, 1)
    assert set(record.val_scores) == {"ball_007-0"}
    assert record.objects == {"ball_007-0": "ball_007", "box_008-0": "box_008"}
    assert 0 <= record.data_wait_share < 1
    assert record.cost["gflops_image"] > 0
    with (tmp_path / "run" / "history.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    assert [float(r["val_iou"]) for r in rows] == [row.val_iou for row in record.history]
    assert list((tmp_path / "run" / "tensorboard").iterdir())
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["run_id"] == record.run_id
    steps = [e for e in events if isinstance(e, TrainStep)]
    assert [e.step for e in steps if e.val_iou is None] == [1, 2, 3, 4, 5, 6]
    assert sorted(p.name for p in (tmp_path / "run" / "last").iterdir()) == ["model.json", "model.safetensors"]
    assert not list((tmp_path / "run").glob(".*"))
    assert np.float64(1e-310) * 0.5 > 0  # denormals, flushed while training, are the caller's again


def test_it_learns(data: Path, tmp_path: Path) -> None:
    """Overfits seven shapes: model, labels, normalisation and decoder fit together."""
    config = dataclasses.replace(CONFIG, steps=80, batch_size=7, points_per_shape=256, val_every=80, lr=3e-3)
    losses = []

    def emit(event: Event) -> None:
        if isinstance(event, TrainStep) and event.val_iou is None:
            losses.append(event.loss)

    run(data, tmp_path / "run", config, emit=emit)
    assert losses[-1] < 0.35 * losses[0]


def test_same_seed_same_bytes_and_another_seed_others(data: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        run(data, tmp_path / name, dataclasses.replace(CONFIG, seed=seed))
    assert_same_weights(tmp_path / "a", tmp_path / "b")
    assert not torch.equal(
        tensors(tmp_path / "a", "last")["decoder.fc_p.weight"], tensors(tmp_path / "c", "last")["decoder.fc_p.weight"]
    )


def test_the_numbers_of_threads_are_recorded_and_are_no_part_of_the_identity(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = torch.get_num_threads()
    fixed = run(data, tmp_path / "fixed", threads=2)
    assert (fixed.device["threads"], torch.get_num_threads()) == (2, before)
    changing = itertools.cycle((1, 2))
    monkeypatch.setattr(trainer.Threads, "adjust", lambda self: torch.set_num_threads(next(changing)))
    changed = run(data, tmp_path / "changed", threads=1)
    assert (changed.device["threads"], torch.get_num_threads()) == ("1-2", before)
    assert changed.run_id == fixed.run_id
    with pytest.raises(ConfigError, match="threads"):
        run(data, tmp_path / "wrong", threads=-1)


# -- interruption --


RECIPES = {
    "plain": {},
    "all": {
        "ema": 0.9, "schedule": "cosine", "warmup": 2, "weight_decay": 0.01, "backbone_lr": 0.5,
        "augment": ("color", "crop", "flip"), "precision": "bf16",
    },
}  # fmt: skip


@pytest.mark.parametrize("recipe", RECIPES)
def test_stopped_and_resumed_equals_undisturbed(data: Path, tmp_path: Path, recipe: str) -> None:
    config = dataclasses.replace(CONFIG, **RECIPES[recipe])
    whole = run(data, tmp_path / "whole", config)
    out = tmp_path / "pieces"
    for step, number in ((1, signal.SIGTERM), (4, signal.SIGINT), (5, signal.SIGUSR1)):
        with pytest.raises(InterruptedRunError, match=f"after step {step}") as stopped:
            run(data, out, config, resume=True, emit=at_step(step, lambda n=number: os.kill(os.getpid(), n)))  # type: ignore[misc]
        assert stopped.value.exit_status == 130
        assert not (out / "run.json").exists()
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    resumed = run(data, out, config, resume=True)
    assert_same_weights(tmp_path / "whole", out)
    for a, b in zip(whole.history, resumed.history, strict=True):
        assert (a.step, a.train_loss, a.val_loss, a.val_iou, a.lr) == (
            b.step,
            b.train_loss,
            b.val_loss,
            b.val_iou,
            b.lr,
        )
    assert whole.val_scores == resumed.val_scores


def test_a_crash_costs_one_interval_and_a_damaged_checkpoint_one_more(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "SAVE_SECONDS", 0.0)
    config = dataclasses.replace(CONFIG, steps=8, val_every=2)
    run(data, tmp_path / "whole", config)
    out = tmp_path / "crashed"

    def crash() -> None:
        raise KeyError("power cut")

    with pytest.raises(KeyError):
        run(data, out, config, emit=at_step(7, crash))
    kept = sorted(p.name for p in (out / "last").glob("*.safetensors"))
    assert kept == ["step-00000004.safetensors", "step-00000006.safetensors"]
    (out / "last" / kept[1]).write_bytes(b"half a checkpo")
    notes: list[Event] = []
    run(data, out, config, resume=True, emit=notes.append)
    texts = [e.message for e in notes if isinstance(e, Note)]
    assert any("damaged" in t and "step-00000006" in t for t in texts)
    assert any("resumed after step 4" in t for t in texts)
    assert_same_weights(tmp_path / "whole", out)
    with (out / "history.csv").open() as handle:
        assert [row["step"] for row in csv.DictReader(handle)] == ["2", "4", "6", "8"]


def test_a_loss_that_is_not_finite_names_the_pictures_and_keeps_the_checkpoint(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = trainer.occupancy_loss
    calls = []

    def broken(logits: torch.Tensor, occupancy: torch.Tensor) -> torch.Tensor:
        calls.append(0)
        return real(logits, occupancy) * (float("nan") if len(calls) == 5 else 1.0)

    monkeypatch.setattr(trainer, "occupancy_loss", broken)
    monkeypatch.setattr(trainer, "SAVE_SECONDS", 0.0)
    with pytest.raises(DivergedError, match=r"step 5; the batch was b(all|ox)_\d+-0, ") as error:
        run(data, tmp_path / "run")
    assert "`lr`" in error.value.hint
    state = load_file(tmp_path / "run" / "last" / "step-00000003.safetensors")
    assert all(torch.isfinite(value).all() for value in state.values())


# -- refusals --


def test_finished_runs_are_never_overwritten(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    record = run(data, out)
    before = (out / "run.json").read_bytes()
    with pytest.raises(InputError, match="a finished run"):
        run(data, out)
    longer = dataclasses.replace(CONFIG, steps=CONFIG.steps + 1, lr=0.01)
    with pytest.raises(InputError, match=r"another finished run: steps was \d+, now \d+; lr was .*, now 0\.01") as told:
        run(data, out, longer, resume=True)
    assert f"`init_from={out}`" in told.value.hint
    assert run(data, out, resume=True).run_id == record.run_id
    assert (out / "run.json").read_bytes() == before


def test_an_unfinished_run_needs_resume_and_the_same_settings(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(InterruptedRunError):
        run(data, out, emit=at_step(2, lambda: os.kill(os.getpid(), signal.SIGTERM)))
    with pytest.raises(InputError, match=r"unfinished run.*resume"):
        run(data, out)
    with pytest.raises(InputError, match=r"lr was 0\.001, now 0\.002"):
        run(data, out, dataclasses.replace(CONFIG, lr=0.002), resume=True)


def test_two_processes_cannot_train_in_one_folder(data: Path, tmp_path: Path) -> None:
    with locked(tmp_path / "run"), pytest.raises(BusyError, match="another onet"):
        run(data, tmp_path / "run")


def test_image_size_that_does_not_suit_is_named(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="image_size=32` does not suit"):
        run(data, tmp_path / "run", model=dataclasses.replace(MODEL, encoder="maxvit_tiny_rw_224"))


def test_out_of_memory_names_a_batch_that_fits(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.")

    monkeypatch.setattr(trainer.Trainer, "step", full)
    with pytest.raises(ConfigError, match=r"`batch_size=4`\. `batch_size=2` should fit"):
        run(data, tmp_path / "run")


def test_batch_size_auto_is_settled_and_kept_on_resume(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pix3d_onet.learning.training import run as train_module

    monkeypatch.setattr(batch_size, "available_memory", lambda _: 200_000_000)
    config = dataclasses.replace(CONFIG, batch_size=0, image_size=128, steps=2, val_every=1)
    out = tmp_path / "run"
    with pytest.raises(InterruptedRunError):
        run(data, out, config, emit=at_step(1, lambda: os.kill(os.getpid(), signal.SIGTERM)))
    settled = json.loads((out / "config.json").read_text())["train"]["batch_size"]
    assert 1 <= settled < 64
    assert settled & (settled - 1) == 0
    monkeypatch.setattr(train_module, "largest_batch", lambda *_: pytest.fail("measured again"))
    assert run(data, out, config, resume=True).train["batch_size"] == settled


# -- recipe --


def test_patience_ends_early(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = dataclasses.replace(CONFIG, steps=50, val_every=1, patience=2)
    scores = iter([0.3, 0.5, 0.4, 0.5, 0.9])
    real = trainer.Scores.mean_iou
    monkeypatch.setattr(trainer.Scores, "mean_iou", lambda self, t: next(scores, None) or real(self, t))
    record = run(data, tmp_path / "run", config)
    assert (record.stopped, record.steps_done, record.best_step) == ("patience", 4, 2)


def test_killed_after_patience_ended_it_does_not_train_on(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = dataclasses.replace(CONFIG, steps=50, val_every=1, patience=2)
    scores = iter([0.3, 0.5, 0.4, 0.5, 0.9])
    real = trainer.Scores.mean_iou
    with monkeypatch.context() as patch:
        patch.setattr(trainer.Scores, "mean_iou", lambda self, t: next(scores, None) or real(self, t))
        patch.setattr(training, "write_run", lambda *_, **__: (_ for _ in ()).throw(SystemError("killed")))
        with pytest.raises(SystemError):
            run(data, tmp_path / "run", config)
    record = run(data, tmp_path / "run", config, resume=True)
    assert (record.stopped, record.steps_done, record.best_step) == ("patience", 4, 2)


def test_weights_that_become_nan_are_neither_best_nor_saved(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = dataclasses.replace(CONFIG, val_every=2)
    real = trainer.Trainer.step

    def step(self: trainer.Trainer, number: int) -> None:
        real(self, number)
        if number == 4:  # the loss of this step was taken before its update
            with torch.no_grad():
                next(self.model.parameters()).fill_(torch.nan)

    monkeypatch.setattr(trainer.Trainer, "step", step)
    monkeypatch.setattr(trainer, "SAVE_SECONDS", 0.0)
    with pytest.raises(DivergedError, match="step 4; the batch was"):
        run(data, tmp_path / "run", config)
    assert all(bool(torch.isfinite(value).all()) for value in tensors(tmp_path / "run", "best").values())
    saved = sorted((tmp_path / "run/last").glob("step-*.safetensors"))
    assert [path.stem for path in saved] == ["step-00000002"]


def test_the_record_is_written_when_all_else_is_in_place(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bool] = []
    real = training.write_run

    def write(out: Path, record: RunRecord) -> None:
        seen.append((out / "last/model.safetensors").exists())
        real(out, record)
        raise SystemError("killed")

    monkeypatch.setattr(training, "write_run", write)
    with pytest.raises(SystemError):
        run(data, tmp_path / "run")
    assert seen == [True]
    assert run(data, tmp_path / "run", resume=True).stopped == "completed"
    assert not list((tmp_path / "run/last").glob("step-*"))


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a process's peak cannot be set back")
def test_a_run_is_not_charged_with_the_memory_of_those_before_it() -> None:
    cpu = torch.device("cpu")
    ballast = torch.ones(300 << 18)  # 300 MB
    high = peak_memory(cpu)
    del ballast
    reset_peak_memory(cpu)
    assert peak_memory(cpu) < high - (200 << 20)


def test_frozen_encoder_stays_as_it_was(data: Path, tmp_path: Path) -> None:
    run(data, tmp_path / "free", dataclasses.replace(CONFIG, steps=1))
    frozen = dataclasses.replace(CONFIG, freeze_encoder=True, lr=0.01)
    run(data, tmp_path / "a", dataclasses.replace(frozen, steps=1))
    run(data, tmp_path / "b", frozen)
    a, b = tensors(tmp_path / "a", "last"), tensors(tmp_path / "b", "last")
    backbone = [key for key in a if "backbone" in key]
    assert backbone
    assert all(torch.equal(a[key], b[key]) for key in backbone)
    assert not torch.equal(a["encoder.project.weight"], b["encoder.project.weight"])


def test_init_from_starts_at_the_other_run_s_best(data: Path, tmp_path: Path) -> None:
    run(data, tmp_path / "first")
    config = dataclasses.replace(CONFIG, steps=1, lr=1e-9)
    record = run(data, tmp_path / "second", config, init_from=tmp_path / "first")
    first, second = tensors(tmp_path / "first", "best"), tensors(tmp_path / "second", "last")
    key = "decoder.blocks.0.fc_0.weight"
    torch.testing.assert_close(first[key], second[key], rtol=0, atol=1e-7)
    assert record.weights.startswith(f"run {read_run(tmp_path / 'first').run_id}, network ")
    last = tmp_path / "first/last/model.safetensors"  # another network of the same run is another start
    assert run(data, tmp_path / "fourth", config, init_from=last).run_id != record.run_id
    other = dataclasses.replace(MODEL, hidden_dim=8)
    with pytest.raises(InputError, match="another architecture"):
        run(data, tmp_path / "third", config, model=other, init_from=tmp_path / "first")


def test_pose_networks_train_and_pictures_without_pose_are_counted(data: Path, tmp_path: Path) -> None:
    for pose in ("matrix", "6d"):
        record = run(data, tmp_path / pose, model=dataclasses.replace(MODEL, pose=pose))
        assert 0 <= record.best_val_iou <= 1


def test_a_few_validation_pictures_are_said_to_be_too_few(tmp_path: Path) -> None:
    for shapes, wanted in ((12, ["only 2 validation pictures: too few to tell which checkpoint is best"]), (30, [])):
        data = make_dataset(tmp_path / f"data-{shapes}", shapes=shapes, points=64, image_size=32)
        events: list[Event] = []
        run(data, tmp_path / f"run-{shapes}", dataclasses.replace(CONFIG, steps=1), emit=events.append)
        notes = [event.message for event in events if isinstance(event, Note)]
        assert [note for note in notes if "checkpoint" in note] == wanted


def test_a_test_split_without_a_pose_is_left_out(tmp_path: Path) -> None:
    data = make_dataset(tmp_path / "data", shapes=6, points=64, image_size=32, without_pose=(5,))
    notes: list[Event] = []
    posed = dataclasses.replace(MODEL, pose="matrix")
    record = run(data, tmp_path / "run", dataclasses.replace(CONFIG, steps=1), model=posed, emit=notes.append)
    assert len(record.val_scores) == 1
    assert record.test_scores == {}
    assert any("no picture has a pose" in str(n) for n in notes)


def test_examples_that_fail_cost_the_figures_and_not_the_run(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pix3d_onet.learning.training import examples

    def fail(*_: Any, **__: Any) -> float:
        raise RuntimeError("no such luck")

    monkeypatch.setattr(examples, "write_examples", fail)
    notes: list[Event] = []
    record = run(data, tmp_path / "run", emit=notes.append)
    assert read_run(tmp_path / "run") == record
    assert "latency_seconds" not in record.cost
    assert any(isinstance(n, Note) and n.level == "warning" and "no such luck" in n.message for n in notes)


def test_learning_rate_schedules() -> None:
    config = TrainConfig(steps=100, lr=1.0, schedule="cosine", warmup=10)
    rates = [learning_rate(config, step) for step in range(1, 101)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == rates[10] == pytest.approx(1.0)
    assert all(a >= b for a, b in itertools.pairwise(rates[9:]))
    assert rates[55] == pytest.approx(0.5, abs=0.01)
    assert 0 < rates[-1] < 0.001
    assert learning_rate(TrainConfig(steps=5, lr=0.3), 5) == 0.3


def test_moving_average_is_the_recursion() -> None:
    from pix3d_onet.learning.network.model import build_model

    model = build_model(MODEL)
    average = moving_average(model, 0.5)
    weight = model.decoder.fc_p.weight
    expected = weight.detach().clone()
    for step in range(10, 14):
        with torch.no_grad():
            weight += 1
        average.update(model, step)
        expected = 0.5 * expected + 0.5 * weight.detach()
    torch.testing.assert_close(average.module.decoder.fc_p.weight, expected)
    assert not average.module.decoder.fc_p.weight.requires_grad


def test_the_decay_of_the_moving_average_warms_up_as_tensorflow_s() -> None:
    from pix3d_onet.learning.network.model import build_model

    model = build_model(MODEL)
    for decay in (0.5, 0.99, 0.9999):
        average = moving_average(model, decay)
        for step in (1, 2, 3, 10, 100, 12_345):
            assert average.get_decay(step) == pytest.approx(min(decay, (1 + step) / (10 + step)), rel=1e-12)


# -- identity --


def test_identity_depends_on_what_defines_the_run_and_nothing_else(tmp_path: Path) -> None:
    base = run_identity(MODEL, CONFIG, "abc", None)
    assert base == run_identity(MODEL, TrainConfig.from_json(CONFIG.to_json()), "abc")
    assert len(base) == 12
    weights = tmp_path / "w.pth"
    weights.write_bytes(b"1")
    others = {
        run_identity(dataclasses.replace(MODEL, pose="6d"), CONFIG, "abc"),
        run_identity(MODEL, dataclasses.replace(CONFIG, seed=1), "abc"),
        run_identity(MODEL, CONFIG, "abd"),
        run_identity(MODEL, CONFIG, "abc", weights),
        run_identity(MODEL, CONFIG, "abc", None, "0123456789ab"),
        run_identity(MODEL, dataclasses.replace(CONFIG, pretrained=True), "abc"),
        base,
    }
    assert len(others) == 7
    first = run_identity(MODEL, CONFIG, "abc", weights)
    weights.write_bytes(b"2")
    assert run_identity(MODEL, CONFIG, "abc", weights) != first


def test_the_stored_record_has_the_planned_identity(data: Path, tmp_path: Path) -> None:
    from pix3d_onet.data.store.manifest import read_manifest

    record = run(data, tmp_path / "run")
    assert record.run_id == run_identity(MODEL, CONFIG, read_manifest(data).data_hash, None)
