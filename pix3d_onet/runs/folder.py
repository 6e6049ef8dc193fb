"""What lies where in the folder of a training run: the one module that knows, without torch.

::

    config.json             model and training settings; written first
    history.csv             one row per validation, appended while training
    tensorboard/            the same as TensorBoard events
    best/model.safetensors  the best network so far; model.json beside it describes it
    last/step-N.safetensors everything that an unfinished run needs to go on, and its description
    last/model.safetensors  in place of these in a finished run: the network at its end
    profile/                the profiler's trace and table
    examples.npz            pictures and meshes for the figures (no pickle)
    run.json                the record; written last, so a folder without it is unfinished
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pix3d_onet.errors import InputError
from pix3d_onet.files import PART_SUFFIX

RUN_FILE = "run.json"
NETWORK_SUFFIX = ".safetensors"
NAMED_RUNS = 4
"""Runs that an error names at most."""

RunState = Literal["missing", "partial", "done"]


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The places of one run; none of them need exist."""

    path: Path

    @property
    def record(self) -> Path:
        """The run's record."""
        return self.path / RUN_FILE

    @property
    def config(self) -> Path:
        """What defines the run."""
        return self.path / "config.json"

    @property
    def history(self) -> Path:
        """The validations as a table."""
        return self.path / "history.csv"

    @property
    def events(self) -> Path:
        """The folder of TensorBoard's events."""
        return self.path / "tensorboard"

    @property
    def profile(self) -> Path:
        """The folder of the profiler's results."""
        return self.path / "profile"

    @property
    def examples(self) -> Path:
        """Pictures and meshes for the figures."""
        return self.path / "examples.npz"

    @property
    def best(self) -> Path:
        """The best network."""
        return self.path / "best" / f"model{NETWORK_SUFFIX}"

    @property
    def last(self) -> Path:
        """The network at the end of a finished run."""
        return self.path / "last" / f"model{NETWORK_SUFFIX}"

    def step(self, number: int) -> Path:
        """The checkpoint after step ``number`` of an unfinished run."""
        return self.path / "last" / f"step-{number:08d}{NETWORK_SUFFIX}"

    def steps(self) -> list[Path]:
        """The checkpoints there are, oldest first."""
        return sorted(self.last.parent.glob(f"step-*{NETWORK_SUFFIX}"))

    @property
    def state(self) -> RunState:
        """``done``, ``partial`` (started, not finished) or ``missing``."""
        if self.record.is_file():
            return "done"
        return "partial" if self.config.is_file() else "missing"

    @property
    def has_network(self) -> bool:
        """Whether anything of value has been saved: until then the folder is free for any run."""
        return self.best.is_file() or self.last.is_file() or bool(self.steps())

    def forget_start(self) -> None:
        """Remove what a run writes before its first checkpoint."""
        self.config.unlink(missing_ok=True)
        self.forget_curves()
        for folder in (self.best.parent, self.last.parent):
            with suppress(OSError):  # missing, or somebody else's
                folder.rmdir()

    def forget_curves(self) -> None:
        """Remove the history and TensorBoard's events."""
        self.history.unlink(missing_ok=True)
        for events in self.events.glob("events.out.tfevents.*"):
            events.unlink(missing_ok=True)
        with suppress(OSError):
            self.events.rmdir()

    def strays(self) -> Iterator[Path]:
        """What a kill left half-written: our parts and safetensors' own."""
        for folder in (self.path, self.best.parent, self.last.parent):
            for pattern in (f".*{PART_SUFFIX}", ".tmp*"):
                yield from folder.glob(pattern)


def description(network: Path) -> Path:
    """The readable JSON beside a network or checkpoint."""
    return network.with_suffix(".json")


def network_file(run: str | Path) -> Path:
    """The best network of a run's folder; a ``.safetensors`` file stands for itself."""
    path = Path(run)
    return path if path.suffix == NETWORK_SUFFIX else RunFolder(path).best


def no_network(run: Path) -> InputError:
    """The error for a place without a trained network; of a folder that holds runs it names some."""
    if not run.exists():
        return InputError(f"run not found: {run}.", hint="Train one with `onet train`.")
    below = [str(f) for depth in ("*", "*/*") for f in sorted(run.glob(depth)) if RunFolder(f).best.is_file()]
    hint = "A run has one after its first validation."
    if below:
        more = ", …" if len(below) > NAMED_RUNS else ""
        hint = f"Name one of its runs: {', '.join(below[:NAMED_RUNS])}{more}."
    return InputError(f"{run} holds no trained network.", hint=hint)


def check_network(run: Path) -> Path:
    """The description of the network in ``run`` (a run's folder, or a network's file); InputError unless it is there
    with its network."""
    network = network_file(run)
    if not network.is_file():
        raise no_network(run)
    if not description(network).is_file():
        raise InputError(f"description of the run's network not found: {description(network)}.")
    return description(network)


def finished_runs(root: Path) -> list[Path]:
    """The folders of all finished runs in or below ``root``, in the order of their paths."""
    return [path.parent for path in sorted(root.rglob(RUN_FILE))]
