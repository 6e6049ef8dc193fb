"""Checkpoints: safetensors files, written atomically, with a JSON header that is also written beside them.

Their paths are in ``runs.folder``. The newest two of an unfinished run are kept, so that the run can continue if one is
damaged.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from pix3d_onet.config import ModelConfig, TrainConfig
from pix3d_onet.errors import ConfigError, InputError
from pix3d_onet.files import check_regular, too_deep, write_json, writing
from pix3d_onet.learning.network.model import OccupancyNetwork, build_model
from pix3d_onet.learning.network.tensor_specs import TensorSpecs, check_network, specs_in
from pix3d_onet.runs.folder import RunFolder, description, network_file, no_network

CHECKPOINT_VERSION = 1
HEADER_KEY = "onet"
"""Key of our JSON in the metadata of a safetensors file."""
DIGEST = "sha256"
"""Key of the digest of the tensors in the header."""
KEPT = 2
"""Number of checkpoints kept of an unfinished run."""
DAMAGE = (SafetensorError, OSError, ValueError, RuntimeError, MemoryError)
"""Exceptions from reading a damaged safetensors file or its header (RecursionError is a RuntimeError)."""


def save_tensors(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
    """Write tensors and ``header`` to ``path`` atomically, and the header as JSON beside it, for reading without torch.

    OSError if they cannot be written.
    """
    plain = {key: value.detach().to("cpu").contiguous() for key, value in tensors.items()}
    document = {"version": CHECKPOINT_VERSION, **header, DIGEST: _digest(plain)}
    with writing(path) as part:
        try:
            save_file(plain, part, metadata={HEADER_KEY: json.dumps(document, allow_nan=False)})
        except SafetensorError as error:
            raise _system_error(error, path) from None
    write_json(description(path), document)


def _system_error(error: SafetensorError, path: Path) -> Exception:
    """The OSError in a message of safetensors such as ``I/O error: … (os error 28)``; ``error`` if there is none."""
    found = re.search(r"os error (\d+)", str(error))
    return OSError(int(found[1]), os.strerror(int(found[1])), str(path)) if found else error


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors (on the CPU) and header of a checkpoint. InputError if it is missing, damaged or not made by onet."""
    header = read_header(path)
    return _tensors(path, header), header


def _tensors(path: Path, header: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors of a checkpoint; InputError if they are not those that were written with ``header``."""
    try:
        check_regular(path)
        found = load_file(path)
    except DAMAGE as error:
        raise InputError(f"checkpoint {path} is damaged ({error!s:.200}).") from None
    if DIGEST in header and header[DIGEST] != _digest(found):  # checkpoints of earlier versions have none
        raise InputError(f"checkpoint {path} is damaged (its numbers have changed since they were written).")
    return found


def _digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes: safetensors itself notices only wrong sizes."""
    total = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        total.update(f"{name}\t{tensor.dtype}\t{tuple(tensor.shape)}\n".encode())
        total.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def read_header(path: Path) -> dict[str, Any]:
    """The header of a checkpoint; no tensor is read. InputError as for ``load_tensors``."""
    return describe(path)[0]


def data_seen(header: Mapping[str, Any]) -> tuple[str, ...]:
    """Hashes of the data sets that a network has been trained on, from its header: the last one first, then those of
    the runs that it started from."""
    data = header.get("data")
    data = data if isinstance(data, Mapping) else {}
    earlier = data.get("earlier")
    known = (data.get("data_hash"), *(earlier if isinstance(earlier, list) else ()))
    return tuple(dict.fromkeys(name for name in known if isinstance(name, str) and name))


def describe(path: Path) -> tuple[dict[str, Any], TensorSpecs]:
    """The header of a checkpoint and the specs of its tensors, without reading any. InputError as ``load_tensors``."""
    if not path.exists():
        raise InputError(f"checkpoint not found: {path}.")
    try:
        check_regular(path)
        path.open("rb").close()  # safetensors says "not found" if permission is missing
    except OSError as error:
        raise InputError(f"cannot read checkpoint {path}: {error.strerror}.") from None
    try:
        with safe_open(path, framework="pt") as file:
            header, specs = json.loads((file.metadata() or {}).get(HEADER_KEY, "null")), specs_in(file)
    except DAMAGE as error:
        raise InputError(f"checkpoint {path} is damaged ({error!s:.200}).") from None
    if not isinstance(header, dict) or header.get("version") != CHECKPOINT_VERSION or too_deep(header):
        raise InputError(f"{path} is not an onet checkpoint of version {CHECKPOINT_VERSION}.")
    return header, specs


def save_best(folder: Path, state: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
    """Write the best network; ``header`` must contain ``model``, a ModelConfig as JSON."""
    run = RunFolder(folder)
    save_tensors(run.writable(run.best), state, header)


def save_last(folder: Path, step: int, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
    """Write the checkpoint after ``step`` and remove all but the newest two."""
    run = RunFolder(folder)
    save_tensors(run.writable(run.step(step)), tensors, {"step": step, **header})
    run.remove_checkpoints(keep=KEPT)


@dataclass(frozen=True, slots=True, eq=False)
class LastCheckpoint:
    """The checkpoint from which a run continues, and a message for each newer one that is damaged."""

    tensors: dict[str, Tensor]
    header: dict[str, Any]
    problems: tuple[str, ...]


def read_last(folder: Path) -> LastCheckpoint | None:
    """The newest readable checkpoint of an unfinished run; None if there is none.

    InputError if there are checkpoints but none is readable: a fresh start would overwrite what is left.
    """
    problems: list[str] = []
    for path in reversed(RunFolder(folder).steps()):
        try:
            tensors, header = load_tensors(path)
        except InputError as error:
            problems.append(str(error))
        else:
            return LastCheckpoint(tensors, header, tuple(problems))
    if problems:
        hint = f"Restore one of them from a backup, or train in another `out`. The curves of {folder} are kept"
        hint += ", and so is its best network, for `init_from`." if RunFolder(folder).best.is_file() else "."
        count = len(problems)
        raise InputError(f"no checkpoint of {folder} can be read ({count} of {count}): {' '.join(problems)}", hint=hint)
    return None


def save_last_model(folder: Path, state: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
    """Write the network after the last step of a finished run."""
    run = RunFolder(folder)
    save_tensors(run.writable(run.last), state, header)


def load_model(run: str | Path, device: str | torch.device = "cpu") -> OccupancyNetwork:
    """The best network of a run folder or a checkpoint file, in eval mode on ``device``, with its training's
    ``image_size`` and ``threshold``, which ``extract_mesh`` takes.

    InputError if the run does not exist, has no checkpoint yet, or its checkpoint is damaged.
    """
    path = network_file(run)
    if not path.exists():
        raise no_network(Path(run))
    header, specs = describe(path)
    try:
        config = ModelConfig.from_json(header["model"])
        check_network(config, specs)
        training = _training(header)
    except KeyError:
        raise InputError(f"checkpoint {path} does not say which network it holds.") from None
    except (InputError, ConfigError) as error:
        line = error.message.removesuffix(".")
        raise InputError(f"checkpoint {path} does not match its own description ({line}).") from None
    model = build_model(config)
    model.load_state_dict(_tensors(path, header))
    if training is not None:
        model.image_size, model.threshold = training.image_size, training.threshold
    return model.eval().to(device)


def _training(header: Mapping[str, Any]) -> TrainConfig | None:
    """The training's side of pictures and threshold; None if the header does not have the former. ConfigError if one is
    out of range."""
    train = header.get("train")
    if not isinstance(train, dict) or train.get("image_size") is None:
        return None
    return TrainConfig.from_json({key: train[key] for key in ("image_size", "threshold") if key in train})
