"""``run.json``, the record of a training run: written by ``learning``, read by ``ablation`` and ``report``."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from pix3d_onet.config import SPLITS
from pix3d_onet.errors import InputError
from pix3d_onet.files import is_finite, read_json, write_json
from pix3d_onet.runs.folder import RunFolder

RUN_VERSION = 1
CONSTANT = {"inside": "labels every validation point inside", "outside": "labels no point of a shape inside"}
"""Kinds of a network that has learnt no shape → what it does."""
FEW_PICTURES = 5
"""Fewer validation pictures than this rank neither a run's checkpoints nor variants."""
ROUNDING = 1e-6
"""Largest difference of a stored mean from the mean of the stored values."""
LARGEST = 1e15
"""Largest number in a record (steps, bytes, seconds). JSON allows any, whose sum may overflow."""
LONGEST = 1000
"""Most characters of a string in a record."""


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
    """The record of a finished run.

    ``onet bench`` may change ``label`` and ``replaced`` later, and ``benchmarks/rescore.py`` writes what is known at
    ``val_threshold`` into older records; all other fields never change.
    """

    name: str
    """Name of the variant, or the name that the user gave the run."""
    run_id: str
    """First 12 hex digits of the hash of model, training settings with seed, data hash and initial weights."""
    model: Mapping[str, Any]
    """ModelConfig as JSON."""
    train: Mapping[str, Any]
    """TrainConfig as JSON."""
    data: Mapping[str, Any]
    """``name``, ``data_hash``, ``crop_margin``, ``train``/``val``/``test``
    counts of pictures, and ``earlier``: hashes of other data that the network it started from was trained on."""
    params: int
    """Number of parameters, trainable and frozen."""
    history: tuple[HistoryRow, ...]
    best_step: int
    best_val_iou: float
    last_val_iou: float
    val_scores: Mapping[str, float] = field(default_factory=dict)
    """Record id → IoU of the best checkpoint on the validation pictures, at the threshold in ``train``."""
    test_scores: Mapping[str, float] = field(default_factory=dict)
    """Record id → IoU of the best checkpoint on the test pictures; empty without a test split."""
    objects: Mapping[str, str] = field(default_factory=dict)
    """Record id → object id of the scored pictures, for statistics over shapes."""
    val_threshold: float | None = None
    """Threshold with the best mean IoU on the validation pictures."""
    val_iou_at_threshold: float | None = None
    val_scores_at_threshold: Mapping[str, float] = field(default_factory=dict)
    """``val_scores`` at ``val_threshold``; empty in records that are older than this field."""
    test_scores_at_threshold: Mapping[str, float] = field(default_factory=dict)
    """``test_scores`` at ``val_threshold``, likewise."""
    constant_at_threshold: str = ""
    """``constant`` at ``val_threshold``."""
    weights: str = ""
    """``pretrained``, a file's digest, a run id, or empty for random initial weights."""
    encoder_weights: Mapping[str, Any] = field(default_factory=dict)
    """Report of loading encoder weights from a file: ``file``, ``prefix``, ``taken`` of ``total`` tensors,
    ``left_out`` of its head, ``notes``; empty without a file."""
    device: Mapping[str, Any] = field(default_factory=dict)
    """``type``, ``name``, ``precision``, ``threads`` (2, or 1-2 if the number changed), ``processes``. If the run was
    continued on another machine, ``name`` and ``precision`` are those of all sessions, joined by `` + ``."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """``onet``, ``python``, ``torch``, ``timm``, ``numpy``."""
    seconds: float = 0.0
    """Time of training, validation, final scoring and examples, summed over all sessions of a resumed run."""
    peak_memory_bytes: int = 0
    shapes_per_second: float = 0.0
    data_wait_share: float = 0.0
    """Fraction of training time spent waiting for data."""
    steps_done: int = 0
    stopped: str = "completed"
    """``completed`` or ``patience``."""
    cost: Mapping[str, float] = field(default_factory=dict)
    """``gflops_image``, ``gflops_point``, ``latency_seconds``, if measured."""
    constant: str = ""
    """A key of ``CONSTANT`` if that is true of the best network; else empty."""
    label: str = ""
    """Label of the variant in tables; empty: that of the package's variant, else its name."""
    replaced: Mapping[str, Any] = field(default_factory=dict)
    """Training settings that the variant changes → their values in the other runs of the ablation."""
    version: int = RUN_VERSION

    @property
    def seed(self) -> int:
        """The training seed."""
        return int(self.train["seed"])

    @property
    def test_iou(self) -> float | None:
        """Mean IoU over the test pictures; None without any."""
        return fmean(self.test_scores.values()) if self.test_scores else None


def write_run(folder: Path, record: RunRecord) -> None:
    """Write ``folder/run.json`` atomically."""
    document = dataclasses.asdict(record)
    document["model"], document["train"] = dict(record.model), dict(record.train)
    write_json(RunFolder(folder).record, document)


def read_run(folder: Path) -> RunRecord:
    """Read ``folder/run.json``. InputError if it is missing, of another version, or has a field of the wrong type.

    The content of ``model`` and ``train`` is not checked here, except for the seed.
    """
    path = RunFolder(folder).record
    hint = "A run that was interrupted continues with `resume=True`."
    if path.exists():
        hint = (
            "Restore it from a copy. Or remove it and continue the run as if it had been interrupted: it is written "
            "again, after training again if the checkpoints are gone."
        )
    document = read_json(path, what="run record", hint=hint, follow=False)
    if not isinstance(document, dict) or document.get("version") != RUN_VERSION:
        raise InputError(f"{path} is not a run record of version {RUN_VERSION}.")
    problem = next(_problems(document), "")
    if problem:
        raise InputError(f"{path} is damaged ({problem}).", hint=hint)
    history = tuple(HistoryRow(**row) for row in document.pop("history"))
    return RunRecord(history=history, **document)


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= LARGEST


def _is_number(value: object) -> bool:
    return _is_int(value) or (isinstance(value, float) and abs(value) <= LARGEST)  # excludes infinity and NaN


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
"""Annotation of a field → check that a value from JSON has that type."""


def _problems(document: dict[str, Any]) -> Iterator[str]:
    """The reasons why a JSON document is not a RunRecord."""
    yield from _field_problems(RunRecord, document)
    if not document["history"]:
        yield "history is empty"
    if not _is_int(document["train"].get("seed")):
        yield "train has no seed"
    for split in SPLITS:
        if not _is_int(document["data"].get(split, 0)):
            yield f"data: {split} must be int"
    yield from _own_threshold_problems(document)


def _own_threshold_problems(document: dict[str, Any]) -> Iterator[str]:
    """The reasons why the scores at the run's own threshold are not those of its pictures at a threshold."""
    threshold: Any = document.get("val_threshold")
    if _is_number(threshold) and not 0 < threshold < 1:
        yield "val_threshold must be between 0 and 1"
    for split in ("val", "test"):
        own, scores = (document.get(f"{split}_scores{end}") for end in ("_at_threshold", ""))
        if own and isinstance(own, dict) and own.keys() != (scores if isinstance(scores, dict) else {}).keys():
            yield f"{split}_scores_at_threshold has other pictures than {split}_scores"
    for name in ("constant", "constant_at_threshold"):
        if document.get(name, "") not in ("", *CONSTANT):
            yield f"{name} must be empty or one of {', '.join(CONSTANT)}"
    own = document.get("val_scores_at_threshold")
    if own and threshold is None:
        yield "val_scores_at_threshold has no val_threshold"
    mean: Any = document.get("val_iou_at_threshold")
    if own and _is_dict_of(_is_number)(own) and not (_is_number(mean) and abs(fmean(own.values()) - mean) < ROUNDING):
        yield "val_iou_at_threshold is not the mean of val_scores_at_threshold"


def _field_problems(kind: type[RunRecord | HistoryRow], document: dict[str, Any]) -> Iterator[str]:
    fields = {f.name: f for f in dataclasses.fields(kind)}
    yield from (f"unknown field {name:.80}" for name in document if name not in fields)
    for name, known in fields.items():
        if name not in document:
            if known.default is dataclasses.MISSING and known.default_factory is dataclasses.MISSING:
                yield f"{name} is missing"
        elif not CHECKS[str(known.type)](document[name]):
            yield f"{name} must be {known.type}"
