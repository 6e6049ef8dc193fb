"""The training loop: state, one step, validation, saving, resuming, stopping."""

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

import torch
from torch import Tensor, nn
from torch.nn import functional

from pix3d_onet.config import TrainConfig
from pix3d_onet.errors import DivergedError, InterruptedRunError
from pix3d_onet.events import Emit, Note, TrainStep
from pix3d_onet.learning import checkpoint, distributed
from pix3d_onet.learning.device import autocast
from pix3d_onet.learning.network.model import OccupancyNetwork
from pix3d_onet.learning.torch_threads import Threads
from pix3d_onet.learning.training.augment import augment
from pix3d_onet.learning.training.batches import Batch, Decoding, Plan, RawBatch, ResidentSplit, Split
from pix3d_onet.learning.training.history import Curves
from pix3d_onet.learning.training.optim import (
    backbones,
    learning_rate,
    make_optimizer,
    moving_average,
    set_learning_rate,
)
from pix3d_onet.learning.training.streaming import Prefetch
from pix3d_onet.learning.training.validate import Advance, Scores, evaluate_split, unwatched
from pix3d_onet.runs.folder import RunFolder
from pix3d_onet.runs.forecast import forecast
from pix3d_onet.runs.record import HistoryRow

SAVE_SECONDS = 60.0
"""Seconds between checkpoints: what a power cut costs at most, besides one validation interval."""
LOOK_EVERY = {"cpu": 1, "cuda": 20}
"""Steps between looks at the loss: a look waits for the device."""


@dataclass(slots=True)
class Progress:
    """The counters of a run; all of it is in every checkpoint."""

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
    """The numbers of threads that it was made with."""
    history: list[HistoryRow] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """JSON-able; floats come back exactly."""
        own = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "history"}
        rows = [{name: getattr(row, name) for name in HistoryRow.__slots__} for row in self.history]
        return {**own, "history": rows}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Progress:
        """The inverse of ``to_json``."""
        rows = [HistoryRow(**row) for row in data["history"]]
        return cls(**{**data, "history": rows})


class StopFlag:
    """Set by SIGINT or SIGTERM (by Slurm's SIGUSR1 as well), looked at after every step."""

    def __init__(self) -> None:
        self.name = ""

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Catch the signals while in the block; a second one falls through to what was there before."""
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
class Setting:
    """What a training loop works with and on."""

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
    """One run. ``run()`` goes on until all steps are done or patience ends; returns ``completed`` or ``patience``."""

    def __init__(self, model: OccupancyNetwork, setting: Setting, *, compiled: bool = False) -> None:
        self.setting, self.config = setting, setting.config
        self.model = model
        self.optimizer = make_optimizer(model, self.config, setting.device)
        self.average = moving_average(model, self.config.ema) if self.config.ema > 0 else None
        self.scaler = torch.amp.GradScaler(setting.device.type, enabled=setting.precision == "fp16")
        self.network: nn.Module = distributed.wrap(model, setting.group, setting.device)
        if compiled:
            mode = "reduce-overhead" if setting.device.type == "cuda" else "default"
            self.network = torch.compile(self.network, mode=mode)  # type: ignore[assignment]
        train = setting.train
        self.plan = Plan(self.config.seed, len(train), train.points_count, self.config.batch_size)
        self.points = min(self.config.points_per_shape, train.usable)
        self.decoding = Decoding(setting.device)
        self.ahead = None if train.device == setting.device and isinstance(train, ResidentSplit) else Prefetch(self.raw)
        self.progress = Progress()
        val = setting.val
        self.forecast = forecast(self.config, len(val), setting.test_pictures, val.points_count)
        self.pending: list[tuple[int, Tensor]] = []
        self.best_state: dict[str, Tensor] | None = None
        self.saved_at = time.monotonic()
        self.stop = StopFlag()
        self.curves = Curves(setting.folder) if setting.group.leads else None

    @property
    def evaluated(self) -> OccupancyNetwork:
        """The network that is validated and kept: the moving average where there is one."""
        network: OccupancyNetwork = self.average.module if self.average is not None else self.model
        return network

    # -- the loop ------------------------------------------------------------------------------------------------

    def run(self) -> str:
        """Train to the end. InterruptedRunError after a signal (state saved), DivergedError on a loss that is NaN."""
        with self.stop.listening():
            if self.curves is not None:
                self.curves.rewrite(self.progress.history)
            self.set_training()
            started, before = time.monotonic(), self.progress.seconds
            while self.progress.step < self.config.steps and not self.patience_ended:
                self.look_at_threads()
                self.step(self.progress.step + 1)
                self.progress.seconds = before + time.monotonic() - started
                step = self.progress.step
                if step % LOOK_EVERY[self.setting.device.type] == 0 or step == self.config.steps:
                    self.look()
                if step % self.config.val_every == 0 or step == self.config.steps:
                    self.look()
                    self.validate(time.monotonic() - started + before)
                self.leave_if_asked()
            self.save()
        return "completed" if self.progress.step == self.config.steps else "patience"

    def look_at_threads(self) -> None:
        """Follow the load of the machine, and note the number of threads of what is to come."""
        if self.setting.threads is not None:
            self.setting.threads.look()
        if (count := torch.get_num_threads()) not in self.progress.threads:
            self.progress.threads.append(count)

    @property
    def patience_ended(self) -> bool:
        """Whether the last validations brought nothing better; a run resumed after its last step is still there."""
        return 0 < self.config.patience <= self.progress.since_best

    def set_training(self) -> None:
        """Training mode; frozen backbones keep their running statistics, too."""
        self.model.train()
        if self.config.freeze_encoder:
            for backbone in backbones(self.model):
                backbone.eval()

    def step(self, number: int) -> None:
        """Draw, forward, backward, update; the loss stays on the device until ``look``."""
        begin = time.perf_counter()
        setting = self.setting
        torch.manual_seed(self.config.seed * 1_000_003 + number)  # dropout and the like depend on the step alone
        batch = self.batch(number)
        ready = time.perf_counter()
        set_learning_rate(self.optimizer, learning_rate(self.config, number))
        self.optimizer.zero_grad(set_to_none=True)
        with autocast(setting.device, setting.precision):
            logits = self.network(batch.images, batch.points, batch.pose, batch.focal)
        loss = occupancy_loss(logits, batch.occupancy)
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.average is not None:
            self.average.update(self.model, number)
        self.pending.append((number, loss.detach()))
        self.progress.step = number
        self.progress.wait_seconds += ready - begin
        self.progress.train_seconds += time.perf_counter() - begin

    def batch(self, number: int) -> Batch:
        """This process's part of the batch of a step, augmented."""
        raw = self.raw(number) if self.ahead is None else self.ahead.get(number).to(self.setting.device)
        batch = self.decoding.batch(raw, self.points)
        if not self.config.augment:
            return batch
        first = self.setting.group.rank * len(batch.images)
        return augment(batch, self.config.augment, self.config.seed, number, first)

    def raw(self, number: int) -> RawBatch:
        """The stored form of this process's part of a batch; page-locked where a GPU will fetch it."""
        draw = self.plan.draw(number).part(self.setting.group.rank, self.setting.group.world)
        raw = self.setting.train.gather(draw, self.points)
        return raw.pin() if self.ahead is not None and self.setting.device.type == "cuda" else raw

    def look(self) -> None:
        """Fetch the losses since the last look, check them, tell the newest."""
        if not self.pending:
            return
        begin = time.perf_counter()
        values = (distributed.add_up(torch.stack([loss for _, loss in self.pending])) / self.setting.group.world).cpu()
        self.progress.train_seconds += time.perf_counter() - begin  # steps only queue work for a GPU: it ends here
        for (number, _), value in zip(self.pending, values.tolist(), strict=True):
            if not math.isfinite(value):
                raise self.diverged(number)
            self.progress.loss_sum += value
            self.progress.loss_count += 1
        self.pending.clear()
        self.tell(values[-1].item(), None)

    def tell(self, loss: float, iou: float | None) -> None:
        """Emit the newest step."""
        p = self.progress
        rate = p.step / p.train_seconds if p.train_seconds else 0.0
        best = p.best_iou if p.best_iou >= 0 else None
        lr = learning_rate(self.config, p.step)
        speed = rate * self.config.batch_size
        left = self.forecast.seconds_left(p)
        self.setting.emit(TrainStep(p.step, self.config.steps, loss, speed, lr, iou, best, left))

    def diverged(self, number: int) -> DivergedError:
        """The error of a loss that is not finite; names the pictures of that step."""
        names = [self.setting.train.record_ids[i] for i in sorted(set(self.plan.draw(number).pictures.tolist()))]
        shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
        saved = "The last checkpoint is from before. " if RunFolder(self.setting.folder).has_network else ""
        return DivergedError(
            f"the loss or the weights are not finite at step {number}; the batch was {shown}.",
            hint=f"{saved}Try a lower `lr` or `precision='fp32'`.",
        )

    def close(self) -> None:
        """Stop reading ahead and flush the curves."""
        if self.ahead is not None:
            self.ahead.close()
        if self.curves is not None:
            self.curves.close()

    # -- validation and checkpoints ------------------------------------------------------------------------------

    def validate(self, seconds: float) -> None:
        """IoU on the validation pictures; keep the network when it is the best so far; append to the history."""
        config, p = self.config, self.progress
        begin = time.perf_counter()
        scores = self.scores(self.setting.val, (config.threshold,))
        p.val_seconds += time.perf_counter() - begin
        iou = scores.mean_iou(config.threshold)
        val_loss = float(scores.loss.mean()) * self.points
        if not math.isfinite(val_loss):  # the weights went in the step whose loss, taken before it, was still sound
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
        self.tell(row.train_loss, iou)
        if distributed.any_of(time.monotonic() - self.saved_at > SAVE_SECONDS, self.setting.device):
            self.save()

    def scores(self, split: Split, thresholds: tuple[float, ...], advance: Advance = unwatched) -> Scores:
        """Counts of a split, each process a share, added up."""
        group, device = self.setting.group, self.setting.device
        self.look_at_threads()

        def scored(done: int, total: int) -> None:
            self.look_at_threads()
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

    def leave_if_asked(self) -> None:
        """After a signal: save and raise InterruptedRunError. All processes agree on the step."""
        device = self.setting.device
        if self.progress.step % LOOK_EVERY[device.type] or not distributed.any_of(bool(self.stop.name), device):
            return
        self.look()
        self.save()
        raise InterruptedRunError(
            f"stopped by {self.stop.name or 'another process'} after step {self.progress.step}; everything is saved.",
            hint="Continue with `resume=True`.",
        )

    def save(self) -> None:
        """Write the best network if it is new, then everything needed to go on. DivergedError for weights of NaN."""
        if not all(bool(torch.isfinite(parameter).all()) for parameter in self.model.parameters()):
            raise self.diverged(self.progress.step)
        self.saved_at = time.monotonic()
        if not self.setting.group.leads:
            return
        folder = self.setting.folder
        if self.best_state is not None:
            header = {**self.setting.identity, "step": self.progress.best_step, "val_iou": self.progress.best_iou}
            checkpoint.save_best(folder, self.best_state, header)
            self.best_state = None
        tensors = {f"model.{key}": value for key, value in self.model.state_dict().items()}
        for index, parameter in enumerate(self.parameters()):
            for key, value in self.optimizer.state[parameter].items():
                tensors[f"optimizer.{index}.{key}"] = torch.as_tensor(value)
        if self.average is not None:
            tensors.update({f"average.{key}": value for key, value in self.average.module.state_dict().items()})
        header = {**self.setting.identity, "progress": self.progress.to_json(), "scaler": self.scaler.state_dict()}
        checkpoint.save_last(folder, self.progress.step, tensors, header)

    def parameters(self) -> list[nn.Parameter]:
        """The optimiser's parameters in its order."""
        return [parameter for group in self.optimizer.param_groups for parameter in group["params"]]

    def restore(self, tensors: dict[str, Tensor], header: dict[str, Any]) -> None:
        """Take up the state of a checkpoint."""
        self.model.load_state_dict(part(tensors, "model."))
        if self.average is not None:
            self.average.module.load_state_dict(part(tensors, "average."))
        for index, parameter in enumerate(self.parameters()):
            state = part(tensors, f"optimizer.{index}.")
            for key, value in state.items():  # in the parameter's memory layout, so that arithmetic is the same
                same = value.shape == parameter.shape
                state[key] = torch.empty_like(parameter).detach().copy_(value) if same else value.to(parameter.device)
            self.optimizer.state[parameter] = state
        if header["scaler"]:
            self.scaler.load_state_dict(header["scaler"])
        self.progress = Progress.from_json(header["progress"])
        self.setting.emit(Note(f"resumed after step {self.progress.step}"))


def part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The entries under a prefix, without it."""
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def occupancy_loss(logits: Tensor, occupancy: Tensor) -> Tensor:
    """Binary cross-entropy summed over the points and averaged over the shapes (Mescheder et al., eq. 3); (B, T)."""
    return functional.binary_cross_entropy_with_logits(logits.float(), occupancy, reduction="none").sum(-1).mean()


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether PyTorch ran out of memory, on the GPU or the CPU."""
    return isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error)
