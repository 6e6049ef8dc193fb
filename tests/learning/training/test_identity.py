"""A run's folder among other people's files: what train, bench and inspect write, replace and remove."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers.datasets import make_dataset

from pix3d_onet.ablation.bench import bench
from pix3d_onet.config import ModelConfig, TrainConfig
from pix3d_onet.errors import InputError
from pix3d_onet.files import write_json
from pix3d_onet.inspection.contact_sheet import contact_sheet
from pix3d_onet.inspection.output import check_place
from pix3d_onet.learning import checkpoint
from pix3d_onet.learning.training.history import Curves
from pix3d_onet.learning.training.identity import check_output, start_folder
from pix3d_onet.learning.training.run import train
from pix3d_onet.runs.folder import BEST, CONFIG_FILE, LAST, RunFolder, is_run
from pix3d_onet.runs.record import HistoryRow

ROW = HistoryRow(1, 1.0, 1.0, 0.5, 1e-3, 1.0, 1.0)
TINY = ModelConfig("test_resnet", c_dim=32, hidden_dim=32, blocks=1)
QUICK = TrainConfig(steps=2, batch_size=2, points_per_shape=64, image_size=32, pretrained=False, val_every=2)


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """A folder of somebody else with files of our names."""
    folder = tmp_path / "theirs"
    for name in ("config.json", "run.json", "history.csv", "step-00000001.safetensors", "step-00000001.json", "notes"):
        folder.mkdir(exist_ok=True)
        (folder / name).write_text(f"theirs {name}")
    return folder


def contents(folder: Path) -> dict[str, str]:
    return {p.name: p.read_text() for p in sorted(folder.iterdir())}


def test_training_leaves_a_strange_folder_alone(theirs: Path, tmp_path: Path) -> None:
    data = make_dataset(tmp_path / "data", 3, 256, 32)
    before = contents(theirs)
    for resume in (False, True):
        with pytest.raises(InputError, match="not a run of onet"):
            train(TINY, QUICK, data, theirs, name="x", resume=resume, device="cpu")
    assert contents(theirs) == before
    said: list[str] = []
    train(TINY, QUICK, data, theirs, name="x", overwrite=True, device="cpu", emit=lambda e: said.append(str(e)))
    after = {p.name: p for p in theirs.iterdir()}
    assert is_run(theirs)
    assert any("config.json, history.csv, run.json" in line for line in said)
    for name in ("step-00000001.safetensors", "step-00000001.json", "notes"):
        assert after[name].read_text() == before[name]
    assert "theirs" not in (theirs / "history.csv").read_text()


@pytest.mark.parametrize("name", [BEST, LAST, "tensorboard", "history.csv"])
def test_linked_members_of_a_run_are_not_followed(name: str, theirs: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    start_folder(run, {"run_id": "0" * 12, "model": {}, "train": {}})
    (run / name).symlink_to(theirs / name if name == "history.csv" else theirs)
    before = contents(theirs)
    tensors = {"a": torch.zeros(1)}
    if name == BEST:
        with pytest.raises(InputError, match="is a link"):
            checkpoint.save_best(run, tensors, {"model": {}})
    elif name == LAST:
        with pytest.raises(InputError, match="is a link"):
            checkpoint.save_last(run, 1, tensors, {})
        assert checkpoint.read_last(run) is None
        RunFolder(run).remove_checkpoints()
    else:
        with pytest.raises(InputError, match="is a link"):
            Curves(run).append(ROW)
    assert contents(theirs) == before


def test_only_our_own_checkpoints_are_forgotten(tmp_path: Path) -> None:
    for step in range(1, 5):
        checkpoint.save_last(tmp_path, step, {"a": torch.zeros(1)}, {})
    for name in ("step-mine.safetensors", "step-00000001.txt", "notes"):
        (tmp_path / "last" / name).write_text("mine")
    RunFolder(tmp_path).remove_checkpoints()
    kept = sorted(p.name for p in (tmp_path / "last").iterdir())
    assert kept == ["notes", "step-00000001.txt", "step-mine.safetensors"]


def test_runs_from_before_are_known(tmp_path: Path) -> None:
    assert not check_output(tmp_path / "new", overwrite=False)
    (tmp_path / "odd").mkdir()
    write_json(tmp_path / "odd" / CONFIG_FILE, {"run_id": 3, "model": {}, "train": {}})
    with pytest.raises(InputError, match="not a run of onet"):
        check_output(tmp_path / "odd", overwrite=False)
    start_folder(tmp_path / "run", {"run_id": "0" * 12, "model": {}, "train": {}})
    assert check_output(tmp_path / "run", overwrite=False)
    checkpoint.save_last(tmp_path / "run", 1, {"a": torch.zeros(1)}, {})
    assert check_output(tmp_path / "run", overwrite=False)
    (tmp_path / "run" / CONFIG_FILE).write_text('{"run_id": ')
    with pytest.raises(InputError, match=r"checkpoints of an unfinished run, but config\.json is missing or damaged"):
        check_output(tmp_path / "run", overwrite=True)


def test_an_ablation_needs_a_folder_of_runs(theirs: Path, tmp_path: Path) -> None:
    before = contents(theirs)
    with pytest.raises(InputError, match="not a folder of runs of onet"):
        bench((), tmp_path / "data", None, out=theirs)  # type: ignore[arg-type]
    assert contents(theirs) == before
    start_folder(tmp_path / "runs" / "x" / "0", {"run_id": "0" * 12, "model": {}, "train": {}})
    assert bench((), tmp_path / "data", None, out=tmp_path / "runs").runs == ()  # type: ignore[arg-type]


def test_a_sheet_replaces_only_a_sheet(tmp_path: Path) -> None:
    data = make_dataset(tmp_path / "data", 3, 256, 32)
    sheet = tmp_path / "sheet.png"
    check_place(sheet, overwrite=False)
    contact_sheet(data, sheet, shapes=1)
    check_place(sheet, overwrite=False)
    (tmp_path / "link.png").symlink_to(sheet)
    sheet_of_others = tmp_path / "photo.png"
    sheet_of_others.write_bytes(b"\x89PNG\r\n\x1a\n theirs")
    for path in (tmp_path / "link.png", sheet_of_others):
        with pytest.raises(InputError, match="not a sheet or page of onet"):
            check_place(path, overwrite=False)
        check_place(path, overwrite=True)
