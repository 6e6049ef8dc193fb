"""Initial weights of an encoder: timm's published ones, or a file. Nothing that is loaded can run code."""

from __future__ import annotations

import codecs
import logging
import os
import pickle
import socket
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from pix3d_onet.errors import InputError
from pix3d_onet.files import check_regular
from pix3d_onet.learning.network.archive import check_archive, check_tensors

HINT = "Start from random weights with `pretrained=False`, or give a file with `weights=FILE`."
WRAPPERS = ("state_dict", "model", "model_state", "net")
"""Keys under which checkpoints keep their tensors."""

DAMAGE = (
    *(OSError, RuntimeError, EOFError, ValueError, KeyError, TypeError, MemoryError, AttributeError, IndexError),
    *(SafetensorError, zipfile.BadZipFile),
)
"""What the readers raise on damaged files: they trust the order of a pickle's instructions."""

NUMPY_SCALARS: tuple[Any, ...] = (
    (np.dtype, "numpy.dtype"),
    (np.float64(0).__reduce__()[0], "numpy.core.multiarray.scalar"),
    (np.float64(0).__reduce__()[0], "numpy._core.multiarray.scalar"),
    *(type(np.dtype(kind)) for kind in (np.float64, np.float32, np.int64, np.int32)),
    codecs.encode,
)
"""What else than tensors a checkpoint may hold: NumPy numbers (the original keeps its best score as one). None of
them runs code; everything beyond is refused."""


def read_tensors(path: Path) -> dict[str, Any]:
    """The top-level dict of a ``.safetensors`` or PyTorch file, read without running anything in it.

    InputError when the file is missing, unreadable or no such file.
    """
    if not path.is_file():
        raise InputError(f"weights file not found: {path}.")
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        check_archive(path)
        with torch.serialization.safe_globals(list(NUMPY_SCALARS)):
            document = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise InputError(
            f"{path} is refused: it is damaged, or holds something else than tensors and numbers."
        ) from None
    except (
        SafetensorError,
        OSError,
        RuntimeError,
        EOFError,
        ValueError,
        KeyError,
        TypeError,
        MemoryError,
        zipfile.BadZipFile,
    ) as error:
        line = str(error).strip().splitlines()
        raise InputError(
            f"{path} is not a readable weights file ({line[0] if line else type(error).__name__})."
        ) from None
    if not isinstance(document, dict):
        raise InputError(f"{path} holds a {type(document).__name__}, not a dict of tensors.")
    return {key: value for key, value in document.items() if isinstance(key, str)}


def unwrap(document: dict[str, Any]) -> dict[str, Tensor]:
    """The tensors of a checkpoint, without the wrappers that training scripts put around them."""
    for key in WRAPPERS:
        if isinstance(document.get(key), dict):
            document = document[key]
    return {
        key.removeprefix("module."): value
        for key, value in document.items()
        if isinstance(key, str) and isinstance(value, Tensor)
    }


def read_state(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The document of :func:`read_tensors` and its tensors by :func:`unwrap`, which its file really holds."""
    document = read_tensors(path)
    tensors = unwrap(document)
    try:
        check_tensors(tensors.values(), check_regular(path))
    except ValueError as error:
        raise InputError(f"{path} is damaged: {error}.") from None
    return document, tensors


def load_backbone_weights(backbone: nn.Module, name: str, path: Path) -> None:
    """Load an encoder's weights (timm's or the model's own published naming) from ``path`` into ``backbone``.

    The classifier is dropped. InputError unless every tensor of the backbone is found with its shape.
    """
    state = read_state(path)[1]
    overlay = {"state_dict": state}
    try:
        loaded = timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay, num_classes=0)
        backbone.load_state_dict(loaded.state_dict())
    except (RuntimeError, KeyError, ValueError, AttributeError, AssertionError) as error:
        first = str(error).strip().splitlines()
        detail = " ".join(line.strip() for line in first[:2])[:200]
        raise InputError(f"{path} does not hold weights of {name} ({detail}).", hint=HINT) from None


def fetch_pretrained(backbone: nn.Module, name: str) -> None:
    """Load timm's published weights into ``backbone``: from the local cache, otherwise from the model hub.

    InputError in one line when there are none, or no way to reach them.
    """
    cfg = timm.get_pretrained_cfg(name)
    if cfg is None or not cfg.has_weights:
        raise InputError(f"timm has no pretrained weights for {name}.", hint=HINT)
    if not _cached(cfg) and not _hub_reachable():
        raise InputError(f"the pretrained weights of {name} are not on this machine and cannot be fetched.", hint=HINT)
    try:
        with _quiet_hub():
            loaded = timm.create_model(name, pretrained=True, num_classes=0)
    except Exception as error:  # noqa: BLE001 - the hub's client raises errors of several HTTP libraries
        line = str(error).strip().splitlines()
        detail = line[0][:160] if line else type(error).__name__
        raise InputError(f"the pretrained weights of {name} cannot be fetched ({detail}).", hint=HINT) from None
    backbone.load_state_dict(loaded.state_dict())


def _cached(cfg: Any) -> bool:
    from huggingface_hub import try_to_load_from_cache

    names = ("model.safetensors", "pytorch_model.bin")
    if cfg.hf_hub_id:
        return any(isinstance(try_to_load_from_cache(cfg.hf_hub_id, file), str) for file in names)
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    return bool(cfg.url) and (folder / Path(urlsplit(cfg.url).path).name).exists()


def _hub_reachable() -> bool:
    """Whether the hub's name resolves: its client would otherwise retry for a minute before it says so."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    if any(os.environ.get(key) for key in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")):
        return True
    try:
        socket.getaddrinfo(urlsplit(constants.ENDPOINT).hostname, 443)
    except OSError:
        return False
    return True


@contextmanager
def _quiet_hub() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in ("huggingface_hub", "timm")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
