"""Find runs that were started but not finished, and how far they are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pix3d_onet.errors import InputError
from pix3d_onet.files import read_json
from pix3d_onet.runs.folder import CONFIG_FILE, RunFolder

CONTINUE = "The command that started a run continues it: `onet bench` as it was, `onet train` told to resume."
"""How to continue an unfinished run."""


@dataclass(frozen=True, slots=True)
class UnfinishedRun:
    """A run without a record: interrupted, failed, or still running; ``step`` of ``steps`` steps are saved."""

    variant: str
    seed: int
    step: int
    steps: int
    place: str

    @property
    def summary(self) -> str:
        """One line for messages."""
        return f"{self.variant}, seed {self.seed} (step {self.step} of {self.steps} saved, in {self.place})"


def find_unfinished(root: Path) -> tuple[UnfinishedRun, ...]:
    """All unfinished runs in or below ``root``, sorted by path; unreadable ones are skipped."""
    found = []
    for path in sorted(root.rglob(CONFIG_FILE)):
        folder = path.parent
        if RunFolder(folder).record.is_file():
            continue
        try:
            document = read_json(path)
        except InputError:
            continue
        if (run := _run(folder, document, folder.relative_to(root).as_posix())) is not None:
            found.append(run)
    return tuple(found)


def _run(folder: Path, document: Any, place: str) -> UnfinishedRun | None:
    """The run in ``folder`` with the configuration ``document``; None if that is not a run's configuration."""
    if not isinstance(document, dict) or "run_id" not in document or not isinstance(document.get("train"), dict):
        return None
    name, seed, steps = document.get("name"), document["train"].get("seed"), document["train"].get("steps")
    if not (isinstance(name, str) and isinstance(seed, int) and isinstance(steps, int)):
        return None
    saved = [int(path.stem.removeprefix("step-")) for path in RunFolder(folder).steps()]
    return UnfinishedRun(name, seed, max(saved, default=0), steps, place)
