"""Mutated indexes and pictures: each ends in a sample, a reject with its reason, or one clear error."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import random
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.preparing import CONFIG
from helpers.releases import box_geometry, write_index, write_release
from PIL import Image

from pix3d_onet.config import PrepareConfig
from pix3d_onet.data.images.crop import load_view
from pix3d_onet.data.sources.pix3d import list_pix3d
from pix3d_onet.errors import ConfigError, InputError, RejectError
from pix3d_onet.preparation.job import Execution, prepare
from pix3d_onet.preparation.worker import Task, prepare_shape

ODD: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1e308, 10**30, float("nan"), float("inf"), [1e400], {}, {"a": 1}, [], [None], [[]]),
    *("", "x", "../x", "/etc/passwd", "a\0b", "a\nb", "\ud800", "\udc80", "true", "𝕏" * 300, "img/chair"),
    *([[1, 2], [3]], [0, 0], [64, 48, 3], ["a", {}]),
)
REASONS = {
    "bad-record", "unsafe-path", "missing-image", "missing-mask", "missing-model", "bad-pose", "bad-image", "bad-mask",
    "mask-size", "empty-mask", "image-size", "image-too-large", "flags-unknown",
}  # fmt: skip
FAST, SLOW = 100, 1000
COUNTS = [pytest.param(FAST, id="fast"), pytest.param(SLOW, id="thousand", marks=[pytest.mark.slow])]


def mutate_json(value: Any, rng: random.Random) -> Any:
    """One random change somewhere in a JSON document."""
    if isinstance(value, list) and value and rng.random() < 0.9:
        index = rng.randrange(len(value))
        match rng.randrange(8):
            case 0:
                return value[:index] + value[index + 1 :]
            case 1:
                return [*value, copy.deepcopy(value[index])]
            case _:
                return [mutate_json(v, rng) if i == index else v for i, v in enumerate(value)]
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(sorted(value))
        match rng.randrange(8):
            case 0:
                return {k: v for k, v in value.items() if k != key}
            case 1:
                return {**value, "".join(rng.choices("abcimg_", k=4)): value[key]}
            case _:
                return {k: mutate_json(v, rng) if k == key else v for k, v in value.items()}
    if isinstance(value, int | float) and not isinstance(value, bool) and rng.random() < 0.5:
        return value * rng.choice([-1, 0, 1e-9, 1e9, 3, 1.001])
    return rng.choice(ODD)


def mutate_bytes(data: bytes, rng: random.Random) -> bytes:
    """Flips, cuts, repeats and overwrites."""
    result = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 8, 64])):
        where = rng.randrange(len(result) + 1)
        match rng.randrange(5):
            case 0:
                result[where : where + 1] = bytes([rng.randrange(256)])
            case 1:
                del result[where : where + rng.choice([1, 4, 100, 10**6])]
            case 2:
                result[where:where] = result[where : where + rng.choice([1, 16, 1000])]
            case 3:
                result[where : where + 4] = rng.choice(
                    [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\1\0\0"]
                )
            case _:
                early = rng.randrange(min(len(result), 64) + 1)
                result[early : early + 1] = bytes([rng.randrange(256)])
        if not result:
            break
    return bytes(result)


def ends_well(root: Path, assembled: Path | None = None, config: PrepareConfig = CONFIG) -> str:
    """Take a release down the road; the name of its end."""
    try:
        listing = list_pix3d(root, config)
    except (InputError, ConfigError) as error:
        return "error" if "\n" not in str(error) else "long error"
    for row in listing.rejected:
        assert row.reason in REASONS, row
        assert "\n" not in row.detail
    execution = Execution(backend="inline", geometry=box_geometry)
    if listing.shapes and assembled is not None:
        with contextlib.suppress(InputError):
            counts = prepare(listing, config, assembled, execution).manifest.counts
            assert counts["used"] + counts["rejected_records"] + sum(counts["skipped"].values()) == counts["records"]
            assert counts["rejected_records"] == counts["rejected"]
    lost = len(listing.rejected)
    for shape in listing.shapes:
        outcome = prepare_shape(Task(shape, root, CONFIG, box_geometry))
        assert (outcome.prepared is None) <= bool(outcome.rejected)
        for row in outcome.rejected:
            assert row.reason in REASONS, row
        if outcome.prepared is not None:
            for view in outcome.prepared.views:
                assert view.rgb.shape == (CONFIG.image_size, CONFIG.image_size, 3)
                assert view.mask.any()
                assert np.isfinite(view.pose).all() == np.isfinite(view.intrinsics).all()
        lost += outcome.prepared is None
    return "reject" if lost else "sample"


@pytest.mark.parametrize("count", COUNTS)
def test_mutated_indexes(tmp_path: Path, count: int) -> None:
    records = write_release(tmp_path, 2, per_object=3)
    (tmp_path / "img/chair/0000.jpg").write_bytes(b"")
    text = json.dumps(records).encode()
    ends: Counter[str] = Counter()
    for seed in range(count):
        rng = random.Random(seed)
        if seed % 4 == 0:
            (tmp_path / "pix3d.json").write_bytes(mutate_bytes(text, rng))
        else:
            document = copy.deepcopy(records)
            for _ in range(rng.choice([1, 1, 2, 5])):
                document = mutate_json(document, rng)
            write_index(tmp_path, document)
        settings = {"limit": seed % 2, "images_per_object": ("one", "all")[seed // 5 % 2]}
        out = tmp_path / f"out{seed}" if seed % 5 == 0 else None
        ends[ends_well(tmp_path, out, replace(CONFIG, **settings))] += 1  # type: ignore[arg-type]
    assert set(ends) == {"error", "reject", "sample"}, ends


def encoded(ending: str) -> bytes:
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 255, (24, 32, 3), dtype=np.uint8))
    buffer = io.BytesIO()
    options: dict[str, Any] = {"compression": "tiff_lzw"} if ending == "TIFF" else {}
    (picture.convert("P") if ending == "GIF" else picture).save(buffer, ending, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("count", COUNTS)
def test_mutated_pictures(tmp_path: Path, count: int) -> None:
    originals = [encoded(e) for e in ("PNG", "JPEG", "PNG", "JPEG", "TIFF", "WEBP", "BMP", "GIF", "PPM", "JPEG2000")]
    mask = tmp_path / "mask"
    Image.fromarray(np.full((24, 32), 255, np.uint8)).save(mask, "PNG")
    good = mask.read_bytes()
    ends: Counter[str] = Counter()
    for seed in range(count):
        rng = random.Random(seed)
        image = tmp_path / "image"
        image.write_bytes(mutate_bytes(originals[seed % len(originals)], rng))
        mask.write_bytes(mutate_bytes(good, rng) if seed % 3 == 0 else good)
        try:
            view = load_view(image, mask, None, None, record_id="r", size=16, margin=0.1)
            assert view.rgb.shape == (16, 16, 3)
            ends["sample"] += 1
        except RejectError as error:
            ends["reject" if error.reason in REASONS and "\n" not in error.message else repr(error)] += 1
    assert set(ends) == {"reject", "sample"}, ends
