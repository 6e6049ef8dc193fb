"""The ablation as a plan: variants × seeds, minus what exists; one folder a run, its path a function of its settings.

Training is injected, so that planning and reporting need no torch.
"""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pix3d_onet.ablation.parallel import Job, run_jobs
from pix3d_onet.ablation.stored_runs import StoredRun, stored
from pix3d_onet.ablation.variants import Variant
from pix3d_onet.config import ModelConfig, TrainConfig, TrainPreset
from pix3d_onet.errors import BusyError, ConfigError, InputError, InterruptedRunError, OnetError, UnsuitableError
from pix3d_onet.events import Emit, Note, RunFinished, RunStarted, ignore
from pix3d_onet.files import check_claim
from pix3d_onet.runs.record import RUN_FILE, RunRecord, is_run

LOCK_FILE = ".bench.lock"
KIND = "folder of runs"

PRESETS: Mapping[TrainPreset, TrainConfig] = {
    "paper": TrainConfig(),
    "quick": TrainConfig(
        steps=200,
        batch_size=8,
        points_per_shape=512,
        image_size=64,
        lr=1e-3,
        schedule="cosine",
        warmup=20,
        val_every=50,
        val_points=8192,
    ),
}
"""``paper``: the report's recipe. ``quick``: all of Table 1 in minutes on two CPU cores, small pictures, few points."""


class Train(Protocol):
    """``learning.training.run.train``, or a stand-in."""

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
        emit: Emit,
    ) -> RunRecord:
        """Train one run into the folder ``out``, or continue it there, and return its record."""
        ...


Identity = Callable[[Variant, TrainConfig], str]
"""The run id that training would give: a hash of everything that defines the run."""


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """One run of the plan. ``state``: ``done``, ``partial`` (interrupted, will be resumed) or ``missing``."""

    variant: Variant
    config: TrainConfig
    run_id: str
    folder: Path

    @property
    def name(self) -> str:
        """``variant/seed`` for progress lines."""
        return f"{self.variant.name}/{self.config.seed}"

    @property
    def state(self) -> str:
        """What stands on disk now."""
        if (self.folder / RUN_FILE).is_file():
            return "done"
        return "partial" if self.folder.is_dir() and any(self.folder.iterdir()) else "missing"


@dataclass(frozen=True, slots=True)
class Failure:
    """A run that could not be finished, and why; its cell stays blank."""

    run: PlannedRun
    error: OnetError


@dataclass(frozen=True, slots=True)
class BenchResult:
    """What a call of ``bench`` leaves: the finished runs of the plan, how many it trained itself, and its failures."""

    runs: tuple[StoredRun, ...]
    trained: int
    failures: tuple[Failure, ...]


def plan_runs(
    variants: Sequence[Variant], seeds: Sequence[int], config: TrainConfig, out: Path, identity: Identity
) -> tuple[PlannedRun, ...]:
    """The whole plan, seed by seed, so that an interrupted ablation has complete tables of fewer seeds.

    ConfigError for no variants, no seeds, or one of either named twice.
    """
    names = [v.name for v in variants]
    for what, values in (("`variant`", names), ("`seeds`", list(seeds))):
        if not values or len(set(values)) != len(values):
            raise ConfigError(f"{what} needs at least one value and none twice.")
    plan = []
    for seed in seeds:
        for variant in variants:
            recipe = TrainConfig.from_json({**variant.recipe(config).to_json(), "seed": seed})
            run_id = identity(variant, recipe)
            plan.append(PlannedRun(variant, recipe, run_id, out / variant.name / f"{seed}-{run_id}"))
    return tuple(plan)


def bench(
    plan: Sequence[PlannedRun],
    data: Path,
    train: Train,
    *,
    out: Path,
    devices: Sequence[str] = ("auto",),
    overwrite: bool = False,
    emit: Emit = ignore,
) -> BenchResult:
    """Train what is missing, continue what was interrupted, leave alone what is done.

    Runs go one after another, or one process on each of several ``devices``. A run that fails is reported and the
    rest goes on; when the first one attempted fails on its input, so would the others, and its error is raised, as it
    is when all fail. BusyError when another process works on the same folder of runs. InputError when ``out`` is
    neither ours nor empty; with ``overwrite`` runs are added to it.
    """
    runs: dict[str, StoredRun] = {}
    failures: list[Failure] = []
    place = {planned.name: index for index, planned in enumerate(plan, start=1)}
    with claimed(out):
        folders = {p.variant.name for p in plan}
        check_claim(out, KIND, files=(), folders=folders, known=holds_runs, overwrite=overwrite, emit=emit)
        done = [p for p in plan if p.state == "done"]
        for planned in done:
            runs[planned.name] = run = stored(planned.folder)
            emit(RunFinished(planned.name, place[planned.name], len(plan), True, run.record.best_val_iou))
        todo = [p for p in plan if p.name not in runs]
        for planned, error in _train_all(todo, data, train, devices, _Announce(place, emit)):
            if error is None:
                runs[planned.name] = run = stored(planned.folder)
                emit(RunFinished(planned.name, place[planned.name], len(plan), val_iou=run.record.best_val_iou))
                continue
            if isinstance(error, InterruptedRunError):
                raise InterruptedRunError(
                    f"interrupted at {planned.name}; {len(runs)} of {len(plan)} runs are done, the rest is saved.",
                    hint="The same command continues.",
                )
            hopeless = isinstance(error, InputError) and not failures and len(runs) == len(done)
            if hopeless or (isinstance(error, ConfigError) and not isinstance(error, UnsuitableError)):
                raise error
            failures.append(Failure(planned, error))
            emit(Note(f"{planned.name} failed and stays blank: {error}", "warning"))
    if failures and not runs:
        raise failures[0].error
    finished = tuple(runs[p.name] for p in plan if p.name in runs)
    return BenchResult(finished, len(runs) - len(done), tuple(failures))


def holds_runs(folder: Path) -> bool:
    """Whether runs of ours lie in ``folder``, or in its subfolders."""
    below = (p for depth in ("*", "*/*") for p in folder.glob(depth) if p.is_dir() and not p.is_symlink())
    return any(map(is_run, below))


@dataclass(frozen=True, slots=True)
class _Announce:
    """Says that a run starts, with its place in the plan, and passes on its events."""

    place: Mapping[str, int]
    emit: Emit

    def start(self, planned: PlannedRun) -> None:
        """Emit RunStarted; ``planned`` must not have begun yet."""
        details = {"state": planned.state, "folder": planned.folder.as_posix(), "run_id": planned.run_id}
        self.emit(RunStarted(planned.name, self.place[planned.name], len(self.place), details))


def _train_all(
    todo: Sequence[PlannedRun], data: Path, train: Train, devices: Sequence[str], announce: _Announce
) -> Iterator[tuple[PlannedRun, OnetError | None]]:
    """Train ``todo``; yield each run as it ends, with its error if it failed."""
    if len(devices) > 1:
        by_name = {p.name: p for p in todo}
        jobs = [Job(p.name, train_planned, (p, data, train)) for p in todo]
        for job, error in run_jobs(jobs, devices, announce.emit, lambda job: announce.start(by_name[job.name])):
            yield by_name[job.name], error
        return
    for planned in todo:
        announce.start(planned)
        try:
            train_planned(planned, data, train, device=devices[0], emit=announce.emit)
        except OnetError as error:
            yield planned, error
        except Exception as error:  # noqa: BLE001 - one run's accident is not the others'
            yield planned, OnetError(f"unexpected {type(error).__name__}: {' '.join(str(error).split())}")
        else:
            yield planned, None


def train_planned(planned: PlannedRun, data: Path, train: Train, *, device: str, emit: Emit) -> None:
    """Train or continue one planned run in its folder."""
    train(
        planned.variant.model,
        planned.config,
        data,
        planned.folder,
        name=planned.variant.name,
        resume=True,
        device=device,
        emit=emit,
    )


@contextmanager
def claimed(out: Path) -> Iterator[None]:
    """Hold ``out`` for this process; BusyError when another one does. The lock dies with its process."""
    out.mkdir(parents=True, exist_ok=True)
    with (out / LOCK_FILE).open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise BusyError(
                f"another ablation is writing to {out}.", hint="Wait for it, or give another folder with `out`."
            ) from None
        yield
