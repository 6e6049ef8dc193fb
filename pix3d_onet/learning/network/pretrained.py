"""timm's pretrained encoder weights, from the local cache or the model hub."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import timm
import torch
from torch import nn

from pix3d_onet.errors import InputError

HINT = "Start from random weights with `pretrained=False`, or give a file with `weights=FILE`."


def fetch_pretrained(backbone: nn.Module, name: str) -> None:
    """Load timm's pretrained weights into ``backbone``, from the local cache or else from the model hub.

    InputError if there are none or they cannot be fetched.
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
    """Whether the hub's host name resolves (or a proxy is set). Without this check its client retries for a minute."""
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
