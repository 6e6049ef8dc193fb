"""Plan and run the ablation: variants × seeds. A run's folder is a function of its settings; finished runs are kept.

The training function is a parameter, so that planning and reporting do not need torch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from pix3d_onet.ablation.cluster import Cluster, run_on_cluster
from pix3d_onet.ablation.parallel import Job, run_job, run_jobs
from pix3d_onet.ablation.stored_runs import StoredRun, stored
from pix3d_onet.ablation.variants import VARIANTS, Variant
from pix3d_onet.config import ModelConfig, TrainConfig
from pix3d_onet.errors import ConfigError, InputError, InterruptedRunError, OnetError, UnsuitableError
from pix3d_onet.events import Emit, Note, RunFinished, RunStarted, ignore
from pix3d_onet.files import check_claim
from pix3d_onet.locks import locked
from pix3d_onet.runs.folder import RunFolder, RunState, is_run
from pix3d_onet.runs.record import RunRecord, write_run

KIND = "folder of runs"
VISIBLE_SECONDS = 75.0
"""Time until a file of another machine appears: NFS clients remember for up to 60 s that it was missing."""


class Train(Protocol):
    """Type of ``learning.training.run.train``."""

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
        **start: Path,
    ) -> RunRecord:
        """Train one run into the folder ``out``, or continue it there, and return its record."""
        ...


Identity = Callable[[Variant, TrainConfig], str]
"""Computes the id that training gives a run: a hash of everything that defines it."""


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """One run of the plan. A ``partial`` one was interrupted and will be resumed.

    ``replaced``: the training settings and initial weights that the variant changes, as the plan's other runs have
    them; ``start``: the argument of ``train`` for its initial weights, if it needs one.
    """

    variant: Variant
    config: TrainConfig
    run_id: str
    folder: Path
    replaced: Mapping[str, Any] = field(default_factory=dict)
    start: Mapping[str, Path] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """``variant/seed`` for progress lines."""
        return f"{self.variant.name}/{self.config.seed}"

    @property
    def state(self) -> RunState:
        """The run's current state on disk."""
        return RunFolder(self.folder).state


@dataclass(frozen=True, slots=True)
class Failure:
    """A run that failed, with its error; its cells in the table are blank."""

    run: PlannedRun
    error: OnetError


@dataclass(frozen=True, slots=True)
class BenchResult:
    """Result of ``bench``: the finished runs of the plan, how many of them it trained, and the failures."""

    runs: tuple[StoredRun, ...]
    trained: int
    failures: tuple[Failure, ...]


def plan_runs(
    variants: Sequence[Variant],
    seeds: Sequence[int],
    config: TrainConfig,
    out: Path,
    identity: Identity,
    starts: Mapping[str, Path] | None = None,
) -> tuple[PlannedRun, ...]:
    """The whole plan, ordered by seed, so that an interrupted ablation has a complete table for its first seeds.

    ``starts``: ``weights`` and ``init_from`` for the variants that need one; without theirs, variants are left out.
    ConfigError if there are no variants or no seeds, if one is given twice, or if no variant needs one of ``starts``.
    """
    starts = starts or {}
    for given in starts:
        if given not in {v.start for v in variants}:
            raise ConfigError(f"no chosen variant starts from `{given}`.", hint="Those of suite pretrain do.")
    variants = [v for v in variants if not missing_start(v, starts)]
    names = [v.name for v in variants]
    for what, values in (("`variant`", names), ("`seeds`", list(seeds))):
        if not values or len(set(values)) != len(values):
            raise ConfigError(f"{what} needs at least one value and none twice.")
    plan = []
    shared = {**config.values(), "weights": "pretrained" if config.pretrained else ""}
    for seed in seeds:
        for variant in variants:
            recipe = TrainConfig.from_json({**variant.recipe(config).to_json(), "seed": seed})
            run_id = identity(variant, recipe)
            folder = out / variant.name / f"{seed}-{run_id}"
            start: dict[str, Path] = {variant.start: starts[variant.start]} if variant.start in starts else {}
            plan.append(PlannedRun(variant, recipe, run_id, folder, {k: shared[k] for k in variant.changes}, start))
    return tuple(plan)


def missing_start(variant: Variant, starts: Mapping[str, Path]) -> str:
    """``weights`` or ``init_from`` if the variant needs it and it is not given, else empty."""
    return variant.start if variant.start in ("weights", "init_from") and variant.start not in starts else ""


def bench(
    plan: Sequence[PlannedRun],
    data: Path,
    train: Train,
    *,
    out: Path,
    devices: Sequence[str] = ("auto",),
    cluster: Cluster | None = None,
    overwrite: bool = False,
    emit: Emit = ignore,
) -> BenchResult:
    """Train missing runs, continue interrupted ones, keep finished ones.

    Runs are trained one after another, or in one process per device if there are several, or on the workers of
    ``cluster``, which see ``data`` and ``out`` under the same paths. If a run fails, or the record of a finished one is
    damaged, the others go on. An error is raised if all runs fail, or if the first one fails on its input, because then
    all would. BusyError if another process works in the same folder of runs. InputError if ``out`` is neither empty nor
    made by onet, unless ``overwrite``.
    """
    runs: dict[str, StoredRun] = {}
    failures: list[Failure] = []
    place = {planned.name: index for index, planned in enumerate(plan, start=1)}
    with locked(out, emit):
        folders = {p.variant.name for p in plan}
        check_claim(out, KIND, files=(), folders=folders, known=holds_runs, overwrite=overwrite, emit=emit)
        done = [p for p in plan if p.state == "done"]
        for planned in done:
            try:
                runs[planned.name] = run = _labelled(planned)
            except InputError as damage:
                failures.append(Failure(planned, damage))
                emit(Note(f"{planned.name} cannot be used, its cells are blank: {damage}", "warning"))
                continue
            emit(RunFinished(planned.name, place[planned.name], len(plan), True, run.record.best_val_iou))
        kept, todo = len(runs), [p for p in plan if p not in done]
        for planned, error in _train_all(todo, data, train, devices, cluster, _Announce(place, emit)):
            if error is None:
                runs[planned.name] = run = _labelled(planned)
                emit(RunFinished(planned.name, place[planned.name], len(plan), val_iou=run.record.best_val_iou))
                continue
            if isinstance(error, InterruptedRunError):
                raise InterruptedRunError(
                    f"interrupted at {planned.name}; {len(runs)} of {len(plan)} runs are finished, the rest is saved.",
                    hint="Run the same command again to continue.",
                )
            hopeless = isinstance(error, InputError) and not failures and not runs
            if hopeless or (isinstance(error, ConfigError) and not isinstance(error, UnsuitableError)):
                raise error
            failures.append(Failure(planned, error))
            emit(Note(f"{planned.name} failed, its cells are blank: {error}", "warning"))
    if failures and not runs:
        raise failures[0].error
    finished = tuple(runs[p.name] for p in plan if p.name in runs)
    return BenchResult(finished, len(runs) - kept, tuple(failures))


def _labelled(planned: PlannedRun) -> StoredRun:
    """The finished run, its record brought up to what the plan calls its variant."""
    run = stored(planned.folder)
    known = VARIANTS.get(planned.variant.name)
    label = "" if known and known.label == planned.variant.label else planned.variant.label
    if (run.record.label, run.record.replaced) == (label, planned.replaced):
        return run
    write_run(planned.folder, replace(run.record, label=label, replaced=planned.replaced))
    return stored(planned.folder)


def holds_runs(folder: Path) -> bool:
    """Whether ``folder`` or its subfolders contain runs of onet."""
    below = (p for depth in ("*", "*/*") for p in folder.glob(depth) if p.is_dir() and not p.is_symlink())
    return any(map(is_run, below))


@dataclass(frozen=True, slots=True)
class _Announce:
    """Emits the start of each run with its position in the plan, and forwards the run's events."""

    place: Mapping[str, int]
    emit: Emit

    def start(self, planned: PlannedRun) -> None:
        """Emit RunStarted with the run's state; to be called before the run starts."""
        details = {"state": planned.state, "folder": planned.folder.as_posix(), "run_id": planned.run_id}
        self.emit(RunStarted(planned.name, self.place[planned.name], len(self.place), details))


def _train_all(
    todo: Sequence[PlannedRun],
    data: Path,
    train: Train,
    devices: Sequence[str],
    cluster: Cluster | None,
    announce: _Announce,
) -> Iterator[tuple[PlannedRun, OnetError | None]]:
    """Train ``todo``; yield each run as it ends, with its error if it failed."""
    by_name = {p.name: p for p in todo}

    def started(job: Job) -> None:
        announce.start(by_name[job.name])

    if cluster is not None:  # workers have other working folders
        todo, data = [replace(p, folder=p.folder.absolute()) for p in todo], data.absolute()
    jobs = [Job(p.name, train_planned, (p, data, train)) for p in todo]
    if cluster is not None:
        for job, error in run_on_cluster(jobs, cluster, announce.emit, started):
            yield by_name[job.name], error or _not_visible(by_name[job.name])
    elif len(devices) > 1:
        for job, error in run_jobs(jobs, devices, announce.emit, started):
            yield by_name[job.name], error
    else:
        for job in jobs:
            started(job)
            yield by_name[job.name], run_job(job, devices[0], announce.emit)


def _not_visible(planned: PlannedRun) -> OnetError | None:
    """The error of a run that a worker finished, but whose record does not appear in its folder here."""
    deadline = time.monotonic() + VISIBLE_SECONDS
    while planned.state != "done":
        if time.monotonic() > deadline:
            hint = "Put `out` on a file system that all workers share."
            return InputError(f"a worker finished {planned.name}, but {planned.folder} has no record of it.", hint=hint)
        time.sleep(1.0)
    return None


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
        **planned.start,
    )
