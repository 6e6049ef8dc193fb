"""Checkpoints: safetensors with the same JSON in their header and readable beside them; written aside, renamed.

::

    best/model.safetensors + model.json    the best network so far, nothing else
    last/step-00000300.safetensors + .json everything a run needs to go on: weights, moments, average, counters
    last/model.safetensors + model.json    in place of these once the run is finished: the network at its end

The newest two of ``last/`` are kept, so a damaged file costs one interval, not the run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from pix3d_onet.config import ModelConfig
from pix3d_onet.errors import ConfigError, InputError
from pix3d_onet.files import check_regular, is_own_file, member, remove, write_json, writing
from pix3d_onet.learning.network.model import OccupancyNetwork, build_model

BEST = "best"
LAST = "last"
MODEL_FILE = "model.safetensors"
NAMED_RUNS = 4
"""Runs that an error names at most."""
CHECKPOINT_VERSION = 1
HEADER_KEY = "onet"
"""Key of the JSON in the safetensors header."""
KEPT = 2
"""Checkpoints kept in ``last/``."""
STEP = re.compile(r"step-\d{8}\.(safetensors|json)")


def save_tensors(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
    """Write tensors and ``header`` to ``path`` atomically, and the header as JSON beside it (for people)."""
    document = {"version": CHECKPOINT_VERSION, **header}
    plain = {key: value.detach().to("cpu").contiguous() for key, value in tensors.items()}
    with writing(path) as part:
        save_file(plain, part, metadata={HEADER_KEY: json.dumps(document, allow_nan=False)})
    write_json(path.with_suffix(".json"), document)


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors (on the CPU) and header of a file of ours. InputError when it is missing, damaged or not ours."""
    header = read_header(path)
    try:
        return load_file(path), header
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise InputError(f"checkpoint {path} is damaged ({error}).") from None


def read_header(path: Path) -> dict[str, Any]:
    """The header of a file of ours, without its tensors. InputError as ``load_tensors``."""
    if not path.exists():
        raise InputError(f"checkpoint not found: {path}.")
    try:
        check_regular(path)
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {}).get(HEADER_KEY, "null"))
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise InputError(f"checkpoint {path} is damaged ({error}).") from None
    if not isinstance(header, dict) or header.get("version") != CHECKPOINT_VERSION:
        raise InputError(f"{path} is not an onet checkpoint of version {CHECKPOINT_VERSION}.")
    return header


def save_best(folder: Path, state: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
    """Write ``folder/best``; ``header`` must hold ``model`` (a ModelConfig as JSON)."""
    save_tensors(member(folder, BEST, MODEL_FILE), state, header)


def save_last(folder: Path, step: int, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
    """Write ``folder/last/step-N`` and remove all but the newest two."""
    save_tensors(member(folder, LAST, f"step-{step:08d}.safetensors"), tensors, {"step": step, **header})
    for old in [p for p in _steps(folder) if p.suffix == ".safetensors"][:-KEPT]:
        remove(old.with_suffix(".json"))
        remove(old)


def _steps(folder: Path) -> list[Path]:
    """Our files of ``folder/last`` that only an unfinished run needs, oldest first; none where it is a link."""
    last = folder / LAST
    if last.is_symlink() or not last.is_dir():
        return []
    return sorted(p for p in last.iterdir() if STEP.fullmatch(p.name) and is_own_file(p))


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """A checkpoint to go on from: its tensors and header, and a line for each newer one that is damaged."""

    tensors: dict[str, Tensor]
    header: dict[str, Any]
    problems: tuple[str, ...]


def read_last(folder: Path) -> Found | None:
    """The newest readable checkpoint of ``folder/last``; None when there is none."""
    problems: list[str] = []
    for path in reversed([p for p in _steps(folder) if p.suffix == ".safetensors"]):
        try:
            tensors, header = load_tensors(path)
        except InputError as error:
            problems.append(str(error))
        else:
            return Found(tensors, header, tuple(problems))
    return None


def save_last_model(folder: Path, state: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
    """The network as it was at the end, for what comes after the run."""
    save_tensors(member(folder, LAST, MODEL_FILE), state, header)


def forget_steps(folder: Path) -> None:
    """Remove what only an unfinished run needs."""
    for path in _steps(folder):
        remove(path)


def checkpoint_file(run: str | Path) -> Path:
    """The best network's file of a run folder; a ``.safetensors`` file stands for itself."""
    path = Path(run)
    return path if path.suffix == ".safetensors" else path / BEST / MODEL_FILE


def no_network(run: Path) -> InputError:
    """The error for a place without a trained network: it names the runs below a folder that holds some."""
    below = [
        str(found.parent.parent) for depth in ("*", "*/*") for found in sorted(run.glob(f"{depth}/{BEST}/{MODEL_FILE}"))
    ]
    if below:
        more = ", …" if len(below) > NAMED_RUNS else ""
        hint = f"Name one of its runs: {', '.join(below[:NAMED_RUNS])}{more}."
    elif run.is_dir():
        hint = "A run has one after its first validation."
    else:
        hint = "Train one with `onet train`."
    return InputError(f"{run} holds no trained network.", hint=hint)


def load_model(run: str | Path, device: str | torch.device = "cpu") -> OccupancyNetwork:
    """The best network of a run folder (or a checkpoint file of ours), in eval mode.

    InputError when the run does not exist, has no checkpoint yet, or its checkpoint is damaged.
    """
    path = checkpoint_file(run)
    if not path.exists():
        raise no_network(Path(run))
    tensors, header = load_tensors(path)
    try:
        model = build_model(ModelConfig.from_json(header["model"]))
        model.load_state_dict(tensors)
        model.image_size = (header.get("train") or {}).get("image_size")
    except (KeyError, TypeError, RuntimeError, ConfigError) as error:
        line = str(error).splitlines()[0]
        raise InputError(f"checkpoint {path} does not match its own description ({line}).") from None
    return model.eval().to(device)
