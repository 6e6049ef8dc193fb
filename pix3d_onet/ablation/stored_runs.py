"""Find stored runs and sort them into comparable groups, without torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pix3d_onet.ablation.unfinished import CONTINUE, find_unfinished
from pix3d_onet.ablation.variants import VARIANTS, Variant
from pix3d_onet.config import ModelConfig, Start, TrainConfig
from pix3d_onet.errors import ConfigError, InputError, did_you_mean
from pix3d_onet.events import Emit, Note, ignore
from pix3d_onet.runs.folder import RunFolder, finished_runs
from pix3d_onet.runs.record import RunRecord, read_run

OTHER = " (other network)"
"""Suffix of the name of a run whose architecture differs from others of that name."""
OTHER_WEIGHTS = " (other weights)"
"""Suffix of the name of a run that started from other weights than others of that name, or than that variant."""
_NOT_COMPARED = frozenset({"seed", "precision"})
"""Training settings in which the runs of one table may differ. If they differ in precision, a note says so."""


@dataclass(frozen=True, slots=True)
class StoredRun:
    """A finished run: its folder, its record, and its variant (see ``variant_of``).

    ``place``: the folder relative to the folder of runs, so that reports do not contain paths of one machine.
    """

    folder: Path
    record: RunRecord
    variant: str
    place: str = ""

    @property
    def seed(self) -> int:
        """The training seed."""
        return self.record.seed

    @property
    def threshold(self) -> float:
        """The threshold of its training."""
        return TrainConfig.from_json(dict(self.record.train)).threshold

    @property
    def label(self) -> str:
        """What tables call its variant."""
        if self.record.label and self.variant == self.record.name:
            return self.record.label
        known = VARIANTS.get(self.variant)
        return known.label if known else self.variant


@dataclass(frozen=True, slots=True)
class RunGroup:
    """Runs that may be in one table: same data, same recipe (besides what a variant changes), same initial weights.

    ``key``: first 8 hex digits of the hash of ``setting``. There is one run per variant and seed; ``left_out`` are the
    others with the same variant and seed, each with the run that is used instead.
    """

    key: str
    setting: Mapping[str, Any]
    runs: tuple[StoredRun, ...]
    left_out: tuple[tuple[StoredRun, StoredRun], ...] = ()

    def of(self, variant: str) -> tuple[StoredRun, ...]:
        """The runs of one variant, ordered by seed."""
        return tuple(sorted((r for r in self.runs if r.variant == variant), key=lambda r: r.seed))

    @property
    def variants(self) -> tuple[str, ...]:
        """Names of variants with a run: those in ``VARIANTS`` in its order, then others by name."""
        present = {r.variant for r in self.runs}
        return (*(n for n in VARIANTS if n in present), *sorted(present - set(VARIANTS)))

    @property
    def summary(self) -> str:
        """One line with the settings that all runs of the group share."""
        train = self.setting["train"]
        return (
            f"{self.setting['data_name']}, {train['steps']} steps, batch {train['batch_size']}, "
            f"{train['image_size']}² px, {len(self.runs)} run{'' if len(self.runs) == 1 else 's'}"
        )


def find_runs(root: Path, emit: Emit = ignore) -> tuple[StoredRun, ...]:
    """All finished runs in or below ``root``, ordered by path; a run under two paths counts once.

    Runs of two variants whose training is the same are two runs: each is a row of its own suite.

    A damaged record is skipped with a warning. InputError if ``root`` is missing or has no finished run.
    """
    hint = "Train with `onet bench` or `onet train` first."
    if not root.is_dir():
        beside = [f.name for f in root.parent.glob("*") if f.is_dir()]
        raise InputError(f"no folder of runs: {root}.", hint=did_you_mean(root.name, beside, root.with_name) or hint)
    found: dict[tuple[str, str], StoredRun] = {}
    for folder in finished_runs(root):
        try:
            run = stored(folder, root)
        except InputError as error:
            emit(Note(f"skipped {folder}: {error.message}", "warning"))
            continue
        found.setdefault((run.record.run_id, run.variant), run)
    if not found:
        begun = "; ".join(run.summary for run in find_unfinished(root))
        hint = f"Unfinished: {begun}. {CONTINUE}" if begun else hint
        raise InputError(f"no finished run in {root}.", hint=hint)
    return tuple(found.values())


def stored(folder: Path, root: Path | None = None) -> StoredRun:
    """Read the run in ``folder``, below the folder of runs ``root``.

    InputError if its record is missing, damaged or of an unknown kind.
    """
    record = read_run(folder)
    try:
        place = folder.relative_to(root) if root else Path(folder.name)
        return StoredRun(folder, record, variant_of(record), place.as_posix())
    except ConfigError as error:
        raise InputError(f"{RunFolder(folder).record} is damaged ({error.message.removesuffix('.')}).") from None


def variant_of(record: RunRecord) -> str:
    """The name that the run was given; if it was given none, the variant with its architecture, recipe and start."""
    model = ModelConfig.from_json(record.model)
    own, train = model.architecture(), TrainConfig.from_json(record.train).values()
    alike = [v for v in VARIANTS.values() if v.model.architecture() == own and _follows(train, v)]
    fitting = [v for v in alike if v.start in ("", _start_of(record))]
    if any(v.name == record.name for v in fitting):
        return record.name
    if fitting and record.name == model.default_name:
        return max(fitting, key=lambda v: len(v.train)).name
    if record.name not in VARIANTS:
        return record.name
    return record.name + (OTHER_WEIGHTS if any(v.name == record.name for v in alike) else OTHER)


def _start_of(record: RunRecord) -> Start | None:
    """What the network started from, as a ``Variant.start``; None for timm's pretrained weights."""
    if record.weights.startswith(("run ", "network ")):  # see ``learning.training.identity.initial_run``
        return "init_from"
    if record.weights == "pretrained":
        return None
    return "weights" if record.weights else "random"


def _follows(train: Mapping[str, Any], variant: Variant) -> bool:
    return all(train[k] == (list(v) if isinstance(v, tuple) else v) for k, v in variant.train.items())


def setting_of(run: StoredRun) -> dict[str, Any]:
    """The settings that a run shares with comparable runs, without those that its variant changes."""
    train = TrainConfig.from_json(run.record.train).values()
    shared = {k: v for k, v in train.items() if k not in _NOT_COMPARED}
    shared["weights"] = run.record.weights
    default = {**TrainConfig().values(), "weights": ""}
    shared |= {k: default[k] for k in _changed_from_unknown(run)}
    shared |= {k: v for k, v in run.record.replaced.items() if k in shared}
    if "pretrained" in run.record.replaced and shared["weights"] in ("", "pretrained"):
        shared["weights"] = "pretrained" if shared["pretrained"] else ""  # as `run_identity` describes them
    data, weights = run.record.data, shared.pop("weights")
    name, train = str(data.get("name", "")), TrainConfig.trimmed(shared)
    return {"data_hash": data.get("data_hash"), "data_name": name, "train": train, "weights": weights}


def _changed_from_unknown(run: StoredRun) -> set[str]:
    """The settings that the run's variant changes, if the record does not have the replaced values."""
    known = VARIANTS.get(run.variant)
    return known.changes - set(run.record.replaced) if known else set()


def setting_key(setting: Mapping[str, Any]) -> str:
    """First 8 hex digits of the hash of a setting; it includes the data set's hash, not its name."""
    hashed = {k: v for k, v in setting.items() if k != "data_name"}
    return hashlib.sha256(json.dumps(hashed, sort_keys=True).encode()).hexdigest()[:8]


def key_of(run: StoredRun, among: Sequence[StoredRun]) -> str:
    """The key of a run's setting, determined together with the runs ``among``."""
    return setting_key(_settings([run, *among])[0])


def _settings(runs: Sequence[StoredRun]) -> list[dict[str, Any]]:
    """The setting of every run. If a variant changes the recipe, its runs get the setting of the runs equal otherwise.

    A record of ``onet train`` does not say which value the variant replaced; it may be a preset's or the default. If
    there is no equal run, the default is used.
    """
    plain = [setting_of(run) for run in runs]
    changes = [_changed_from_unknown(run) for run in runs]
    bases = {setting_key(s): s for s, own in zip(plain, changes, strict=True) if not own}

    def without(setting: Mapping[str, Any], own: set[str]) -> dict[str, Any]:
        train = {k: v for k, v in setting["train"].items() if k not in own}
        return {**setting, "data_name": "", "train": train, **dict.fromkeys(own & {"weights"})}

    found = []
    for setting, own in zip(plain, changes, strict=True):
        fitting = [key for key, base in sorted(bases.items()) if without(base, own) == without(setting, own)]
        found.append(setting if not own or not fitting or setting_key(setting) in fitting else bases[fitting[0]])
    return found


def group_runs(runs: Sequence[StoredRun]) -> tuple[RunGroup, ...]:
    """Comparable groups, sorted by number of variants, then number of runs (largest first), then key.

    If a variant and seed was run twice in one setting (with another precision, say), the first path is used, and the
    others are ``left_out``.
    """
    gathered: dict[str, tuple[dict[str, Any], list[StoredRun]]] = {}
    for run, setting in zip(runs, _settings(runs), strict=True):
        gathered.setdefault(setting_key(setting), (setting, []))[1].append(run)
    groups = [_group(key, setting, members) for key, (setting, members) in gathered.items()]
    return tuple(sorted(groups, key=lambda g: (-len(g.variants), -len(g.runs), g.key)))


def _group(key: str, setting: Mapping[str, Any], members: Sequence[StoredRun]) -> RunGroup:
    members = _with_unique_names(members)
    taken: dict[tuple[str, int], StoredRun] = {}
    for run in members:
        taken.setdefault((run.variant, run.seed), run)
    left_out = tuple((r, first) for r in members if (first := taken[r.variant, r.seed]) is not r)
    return RunGroup(key, setting, tuple(taken.values()), left_out)


def _with_unique_names(runs: Sequence[StoredRun]) -> list[StoredRun]:
    """The runs, renamed so that runs of one name have equal architecture, recipe and initial weights and can be
    averaged."""
    kinds: dict[str, list[tuple[Any, Any, str]]] = {}
    found = []
    for run in runs:
        settings = TrainConfig.from_json(run.record.train).to_json()
        train = {k: v for k, v in settings.items() if k not in _NOT_COMPARED}
        weights = run.record.weights if "weights" in run.record.replaced else ""  # else they are in the group's key
        kind = ModelConfig.from_json(run.record.model).architecture(), train, weights
        known = kinds.setdefault(run.variant, [])
        if kind not in known:
            known.append(kind)
        name = run.variant
        if place := known.index(kind):
            other = known[0]
            differs = " (other recipe)" if kind[1] != other[1] else OTHER_WEIGHTS
            name += OTHER if kind[0] != other[0] else differs
            name += f" {place}" if place > 1 else ""
        found.append(replace(run, variant=name))
    return found


def choose_group(groups: Sequence[RunGroup], key: str | None = None, emit: Emit = ignore) -> RunGroup:
    """The group whose key starts with ``key``, or the first group.

    Notes name the other groups, with what differs, and every run left out for another one with the same variant and
    seed. ConfigError if ``key`` fits no group or more than one.
    """
    chosen = _chosen(groups, key)
    for other in groups if key is None else ():
        if other is not chosen:
            names = ", ".join(other.variants)
            difference = "; ".join(differences(other.setting, chosen.setting))
            emit(Note(f"not in this table: {names} ({other.summary}; `setting={other.key}`): {difference}."))
    for run, first in chosen.left_out:
        why = f"{first.place} is also {run.variant} with seed {run.seed}, and comes first"
        if found := _difference(run.record.device.get("precision"), first.record.device.get("precision")):
            why += f" (precision {found})"
        emit(Note(f"not in this table: the run in {run.place}; {why}.", "warning"))
    return chosen


def differences(setting: Mapping[str, Any], other: Mapping[str, Any]) -> tuple[str, ...]:
    """The settings that differ from ``other``, each as ``lr 0.001, not 0.0001``."""
    flat, theirs = (
        {"data": s["data_hash"], "weights": s["weights"] or "random", **s["train"]} for s in (setting, other)
    )
    found = [(k, _difference(flat.get(k), theirs.get(k))) for k in dict.fromkeys([*flat, *theirs])]
    return tuple(f"{name} {words}" for name, words in found if words)


def _difference(value: object, other: object) -> str:
    return "" if value == other else f"{value}, not {other}"


def _chosen(groups: Sequence[RunGroup], key: str | None) -> RunGroup:
    if key is None:
        return groups[0]
    fitting = [g for g in groups if g.key.startswith(key)]
    if len(fitting) != 1:
        listing = "; ".join(f"{g.key}: {g.summary}" for g in groups)
        raise ConfigError(f"`setting={key}` names {'no' if not fitting else 'more than one'} setting.", hint=listing)
    return fitting[0]
