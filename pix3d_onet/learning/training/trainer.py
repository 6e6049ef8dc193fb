"""The training loop: one step, validation, checkpoints, resuming, stopping on a signal."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from pix3d_onet import seeding
from pix3d_onet.config import TrainConfig
from pix3d_onet.errors import DivergedError, InterruptedRunError
from pix3d_onet.events import Emit, Note, TrainStep
from pix3d_onet.learning import checkpoint, distributed
from pix3d_onet.learning.batches.augment import augment
from pix3d_onet.learning.batches.batch import Batch, Decoding, RawBatch, without_mask
from pix3d_onet.learning.batches.drawing import BITS, Draw, DrawPlan
from pix3d_onet.learning.batches.prefetch import Prefetch
from pix3d_onet.learning.batches.split import ResidentSplit, Split, to_device
from pix3d_onet.learning.batches.symmetry import symmetries
from pix3d_onet.learning.device import autocast, device_name
from pix3d_onet.learning.network.camera import Camera, camera_loss
from pix3d_onet.learning.network.model import OccupancyNetwork
from pix3d_onet.learning.torch_threads import Threads
from pix3d_onet.learning.training.history import Curves
from pix3d_onet.learning.training.optim import (
    backbones,
    learning_rate,
    make_optimizer,
    moving_average,
    restored_state,
    set_learning_rate,
)
from pix3d_onet.learning.training.validate import Advance, Scores, evaluate_split, no_progress
from pix3d_onet.runs.folder import RunFolder
from pix3d_onet.runs.forecast import forecast
from pix3d_onet.runs.record import HistoryRow

SAVE_SECONDS = 60.0
"""Least seconds between checkpoints, which are written after validations."""
CHECK_EVERY = {"cpu": 1, "cuda": 20}
"""Steps between checks of the loss, by type of device; a check waits for a GPU to finish."""
PREDICTED_SHARE = 0.75
"""Share of the pictures of a step whose features are sampled with the predicted camera, if the network predicts it: as
in use, while the others teach what exact features say."""


@dataclass(slots=True)
class Progress:
    """The counters of a run; stored in every checkpoint."""

    step: int = 0
    best_iou: float = -1.0
    best_step: int = 0
    since_best: int = 0
    loss_sum: float = 0.0
    loss_count: int = 0
    seconds: float = 0.0
    train_seconds: float = 0.0
    wait_seconds: float = 0.0
    val_seconds: float = 0.0
    threads: list[int] = field(default_factory=list)
    """The numbers of CPU threads used so far."""
    devices: list[str] = field(default_factory=list)
    """The devices used so far; more than one if the run was continued on another machine."""
    precisions: list[str] = field(default_factory=list)
    """The precisions used so far."""
    history: list[HistoryRow] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """A dict for JSON; floats are restored exactly."""
        own = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "history"}
        rows = [{name: getattr(row, name) for name in HistoryRow.__slots__} for row in self.history]
        return {**own, "history": rows}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Progress:
        """The inverse of ``to_json``."""
        rows = [HistoryRow(**row) for row in data["history"]]
        return cls(**{**data, "history": rows})


class StopFlag:
    """Set by SIGINT, SIGTERM or SIGUSR1 (sent by Slurm before its time limit): ``name`` is that of the signal."""

    def __init__(self) -> None:
        self.name = ""

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Catch the signals in this block; a second signal of the same kind goes to the previous handler."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        signals = [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1]
        before = {number: signal.getsignal(number) for number in signals}

        def stop(number: int, frame: Any) -> None:
            self.name = signal.Signals(number).name
            signal.signal(number, before[signal.Signals(number)])

        for number in signals:
            signal.signal(number, stop)
        try:
            yield
        finally:
            for number in signals:
                signal.signal(number, before[number])


@dataclass(frozen=True, slots=True, eq=False)
class Setup:
    """What a :class:`Trainer` needs besides the network. ``identity``: the run's configuration, see ``run.train``."""

    config: TrainConfig
    folder: Path
    identity: dict[str, Any]
    device: torch.device
    precision: str
    group: distributed.Group
    train: Split
    val: Split
    emit: Emit
    test_pictures: int = 0
    threads: Threads | None = None


class Trainer:
    """Trains ``model``; ``compiled``: with ``torch.compile``."""

    def __init__(self, model: OccupancyNetwork, setup: Setup, *, compiled: bool = False) -> None:
        self.setup, self.config = setup, setup.config
        self.model = model
        self.optimizer = make_optimizer(model, self.config)
        self.average = moving_average(model, self.config.ema) if self.config.ema > 0 else None
        self.scaler = torch.amp.GradScaler(setup.device.type, enabled=setup.precision == "fp16")
        self.network: nn.Module = distributed.wrap(model, setup.group, setup.device)
        if compiled:
            mode = "reduce-overhead" if setup.device.type == "cuda" else "default"
            self.network = torch.compile(self.network, mode=mode)  # type: ignore[assignment]
        train = setup.train
        batch, wanted = self.config.batch_size, self.config.points_per_shape
        share = self.config.photo_share
        photos = ~train.rendered if share > 0 and 0 < train.rendered.sum() < len(train) else None
        if share > 0 and photos is None:
            kind = "rendered views" if train.rendered.any() else "photos"
            setup.emit(Note(f"`photo_share={share:g}` has no effect: all training pictures are {kind}", "warning"))
        weight = self.config.camera_weight
        if weight != TrainConfig.camera_weight and not model.config.predicts_camera:
            setup.emit(Note(f"`camera_weight={weight:g}` has no effect: the network predicts no camera", "warning"))
        seed, stored = self.config.seed, train.points_count
        # the plan of the batch, and that of the pictures that train only the camera, if there are any
        self.plans = [DrawPlan(seed, len(train), stored, batch, train.near_usable, photos, share)]
        if further := self.config.camera_pictures:
            other = int(seeding.generator(seed, "camera-pictures").integers(2**32))
            self.plans.append(DrawPlan(other, len(train), stored, further, favoured=photos, share=share))
        self.near = min(int(wanted * self.config.near) // BITS * BITS, train.near_usable)
        self.uniform = min(wanted - self.near, train.usable)
        self.points = self.near + self.uniform
        self.decoding = Decoding(setup.device)
        self.prefetch = (
            None if train.device == setup.device and isinstance(train, ResidentSplit) else Prefetch(self.raw_batch)
        )
        self.progress = Progress()
        self.symmetric = symmetries(train).to(setup.device) if model.config.predicts_camera else None
        val = setup.val
        self.forecast = forecast(self.config, len(val), setup.test_pictures, val.points_count)
        self.pending: list[tuple[int, Tensor]] = []
        self.best_state: dict[str, Tensor] | None = None
        self.saved_at = time.monotonic()
        self.stop = StopFlag()
        self.curves = Curves(setup.folder) if setup.group.leads else None

    @property
    def evaluated(self) -> OccupancyNetwork:
        """The network that is validated and stored: the moving average if there is one."""
        network: OccupancyNetwork = self.average.module if self.average is not None else self.model
        return network

    # -- the loop ------------------------------------------------------------------------------------------------

    def run(self) -> str:
        """Train until all steps are done (returns ``completed``) or patience ends (``patience``).

        InterruptedRunError after a signal, with everything saved; DivergedError if the loss or a weight is not finite.
        """
        with self.stop.listening():
            if self.curves is not None:
                self.curves.rewrite(self.progress.history)
            self.set_training()
            self.note_device()
            started, before = time.monotonic(), self.progress.seconds
            while self.progress.step < self.config.steps and not self.patience_ended:
                self.update_threads()
                self.step(self.progress.step + 1)
                self.progress.seconds = before + time.monotonic() - started
                step = self.progress.step
                if step % CHECK_EVERY[self.setup.device.type] == 0 or step == self.config.steps:
                    self.check_losses()
                if step % self.config.val_every == 0 or step == self.config.steps:
                    self.check_losses()
                    self.validate(time.monotonic() - started + before)
                self.stop_if_signalled()
            self.save()
        return "completed" if self.progress.step == self.config.steps else "patience"

    def update_threads(self) -> None:
        """Adjust the number of threads to the load of the machine, and record it."""
        if self.setup.threads is not None:
            self.setup.threads.adjust()
        if (count := torch.get_num_threads()) not in self.progress.threads:
            self.progress.threads.append(count)

    def note_device(self) -> None:
        """Record the device and precision of this session, if an earlier one of the run had others."""
        name, p = device_name(self.setup.device), self.progress
        for value, seen in ((name, p.devices), (self.setup.precision, p.precisions)):
            if value not in seen:
                seen.append(value)

    @property
    def patience_ended(self) -> bool:
        """Whether the last ``patience`` validations were no better; also true when such a run is resumed."""
        return 0 < self.config.patience <= self.progress.since_best

    def set_training(self) -> None:
        """Training mode, except for frozen backbones, whose running statistics must not change either."""
        self.model.train()
        if self.config.freeze_encoder:
            for backbone in backbones(self.model):
                backbone.eval()

    def step(self, number: int) -> None:
        """One optimiser step. The loss stays on the device until ``check_losses``, so that a GPU is not waited for."""
        begin = time.perf_counter()
        setup = self.setup
        torch.manual_seed(self.config.seed * 1_000_003 + number)  # dropout etc. depend only on the step
        batch = self.batch(number)
        ready = time.perf_counter()
        set_learning_rate(self.optimizer, learning_rate(self.config, number))
        self.optimizer.zero_grad(set_to_none=True)
        with autocast(setup.device, setup.precision):
            if self.symmetric is None:
                logits = self.network(batch.images, batch.points, batch.pose, batch.intrinsics)
                loss = occupancy_loss(logits, batch.occupancy)
            else:
                loss = self.loss_with_camera(batch, number, self.symmetric)
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.average is not None:
            self.average.update(self.model, number)
        self.pending.append((number, loss.detach()))
        self.progress.step = number
        self.progress.wait_seconds += ready - begin
        self.progress.train_seconds += time.perf_counter() - begin

    def loss_with_camera(self, batch: Batch, number: int, symmetric: Tensor) -> Tensor:
        """The loss of a network that predicts cameras; for a share of the pictures also its features' camera."""
        device, count = self.setup.device, len(batch.images)
        first = self.setup.group.rank * count
        numbers = seeding.generator(self.config.seed, "cameras", str(number)).random(first + count)[first:]
        unknown = to_device(numbers < PREDICTED_SHARE, device)
        pose = batch.pose.masked_fill(unknown[:, None, None], torch.nan)
        further = batch.further
        pictures = None if further is None else further.images
        logits, candidates = self.network(batch.images, batch.points, pose, batch.intrinsics, pictures)
        parts = [batch] if further is None else [batch, further]
        true = Camera(torch.cat([part.pose for part in parts]), torch.cat([part.intrinsics for part in parts]))
        rows = np.concatenate([draw.pictures for draw in self.draws(number)])
        error = camera_loss(candidates, true, symmetric[to_device(self.setup.train.shapes[rows], device)])
        return occupancy_loss(logits, batch.occupancy) + self.config.camera_weight * self.points * error

    def batch(self, number: int) -> Batch:
        """This process's share of the batch of a step, augmented, on the device."""
        raw = self.raw_batch(number) if self.prefetch is None else self.prefetch.get(number).to(self.setup.device)
        batch = self.decoding.batch(raw, self.points)
        if not self.config.augment:
            return batch
        group, count = self.setup.group, len(batch.images)
        further = batch.further
        batch = augment(batch, self.config.augment, self.config.seed, number, group.rank * count)
        if further is not None:
            first = group.world * count + group.rank * len(further.images)
            further = augment(further, self.config.augment, self.config.seed, number, first)
            batch = replace(batch, further=further)
        return batch if self.model.config.needs_mask else without_mask(batch)

    def raw_batch(self, number: int) -> RawBatch:
        """This process's share of the batch of a step, as stored; in pinned memory if it is made ahead for a GPU."""
        draw, *further = self.draws(number)
        raw = self.setup.train.gather(draw, self.uniform, self.near)
        if further:
            raw = replace(raw, further=self.setup.train.gather(further[0], 0))
        return raw.pin() if self.prefetch is not None and self.setup.device.type == "cuda" else raw

    def draws(self, number: int) -> list[Draw]:
        """This process's share of the pictures of a step, and of those that train only the camera, if there are any."""
        group = self.setup.group
        return [plan.draw(number).share(group.rank, group.world) for plan in self.plans]

    def check_losses(self) -> None:
        """Fetch the losses since the last check and emit the newest. DivergedError if one is not finite."""
        if not self.pending:
            return
        begin = time.perf_counter()
        values = (distributed.add_up(torch.stack([loss for _, loss in self.pending])) / self.setup.group.world).cpu()
        self.progress.train_seconds += time.perf_counter() - begin  # on a GPU, steps only queue their work
        for (number, _), value in zip(self.pending, values.tolist(), strict=True):
            if not math.isfinite(value):
                raise self.diverged(number)
            self.progress.loss_sum += value
            self.progress.loss_count += 1
        self.pending.clear()
        self.emit_step(values[-1].item(), None)

    def emit_step(self, loss: float, iou: float | None) -> None:
        """Emit the progress of the run."""
        p = self.progress
        rate = p.step / p.train_seconds if p.train_seconds else 0.0
        best = p.best_iou if p.best_iou >= 0 else None
        lr = learning_rate(self.config, p.step)
        speed = rate * self.config.batch_size
        left = self.forecast.seconds_left(p)
        self.setup.emit(TrainStep(p.step, self.config.steps, loss, speed, lr, iou, best, left))

    def diverged(self, number: int) -> DivergedError:
        """The error for a loss or weights that are not finite; names the pictures of that step."""
        drawn = {int(row) for plan in self.plans for row in plan.draw(number).pictures}
        names = [self.setup.train.record_ids[i] for i in sorted(drawn)]
        shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
        saved = "The last checkpoint was saved before. " if RunFolder(self.setup.folder).has_network else ""
        return DivergedError(
            f"the loss or the weights are not finite at step {number}; the batch was {shown}.",
            hint=f"{saved}Try a lower `lr` or `precision='fp32'`.",
        )

    def close(self) -> None:
        """Stop the prefetching thread and flush the curves."""
        if self.prefetch is not None:
            self.prefetch.close()
        if self.curves is not None:
            self.curves.close()

    # -- validation and checkpoints ------------------------------------------------------------------------------

    def validate(self, seconds: float) -> None:
        """Score the validation pictures; keep the weights if they are the best so far; append to the history."""
        config, p = self.config, self.progress
        begin = time.perf_counter()
        scores = self.scores(self.setup.val, (config.threshold,))
        p.val_seconds += time.perf_counter() - begin
        iou = scores.mean_iou(config.threshold)
        val_loss = float(scores.loss.mean()) * self.points
        if not math.isfinite(val_loss):  # the last update can break the weights although its loss was finite
            raise self.diverged(p.step)
        p.since_best += 1
        if iou > p.best_iou:
            p.best_iou, p.best_step, p.since_best = iou, p.step, 0
            self.best_state = {key: value.clone() for key, value in self.evaluated.state_dict().items()}
        row = HistoryRow(
            step=p.step,
            train_loss=p.loss_sum / max(p.loss_count, 1),
            val_loss=val_loss,
            val_iou=iou,
            lr=learning_rate(config, p.step),
            shapes_per_second=config.batch_size * p.step / p.train_seconds if p.train_seconds else 0.0,
            seconds=seconds,
        )
        p.seconds = seconds
        p.loss_sum, p.loss_count = 0.0, 0
        p.history.append(row)
        if self.curves is not None:
            self.curves.append(row)
        self.emit_step(row.train_loss, iou)
        if distributed.any_of(time.monotonic() - self.saved_at > SAVE_SECONDS, self.setup.device):
            self.save()

    def scores(self, split: Split, thresholds: tuple[float, ...], advance: Advance = no_progress) -> Scores:
        """Score a split: each process scores a share of the pictures, and the counts are summed."""
        group, device = self.setup.group, self.setup.device
        self.update_threads()

        def scored(done: int, total: int) -> None:
            self.update_threads()
            advance(done, total)

        mine = evaluate_split(
            self.evaluated,
            split,
            thresholds=thresholds,
            points=self.config.val_points,
            rank=group.rank,
            world=group.world,
            advance=scored,
        )
        if group.world == 1:
            return mine
        inter, union, loss = (
            distributed.add_up(torch.from_numpy(a).to(device)).cpu().numpy()
            for a in (mine.intersection, mine.union, mine.loss)
        )
        return replace(mine, intersection=inter, union=union, loss=loss)

    def stop_if_signalled(self) -> None:
        """After a signal to any process: save, and raise InterruptedRunError in all of them at the same step."""
        device = self.setup.device
        if self.progress.step % CHECK_EVERY[device.type] or not distributed.any_of(bool(self.stop.name), device):
            return
        self.check_losses()
        self.save()
        raise InterruptedRunError(
            f"stopped by {self.stop.name or 'another process'} after step {self.progress.step}; everything is saved.",
            hint=f"Continue: onet train `out={self.setup.folder}` `resume=True`",
        )

    def save(self) -> None:
        """Write the best network if it is new, then a checkpoint. DivergedError if a weight is not finite."""
        if not all(bool(torch.isfinite(parameter).all()) for parameter in self.model.parameters()):
            raise self.diverged(self.progress.step)
        self.saved_at = time.monotonic()
        if not self.setup.group.leads:
            return
        folder = self.setup.folder
        if self.best_state is not None:
            header = {**self.setup.identity, "step": self.progress.best_step, "val_iou": self.progress.best_iou}
            checkpoint.save_best(folder, self.best_state, header)
            self.best_state = None
        tensors = {f"model.{key}": value for key, value in self.model.state_dict().items()}
        for index, parameter in enumerate(self.parameters()):
            for key, value in self.optimizer.state[parameter].items():
                tensors[f"optimizer.{index}.{key}"] = torch.as_tensor(value)
        if self.average is not None:
            tensors.update({f"average.{key}": value for key, value in self.average.module.state_dict().items()})
        counters = {"progress": self.progress.to_json(), "scaler": self.scaler.state_dict(), "tensors": len(tensors)}
        checkpoint.save_last(folder, self.progress.step, tensors, {**self.setup.identity, **counters})

    def parameters(self) -> list[nn.Parameter]:
        """The parameters in the optimiser's order."""
        return [parameter for group in self.optimizer.param_groups for parameter in group["params"]]

    def restore(self, tensors: dict[str, Tensor], header: dict[str, Any]) -> None:
        """Continue from a checkpoint. ValueError or another error of ``run._restore`` if it is not whole."""
        model, average = (under_prefix(tensors, prefix) for prefix in ("model.", "average."))
        states = [under_prefix(tensors, f"optimizer.{index}.") for index in range(len(self.parameters()))]
        written = header.get("tensors", len(tensors))  # absent in checkpoints of early versions
        if not len(model) + len(average) + sum(map(len, states)) == len(tensors) == written:
            raise ValueError(f"of its {written} tensors some are missing or have other names")
        self.model.load_state_dict(model)
        if self.average is not None:
            self.average.module.load_state_dict(average)
        for parameter, state in zip(self.parameters(), states, strict=True):
            self.optimizer.state[parameter] = restored_state(state, parameter)
        if header["scaler"]:
            self.scaler.load_state_dict(header["scaler"])
        self.progress = Progress.from_json(header["progress"])
        self.setup.emit(Note(f"resumed after step {self.progress.step}"))


def under_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The entries whose name starts with ``prefix``, under their names without it."""
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def occupancy_loss(logits: Tensor, occupancy: Tensor) -> Tensor:
    """Binary cross-entropy summed over the points and averaged over the shapes (Mescheder et al., eq. 3); (B, T)."""
    return functional.binary_cross_entropy_with_logits(logits.float(), occupancy, reduction="none").sum(-1).mean()


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether PyTorch ran out of memory, on the GPU or the CPU."""
    return isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error)
