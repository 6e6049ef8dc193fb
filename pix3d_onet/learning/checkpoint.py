"""Checkpoints: safetensors with the same JSON in their header and readable beside them; written aside, renamed.

Where they lie: ``runs.folder``. The newest two of an unfinished run are kept: a damaged one costs an interval, not the
run.
"""

from __future__ import annotations

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
from pix3d_onet.learning.network.claims import Claims, check_network, claims_in
from pix3d_onet.learning.network.model import OccupancyNetwork, build_model
from pix3d_onet.runs.folder import RunFolder, description, network_file, no_network

CHECKPOINT_VERSION = 1
HEADER_KEY = "onet"
"""Key of the JSON in the safetensors header."""
KEPT = 2
"""Checkpoints of an unfinished run that are kept."""
DAMAGE = (SafetensorError, OSError, ValueError, RuntimeError, MemoryError)
"""What reading a damaged safetensors file or its header raises (RecursionError among them)."""


def save_tensors(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
    """Write tensors and ``header`` to ``path`` atomically, and the header as JSON beside it (for people).

    OSError when the disk does not take them.
    """
    document = {"version": CHECKPOINT_VERSION, **header}
    plain = {key: value.detach().to("cpu").contiguous() for key, value in tensors.items()}
    with writing(path) as part:
        try:
            save_file(plain, part, metadata={HEADER_KEY: json.dumps(document, allow_nan=False)})
        except SafetensorError as error:
            raise _system_error(error, path) from None
    write_json(description(path), document)


def _system_error(error: SafetensorError, path: Path) -> Exception:
    """The OSError that a message of safetensors has wrapped: ``I/O error: … (os error 28)``."""
    found = re.search(r"os error (\d+)", str(error))
    return OSError(int(found[1]), os.strerror(int(found[1])), str(path)) if found else error


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors (on the CPU) and header of a file of ours. InputError when it is missing, damaged or not ours."""
    return _tensors(path), read_header(path)


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        check_regular(path)
        return load_file(path)
    except DAMAGE as error:
        raise InputError(f"checkpoint {path} is damaged ({error!s:.200}).") from None


def read_header(path: Path) -> dict[str, Any]:
    """The header of a file of ours, without its tensors. InputError as ``load_tensors``."""
    return describe(path)[0]


def describe(path: Path) -> tuple[dict[str, Any], Claims]:
    """The header of a file of ours and what tensors it says that it holds; none is read. InputError as above."""
    if not path.exists():
        raise InputError(f"checkpoint not found: {path}.")
    try:
        check_regular(path)
        path.open("rb").close()  # a file that may not be read is "not found" to safetensors
    except OSError as error:
        raise InputError(f"cannot read checkpoint {path}: {error.strerror}.") from None
    try:
        with safe_open(path, framework="pt") as file:
            header, claims = json.loads((file.metadata() or {}).get(HEADER_KEY, "null")), claims_in(file)
    except DAMAGE as error:
        raise InputError(f"checkpoint {path} is damaged ({error!s:.200}).") from None
    if not isinstance(header, dict) or header.get("version") != CHECKPOINT_VERSION or too_deep(header):
        raise InputError(f"{path} is not an onet checkpoint of version {CHECKPOINT_VERSION}.")
    return header, claims


def save_best(folder: Path, state: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
    """Write the best network; ``header`` must hold ``model`` (a ModelConfig as JSON)."""
    run = RunFolder(folder)
    save_tensors(run.writable(run.best), state, header)


def save_last(folder: Path, step: int, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
    """Write the checkpoint after ``step`` and remove all but the newest two."""
    run = RunFolder(folder)
    save_tensors(run.writable(run.step(step)), tensors, {"step": step, **header})
    run.forget_steps(keep=KEPT)


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """A checkpoint to go on from: its tensors and header, and a line for each newer one that is damaged."""

    tensors: dict[str, Tensor]
    header: dict[str, Any]
    problems: tuple[str, ...]


def read_last(folder: Path) -> Found | None:
    """The newest readable checkpoint of an unfinished run; None when there is none.

    InputError when there are some and none can be read: a start from the beginning would overwrite what is left.
    """
    problems: list[str] = []
    for path in reversed(RunFolder(folder).steps()):
        try:
            tensors, header = load_tensors(path)
        except InputError as error:
            problems.append(str(error))
        else:
            return Found(tensors, header, tuple(problems))
    if problems:
        hint = f"Restore one of them from a backup, or train in another `out`. The curves of {folder} are kept"
        hint += ", and so is its best network, for `init_from`." if RunFolder(folder).best.is_file() else "."
        count = len(problems)
        raise InputError(f"no checkpoint of {folder} can be read ({count} of {count}): {' '.join(problems)}", hint=hint)
    return None


def save_last_model(folder: Path, state: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
    """The network as it was at the end, for what comes after the run."""
    run = RunFolder(folder)
    save_tensors(run.writable(run.last), state, header)


def load_model(run: str | Path, device: str | torch.device = "cpu") -> OccupancyNetwork:
    """The best network of a run folder (or a checkpoint file of ours), in eval mode.

    InputError when the run does not exist, has no checkpoint yet, or its checkpoint is damaged.
    """
    path = network_file(run)
    if not path.exists():
        raise no_network(Path(run))
    header, claims = describe(path)
    try:
        config = ModelConfig.from_json(header["model"])
        check_network(config, claims)
        side = _trained_side(header)
    except KeyError:
        raise InputError(f"checkpoint {path} does not say which network it holds.") from None
    except (InputError, ConfigError) as error:
        line = error.message.removesuffix(".")
        raise InputError(f"checkpoint {path} does not match its own description ({line}).") from None
    model = build_model(config)
    model.load_state_dict(_tensors(path))
    model.image_size = side
    return model.eval().to(device)


def _trained_side(header: Mapping[str, Any]) -> int | None:
    """Side of the pictures that the network was trained on; None where it is not said. ConfigError for an odd one."""
    train = header.get("train")
    side = train.get("image_size") if isinstance(train, dict) else None
    return None if side is None else TrainConfig.from_json({"image_size": side}).image_size
