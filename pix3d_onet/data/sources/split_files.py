"""Prescribed splits: the S1 and S2 of Mesh R-CNN (Gkioxari et al., ICCV 2019).

A file has one of two forms:

- COCO, as published by Mesh R-CNN: ``{"images": [{"file_name": "img/bed/0001.png", …}], "annotations": …}``, one
  file per split, whose *name* contains ``train``, ``val`` or ``test`` (``pix3d_s1_train.json``);
- plain: ``{"train": ["img/bed/0001.png", …], "test": […]}``.

Both benchmarks prescribe only train and test. Validation is taken from train, by picture for S1 (random pictures)
and by shape for S2 (disjoint shapes), see :func:`pix3d_onet.data.sources.splits.carve_validation`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pix3d_onet.config import SPLITS, PrepareConfig
from pix3d_onet.data.sources.splits import carve_validation
from pix3d_onet.errors import InputError
from pix3d_onet.files import read_json
from pix3d_onet.types import SourceShape

FORMS = 'Give Mesh R-CNN\'s pix3d_s1_train.json and pix3d_s1_test.json (or s2), or {"train": [...], "test": [...]}.'


def read_split_files(files: Sequence[Path]) -> dict[str, str]:
    """Picture path (``img/bed/0001.png``) → split. InputError for an unknown form or a picture in two splits."""
    result: dict[str, str] = {}
    for path in files:
        document = read_json(path, what="split file", hint=FORMS)
        for split, names in _splits_of(path, document).items():
            for name in names:
                if result.setdefault(name, split) != split:
                    raise InputError(f"{path}: {name} is in {result[name]} and in {split}.")
    if not result:
        raise InputError(f"the split file {files[0]} names no pictures.", hint=FORMS)
    return result


def _splits_of(path: Path, document: object) -> dict[str, list[str]]:
    if not isinstance(document, dict):
        raise InputError(f"{path} is not a split file.", hint=FORMS)
    if "images" in document:
        named = [s for s in SPLITS if re.search(rf"(?<![a-z]){s}(?![a-z])", path.stem.lower())]
        if len(named) != 1:
            raise InputError(f"the name of {path} must contain train, val or test.", hint=FORMS)
        return {named[0]: list(_names(path, document["images"]))}
    if other := sorted(set(document) - set(SPLITS)):
        raise InputError(f"{path} has the key {other[0]!r:.80}, which is no split.", hint=FORMS)
    return {split: list(_names(path, names)) for split, names in document.items()}


def _names(path: Path, items: Any) -> Iterable[str]:
    for item in items if isinstance(items, list) else [None]:
        name = (item.get("file_name") or item.get("img")) if isinstance(item, dict) else item
        if not isinstance(name, str):
            raise InputError(f"{path} has an entry without a picture's path.", hint=FORMS)
        yield name[name.find("img/") :] if "img/" in name else name


def carved(prescribed: Mapping[str, str], shapes: Sequence[SourceShape], config: PrepareConfig) -> dict[str, str]:
    """The split of every listed picture; if no picture is in val, a part of train becomes val."""
    listed = {view.record_id: shape for shape in shapes for view in shape.views}
    fixed = {record: prescribed[record] for record in listed}
    if "val" in fixed.values():
        return fixed
    by_shape = config.split == "s2"
    train = {listed[r].group if by_shape else r: listed[r].category for r, s in fixed.items() if s == "train"}
    moved = carve_validation(train, config.fractions, config.seed)
    for record, split in fixed.items():
        if split == "train" and (listed[record].group if by_shape else record) in moved:
            fixed[record] = "val"
    return fixed
