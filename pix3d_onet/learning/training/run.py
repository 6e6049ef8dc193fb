"""One training run: from settings and a data set to a run folder with its record."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pix3d_onet.config import MachineConfig, ModelConfig, Residence, TrainConfig
from pix3d_onet.data.store.reader import Dataset
from pix3d_onet.errors import ConfigError, InputError, UnsuitableError
from pix3d_onet.events import Emit, Note, Progress, ignore
from pix3d_onet.files import disk_trouble
from pix3d_onet.learning import checkpoint, distributed
from pix3d_onet.learning.device import (
    choose_device,
    choose_precision,
    describe_device,
    forget_peak,
    peak_memory,
    tuned_process,
    versions,
)
from pix3d_onet.learning.network.model import OccupancyNetwork, build_model, cost, count_parameters
from pix3d_onet.learning.network.weights_file import weights_path
from pix3d_onet.learning.torch_threads import Threads, spelled
from pix3d_onet.learning.training.batches import Choice, Split, describe_data, has_split
from pix3d_onet.learning.training.fitting import fitting_batch, open_split
from pix3d_onet.learning.training.identity import (
    begin,
    check_output,
    describe_weights,
    finished_run,
    initial_run,
    run_identity,
    stored_batch_size,
    stored_model,
    unfinished_run,
)
from pix3d_onet.learning.training.optim import freeze_encoder
from pix3d_onet.learning.training.profile import profile_steps
from pix3d_onet.learning.training.suitability import check_suitable
from pix3d_onet.learning.training.trainer import Setting, Trainer, is_out_of_memory
from pix3d_onet.learning.training.validate import THRESHOLDS, Advance, Scores
from pix3d_onet.locks import locked
from pix3d_onet.runs.folder import RunFolder, is_run
from pix3d_onet.runs.record import RunRecord, write_run

__all__ = ["run_identity", "train"]

ROOM_HINT = "What was saved is kept: free some space, then continue with `resume=True`."


@dataclass(frozen=True, slots=True)
class Request:
    """What a caller asks of ``train``, and how it shall be done; the last five do not affect the network."""

    model: ModelConfig
    config: TrainConfig
    out: Path
    name: str
    resume: bool
    init_from: Path | None
    weights: Path | None
    overwrite: bool
    compiled: bool
    residence: Residence
    profile: int
    examples: bool
    emit: Emit


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
    threads: int = 0,
    overwrite: bool = False,
    compile: bool = False,
    residence: Residence = "auto",
    profile: int = 0,
    examples: bool = True,
    emit: Emit = ignore,
) -> RunRecord:
    """Train one network on the prepared data set ``data`` and write the run folder ``out`` (see ``records``).

    ``resume`` goes on where an interrupted run stopped, exactly; a run that is finished is returned as it is.
    ``init_from`` starts from another run's best network. ``residence`` is where the training data live: ``auto``,
    ``device``, ``ram`` or ``disk``. ``threads`` on the CPU, 0 = as many as there are free cores; where that changes
    the last bits of the result may. ``profile`` steps are traced to ``out/profile``. A batch size of 0 is what fits.
    ``overwrite`` takes a folder that is neither ours nor empty: files of our names in it are replaced.
    ``examples``: whether to leave pictures and meshes for the figures.
    Raises ConfigError, InputError, BusyError, InterruptedRunError (state saved), DivergedError.
    """
    group = distributed.environment_group()
    where = choose_device(device, group.local_rank)
    request = Request(
        model,
        config,
        out,
        name,
        resume,
        init_from,
        weights,
        overwrite,
        compile,
        residence,
        profile,
        examples,
        emit if group.leads else ignore,
    )
    MachineConfig(threads)
    team = Threads(threads, where, request.emit)
    with tuned_process(), team, distributed.joined(group, where), Dataset(data) as dataset:
        forget_peak(where)
        ours = check_output(out, overwrite=overwrite, emit=request.emit)
        request = replace(request, resume=resume and ours)
        request = _settled(request, where, group)
        init = initial_run(init_from, request.model)
        run_id = run_identity(request.model, request.config, dataset.manifest.data_hash, request.weights, init)
        identity = {
            "run_id": run_id,
            "name": name,
            "model": request.model.to_json(),
            "train": request.config.to_json(),
            "data": describe_data(dataset),
            "weights": init or describe_weights(config, request.weights),
            "onet": versions()["onet"],
        }
        if ours and (record := finished_run(out, identity, resume)) is not None:
            return record
        if request.config.batch_size % group.world:
            size = request.config.batch_size
            raise ConfigError(f"`batch_size={size}` must be divisible by the {group.world} processes.")
        check_suitable(build_model(request.model).to(where), request.config, group.world)
        with locked(out, emit) if group.leads else nullcontext():
            found = unfinished_run(out, identity, resume, request.emit) if ours else None
            distributed.wait()  # nobody writes before everybody has looked
            with _sound(RunFolder(out), ours=ours) if group.leads else nullcontext():
                return _run(request, identity, dataset, where, group, found, team)


@contextmanager
def _sound(folder: RunFolder, *, ours: bool) -> Iterator[None]:
    """Begin without what a kill left half-written; after a failure leave what can be continued, or nothing at all."""
    try:
        if ours:
            folder.clear_strays()
        with disk_trouble(folder.path, ROOM_HINT):
            yield
    except BaseException:
        if is_run(folder.path) and not folder.has_network:
            folder.forget_start()
        raise


def _settled(request: Request, where: torch.device, group: distributed.Group) -> Request:
    """The request with what it leaves open: the weights' file, a stored spelling of the encoder, a batch of ``auto``.

    A batch of ``auto`` is what the run started with, or what fits.
    """
    weights = None if request.weights is None else weights_path(request.weights)
    model = stored_model(request.out, request.model) if request.resume else request.model
    request = replace(request, weights=weights, model=model)
    config = request.config
    if config.batch_size:
        return request
    size = stored_batch_size(request.out) if request.resume else 0
    if not size:
        precision = choose_precision(config.precision, where)
        probe = build_model(request.model).to(where).train()
        size = distributed.share_json(fitting_batch(probe, config, where, precision, group.world), where)
        request.emit(Note(f"`batch_size=auto`: {size}"))
    return replace(request, config=replace(config, batch_size=size))


def _run(
    request: Request,
    identity: dict[str, Any],
    dataset: Dataset,
    where: torch.device,
    group: distributed.Group,
    found: checkpoint.Found | None,
    team: Threads,
) -> RunRecord:
    config, emit = request.config, request.emit
    network = _network(request, fresh=found is None)
    identity["encoder_weights"] = (
        found.header.get("encoder_weights", {}) if found is not None else _told_weights(network, request.weights, emit)
    )
    arithmetic = forward_cost(request.model, config.image_size)
    network.to(where, memory_format=torch.channels_last)  # type: ignore[call-overload]
    splits = _open_splits(request, dataset, where, network.needs_pose)
    if group.leads and found is None:
        begin(request.out, identity)
    precision = choose_precision(config.precision, where)
    train, val, tested = splits["train"], splits["val"], len(splits["test"]) if "test" in splits else 0
    setting = Setting(config, request.out, identity, where, precision, group, train, val, emit, tested, team)
    trainer = Trainer(network, setting, compiled=request.compiled)
    if found is not None:
        for problem in found.problems:
            emit(Note(f"{problem} The one before it is used.", "warning"))
        _restore(trainer, found)
    try:
        if request.profile:
            profile_steps(trainer, request.profile, request.out, emit)
        stopped = trainer.run()
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise _out_of_memory(network, config, where, precision, group.world) from None
    finally:
        trainer.close()
    shown_from = dataset.root if request.examples else None
    return _finish(trainer, splits, stopped=stopped, examples_of=shown_from, arithmetic=arithmetic)


def _restore(trainer: Trainer, found: checkpoint.Found) -> None:
    """Go on from a checkpoint. InputError for a file that can be read, but does not hold this run's state."""
    try:
        trainer.restore(found.tensors, found.header)
    except (LookupError, TypeError, ValueError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and is_out_of_memory(error):
            raise
        line = f"{error!s:.200}".splitlines()[0].rstrip(":. ") if str(error) else type(error).__name__
        hint = "Choose another `out`."
        raise InputError(
            f"the newest checkpoint of {trainer.setting.folder} is not this run's ({line}).", hint=hint
        ) from None


def _network(request: Request, *, fresh: bool) -> OccupancyNetwork:
    """The network at its start; a resumed one is filled from its checkpoint later."""
    config = request.config
    seed_everything(config.seed)
    pretrained = config.pretrained and request.init_from is None and request.weights is None
    network = build_model(request.model, pretrained=pretrained and fresh, weights=request.weights if fresh else None)
    if request.init_from is not None and fresh:
        network.load_state_dict(checkpoint.load_model(request.init_from).state_dict())
    if config.freeze_encoder:
        freeze_encoder(network)
    return network


def _told_weights(network: OccupancyNetwork, file: Path | None, emit: Emit) -> dict[str, Any]:
    """What the record keeps of the weights that were loaded from ``file``; it is told as well."""
    if network.encoder_weights is None:
        return {}
    emit(Note(f"`weights={file}`: {network.encoder_weights.line()}"))
    return network.encoder_weights.to_json()


def _open_splits(request: Request, dataset: Dataset, where: torch.device, need_pose: bool) -> dict[str, Split]:
    splits: dict[str, Split] = {}
    for name in ("train", "val", "test"):
        if name == "test" and not has_split(dataset, "test", need_pose=need_pose):
            if has_split(dataset, "test"):
                request.emit(Note("test: no picture has a pose; this network is not scored on them", "warning"))
            continue
        choice = Choice(need_pose, request.config.views if name == "train" else "prefer-photos")
        split = open_split(dataset, name, request.config, where, choice, residence=request.residence)
        if split.dropped:
            request.emit(Note(f"{name}: {split.dropped} pictures without a pose are left out", "warning"))
        splits[name] = split
    return splits


def _out_of_memory(
    network: OccupancyNetwork, config: TrainConfig, where: torch.device, precision: str, world: int
) -> UnsuitableError:
    """The clear line for a step that did not fit, with a batch size that should."""
    if where.type == "cuda":
        torch.cuda.empty_cache()
    fits = min(fitting_batch(network.train(), config, where, precision, world), max(1, config.batch_size // 2))
    return UnsuitableError(
        f"out of memory with `batch_size={config.batch_size}`.",
        hint=f"`batch_size={fits}` should fit; so does `batch_size=auto`, on any machine.",
    )


def forward_cost(model: ModelConfig, image_size: int) -> dict[str, float]:
    """``network.model.cost`` without the parameters; empty where PyTorch's counter cannot follow the encoder."""
    try:
        counted = cost(model, image_size)
    except Exception:  # noqa: BLE001 - information for a table, never a reason not to train
        return {}
    return {key: counted[key] for key in ("gflops_image", "gflops_point")}


def seed_everything(seed: int) -> None:
    """Seed PyTorch, NumPy and Python: initial weights are drawn from PyTorch's generator; the rest is for guests."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - third-party layers may use the old generator
    random.seed(seed)


def _finish(
    trainer: Trainer, splits: dict[str, Split], *, stopped: str, examples_of: Path | None, arithmetic: dict[str, float]
) -> RunRecord:
    """Score the best network, write the record, clear what only an unfinished run needs.

    ``examples_of``: the data set to take example pictures from; None for none.
    """
    started = time.monotonic()
    setting, progress, identity = trainer.setting, trainer.progress, trainer.setting.identity
    config, out = setting.config, setting.folder
    distributed.wait()
    last = {key: value.cpu().clone() for key, value in trainer.evaluated.state_dict().items()}
    best = checkpoint.load_model(out, setting.device)
    trainer.model.load_state_dict(best.state_dict())
    trainer.average = None
    scored = tuple(sorted({*THRESHOLDS, config.threshold}))
    val = trainer.scores(splits["val"], scored, _told(setting.emit, "score val"))
    test: Scores | None = (
        trainer.scores(splits["test"], (config.threshold,), _told(setting.emit, "score test"))
        if "test" in splits
        else None
    )
    chosen, chosen_iou = val.best_threshold()
    val_scores = val.by_record(config.threshold)
    test_scores = test.by_record(config.threshold) if test is not None else {}
    peak = peak_memory(setting.device)
    if setting.group.leads and examples_of is not None:
        latency = _write_examples(best, examples_of, setting, {**val_scores, **test_scores})
        arithmetic = arithmetic if latency is None else {**arithmetic, "latency_seconds": latency}
    record = RunRecord(
        name=identity["name"],
        run_id=identity["run_id"],
        model=identity["model"],
        train=identity["train"],
        data={**identity["data"], **{name: len(split) for name, split in splits.items()}},
        params=count_parameters(trainer.model),
        history=tuple(progress.history),
        best_step=progress.best_step,
        best_val_iou=progress.best_iou,
        last_val_iou=progress.history[-1].val_iou,
        val_scores=val_scores,
        test_scores=test_scores,
        objects={**splits["val"].objects(), **(splits["test"].objects() if test is not None else {})},
        val_threshold=chosen,
        val_iou_at_threshold=chosen_iou,
        weights=identity["weights"],
        encoder_weights=identity["encoder_weights"],
        device=describe_device(setting.device, setting.precision, setting.group.world, spelled(progress.threads)),
        versions=versions(),
        seconds=progress.seconds + time.monotonic() - started,
        peak_memory_bytes=peak,
        shapes_per_second=config.batch_size * progress.step / max(progress.train_seconds, 1e-9),
        data_wait_share=progress.wait_seconds / max(progress.train_seconds, 1e-9),
        steps_done=progress.step,
        stopped=stopped,
        cost=arithmetic,
    )
    if setting.group.leads:
        header = {**identity, "step": progress.step, "val_iou": progress.history[-1].val_iou}
        checkpoint.save_last_model(out, last, header)
        write_run(out, record)  # from here on the run is finished: all else is in place
        RunFolder(out).forget_steps()
    distributed.wait()
    return record


def _told(emit: Emit, stage: str) -> Advance:
    """Scoring all stored points takes minutes on a CPU: the progress of it, as events."""
    emit(Progress(stage, 0, 0))
    return lambda done, total: emit(Progress(stage, done, total))


def _write_examples(model: OccupancyNetwork, data: Path, setting: Setting, scores: dict[str, float]) -> float | None:
    """The pictures for the figures; the seconds of one, or None: a run of many hours is not lost for want of them."""
    from pix3d_onet.learning.training.examples import write_examples

    config = setting.config
    try:
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
    except Exception as error:  # noqa: BLE001 - whatever it is, the trained and scored network is worth its record
        line = " ".join(str(error).split()) or type(error).__name__
        setting.emit(Note(f"no example pictures for the figures: {line}", "warning"))
        return None
