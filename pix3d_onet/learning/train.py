"""One training run: from settings and a data set to a run folder with its record."""

from __future__ import annotations

import random
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from pix3d_onet.config import ModelConfig, TrainConfig
from pix3d_onet.data.shards import Dataset
from pix3d_onet.errors import ConfigError
from pix3d_onet.events import Emit, Note, ignore
from pix3d_onet.files import write_json
from pix3d_onet.learning import checkpoint, distributed
from pix3d_onet.learning.dataset import Choice, ResidentSplit, dataset_name, has_split, load_split, picture_counts
from pix3d_onet.learning.loop import Setting, Trainer
from pix3d_onet.learning.model import OccupancyNetwork, build_model, cost, count_parameters
from pix3d_onet.learning.optim import freeze_encoder
from pix3d_onet.learning.runfolder import (
    CONFIG_FILE,
    describe_weights,
    finished_run,
    initial_run,
    locked,
    run_identity,
    unfinished_run,
)
from pix3d_onet.learning.runtime import (
    choose_device,
    choose_precision,
    describe_device,
    peak_memory,
    tune_process,
    versions,
)
from pix3d_onet.learning.validate import THRESHOLDS, Scores
from pix3d_onet.records import RunRecord, write_run

__all__ = ["run_identity", "train"]


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
    tune_process()
    group = distributed.environment_group()
    where = choose_device(device, group.local_rank)
    emit = emit if group.leads else ignore
    with distributed.joined(group, where), Dataset(data) as dataset:
        init = initial_run(init_from, model)
        run_id = run_identity(model, config, dataset.manifest.data_hash, weights, init)
        if (record := finished_run(out, run_id, resume)) is not None:
            return record
        if config.batch_size % group.world:
            raise ConfigError(f"--batch-size {config.batch_size} is not a multiple of {group.world} processes.")
        with locked(out) if group.leads else nullcontext():
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
    found = unfinished_run(out, identity, resume)
    seed_everything(config.seed)
    pretrained = config.pretrained and init_from is None and weights is None and found is None
    network = build_model(model, pretrained=pretrained, weights=weights if found is None else None)
    if init_from is not None and found is None:
        network.load_state_dict(checkpoint.load_model(init_from).state_dict())
    if config.freeze_encoder:
        freeze_encoder(network)
    arithmetic = forward_cost(model, config.image_size)
    network.to(where, memory_format=torch.channels_last)  # type: ignore[call-overload]
    precision = choose_precision(config.precision, where)
    splits = _load_splits(dataset, config, where, network.needs_pose, emit)
    if group.leads and found is None:
        write_json(out / CONFIG_FILE, identity)
    setting = Setting(config, out, identity, where, precision, group, splits["train"], splits["val"], emit)
    trainer = Trainer(network, setting, compiled=compiled)
    if found is not None:
        for problem in found.problems:
            emit(Note(f"{problem} The one before it is used.", "warning"))
        trainer.restore(found.tensors, found.header)
    stopped = trainer.run()
    return _finish(trainer, splits, stopped=stopped, dataset=dataset, arithmetic=arithmetic)


def forward_cost(model: ModelConfig, image_size: int) -> dict[str, float]:
    """``learning.model.cost`` without the count; ConfigError when the encoder cannot take pictures of this size."""
    try:
        counted = cost(model, image_size)
    except (RuntimeError, ValueError, AssertionError) as error:
        line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ConfigError(f"--image-size {image_size} does not suit {model.encoder} ({line}).") from None
    return {key: counted[key] for key in ("gflops_image", "gflops_point")}


def _load_splits(
    dataset: Dataset, config: TrainConfig, where: torch.device, need_pose: bool, emit: Emit
) -> dict[str, ResidentSplit]:
    splits = {}
    for split in ("train", "val", "test"):
        if split == "test" and not has_split(dataset, "test"):
            continue
        choice = Choice(need_pose, config.views if split == "train" else "prefer-photos")
        splits[split] = load_split(dataset, split, config.image_size, where, choice)
        if splits[split].dropped:
            emit(Note(f"{split}: {splits[split].dropped} pictures without a pose are left out", "warning"))
    return splits


def seed_everything(seed: int) -> None:
    """Seed PyTorch, NumPy and Python: initial weights are drawn from PyTorch's generator; the rest is for guests."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - third-party layers may use the old generator
    random.seed(seed)


def _finish(
    trainer: Trainer, splits: dict[str, ResidentSplit], *, stopped: str, dataset: Dataset, arithmetic: dict[str, float]
) -> RunRecord:
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
        objects={**splits["val"].objects(), **(splits["test"].objects() if test is not None else {})},
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
        cost=arithmetic,
    )
    if setting.group.leads:
        if trainer.curves is not None:
            trainer.curves.close()
        latency = _write_examples(best, dataset.root, setting, {**record.val_scores, **record.test_scores})
        record = replace(record, cost={**record.cost, "latency_seconds": latency})
        write_run(out, record)
        checkpoint.clear_last(out)
    if distributed.active():
        torch.distributed.barrier()
    return record


def _write_examples(model: OccupancyNetwork, data: Path, setting: Setting, scores: dict[str, float]) -> float:
    from pix3d_onet.learning.examples import write_examples

    config = setting.config
    return write_examples(
        model,
        data,
        setting.folder,
        device=setting.device,
        threshold=config.threshold,
        image_size=config.image_size,
        scores=scores,
        emit=setting.emit,
    )


def resolved(config: TrainConfig, batch_size: int) -> TrainConfig:
    """``config`` with the batch size that ``auto`` came to."""
    return replace(config, batch_size=batch_size)
