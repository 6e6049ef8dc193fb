"""A run's folder: who it belongs to, whether it is finished, and that only one process writes to it."""

from __future__ import annotations

import fcntl
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pix3d_onet.config import ModelConfig, TrainConfig
from pix3d_onet.errors import BusyError, ConfigError, InputError
from pix3d_onet.events import Emit, ignore
from pix3d_onet.files import (
    OF_A_PART,
    check_claim,
    file_digest,
    read_json,
    remove,
    remove_parts,
    write_json,
)
from pix3d_onet.learning import checkpoint
from pix3d_onet.learning.training.history import EVENTS_FOLDER, HISTORY_FILE
from pix3d_onet.runs.examples import EXAMPLES_FILE
from pix3d_onet.runs.record import CONFIG_FILE, RUN_FILE, RunRecord, is_run, read_run

LOCK_FILE = ".lock"
KIND = "run"
PROFILE_FOLDER = "profile"
FILES = (CONFIG_FILE, RUN_FILE, HISTORY_FILE, EXAMPLES_FILE)
FOLDERS = (checkpoint.BEST, checkpoint.LAST, EVENTS_FOLDER, PROFILE_FOLDER)
STRAY_TENSORS = re.compile(r"\.tmp[0-9A-Za-z]{6}")
"""A file that safetensors was writing when it was killed."""


def run_identity(
    model: ModelConfig, config: TrainConfig, data_hash: str, weights: str | Path | None = None, init: str = ""
) -> str:
    """First 12 hex digits of the SHA-256 of what defines a run.

    ``weights`` is a file (its digest counts), a digest, or None: then ``pretrained`` or nothing as ``config`` says;
    ``init`` says which run's network was the start (``initial_run``). Device and speed settings define nothing.
    """
    document = {
        "model": model.to_json(),
        "train": config.to_json(),
        "data": data_hash,
        "weights": describe_weights(config, weights),
        "init": init,
    }
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def describe_weights(config: TrainConfig, weights: str | Path | None) -> str:
    """A digest, ``pretrained``, or nothing. InputError for a file that is missing."""
    if isinstance(weights, Path):
        if not weights.is_file():
            raise InputError(f"weights file not found: {weights}.")
        return file_digest(weights)
    return weights or ("pretrained" if config.pretrained else "")


def check_output(out: Path, *, overwrite: bool, emit: Emit = ignore) -> bool:
    """Whether ``out`` holds a run of ours, whole or begun; False: free to be taken. InputError otherwise."""
    return check_claim(out, KIND, files=FILES, folders=FOLDERS, known=is_run, overwrite=overwrite, emit=emit)


def begin(out: Path, identity: dict[str, Any]) -> None:
    """Make ``out`` the folder of a run that starts: nothing of an earlier one, or of somebody else, passes for its."""
    for name in FILES:
        remove(out / name)
    write_json(out / CONFIG_FILE, identity)


def finished_run(out: Path, run_id: str, resume: bool) -> RunRecord | None:
    """The record of a folder that is finished, when it is this run and ``resume`` allows it; None = not finished.

    InputError for any other finished run: nothing is overwritten.
    """
    if not (out / RUN_FILE).exists():
        return None
    record = read_run(out)
    if resume and record.run_id == run_id:
        checkpoint.forget_steps(out)  # a kill may have come between the record and this
        return record
    what = "a finished run" if record.run_id == run_id else "another finished run"
    raise InputError(f"{out} holds {what} ({record.name}).", hint="Choose another `out`, or remove the folder.")


def unfinished_run(out: Path, identity: dict[str, Any], resume: bool) -> checkpoint.Found | None:
    """The checkpoint of ``out`` to go on from; None = from the start. InputError when it is not this run's folder."""
    path = out / CONFIG_FILE
    if not path.exists():
        return None
    if not resume:
        hint = "Continue it with `resume=True`, or choose another `out`."
        raise InputError(f"{out} holds an unfinished run.", hint=hint)
    before = read_json(path, what="run configuration", follow=False)
    if not isinstance(before, dict) or before.get("run_id") != identity["run_id"]:
        raise InputError(f"{out} holds another run: {_difference(before, identity)}.", hint="Choose another `out`.")
    return checkpoint.read_last(out)


def stored_batch_size(out: Path) -> int:
    """The batch size that an unfinished run in ``out`` started with; 0 when there is none."""
    if not (out / CONFIG_FILE).exists():
        return 0
    document = read_json(out / CONFIG_FILE, what="run configuration", follow=False)
    train = document.get("train") if isinstance(document, dict) else None
    value = train.get("batch_size") if isinstance(train, dict) else None
    return value if isinstance(value, int) and value > 0 else 0


def stored_model(out: Path, model: ModelConfig) -> ModelConfig:
    """``model`` as an unfinished or finished run in ``out`` spells it, where it is the same architecture."""
    path = out / CONFIG_FILE
    document = read_json(path, what="run configuration") if path.exists() else None
    try:
        stored = ModelConfig.from_json(document["model"])  # type: ignore[index]
    except (TypeError, KeyError, AttributeError, ConfigError):
        return model
    return stored if stored.architecture() == model.architecture() else model


def _difference(before: Any, identity: dict[str, Any]) -> str:
    """The first setting in which two runs differ, in words."""
    if not isinstance(before, dict):
        return f"{CONFIG_FILE} is damaged"
    for section in ("model", "train", "data"):
        old, new = before.get(section) or {}, identity[section]
        for key in new:
            if old.get(key) != new[key]:
                return f"{key} was {old.get(key)!r}, now {new[key]!r}"
    return f"weights were {before.get('weights') or 'random'}, now {identity['weights'] or 'random'}"


def initial_run(init_from: Path | None, model: ModelConfig) -> str:
    """The run whose network is the start, and that network's digest: an unfinished run's best one still changes.

    Empty without one. InputError for another architecture.
    """
    if init_from is None:
        return ""
    header = checkpoint.read_header(checkpoint.checkpoint_file(init_from))
    if ModelConfig.from_json(header.get("model") or {}).architecture() != model.architecture():
        raise InputError(f"{init_from} is a network of another architecture: {header.get('model')}.")
    digest = file_digest(checkpoint.checkpoint_file(init_from))[:12]
    return f"run {header['run_id']}, network {digest}" if header.get("run_id") else f"network {digest}"


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Hold the run folder against a second process. BusyError when somebody has it; the lock dies with its process."""
    out.mkdir(parents=True, exist_ok=True)
    with (out / LOCK_FILE).open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise BusyError(f"another process is training in {out}.") from None
        _clear_strays(out)
        try:
            yield
        finally:
            (out / LOCK_FILE).unlink(missing_ok=True)


def _clear_strays(out: Path) -> None:
    """Remove what a kill left half-written: ours (``.part``) and safetensors' own (``.tmp…``), each as large as a
    checkpoint. Only the process that holds the folder may."""
    if not is_run(out):
        return
    remove_parts(out, FILES)
    for folder in (out / checkpoint.BEST, out / checkpoint.LAST):
        if folder.is_symlink() or not folder.is_dir():
            continue
        names = [p.name for p in folder.iterdir()]
        remove_parts(folder, {found[1] for n in names if (found := OF_A_PART.match(n)) and _is_ours(found[1])})
        for name in names:
            if STRAY_TENSORS.fullmatch(name):
                remove(folder / name)


def _is_ours(name: str) -> bool:
    return name in (checkpoint.MODEL_FILE, "model.json") or checkpoint.STEP.fullmatch(name) is not None
