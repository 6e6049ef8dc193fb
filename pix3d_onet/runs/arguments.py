"""The arguments of a training run, kept in its folder, so that ``resume`` needs nothing else."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pix3d_onet.config import ModelConfig, TrainConfig
from pix3d_onet.errors import ConfigError, InputError
from pix3d_onet.files import read_json
from pix3d_onet.files.reading import NOT_IN_A_PATH
from pix3d_onet.runs.folder import RunFolder

PATHS = "paths"
"""Key of ``config.json``: argument → path relative to the run's folder, so that both can be moved together."""


def relative_paths(run: Path, **paths: Path | None) -> dict[str, str]:
    """The paths that are given, relative to the run's folder."""
    return {name: os.path.relpath(path, run) for name, path in paths.items() if path is not None}


def stored_arguments(run: Path) -> dict[str, Any]:
    """Fields of the run's model and training settings, ``name``, and the paths with which it was started (``data``,
    ``weights``, ``init_from``); empty if the folder holds no run, or a damaged one."""
    try:
        document = read_json(RunFolder(run).config, follow=False)
        settings = [ModelConfig.from_json(document["model"]), TrainConfig.from_json(document["train"])]
        found: dict[str, Any] = {"name": str(document["name"])}
    except (InputError, ConfigError, KeyError, TypeError):
        return {}
    paths = document.get(PATHS)
    for name, path in paths.items() if isinstance(paths, Mapping) else ():
        if isinstance(path, str) and not NOT_IN_A_PATH.search(path):
            found[name] = Path(os.path.normpath(run / path))
    return {**asdict(settings[0]), **asdict(settings[1]), **found}
