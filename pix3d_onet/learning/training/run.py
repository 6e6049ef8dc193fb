"""Train one network: from settings and a data set to a run folder with its record."""

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
from pix3d_onet.learning.batches.opening import has_pictures, open_split
from pix3d_onet.learning.batches.split import PictureFilter, Split
from pix3d_onet.learning.device import (
    choose_device,
    choose_precision,
    cpu_tuning,
    describe_device,
    peak_memory,
    reset_peak_memory,
    versions,
)
from pix3d_onet.learning.network.model import OccupancyNetwork, build_model, cost, count_parameters
from pix3d_onet.learning.network.weights_file import weights_path
from pix3d_onet.learning.torch_threads import Threads, as_range
from pix3d_onet.learning.training.batch_size import largest_batch
from pix3d_onet.learning.training.identity import (
    check_output,
    describe_data,
    describe_weights,
    finished_run,
    initial_run,
    run_identity,
    start_folder,
    stored_batch_size,
    unfinished_run,
)
from pix3d_onet.learning.training.optim import freeze_encoder
from pix3d_onet.learning.training.profile import profile_steps
from pix3d_onet.learning.training.suitability import check_suitable
from pix3d_onet.learning.training.trainer import Setup, Trainer, is_out_of_memory
from pix3d_onet.learning.training.validate import THRESHOLDS, Advance, Scores
from pix3d_onet.locks import locked
from pix3d_onet.runs.arguments import PATHS, relative_paths
from pix3d_onet.runs.folder import RunFolder, is_run
from pix3d_onet.runs.record import CONSTANT, FEW_PICTURES, RunRecord, write_run

__all__ = ["run_identity", "train"]

JOIN = " + "
"""Between the devices, and the precisions, of a run that was continued on another machine."""
DISK_HINT = "What was saved is kept: free some space, then continue with `resume=True`."


@dataclass(frozen=True, slots=True)
class Request:
    """Arguments of ``train``; the last five do not affect the result."""

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
    """Train one network on the prepared data set ``data``, write the run folder ``out`` (``runs.folder``).

    ``resume``: continue an interrupted run exactly where it stopped; the record of a finished run is returned.
    ``init_from``: start from the best network of another run. ``weights``: file with the encoder's initial weights.
    ``residence``: where to keep the training data. ``threads``: on the CPU, 0 = as many as there are free cores; the
    number affects the last bits of the result. ``profile``: number of steps to trace to ``out/profile``. ``overwrite``:
    also use a folder that is neither empty nor made by onet; files with the names of a run's files are replaced.
    ``examples``: store reconstructions for the report's figures. A batch size of 0 is the largest that fits, at most
    64.

    Raises ConfigError, InputError, BusyError, InterruptedRunError (everything is saved), DivergedError.
    """
    group = distributed.environment_group()
    where = choose_device(device, group.local_rank)
    emit = emit if group.leads else ignore
    request = Request(
        model, config, out, name, resume, init_from, weights, overwrite, compile, residence, profile, examples, emit
    )
    MachineConfig(threads)
    if "stretch" in config.augment and model.pose not in ("none", "constant"):
        text = f"`augment='stretch'` would show the pose input (`pose={model.pose!r}`) cameras that are not rigid."
        raise UnsuitableError(text, hint="Take it out, or give `pose='none'`.")
    if config.camera_pictures and model.camera_encoder == "shared":
        raise UnsuitableError(
            f"`camera_pictures={config.camera_pictures}` needs an encoder for the camera alone: another would learn "
            "from pictures that have no points.",
            hint="Take it out, or give `pose='predicted'` and `camera_encoder='own'`.",
        )
    if weights is not None and init_from is not None:
        raise ConfigError("`weights` and `init_from` both give the encoder's first weights.", hint="Give one of them.")
    cpu_threads = Threads(threads, where, emit)
    with cpu_tuning(), Dataset(data) as dataset, cpu_threads, distributed.joined(group, where):
        reset_peak_memory(where)
        if config.near and not dataset.near_points:
            text = f"{data} has no points near the surface, which `near={config.near:g}` needs."
            raise InputError(text, hint="Prepare it with `near_points=100000`.")
        is_ours = check_output(out, overwrite=overwrite, emit=emit)
        request = replace(request, resume=resume and is_ours)
        request = _resolved(request, where, group)
        init = initial_run(init_from, request.model, dataset.manifest.data_hash, emit)
        run_id = run_identity(request.model, request.config, dataset.manifest.data_hash, request.weights, init)
        identity = {
            "run_id": run_id,
            "name": name,
            "model": request.model.to_json(),
            "train": request.config.to_json(),
            "data": describe_data(dataset, init_from),
            "weights": init or describe_weights(config, request.weights),
            "onet": versions()["onet"],
        }
        if is_ours and (record := finished_run(out, identity, resume)) is not None:
            return record
        for setting in ("batch_size", "camera_pictures"):
            if (size := getattr(request.config, setting)) % group.world:
                raise ConfigError(f"`{setting}={size}` must be divisible by the {group.world} processes.")
        check_suitable(build_model(request.model).to(where), request.config, group.world)
        with locked(out, emit) if group.leads else nullcontext():
            distributed.wait()
            is_ours = check_output(out, overwrite=overwrite)  # again: another process may have written until the lock
            if is_ours and (record := finished_run(out, identity, resume)) is not None:
                return record
            found = unfinished_run(out, identity, resume, request.emit) if is_ours else None
            distributed.wait()  # no process writes before all have read the folder
            with _tidied(RunFolder(out), existing=is_ours) if group.leads else nullcontext():
                return _run(request, identity, dataset, where, group, found, cpu_threads)


@contextmanager
def _tidied(folder: RunFolder, *, existing: bool) -> Iterator[None]:
    """First remove half-written files of an earlier process; after a failure before the first checkpoint, all files."""
    try:
        if existing:
            folder.remove_partial_files()
        with disk_trouble(folder.path, DISK_HINT):
            yield
    except BaseException:
        if is_run(folder.path) and not folder.has_network:
            folder.remove_start()
        raise


def _resolved(request: Request, where: torch.device, group: distributed.Group) -> Request:
    """The request with the path of the weights' file and the batch size.

    A batch size of 0 becomes that of the run to resume, or the largest that fits.
    """
    weights = None if request.weights is None else weights_path(request.weights)
    request = replace(request, weights=weights)
    config = request.config
    if config.batch_size:
        return request
    size = stored_batch_size(request.out) if request.resume else 0
    if not size:
        precision = choose_precision(config.precision, where)
        probe = build_model(request.model).to(where).train()
        size = distributed.share_json(largest_batch(probe, config, where, precision, group.world), where)
        request.emit(Note(f"`batch_size=auto`: {size}"))
    return replace(request, config=replace(config, batch_size=size))


def _run(
    request: Request,
    identity: dict[str, Any],
    dataset: Dataset,
    where: torch.device,
    group: distributed.Group,
    found: checkpoint.LastCheckpoint | None,
    threads: Threads,
) -> RunRecord:
    config, emit = request.config, request.emit
    network = _network(request, fresh=found is None)
    identity["encoder_weights"] = (
        found.header.get("encoder_weights", {})
        if found is not None
        else _weights_record(network, request.weights, emit)
    )
    arithmetic = forward_cost(request.model, config.image_size)
    network.to(where, memory_format=torch.channels_last)  # type: ignore[call-overload]
    splits = _open_splits(request, dataset, where)
    if group.leads and found is None:
        paths = {"data": dataset.root, "weights": request.weights, "init_from": request.init_from}
        start_folder(request.out, {**identity, PATHS: relative_paths(request.out, **paths)})
    precision = choose_precision(config.precision, where)
    train, val, tested = splits["train"], splits["val"], len(splits["test"]) if "test" in splits else 0
    setup = Setup(config, request.out, identity, where, precision, group, train, val, emit, tested, threads)
    trainer = Trainer(network, setup, compiled=request.compiled)
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
    examples_from = dataset.root if request.examples else None
    return _finish(trainer, splits, stopped=stopped, examples_from=examples_from, arithmetic=arithmetic)


def _restore(trainer: Trainer, found: checkpoint.LastCheckpoint) -> None:
    """Go on from a checkpoint. InputError for a file that can be read, but does not hold this run's state."""
    try:
        trainer.restore(found.tensors, found.header)
    except (LookupError, TypeError, ValueError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and is_out_of_memory(error):
            raise
        line = f"{error!s:.200}".splitlines()[0].rstrip(":. ") if str(error) else type(error).__name__
        hint = "Choose another `out`."
        raise InputError(
            f"the newest checkpoint of {trainer.setup.folder} is not this run's ({line}).", hint=hint
        ) from None


def _network(request: Request, *, fresh: bool) -> OccupancyNetwork:
    """The network with its initial weights; ``fresh`` False: with any weights, since a checkpoint replaces them."""
    config = request.config
    seed_everything(config.seed)
    pretrained = config.pretrained and request.init_from is None and request.weights is None
    network = build_model(request.model, pretrained=pretrained and fresh, weights=request.weights if fresh else None)
    if request.init_from is not None and fresh:
        network.load_state_dict(checkpoint.load_model(request.init_from).state_dict())
    if config.freeze_encoder:
        freeze_encoder(network)
    return network


def _weights_record(network: OccupancyNetwork, file: Path | None, emit: Emit) -> dict[str, Any]:
    """The record's entry for encoder weights loaded from ``file``, also emitted as a note; empty without a file."""
    if network.encoder_weights is None:
        return {}
    emit(Note(f"`weights={file}`: {network.encoder_weights.line()}"))
    return network.encoder_weights.to_json()


def _open_splits(request: Request, dataset: Dataset, where: torch.device) -> dict[str, Split]:
    splits: dict[str, Split] = {}
    needs_pose = request.model.needs_pose
    for name in ("train", "val", "test"):
        need_pose = needs_pose or (request.model.predicts_camera and name == "train")  # to learn from
        if name == "test" and not has_pictures(dataset, "test", need_pose=need_pose):
            if has_pictures(dataset, "test"):
                request.emit(Note("test: no picture has a pose; this network is not scored on them", "warning"))
            continue
        wanted = PictureFilter(need_pose, request.config.views if name == "train" else "prefer-photos")
        near = name == "train" and request.config.near > 0  # scores are on uniform points
        masks = request.model.needs_mask or (name == "train" and "tint" in request.config.augment)
        split = open_split(
            dataset, name, request.config, where, wanted, residence=request.residence, near=near, masks=masks
        )
        if split.dropped:
            request.emit(Note(f"{name}: {split.dropped} pictures without a pose are left out", "warning"))
        if name == "val" and len(split) < FEW_PICTURES:
            count = f"{len(split)} validation picture{'s' * (len(split) > 1)}"
            request.emit(Note(f"only {count}: too few to tell which checkpoint is best", "warning"))
        splits[name] = split
    return splits


def _out_of_memory(
    network: OccupancyNetwork, config: TrainConfig, where: torch.device, precision: str, world: int
) -> UnsuitableError:
    """The error for a step that does not fit into memory, with a batch size that should."""
    if where.type == "cuda":
        torch.cuda.empty_cache()
    fits = min(largest_batch(network.train(), config, where, precision, world), max(1, config.batch_size // 2))
    further = f" and `camera_pictures={config.camera_pictures}`" if config.camera_pictures else ""
    return UnsuitableError(
        f"out of memory with `batch_size={config.batch_size}`{further}.",
        hint=f"`batch_size={fits}` should fit; so does `batch_size=auto`, on any machine.",
    )


def forward_cost(model: ModelConfig, image_size: int) -> dict[str, float]:
    """GFLOP per image and per point; empty if PyTorch's counter cannot count the encoder."""
    try:
        counted = cost(model, image_size)
    except Exception:  # noqa: BLE001 - a missing cell in a table is no reason not to train
        return {}
    return {key: counted[key] for key in ("gflops_image", "gflops_point")}


def seed_everything(seed: int) -> None:
    """Seed PyTorch, which draws the initial weights, and NumPy and Python, which third-party layers may use."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - the global generator, for third-party layers
    random.seed(seed)


def _finish(
    trainer: Trainer,
    splits: dict[str, Split],
    *,
    stopped: str,
    examples_from: Path | None,
    arithmetic: dict[str, float],
) -> RunRecord:
    """Score the best network, write examples and the record, and remove the checkpoints for resuming.

    ``examples_from``: the data set with the example pictures; None = write no examples.
    """
    started = time.monotonic()
    setup, progress, identity = trainer.setup, trainer.progress, trainer.setup.identity
    config, out = setup.config, setup.folder
    distributed.wait()
    last = {key: value.cpu().clone() for key, value in trainer.evaluated.state_dict().items()}
    best = checkpoint.load_model(out, setup.device)
    # A kill between writing the best network and the checkpoint leaves a network that the counters do not know, and
    # steps repeated on another machine may not surpass it. The record is of the network that is scored.
    stored = checkpoint.read_header(RunFolder(out).best)
    trainer.model.load_state_dict(best.state_dict())
    trainer.average = None
    scored = tuple(sorted({*THRESHOLDS, config.threshold}))
    val = trainer.scores(splits["val"], scored, _progress(setup.emit, "score val"))
    chosen, chosen_iou = val.best_threshold()
    both = tuple(sorted({config.threshold, chosen}))
    test: Scores | None = (
        trainer.scores(splits["test"], both, _progress(setup.emit, "score test")) if "test" in splits else None
    )
    if constant := val.constant(config.threshold):
        text = f"the best network has learnt no shape: it {CONSTANT[constant]}. Train for more `steps`."
        setup.emit(Note(text, "warning"))
    val_scores = val.by_record(config.threshold)
    test_scores = test.by_record(config.threshold) if test is not None else {}
    peak = peak_memory(setup.device)
    if setup.group.leads and examples_from is not None:
        latency = _write_examples(best, examples_from, setup, {**val_scores, **test_scores})
        arithmetic = arithmetic if latency is None else {**arithmetic, "latency_seconds": latency}
    record = RunRecord(
        name=identity["name"],
        run_id=identity["run_id"],
        model=identity["model"],
        train=identity["train"],
        data={**identity["data"], **{name: len(split) for name, split in splits.items()}},
        params=count_parameters(trainer.model),
        history=tuple(progress.history),
        best_step=stored["step"],
        best_val_iou=stored["val_iou"],
        last_val_iou=progress.history[-1].val_iou,
        val_scores=val_scores,
        test_scores=test_scores,
        objects={**splits["val"].objects(), **(splits["test"].objects() if test is not None else {})},
        val_threshold=chosen,
        val_iou_at_threshold=chosen_iou,
        val_scores_at_threshold=val.by_record(chosen),
        test_scores_at_threshold=test.by_record(chosen) if test is not None else {},
        weights=identity["weights"],
        encoder_weights=identity["encoder_weights"],
        device=describe_device(
            setup.device,
            JOIN.join(progress.precisions),
            setup.group.world,
            as_range(progress.threads),
            name=JOIN.join(progress.devices),
        ),
        versions=versions(),
        seconds=progress.seconds + time.monotonic() - started,
        peak_memory_bytes=peak,
        shapes_per_second=config.batch_size * progress.step / max(progress.train_seconds, 1e-9),
        data_wait_share=progress.wait_seconds / max(progress.train_seconds, 1e-9),
        steps_done=progress.step,
        stopped=stopped,
        cost=arithmetic,
        constant=constant,
        constant_at_threshold=val.constant(chosen),
    )
    if setup.group.leads:
        header = {**identity, "step": progress.step, "val_iou": progress.history[-1].val_iou}
        checkpoint.save_last_model(out, last, header)
        write_run(out, record)  # last: a folder with a record is a finished run
        RunFolder(out).remove_checkpoints()
    distributed.wait()
    return record


def _progress(emit: Emit, stage: str) -> Advance:
    """Progress of scoring as events, since it can take minutes on a CPU."""
    emit(Progress(stage, 0, 0))
    return lambda done, total: emit(Progress(stage, done, total))


def _write_examples(model: OccupancyNetwork, data: Path, setup: Setup, scores: dict[str, float]) -> float | None:
    """Write the examples; the median seconds per picture, or None with a warning if that fails."""
    from pix3d_onet.learning.training.examples import write_examples

    config = setup.config
    try:
        return write_examples(
            model,
            data,
            setup.folder,
            device=setup.device,
            threshold=config.threshold,
            image_size=config.image_size,
            scores=scores,
            emit=setup.emit,
        )
    except Exception as error:  # noqa: BLE001 - hours of training must not be lost for a figure
        line = " ".join(str(error).split()) or type(error).__name__
        setup.emit(Note(f"no example pictures for the figures: {line}", "warning"))
        return None
