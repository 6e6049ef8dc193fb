"""What a run that fails leaves behind: what can be continued, or nothing; and how its files look to others."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.command_line import onet
from safetensors.torch import save_file

from pix3d_onet.config import ModelConfig, TrainConfig
from pix3d_onet.errors import ConfigError, DivergedError, InputError, InterruptedRunError, UnsuitableError
from pix3d_onet.events import Event, Note, TrainStep
from pix3d_onet.learning import checkpoint
from pix3d_onet.learning.training import examples, trainer
from pix3d_onet.learning.training import run as training
from pix3d_onet.learning.training.run import train
from pix3d_onet.runs.folder import RunFolder
from pix3d_onet.runs.record import RunRecord, read_run

MODEL = ModelConfig("test_resnet", c_dim=8, hidden_dim=16, blocks=1)
CONFIG = TrainConfig(
    steps=8, batch_size=4, points_per_shape=64, image_size=32, pretrained=False, val_every=2, precision="fp32"
)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pictures for the figures, and a checkpoint at every validation."""
    monkeypatch.setattr(examples, "write_examples", lambda *_, **__: None)
    monkeypatch.setattr(trainer, "SAVE_SECONDS", 0.0)


def run(data: Path, out: Path, config: TrainConfig = CONFIG, **options: Any) -> RunRecord:
    return train(options.pop("model", MODEL), config, data, out, name="tiny", device="cpu", **options)


def failing_at(step: int, error: Exception) -> Callable[[Event], None]:
    def emit(event: Event) -> None:
        if isinstance(event, TrainStep) and event.step == step and event.val_iou is None:
            raise error

    return emit


def contents(folder: Path) -> dict[str, bytes]:
    """Every file but the record, whose seconds are the clock's, and the curves likewise."""
    files = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*.safetensors")}
    return {name: path.read_bytes() for name, path in files.items()}


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"weights": Path("absent.pth")}, InputError),
        ({"init_from": Path("absent")}, InputError),
        ({"model": dataclasses.replace(MODEL, encoder="resnet17")}, ConfigError),
        ({"emit": failing_at(1, torch.OutOfMemoryError("CUDA out of memory"))}, UnsuitableError),
        ({"emit": failing_at(1, DivergedError("not finite"))}, DivergedError),
        ({"emit": failing_at(1, KeyError("a bug"))}, KeyError),
        ({"profile": 1000}, ConfigError),
    ],
    ids=["weights", "init", "encoder", "memory", "diverged", "bug", "profile"],
)
def test_a_failed_start_leaves_nothing_that_blocks_the_next(
    data: Path, tmp_path: Path, options: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        run(data, tmp_path / "runs/new", **options)
    assert not (tmp_path / "runs").exists()


def test_what_a_start_was_killed_over_is_taken_by_any_run(data: Path, tmp_path: Path) -> None:
    """Nothing had been saved: there is nothing to continue, and nothing to lose."""
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    other = dataclasses.replace(CONFIG, lr=2e-3, steps=4)
    record = run(data, tmp_path / "other", other)
    folder.config.write_bytes((tmp_path / "other/config.json").read_bytes())
    folder.history.write_text("step\n1\n2\n")
    assert run(data, folder.path).run_id != record.run_id
    assert len(folder.history.read_text().splitlines()) == 1 + CONFIG.steps // CONFIG.val_every


def test_a_configuration_that_is_not_ours_is_left_alone(data: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"architectures": ["Other"]}')
    for resume in (False, True):
        with pytest.raises(InputError, match="holds"):
            run(data, tmp_path, resume=resume)
    assert [p.name for p in tmp_path.iterdir()] == ["config.json"]
    assert "Other" in (tmp_path / "config.json").read_text()


@pytest.mark.parametrize("fits", ["nothing", "the best network", "two checkpoints"])
def test_a_full_disk_is_one_line_and_the_run_goes_on_later(
    data: Path, tmp_path: Path, small_disk: Callable[[str], Path], fits: str
) -> None:
    whole = tmp_path / "whole"
    run(data, whole)
    with pytest.raises(KeyError):
        run(data, tmp_path / "part", emit=failing_at(3, KeyError("stop")))
    best, step = (p.stat().st_size for p in (RunFolder(whole).best, RunFolder(tmp_path / "part").step(2)))
    room = {"nothing": 0, "the best network": best, "two checkpoints": best + 2 * step}[fits]
    out = RunFolder(small_disk(f"{room + best // 4 >> 10}k") / "run")
    with pytest.raises(InputError, match=f"^no space left on the disk of {out.path}") as full:
        run(data, out.path)
    assert "`resume=True`" in full.value.hint
    assert not list(out.path.rglob(".*"))
    assert len(out.steps()) == (2 if fits == "two checkpoints" else 0)
    assert out.path.exists() == (fits != "nothing")
    small_disk("64m")
    run(data, out.path, resume=True)
    assert contents(out.path) == contents(whole)


def test_files_have_the_mode_of_any_new_file(data: Path, tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        run(data, tmp_path / "run", dataclasses.replace(CONFIG, steps=2))
    finally:
        os.umask(before)
    modes = {p.relative_to(tmp_path).as_posix(): stat.S_IMODE(p.stat().st_mode) for p in tmp_path.rglob("*.*")}
    assert {"run/best/model.safetensors", "run/last/model.safetensors", "run/run.json"} <= modes.keys()
    assert set(modes.values()) == {0o640}, modes


def test_a_checkpoint_that_may_not_be_read_is_not_called_damaged(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(data, tmp_path / "run", dataclasses.replace(CONFIG, steps=2))

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(InputError, match=r"cannot read checkpoint .*: Permission denied"):
        checkpoint.load_model(tmp_path / "run")


def crashed(data: Path, out: Path) -> Path:
    """``out`` with a run that died in step 7: checkpoints after steps 4 and 6."""
    with pytest.raises(KeyError):
        run(data, out, emit=failing_at(7, KeyError("power cut")))
    return out


def test_numbers_that_changed_on_the_disk_are_noticed(tmp_path: Path) -> None:
    """safetensors only checks sizes; the older checkpoint is taken then."""
    for step in (1, 2):
        checkpoint.save_last(tmp_path, step, {"a": torch.arange(9.0), "b": torch.tensor(3)}, {})
    newest = RunFolder(tmp_path).step(2)
    tensors, _ = checkpoint.load_tensors(newest)
    assert tensors["a"].tolist() == list(range(9))
    content = bytearray(newest.read_bytes())
    content[-5] ^= 1
    newest.write_bytes(content)
    with pytest.raises(InputError, match="its numbers have changed since they were written"):
        checkpoint.load_tensors(newest)
    found = checkpoint.read_last(tmp_path)
    assert found is not None
    assert (found.header["step"], len(found.problems)) == (1, 1)
    checkpoint.save_tensors(newest, tensors, {})
    header = checkpoint.read_header(newest)
    assert len(header["sha256"]) == 64
    save_file(tensors, newest, metadata={"onet": json.dumps({"version": 1})})  # as earlier versions wrote them
    assert checkpoint.load_tensors(newest)[0].keys() == {"a", "b"}


def test_a_run_whose_checkpoints_are_all_damaged_is_refused_and_left_as_it_is(data: Path, tmp_path: Path) -> None:
    out = crashed(data, tmp_path / "run")
    for path in (out / "last").glob("*.safetensors"):
        path.write_bytes(b"half a checkpo")
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match=r"no checkpoint of .* \(2 of 2\): .*step-00000006.*step-00000004") as error:
        run(data, out, resume=True)
    assert "`init_from`" in error.value.hint
    assert before == {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}


def test_a_run_without_its_checkpoints_says_that_it_starts_again(data: Path, tmp_path: Path) -> None:
    out = crashed(data, tmp_path / "run")
    for path in (out / "last").iterdir():
        path.unlink()
    notes: list[Event] = []
    record = run(data, out, resume=True, emit=notes.append)
    assert [row.step for row in record.history] == [2, 4, 6, 8]
    assert any("starts from the beginning" in e.message for e in notes if isinstance(e, Note) and e.level == "warning")


@pytest.mark.parametrize("what", ["tensors", "header"])
def test_a_checkpoint_of_something_else_is_refused(data: Path, tmp_path: Path, what: str) -> None:
    out = crashed(data, tmp_path / "run")
    newest = RunFolder(out).steps()[-1]
    tensors, header = checkpoint.load_tensors(newest)
    lost = {"tensors": "model.encoder.project.weight", "header": "progress"}[what]
    kept = [{key: value for key, value in part.items() if key != lost} for part in (tensors, header)]
    checkpoint.save_tensors(newest, *kept)
    with pytest.raises(InputError, match=r"newest checkpoint of .* is not this run's \("):
        run(data, out, resume=True)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda name: "" if name.startswith("optimizer.") else name,
        lambda name: "" if name.startswith("optimizer.0.") else name,
        lambda name: name.replace("optimizer.0.", "optimizer.99999."),
        lambda name: name.replace("optimizer.0.exp_avg_sq", "optimizer.0.square"),
        lambda name: {"optimizer.0.exp_avg": "optimizer.1.exp_avg", "optimizer.1.exp_avg": "optimizer.0.exp_avg"}.get(
            name, name
        ),
    ],
    ids=["no optimiser", "one parameter's", "moved", "renamed", "exchanged"],
)
def test_a_checkpoint_without_the_optimiser_s_tensors_is_refused(
    data: Path, tmp_path: Path, spoil: Callable[[str], str]
) -> None:
    """Without them Adam would start anew, and the run would no longer be that of its seed."""
    out = crashed(data, tmp_path / "run")
    newest = RunFolder(out).steps()[-1]
    tensors, header = checkpoint.load_tensors(newest)
    renamed = {spoil(name): value for name, value in tensors.items()}
    assert renamed.keys() != tensors.keys() or any(not torch.equal(renamed[key], tensors[key]) for key in tensors)
    checkpoint.save_tensors(newest, {key: value for key, value in renamed.items() if key}, header)
    before = newest.read_bytes()
    with pytest.raises(InputError, match=r"is not this run's \(.*tensors"):
        run(data, out, resume=True)
    assert newest.read_bytes() == before


def test_a_run_that_another_process_finished_meanwhile_is_not_started_again(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between a process's look at the folder and its lock, another may have trained the run to its end."""
    real = training.check_suitable

    def meanwhile(*arguments: Any) -> None:
        monkeypatch.setattr(training, "check_suitable", real)
        run(data, out, resume=True)
        real(*arguments)

    for resume, start in ((True, crashed), (True, None), (False, None)):
        out = tmp_path / f"{resume}-{start is None}"
        if start is not None:
            start(data, out)
        monkeypatch.setattr(training, "check_suitable", meanwhile)
        if resume:
            assert run(data, out, resume=True) == read_run(out)
        else:
            with pytest.raises(InputError, match="holds a finished run"):
                run(data, out)
        assert RunFolder(out).state == "done"


def test_a_start_from_a_folder_without_a_network_says_so(data: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty holds no trained network"):
        run(data, tmp_path / "run", init_from=tmp_path / "empty")
    with pytest.raises(InputError, match=f"{data} is a data set, not a run"):
        run(data, tmp_path / "run", init_from=data)


def test_two_sources_of_the_encoder_s_weights_are_refused(data: Path, tmp_path: Path) -> None:
    run(data, tmp_path / "first", dataclasses.replace(CONFIG, steps=2))
    with pytest.raises(ConfigError, match="`weights` and `init_from`"):
        run(data, tmp_path / "second", init_from=tmp_path / "first", weights=tmp_path / "first")
    assert not (tmp_path / "second").exists()


def test_resume_needs_only_the_folder(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run(data, tmp_path / "whole")
    with pytest.raises(InterruptedRunError, match=r"onet train `out=.*cut` `resume=True`$"):
        run(data, tmp_path / "cut", emit=signal_at(3))
    monkeypatch.chdir(tmp_path)  # the data set is found from the run's folder
    resume = ("train", "--out", "cut", "--resume", "--device", "cpu")
    status, _, errors = onet(*resume, "--steps", "9", "--lr", "1", "--ema", "0.9", "--warmup", "1")
    assert status == 3
    assert "steps was 8, now 9; lr was 0.0001, now 1.0; warmup was 0, now 1; and 1 more." in errors
    for _ in range(2):  # the second time the run is finished
        status, text, errors = onet(*resume, "--json")
        assert status == 0, errors
        assert json.loads(text)["run_id"] == whole.run_id
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")


def signal_at(step: int) -> Callable[[Event], None]:
    def emit(event: Event) -> None:
        if isinstance(event, TrainStep) and event.step == step:
            signal.raise_signal(signal.SIGTERM)

    return emit
