"""Prepare small releases in the test's process."""

from __future__ import annotations

from pathlib import Path

from helpers.releases import box_geometry

from pix3d_onet.config import PrepareConfig
from pix3d_onet.data.sources.pix3d import list_pix3d
from pix3d_onet.preparation.job import Execution, PrepareResult, prepare

CONFIG = PrepareConfig(points=512, surface_points=64, image_size=32, shapes_per_shard=4)
SMALL = PrepareConfig(
    points=4096, surface_points=2048, image_size=96, resolution=64, render_views=1, shapes_per_shard=3, seed=5
)
"""Small enough for real meshes."""
NOT_DETERMINISTIC = "timings.csv"


def run(root: Path, out: Path, config: PrepareConfig = CONFIG, **how: object) -> PrepareResult:
    """A release of boxes prepared to ``out``."""
    execution = Execution(**{"backend": "inline", "geometry": box_geometry, **how})  # type: ignore[arg-type]
    return prepare(list_pix3d(root, config), config, out, execution)


def prepared(release: Path, out: Path, config: PrepareConfig = SMALL) -> Path:
    """Any release prepared to ``out`` by the real mesh stage."""
    return run(release, out, config, geometry=None).out


def contents(out: Path) -> dict[str, bytes]:
    files = {p.relative_to(out).as_posix(): p.read_bytes() for p in sorted(out.rglob("*")) if p.is_file()}
    files.pop(NOT_DETERMINISTIC)
    return files
