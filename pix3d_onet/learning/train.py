"""One training run: from settings and a data set to a run folder with its record."""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pix3d_onet.config import ModelConfig, TrainConfig
from pix3d_onet.data.shards import Dataset
from pix3d_onet.errors import BusyError, ConfigError, InputError
from pix3d_onet.events import Emit, Note, ignore
from pix3d_onet.files import file_digest, read_json, write_json
from pix3d_onet.learning import checkpoint, distributed
from pix3d_onet.learning.dataset import ResidentSplit, dataset_name, has_split, load_split, picture_counts
from pix3d_onet.learning.loop import Setting, Trainer
from pix3d_onet.learning.model import OccupancyNetwork, build_model, cost, count_parameters
from pix3d_onet.learning.optim import freeze_encoder
from pix3d_onet.learning.runtime import (
    choose_device,
    choose_precision,
    describe_device,
    keep_freed_memory,
    peak_memory,
    versions,
)
from pix3d_onet.learning.validate import THRESHOLDS, Scores
from pix3d_onet.records import RUN_FILE, RunRecord, read_run, write_run

CONFIG_FILE = "config.json"
LOCK_FILE = ".lock"


def run_identity(
    model: ModelConfig, config: TrainConfig, data_hash: str, weights: str | Path | None = None, init: str = ""
) -> str:
    """First 12 hex digits of the SHA-256 of what defines a run.

    ``weights`` is a file (its digest counts), a digest, or None: then ``pretrained`` or nothing as ``config`` says;
    ``init`` is the id of the run that the weights were taken from. Device and speed settings define nothing.
    """
    document = {
        "model": model.to_json(),
        "train": config.to_json(),
        "data": data_hash,
        "weights": describe_weights(config, weights),
        "init": init,
    }
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def describe_weights(config: TrainConfig, weights: str | Path | None) -> str:
    """A digest, ``pretrained``, or nothing. InputError for a file that is missing."""
    if isinstance(weights, Path):
        if not weights.is_file():
            raise InputError(f"weights file not found: {weights}.")
        return file_digest(weights)
    return weights or ("pretrained" if config.pretrained else "")


def train(
    model: ModelConfig,
    config: TrainConfig,
    data: Path,
    out: Path,
    *,
    name: str,
    resume: bool = False,
    init_from: Path | None = None,
    weights: Path | None = None,
    device: str = "auto",
    compile: bool = False,
    emit: Emit = ignore,
) -> RunRecord:
    """Train one network on the prepared data set ``data`` and write the run folder ``out`` (see ``records``).

    ``resume`` goes on where an interrupted run stopped, exactly; a run that is finished is returned as it is.
    ``init_from`` starts from another run's best network. Raises ConfigError, InputError, BusyError,
    InterruptedRunError (state saved), DivergedError.
    """
    keep_freed_memory()
    group = distributed.environment_group()
    where = choose_device(device, group.local_rank)
    emit = emit if group.leads else ignore
    with distributed.joined(group, where), Dataset(data) as dataset:
        init = _init_run(init_from, model)
        run_id = run_identity(model, config, dataset.manifest.data_hash, weights, init)
        if (out / RUN_FILE).exists():
            return _finished(out, run_id, resume)
        if config.batch_size % group.world:
            raise ConfigError(f"--batch-size {config.batch_size} is not a multiple of {group.world} processes.")
        with _locked(out, group):
            return _run(
                dataset, out, group, model=model, config=config, where=where, run_id=run_id, name=name, resume=resume,
                init_from=init_from, weights=weights, init=init, compiled=compile, emit=emit,
            )  # fmt: skip


def _run(
    dataset: Dataset,
    out: Path,
    group: distributed.Group,
    *,
    model: ModelConfig,
    config: TrainConfig,
    where: torch.device,
    run_id: str,
    name: str,
    resume: bool,
    init_from: Path | None,
    weights: Path | None,
    init: str,
    compiled: bool,
    emit: Emit,
) -> RunRecord:
    identity = {
        "run_id": run_id,
        "name": name,
        "model": model.to_json(),
        "train": config.to_json(),
        "data": {"name": dataset_name(dataset.root), "data_hash": dataset.manifest.data_hash},
        "weights": init or describe_weights(config, weights),
        "onet": versions()["onet"],
    }
    found = _begin(out, identity, resume, group)
    seed_everything(config.seed)
    pretrained = config.pretrained and init_from is None and weights is None and found is None
    network = build_model(model, pretrained=pretrained, weights=weights if found is None else None)
    if init_from is not None and found is None:
        network.load_state_dict(checkpoint.load_model(init_from).state_dict())
    if config.freeze_encoder:
        freeze_encoder(network)
    network.to(where, memory_format=torch.channels_last)  # type: ignore[call-overload]
    precision = choose_precision(config.precision, where)
    splits = {
        split: load_split(dataset, split, config.image_size, where, need_pose=network.needs_pose)
        for split in ("train", "val", "test")
        if split != "test" or has_split(dataset, "test")
    }
    for split, loaded in splits.items():
        if loaded.dropped:
            emit(Note(f"{split}: {loaded.dropped} pictures without a pose are left out", "warning"))
    setting = Setting(config, out, identity, where, precision, group, splits["train"], splits["val"], emit)
    trainer = Trainer(network, setting, compiled=compiled)
    if found is not None:
        tensors, header, problems = found
        for problem in problems:
            emit(Note(f"{problem} The one before it is used.", "warning"))
        trainer.restore(tensors, header)
    stopped = trainer.run()
    return _finish(trainer, splits, stopped=stopped, dataset=dataset)


def _begin(out: Path, identity: dict[str, Any], resume: bool, group: distributed.Group) -> Any:
    """Write config.json into a fresh folder, or find the checkpoint to go on from (None = from the start)."""
    path = out / CONFIG_FILE
    if path.exists():
        if not resume:
            hint = "Continue it with --resume, or choose another --out."
            raise InputError(f"{out} holds an unfinished run.", hint=hint)
        before = read_json(path, what="run configuration")
        if not isinstance(before, dict) or before.get("run_id") != identity["run_id"]:
            raise InputError(f"{out} holds another run: {_difference(before, identity)}.", hint="Choose another --out.")
        return checkpoint.read_last(out)
    if group.leads:
        write_json(path, identity)
    return None


def _difference(before: Any, identity: dict[str, Any]) -> str:
    """The first setting in which two runs differ, in words."""
    if not isinstance(before, dict):
        return f"{CONFIG_FILE} is damaged"
    for section in ("model", "train", "data"):
        old, new = before.get(section) or {}, identity[section]
        for key in new:
            if old.get(key) != new[key]:
                return f"{key} was {old.get(key)!r}, now {new[key]!r}"
    return f"weights were {before.get('weights') or 'random'}, now {identity['weights'] or 'random'}"


def _finished(out: Path, run_id: str, resume: bool) -> RunRecord:
    record = read_run(out)
    if resume and record.run_id == run_id:
        return record
    what = "a finished run" if record.run_id == run_id else "another finished run"
    raise InputError(f"{out} holds {what} ({record.name}).", hint="Choose another --out, or remove the folder.")


def _init_run(init_from: Path | None, model: ModelConfig) -> str:
    """The id of the run whose network is the start. InputError when it is another architecture."""
    if init_from is None:
        return ""
    source = checkpoint.load_model(init_from)
    if source.config != model:
        raise InputError(f"{init_from} is a network of another architecture ({source.config.encoder}).")
    path = init_from / CONFIG_FILE
    return (
        str(read_json(path).get("run_id", ""))
        if path.exists()
        else file_digest(checkpoint.checkpoint_file(init_from))[:12]
    )


def seed_everything(seed: int) -> None:
    """Seed PyTorch, NumPy and Python: initial weights are drawn from PyTorch's generator; the rest is for guests."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - third-party layers may use the old generator
    random.seed(seed)


@contextmanager
def _locked(out: Path, group: distributed.Group) -> Iterator[None]:
    """Hold the run folder against a second process. BusyError when somebody has it."""
    if not group.leads:
        yield
        return
    out.mkdir(parents=True, exist_ok=True)
    with (out / LOCK_FILE).open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise BusyError(f"another process is training in {out}.") from None
        try:
            yield
        finally:
            (out / LOCK_FILE).unlink(missing_ok=True)


def _finish(trainer: Trainer, splits: dict[str, ResidentSplit], *, stopped: str, dataset: Dataset) -> RunRecord:
    """Score the best network, write the record, clear what only an unfinished run needs."""
    setting, progress, identity = trainer.setting, trainer.progress, trainer.setting.identity
    config, out = setting.config, setting.folder
    if distributed.active():
        torch.distributed.barrier()
    best = checkpoint.load_model(out, setting.device)
    trainer.model.load_state_dict(best.state_dict())
    trainer.average = None
    scored = tuple(sorted({*THRESHOLDS, config.threshold}))
    val = trainer.scores(splits["val"], scored)
    test: Scores | None = trainer.scores(splits["test"], (config.threshold,)) if "test" in splits else None
    chosen, chosen_iou = val.best_threshold()
    arithmetic = cost(trainer.model.config, config.image_size)
    record = RunRecord(
        name=identity["name"],
        run_id=identity["run_id"],
        model=identity["model"],
        train=identity["train"],
        data={**identity["data"], **picture_counts(dataset)},
        params=count_parameters(trainer.model),
        history=tuple(progress.history),
        best_step=progress.best_step,
        best_val_iou=progress.best_iou,
        last_val_iou=progress.history[-1].val_iou,
        val_scores=val.by_record(config.threshold),
        test_scores=test.by_record(config.threshold) if test is not None else {},
        val_threshold=chosen,
        val_iou_at_threshold=chosen_iou,
        weights=identity["weights"],
        device=describe_device(setting.device, setting.precision, setting.group.world),
        versions=versions(),
        seconds=progress.seconds,
        peak_memory_bytes=peak_memory(setting.device),
        shapes_per_second=config.batch_size * progress.step / max(progress.train_seconds, 1e-9),
        data_wait_share=progress.wait_seconds / max(progress.train_seconds, 1e-9),
        steps_done=progress.step,
        stopped=stopped,
        cost={key: arithmetic[key] for key in ("gflops_image", "gflops_point")},
    )
    if setting.group.leads:
        if trainer.curves is not None:
            trainer.curves.close()
        _write_examples(best, dataset.root, out, setting)
        write_run(out, record)
        checkpoint.clear_last(out)
    if distributed.active():
        torch.distributed.barrier()
    return record


def _write_examples(model: OccupancyNetwork, data: Path, out: Path, setting: Setting) -> None:
    if importlib.util.find_spec("pix3d_onet.learning.examples") is None:
        return
    from pix3d_onet.learning.examples import write_examples

    config = setting.config
    write_examples(
        model,
        data,
        out,
        device=setting.device,
        threshold=config.threshold,
        image_size=config.image_size,
        emit=setting.emit,
    )


def resolved(config: TrainConfig, batch_size: int) -> TrainConfig:
    """``config`` with the batch size that ``auto`` came to."""
    return replace(config, batch_size=batch_size)
