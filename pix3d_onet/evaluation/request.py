"""The arguments of an evaluation, checked before anything heavy is imported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

from pix3d_onet.config import Baseline, EvaluationConfig, ExtractionConfig, MachineConfig
from pix3d_onet.errors import ConfigError, SettingError
from pix3d_onet.setting_types import check_choice

CSV_START = ("name", "align", "split", "record_id", "object_id", "category", "empty", "faces")
"""The first columns of a table of scores."""


@dataclass(frozen=True, slots=True)
class Request:
    """The rows of an evaluation, baselines first, and the data set that they are scored on.

    ``optional_baselines``: baselines that cannot be scored, since there are no cameras, are left out. ``meshes``: name
    of a row → the folder of another method's meshes. ``against``: the row to compare all with (None: retrieval, else
    the first). ``threads``: on the CPU, 0 = as many as there are free cores. ConfigError if there is no row.
    """

    data: Path
    runs: tuple[Path, ...] = ()
    baselines: tuple[Baseline, ...] = ()
    optional_baselines: bool = False
    meshes: Mapping[str, Path] = field(default_factory=dict)
    against: str | None = None
    device: str = "auto"
    threads: int = 0
    config: EvaluationConfig = field(default_factory=EvaluationConfig)
    extraction: ExtractionConfig = field(default_factory=ExtractionConfig)

    def __post_init__(self) -> None:
        MachineConfig(self.threads)
        if isinstance(self.baselines, str):  # one name; else its letters would be names
            object.__setattr__(self, "baselines", (self.baselines,))
        for name in self.baselines:
            check_choice("baselines", name, Baseline)
        for row, folder in self.meshes.items():
            if row in get_args(Baseline) or not row.strip():
                raise SettingError("meshes", "NAME=DIR with a name that no baseline has", f"{row}={folder}")
        if not self.runs and not self.baselines and not self.meshes:
            raise ConfigError("nothing to evaluate.", hint="Give a run, or `baselines='mean-shape'`.")
