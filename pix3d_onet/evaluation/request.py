"""The arguments of an evaluation, checked before anything heavy is imported."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from pix3d_onet.config import Baseline, EvaluationConfig, ExtractionConfig, MachineConfig, check_choice
from pix3d_onet.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Request:
    """The rows of an evaluation, baselines first, and the data set that they are scored on.

    ``against``: the row to compare all with (None: retrieval, else the first). ``threads``: on the CPU, 0 = as many as
    there are free cores. ConfigError if there is no row.
    """

    data: Path
    runs: tuple[Path, ...] = ()
    baselines: tuple[Baseline, ...] = ()
    against: str | None = None
    device: str = "auto"
    threads: int = 0
    config: EvaluationConfig = field(default_factory=EvaluationConfig)
    extraction: ExtractionConfig = field(default_factory=ExtractionConfig)

    def __post_init__(self) -> None:
        MachineConfig(self.threads)
        for name in self.baselines:
            check_choice("baselines", name, Baseline)
        if not self.runs and not self.baselines:
            raise ConfigError("nothing to evaluate.", hint="Give a run, or `baselines='mean-shape'`.")
