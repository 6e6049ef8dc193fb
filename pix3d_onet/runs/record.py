"""``run.json``, the record of a training run: written by ``learning``, read by ``ablation`` and ``report``."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pix3d_onet.config import SPLITS
from pix3d_onet.errors import InputError
from pix3d_onet.files import is_finite, read_json, write_json
from pix3d_onet.runs.folder import RunFolder

RUN_VERSION = 1
LARGEST = 1e15
"""Numbers of a record are at most so large: steps, bytes, seconds; JSON has any, and what sums them overflows."""
LONGEST = 1000
"""Characters of a name in a record."""


@dataclass(frozen=True, slots=True)
class HistoryRow:
    """One validation: losses per shape (BCE summed over points), IoU in [0, 1], seconds since the start of the run."""

    step: int
    train_loss: float
    val_loss: float
    val_iou: float
    lr: float
    shapes_per_second: float
    seconds: float


@dataclass(frozen=True, slots=True)
class RunRecord:
    """Everything about one finished run. What was measured is immutable once written; an ablation may change how its
    variant is called (``label``, ``replaced``)."""

    name: str
    """Variant name, or what the user called the run."""
    run_id: str
    """First 12 hex digits of the hash of what defines the run: model, training settings, data hash, weights, seed."""
    model: Mapping[str, Any]
    """ModelConfig as JSON."""
    train: Mapping[str, Any]
    """TrainConfig as JSON."""
    data: Mapping[str, Any]
    """``name``, ``data_hash``, ``crop_margin``, ``train``/``val``/``test`` counts of pictures."""
    params: int
    """Trainable and frozen parameters, exactly."""
    history: tuple[HistoryRow, ...]
    best_step: int
    best_val_iou: float
    last_val_iou: float
    val_scores: Mapping[str, float] = field(default_factory=dict)
    """Record id → IoU of the best checkpoint on the validation pictures, at the stated threshold."""
    test_scores: Mapping[str, float] = field(default_factory=dict)
    """Record id → IoU of the best checkpoint on the test pictures; empty when there is no test split."""
    objects: Mapping[str, str] = field(default_factory=dict)
    """Record id → object id of the scored pictures, so that statistics can resample shapes rather than pictures."""
    val_threshold: float | None = None
    """Threshold with the best mean IoU on validation (reported separately from the constant one)."""
    val_iou_at_threshold: float | None = None
    weights: str = ""
    """``pretrained``, a file's digest, a run id, or empty for random initial weights."""
    encoder_weights: Mapping[str, Any] = field(default_factory=dict)
    """What was loaded from a file of encoder weights: ``file``, ``prefix``, ``taken`` of ``total`` tensors,
    ``left_out`` of its head, ``notes``; empty without one."""
    device: Mapping[str, Any] = field(default_factory=dict)
    """``type``, ``name``, ``precision``, ``threads`` (2, or 1-2 where the number changed), ``processes``."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """``onet``, ``python``, ``torch``, ``timm``, ``numpy``."""
    seconds: float = 0.0
    """Training, validation, final scoring and examples, over all sessions of a run that was resumed."""
    peak_memory_bytes: int = 0
    shapes_per_second: float = 0.0
    data_wait_share: float = 0.0
    """Share of training time spent waiting for data, in [0, 1]."""
    steps_done: int = 0
    stopped: str = "completed"
    """``completed`` or ``patience``."""
    cost: Mapping[str, float] = field(default_factory=dict)
    """``gflops_image``, ``gflops_point``, ``latency_seconds`` where measured."""
    label: str = ""
    """What tables call the variant; empty: as the package does, else by its name."""
    replaced: Mapping[str, Any] = field(default_factory=dict)
    """Training settings that the variant changes → what the other runs of its ablation have there."""
    version: int = RUN_VERSION

    @property
    def seed(self) -> int:
        """The training seed."""
        return int(self.train["seed"])


def write_run(folder: Path, record: RunRecord) -> None:
    """Write ``folder/run.json`` atomically."""
    document = dataclasses.asdict(record)
    document["model"], document["train"] = dict(record.model), dict(record.train)
    write_json(RunFolder(folder).record, document)


def read_run(folder: Path) -> RunRecord:
    """Read ``folder/run.json``; InputError when it is missing, damaged (a field of the wrong type is) or of another
    version. What ``model`` and ``train`` hold is for their configurations to judge, but for the seed."""
    path = RunFolder(folder).record
    hint = "A run that was interrupted continues with `resume=True`."
    document = read_json(path, what="run record", hint=hint, follow=False)
    if not isinstance(document, dict) or document.get("version") != RUN_VERSION:
        raise InputError(f"{path} is not a run record of version {RUN_VERSION}.")
    problem = next(_problems(document), "")
    if problem:
        raise InputError(f"{path} is damaged ({problem}).")
    history = tuple(HistoryRow(**row) for row in document.pop("history"))
    return RunRecord(history=history, **document)


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= LARGEST


def _is_number(value: object) -> bool:
    return _is_int(value) or (isinstance(value, float) and abs(value) <= LARGEST)  # so neither infinite nor NaN


def _is_short(value: object) -> bool:
    return isinstance(value, str) and len(value) <= LONGEST


def _is_dict_of(check: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: isinstance(value, dict) and all(check(item) for item in value.values())


def _is_history(value: object) -> bool:
    return isinstance(value, list) and all(
        isinstance(row, dict) and next(_field_problems(HistoryRow, row), None) is None for row in value
    )


CHECKS: dict[str, Callable[[object], bool]] = {
    "str": _is_short,
    "int": _is_int,
    "float": _is_number,
    "float | None": lambda value: value is None or _is_number(value),
    "Mapping[str, Any]": lambda value: isinstance(value, dict) and is_finite(value),
    "Mapping[str, str]": _is_dict_of(_is_short),
    "Mapping[str, float]": _is_dict_of(_is_number),
    "tuple[HistoryRow, ...]": _is_history,
}
"""Annotation of a field → whether a value read from JSON has that type."""


def _problems(document: dict[str, Any]) -> Iterator[str]:
    """What keeps a JSON document from being a RunRecord, in words."""
    yield from _field_problems(RunRecord, document)
    if not document["history"]:
        yield "history is empty"
    if not _is_int(document["train"].get("seed")):
        yield "train has no seed"
    for split in SPLITS:
        if not _is_int(document["data"].get(split, 0)):
            yield f"data: {split} is no int"


def _field_problems(kind: type[RunRecord | HistoryRow], document: dict[str, Any]) -> Iterator[str]:
    fields = {f.name: f for f in dataclasses.fields(kind)}
    yield from (f"unknown field {name:.80}" for name in document if name not in fields)
    for name, known in fields.items():
        if name not in document:
            if known.default is dataclasses.MISSING and known.default_factory is dataclasses.MISSING:
                yield f"{name} is missing"
        elif not CHECKS[str(known.type)](document[name]):
            yield f"{name} is no {known.type}"
