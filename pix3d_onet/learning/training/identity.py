"""The identity of a run, and the state of its folder: free, this run (finished or not), or another run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pix3d_onet.config import ModelConfig, PrepareConfig, TrainConfig
from pix3d_onet.data.store.reader import Dataset
from pix3d_onet.errors import InputError
from pix3d_onet.events import Emit, Note, ignore
from pix3d_onet.files import check_claim, file_digest, read_json, remove, write_json
from pix3d_onet.learning import checkpoint
from pix3d_onet.runs.folder import CONFIG_FILE, FILES, FOLDERS, RunFolder, is_run, network_file, no_network
from pix3d_onet.runs.record import RunRecord, read_run

NAMED_DIFFERENCES = 3
"""Most settings that one error names."""


def run_identity(
    model: ModelConfig, config: TrainConfig, data_hash: str, weights: str | Path | None = None, init: str = ""
) -> str:
    """First 12 hex digits of the SHA-256 of what defines a run.

    ``weights``: a file (its digest is hashed), a digest, or None: then ``pretrained`` or nothing, by ``config``.
    ``init``: the result of ``initial_run``. Device and speed settings are not part of the identity.
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


def describe_data(dataset: Dataset, init_from: Path | None = None) -> dict[str, Any]:
    """What run records and checkpoints store about the data set: its folder's ``name``, ``data_hash``, ``crop_margin``;
    with ``init_from`` also ``earlier``, hashes of other data that its network has been trained on.

    Reconstruction cuts new photos out with the same margin.
    """
    manifest = dataset.manifest
    seen = checkpoint.data_seen(checkpoint.read_header(network_file(init_from))) if init_from is not None else ()
    earlier = [known for known in seen if known != manifest.data_hash]
    return {
        "name": dataset.root.resolve().name,
        "data_hash": manifest.data_hash,
        "crop_margin": float(manifest.config.get("crop_margin", PrepareConfig().crop_margin)),
        **({"earlier": earlier} if earlier else {}),
    }


def describe_weights(config: TrainConfig, weights: str | Path | None) -> str:
    """The file's digest, ``pretrained``, or nothing. InputError if the file is missing."""
    if isinstance(weights, Path):
        if not weights.is_file():
            raise InputError(f"weights file not found: {weights}.")
        return file_digest(weights)
    return weights or ("pretrained" if config.pretrained else "")


def check_output(out: Path, *, overwrite: bool, emit: Emit = ignore) -> bool:
    """Whether ``out`` holds a run of onet, finished or not; False: the folder is free. InputError if it is neither."""
    if RunFolder(out).steps() and not is_run(out):
        raise InputError(
            f"{out} holds checkpoints of an unfinished run, but {CONFIG_FILE} is missing or damaged.",
            hint="Restore that file, or the run cannot be continued. Name another folder to start a new one.",
        )
    return check_claim(out, "run", files=FILES, folders=FOLDERS, known=is_run, overwrite=overwrite, emit=emit)


def start_folder(out: Path, identity: dict[str, Any]) -> None:
    """Write the configuration of a new run to ``out``, after removing all files with the names of a run's files."""
    for name in FILES:
        remove(out / name)
    write_json(RunFolder(out).config, identity)


def finished_run(out: Path, identity: Mapping[str, Any], resume: bool) -> RunRecord | None:
    """The record in ``out`` if it is this run, finished, and ``resume`` is given; None if the folder is not finished.

    InputError for any other finished run, because it would be overwritten.
    """
    if RunFolder(out).state != "done":
        return None
    record = read_run(out)
    if record.run_id != identity["run_id"]:
        before = {"model": record.model, "train": record.train, "data": record.data, "weights": record.weights}
        hint = f"Choose another `out`; with `init_from={out}` it starts from that run's network."
        raise InputError(f"{out} holds another finished run: {_difference(before, identity)}.", hint=hint)
    if not resume:
        hint = "Choose another `out`, or remove the folder."
        raise InputError(f"{out} holds a finished run ({record.name}).", hint=hint)
    RunFolder(out).remove_checkpoints()  # the run may have been killed between writing its record and this line
    return record


def unfinished_run(
    out: Path, identity: Mapping[str, Any], resume: bool, emit: Emit = ignore
) -> checkpoint.LastCheckpoint | None:
    """The checkpoint in ``out`` from which to continue; None = start anew. InputError if it is another run's folder,
    or its checkpoints are damaged.

    A run without a checkpoint, because it failed or was killed early, is replaced.
    """
    folder = RunFolder(out)
    if not (folder.config.exists() and folder.has_network):
        return None
    if not resume:
        hint = "Continue it with `resume=True`, or choose another `out`."
        raise InputError(f"{out} holds an unfinished run.", hint=hint)
    before = read_json(folder.config, what="run configuration", follow=False)
    if not isinstance(before, dict) or before.get("run_id") != identity["run_id"]:
        raise InputError(f"{out} holds another run: {_difference(before, identity)}.", hint="Choose another `out`.")
    found = checkpoint.read_last(out)
    if found is None:
        emit(Note(f"{out} holds no checkpoint to resume: the run starts from the beginning.", "warning"))
    return found


def stored_batch_size(out: Path) -> int:
    """The batch size of the unfinished run in ``out``; 0 if there is none."""
    train = _configuration(out).get("train")
    value = train.get("batch_size") if isinstance(train, dict) else None
    return value if isinstance(value, int) and value > 0 else 0


def _configuration(out: Path) -> dict[str, Any]:
    """The configuration of the run in ``out``; empty if there is none."""
    path = RunFolder(out).config
    document = read_json(path, what="run configuration", follow=False) if path.exists() else None
    return document if isinstance(document, dict) else {}


def _difference(before: Any, now: Mapping[str, Any]) -> str:
    """The first differences between two runs, for a message: settings, data, initial weights."""
    sections = [before.get(name) if isinstance(before, dict) else None for name in ("model", "train", "data")]
    model, train, data = (section if isinstance(section, Mapping) else {} for section in sections)
    if not (model and train):
        return "its configuration is damaged"
    defaults = ModelConfig().values(), TrainConfig().values()  # for settings that one of the two does not have
    found = [
        f"{key} was {_shown(old.get(key))}, now {_shown(value)}"
        for default, old, new in zip(defaults, (model, train), (now["model"], now["train"]), strict=True)
        for key, value in {**default, **new}.items()
        if {**default, **old}.get(key) != value
    ]
    if data.get("data_hash") != now["data"].get("data_hash"):
        old, new = (f"{_shown(d.get('name'))} ({_shown(d.get('data_hash'))})" for d in (data, now["data"]))
        found.append(f"the data were {old}, now {new}")
    if before.get("weights") != now["weights"]:
        found.append(f"the weights were {_shown(before.get('weights'))}, now {_shown(now['weights'])}")
    more = [f"and {len(found) - NAMED_DIFFERENCES} more"] if len(found) > NAMED_DIFFERENCES else []
    other = f"its {CONFIG_FILE} was edited, or written by another version of onet"
    return "; ".join([*found[:NAMED_DIFFERENCES], *more]) or other


def _shown(value: object) -> str:
    """A value for a message, cut to 80 characters, since it may come from a file."""
    return f"{value!r:.80}"


def initial_run(init_from: Path | None, model: ModelConfig, data_hash: str = "", emit: Emit = ignore) -> str:
    """The run from whose network training starts, and the digest of that network; empty without ``init_from``.

    The digest is needed because the best network of an unfinished run still changes. A warning if that run, or one that
    it started from, had other data than ``data_hash``, if given: their splits may differ. InputError for another
    architecture.
    """
    if init_from is None:
        return ""
    network = network_file(init_from)
    if not network.exists():
        raise no_network(init_from)
    header = checkpoint.read_header(network)
    start = replace(ModelConfig.from_json(header.get("model") or {}), tta=model.tta)  # which has no weights
    if start.architecture() != model.architecture():
        raise InputError(f"{init_from} is a network of another architecture: {header.get('model')}.")
    others = [seen for seen in checkpoint.data_seen(header) if data_hash and seen != data_hash]
    if others:
        text = f"{init_from} was trained on other data ({', '.join(others)})"
        emit(Note(f"{text}: shapes of val and test may be among its training shapes.", "warning"))
    digest = file_digest(network)[:12]
    return f"run {header['run_id']}, network {digest}" if header.get("run_id") else f"network {digest}"
