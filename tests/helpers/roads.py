"""Small data sets that went the whole road: synthetic release → prepare."""

from __future__ import annotations

from pathlib import Path

from pix3d_onet.config import PrepareConfig
from pix3d_onet.data.sources.pix3d import list_pix3d
from pix3d_onet.geometry.synth.release import synth_pix3d
from pix3d_onet.preparation.job import Execution, prepare

CONFIG = PrepareConfig(
    points=4096, surface_points=2048, image_size=96, resolution=64, render_views=1, shapes_per_shard=3, seed=5
)


def synthetic_release(out: Path, objects: int = 6) -> Path:
    """A synthetic Pix3D folder of chairs."""
    synth_pix3d(out, objects=objects, seed=3)
    return out


def prepared_road(release: Path, out: Path, config: PrepareConfig = CONFIG) -> Path:
    """``release`` prepared in this very process."""
    prepare(list_pix3d(release, config), config, out, Execution(backend="inline"))
    return out
