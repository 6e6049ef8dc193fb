"""Finding stored runs and sorting them into comparable groups, without torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pix3d_onet.ablation.variants import VARIANTS, Variant
from pix3d_onet.config import ModelConfig, TrainConfig
from pix3d_onet.errors import ConfigError, InputError
from pix3d_onet.events import Emit, Note, ignore
from pix3d_onet.runs.record import RUN_FILE, RunRecord, read_run

_NOT_COMPARED = frozenset({"seed", "precision"})
"""Training settings in which runs of one table may differ: they change chance and speed, not the question. A table
whose runs differ in precision says so in a note."""


@dataclass(frozen=True, slots=True)
class StoredRun:
    """A finished run: its folder, its record, and the variant it is a run of (its own name when it is none).

    ``place`` is the folder as reports name it, relative to the folder of runs: a report holds no machine's paths.
    """

    folder: Path
    record: RunRecord
    variant: str
    place: str = ""

    @property
    def seed(self) -> int:
        """The training seed."""
        return self.record.seed


@dataclass(frozen=True, slots=True)
class RunGroup:
    """Runs that may stand in one table: same data, same recipe (besides what a variant changes), same weights.

    ``key`` is the first 8 hex digits of the hash of ``setting``; at most one run a variant and seed. ``left_out`` are
    the others of the same variant and seed, each with the run that stands in its place.
    """

    key: str
    setting: Mapping[str, Any]
    runs: tuple[StoredRun, ...]
    left_out: tuple[tuple[StoredRun, StoredRun], ...] = ()

    def of(self, variant: str) -> tuple[StoredRun, ...]:
        """The runs of one variant by seed."""
        return tuple(sorted((r for r in self.runs if r.variant == variant), key=lambda r: r.seed))

    @property
    def variants(self) -> tuple[str, ...]:
        """The variants that have a run: those of ``VARIANTS`` in its order, then others by name."""
        present = {r.variant for r in self.runs}
        return (*(n for n in VARIANTS if n in present), *sorted(present - set(VARIANTS)))

    @property
    def summary(self) -> str:
        """One line for a person: what all runs of the group share."""
        train = self.setting["train"]
        return (
            f"{self.setting['data_name']}, {train['steps']} steps, batch {train['batch_size']}, "
            f"{train['image_size']}² px, {len(self.runs)} run{'' if len(self.runs) == 1 else 's'}"
        )


def find_runs(root: Path, emit: Emit = ignore) -> tuple[StoredRun, ...]:
    """All finished runs in or below ``root``, in the order of their paths; the same run under two paths counts once.

    A damaged record is skipped with a warning. InputError when ``root`` is missing or holds no finished run.
    """
    hint = "Train with `onet bench` or `onet train` first."
    if not root.is_dir():
        raise InputError(f"no folder of runs: {root}.", hint=hint)
    found: dict[str, StoredRun] = {}
    for path in sorted(root.rglob(RUN_FILE)):
        try:
            run = stored(path.parent, root)
        except InputError as error:
            emit(Note(f"skipped {path.parent}: {error.message}", "warning"))
            continue
        found.setdefault(run.record.run_id, run)
    if not found:
        raise InputError(f"no finished run in {root}.", hint=hint)
    return tuple(found.values())


def stored(folder: Path, root: Path | None = None) -> StoredRun:
    """Read the run in ``folder``, below the folder of runs ``root``.

    InputError when its record is missing, damaged or of an unknown kind.
    """
    record = read_run(folder)
    try:
        place = folder.relative_to(root) if root else Path(folder.name)
        return StoredRun(folder, record, variant_of(record), place.as_posix())
    except ConfigError as error:
        raise InputError(f"{folder / RUN_FILE} is damaged ({error.message.removesuffix('.')}).") from None


def variant_of(record: RunRecord) -> str:
    """The variant that a run's architecture and recipe make it, or the run's own name where they make none."""
    model = ModelConfig.from_json(record.model).architecture()
    train = TrainConfig.from_json(record.train).to_json()
    fitting = [v for v in VARIANTS.values() if v.model.architecture() == model and _follows(train, v)]
    if any(v.name == record.name for v in fitting):
        return record.name
    if fitting:
        return max(fitting, key=lambda v: len(v.train)).name
    return record.name if record.name not in VARIANTS else f"{record.name} (other architecture)"


def _follows(train: Mapping[str, Any], variant: Variant) -> bool:
    return all(train[k] == (list(v) if isinstance(v, tuple) else v) for k, v in variant.train.items())


def setting_of(train: TrainConfig, variant: str, data: Mapping[str, Any], weights: str) -> dict[str, Any]:
    """What a run shares with the runs it may be compared with: the variant's own changes are taken out again."""
    shared = {k: v for k, v in train.to_json().items() if k not in _NOT_COMPARED}
    if variant in VARIANTS:
        default = TrainConfig().to_json()
        shared |= {k: default[k] for k in VARIANTS[variant].train}
    name = str(data.get("name", ""))
    return {"data_hash": data.get("data_hash"), "data_name": name, "train": shared, "weights": weights}


def setting_key(setting: Mapping[str, Any]) -> str:
    """First 8 hex digits of the hash of a setting (the data set's name does not count, its hash does)."""
    hashed = {k: v for k, v in setting.items() if k != "data_name"}
    return hashlib.sha256(json.dumps(hashed, sort_keys=True).encode()).hexdigest()[:8]


def key_of(run: StoredRun, among: Sequence[StoredRun]) -> str:
    """The key of the setting that a run belongs to, together with the runs ``among``."""
    return setting_key(_settings([run, *among])[0])


def _settings(runs: Sequence[StoredRun]) -> list[dict[str, Any]]:
    """The setting of every run. One whose variant changes the recipe has that of the runs it is otherwise equal to.

    What it changed from is not in its record: a preset's value as likely as the default. Where there is no such run,
    the default is taken.
    """
    plain = [
        setting_of(TrainConfig.from_json(run.record.train), run.variant, run.record.data, run.record.weights)
        for run in runs
    ]
    changes = [set(VARIANTS[run.variant].train) if run.variant in VARIANTS else set() for run in runs]
    bases = {setting_key(s): s for s, own in zip(plain, changes, strict=True) if not own}

    def without(setting: Mapping[str, Any], own: set[str]) -> dict[str, Any]:
        return {**setting, "data_name": "", "train": {k: v for k, v in setting["train"].items() if k not in own}}

    found = []
    for setting, own in zip(plain, changes, strict=True):
        fitting = [key for key, base in sorted(bases.items()) if without(base, own) == without(setting, own)]
        found.append(setting if not own or not fitting or setting_key(setting) in fitting else bases[fitting[0]])
    return found


def group_runs(runs: Sequence[StoredRun]) -> tuple[RunGroup, ...]:
    """Comparable groups, that with most variants first, then most runs, then the key.

    Where a variant and seed was run twice in one setting (another precision, say), the first path is taken, and the
    others are ``left_out``.
    """
    gathered: dict[str, tuple[dict[str, Any], list[StoredRun]]] = {}
    for run, setting in zip(runs, _settings(runs), strict=True):
        gathered.setdefault(setting_key(setting), (setting, []))[1].append(run)
    groups = [_group(key, setting, members) for key, (setting, members) in gathered.items()]
    return tuple(sorted(groups, key=lambda g: (-len(g.variants), -len(g.runs), g.key)))


def _group(key: str, setting: Mapping[str, Any], members: Sequence[StoredRun]) -> RunGroup:
    taken: dict[tuple[str, int], StoredRun] = {}
    for run in members:
        taken.setdefault((run.variant, run.seed), run)
    left_out = tuple((r, first) for r in members if (first := taken[r.variant, r.seed]) is not r)
    return RunGroup(key, setting, tuple(taken.values()), left_out)


def choose_group(groups: Sequence[RunGroup], key: str | None = None, emit: Emit = ignore) -> RunGroup:
    """The group whose key starts with ``key``, or the first; the others are never mixed in.

    A note names each of them and what it has otherwise than the chosen one; so does one for every run that another of
    the same variant and seed keeps out. ConfigError when no group or more than one has
    that key.
    """
    chosen = _chosen(groups, key)
    for other in groups if key is None else ():
        if other is not chosen:
            names = ", ".join(other.variants)
            difference = "; ".join(differences(other.setting, chosen.setting))
            emit(Note(f"not in this table: {names} ({other.summary}; `setting={other.key}`): {difference}."))
    for run, first in chosen.left_out:
        why = f"{first.place} is {run.variant} with seed {run.seed}, too, and comes first"
        apart = _apart(run.record.device.get("precision"), first.record.device.get("precision"))
        emit(Note(f"not in this table: the run in {run.place}; {why}{apart and f' (precision {apart})'}.", "warning"))
    return chosen


def differences(setting: Mapping[str, Any], other: Mapping[str, Any]) -> tuple[str, ...]:
    """What a setting has otherwise than the ``other``, setting by setting: ``lr 0.001, not 0.0001``."""
    flat, theirs = (
        {"data": s["data_hash"], "weights": s["weights"] or "random", **s["train"]} for s in (setting, other)
    )
    found = [(k, _apart(flat.get(k), theirs.get(k))) for k in dict.fromkeys([*flat, *theirs])]
    return tuple(f"{name} {words}" for name, words in found if words)


def _apart(value: object, other: object) -> str:
    return "" if value == other else f"{value}, not {other}"


def _chosen(groups: Sequence[RunGroup], key: str | None) -> RunGroup:
    if key is None:
        return groups[0]
    fitting = [g for g in groups if g.key.startswith(key)]
    if len(fitting) != 1:
        listing = "; ".join(f"{g.key}: {g.summary}" for g in groups)
        raise ConfigError(f"`setting={key}` names {'no' if not fitting else 'more than one'} setting.", hint=listing)
    return fitting[0]
