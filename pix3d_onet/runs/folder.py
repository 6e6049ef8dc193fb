"""File names in the folder of a training run. All other modules take them from here; torch is not needed.

::

    config.json             model and training settings; written first
    history.csv             one row per validation, appended while training
    tensorboard/            the same as TensorBoard events
    best/model.safetensors  the best network so far; model.json beside it describes it
    last/step-N.safetensors a checkpoint of an unfinished run, from which it continues; with description
    last/model.safetensors  replaces these in a finished run: the network after the last step
    profile/                the profiler's trace and table
    examples.npz            pictures and meshes for the figures (no pickle)
    run.json                the record; written last, so that a folder without it is an unfinished run
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pix3d_onet.errors import InputError, did_you_mean
from pix3d_onet.files import OF_A_PART, is_own_file, member, own_json, remove, remove_parts
from pix3d_onet.types import MANIFEST

CONFIG_FILE, RUN_FILE, HISTORY_FILE, EXAMPLES_FILE = FILES = ("config.json", "run.json", "history.csv", "examples.npz")
BEST, LAST, EVENTS, PROFILE = FOLDERS = ("best", "last", "tensorboard", "profile")
NETWORK_SUFFIX = ".safetensors"
NETWORK_FILE = f"model{NETWORK_SUFFIX}"
STEP_FILE = re.compile(r"step-\d{8}\.safetensors")
STRAY_TENSORS = re.compile(r"\.tmp[0-9A-Za-z]{6}")
"""Temporary files of safetensors, left if the process is killed while writing."""
NAMED_RUNS = 4
"""Most runs that an error names."""

RunState = Literal["missing", "partial", "done"]


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Paths in one run's folder, which need not exist. Methods remove only the files above and follow no links."""

    path: Path

    @property
    def record(self) -> Path:
        """Path of the run's record."""
        return self.path / RUN_FILE

    @property
    def config(self) -> Path:
        """Path of the run's configuration."""
        return self.path / CONFIG_FILE

    @property
    def history(self) -> Path:
        """Path of the table of validations."""
        return self.path / HISTORY_FILE

    @property
    def events(self) -> Path:
        """The folder of TensorBoard's events."""
        return self.path / EVENTS

    @property
    def profile(self) -> Path:
        """The folder of the profiler's results."""
        return self.path / PROFILE

    @property
    def examples(self) -> Path:
        """Path of the pictures and meshes for the figures."""
        return self.path / EXAMPLES_FILE

    @property
    def best(self) -> Path:
        """Path of the best network."""
        return self.path / BEST / NETWORK_FILE

    @property
    def last(self) -> Path:
        """Path of the network after the last step of a finished run."""
        return self.path / LAST / NETWORK_FILE

    def step(self, number: int) -> Path:
        """Path of the checkpoint after step ``number`` of an unfinished run."""
        return self.path / LAST / f"step-{number:08d}{NETWORK_SUFFIX}"

    def steps(self) -> list[Path]:
        """The existing checkpoints, oldest first."""
        return [path for path in self._inside(LAST) if STEP_FILE.fullmatch(path.name) and is_own_file(path)]

    def writable(self, place: Path) -> Path:
        """``place``, a path of this run, to write to. InputError if one of its folders is a link or a file."""
        return member(self.path, *place.relative_to(self.path).parts)

    @property
    def state(self) -> RunState:
        """``done``, ``partial`` (started, not finished) or ``missing``."""
        if self.record.is_file():
            return "done"
        return "partial" if self.config.is_file() else "missing"

    @property
    def has_network(self) -> bool:
        """Whether a network has been saved; until then any run may use the folder."""
        return self.best.is_file() or self.last.is_file() or bool(self.steps())

    def remove_checkpoints(self, keep: int = 0) -> None:
        """Remove the checkpoints of an unfinished run except the newest ``keep``."""
        for path in self.steps()[: -keep or None]:
            remove(description(path))
            remove(path)

    def remove_start(self) -> None:
        """Remove the files that a run writes before its first checkpoint."""
        self.remove_curves()
        for path in self._inside(PROFILE):
            remove(path)
        remove(self.config)
        for name in FOLDERS:
            with suppress(OSError):  # missing, or not empty
                (self.path / name).rmdir()

    def remove_curves(self) -> None:
        """Remove the history and TensorBoard's events."""
        remove(self.history)
        for path in self._inside(EVENTS):
            if path.name.startswith("events.out.tfevents."):
                remove(path)

    def remove_partial_files(self) -> None:
        """Remove half-written files of a killed process: onet's and safetensors', each as large as a checkpoint."""
        remove_parts(self.path, FILES)
        for name in (BEST, LAST):
            found = self._inside(name)
            meant = {part[1] for path in found if (part := OF_A_PART.match(path.name))}
            remove_parts(self.path / name, {name for name in meant if _is_of_a_network(name)})
            for path in found:
                if STRAY_TENSORS.fullmatch(path.name):
                    remove(path)

    def _inside(self, name: str) -> list[Path]:
        """The entries of a subfolder, sorted; none if it is a link."""
        folder = self.path / name
        return [] if folder.is_symlink() or not folder.is_dir() else sorted(folder.iterdir())


def _is_of_a_network(name: str) -> bool:
    file = str(Path(name).with_suffix(NETWORK_SUFFIX))
    return file == NETWORK_FILE or STEP_FILE.fullmatch(file) is not None


def is_run(folder: Path) -> bool:
    """Whether ``folder`` contains the configuration or the record of a run of onet; links do not count."""
    for document in map(own_json, (RunFolder(folder).config, RunFolder(folder).record)):
        if isinstance(document.get("run_id"), str):
            return all(isinstance(document.get(key), dict) for key in ("model", "train"))
    return False


def description(network: Path) -> Path:
    """Path of the JSON description beside a network or checkpoint."""
    return network.with_suffix(".json")


def network_file(run: str | Path) -> Path:
    """Path of the best network in a run's folder; a ``.safetensors`` file is returned unchanged."""
    path = Path(run)
    return path if path.suffix == NETWORK_SUFFIX else RunFolder(path).best


def no_network(run: Path) -> InputError:
    """The error for a path without a trained network; if it is a folder of runs, some of them are named."""
    if not run.exists():
        network = f"{BEST}/{NETWORK_FILE}"
        beside = [f.name for f in run.parent.glob("*") if any(any(f.glob(p + network)) for p in ("", "*/", "*/*/"))]
        hint = did_you_mean(run.name, beside, run.with_name) or "Train one with `onet train`."
        return InputError(f"run not found: {run}.", hint=hint)
    below = [str(f) for depth in ("*", "*/*") for f in sorted(run.glob(depth)) if RunFolder(f).best.is_file()]
    if (run / NETWORK_FILE).is_file():
        return InputError(f"{run} is a part of a run.", hint=f"Name the run, {run.parent}, or {run / NETWORK_FILE}.")
    if (run / MANIFEST).exists():
        return InputError(f"{run} is a data set, not a run.", hint="Name a folder that `onet train` wrote.")
    hint = "A run has one after its first validation."
    if below:
        more = ", …" if len(below) > NAMED_RUNS else ""
        hint = f"Name one of its runs: {', '.join(below[:NAMED_RUNS])}{more}."
    return InputError(f"{run} holds no trained network.", hint=hint)


def check_network(run: Path) -> Path:
    """Path of the description of the network in ``run``, a run's folder or a network's file.

    InputError if the network or its description is missing.
    """
    network = network_file(run)
    if not network.is_file():
        raise no_network(run)
    if not description(network).is_file():
        raise InputError(f"description of the run's network not found: {description(network)}.")
    return description(network)


def finished_runs(root: Path) -> list[Path]:
    """The folders of all finished runs in or below ``root``, sorted by path."""
    return [path.parent for path in sorted(root.rglob(RUN_FILE))]
