"""Preparing small releases of boxes in this very process."""

from __future__ import annotations

from pathlib import Path

from helpers.releases import box_geometry

from pix3d_onet.config import PrepareConfig
from pix3d_onet.data.sources.pix3d import list_pix3d
from pix3d_onet.preparation.job import Execution, PrepareResult, prepare

CONFIG = PrepareConfig(points=512, surface_points=64, image_size=32, shapes_per_shard=4)
NOT_DETERMINISTIC = "timings.csv"


def run(root: Path, out: Path, config: PrepareConfig = CONFIG, **how: object) -> PrepareResult:
    execution = Execution(**{"backend": "inline", "geometry": box_geometry, **how})  # type: ignore[arg-type]
    return prepare(list_pix3d(root, config), config, out, execution)


def contents(out: Path) -> dict[str, bytes]:
    files = {p.relative_to(out).as_posix(): p.read_bytes() for p in sorted(out.rglob("*")) if p.is_file()}
    files.pop(NOT_DETERMINISTIC)
    return files
