"""Occupancy Networks from raw CAD models and photos to an ablation table one can trust.

::

    pix3d.json -> Pix3DRecord -> Mesh -> watertight Mesh + Normalisation -> Sample | Rejected
    Sample...  -> HDF5 shards + manifest.json -> Batch -> OccupancyNetwork -> Run -> Table -> report

One direction, no way back. The names below are the public ones; each loads its heavy libraries when called.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pix3d_onet.errors import OnetError
from pix3d_onet.types import Bool, Float32, Mesh, Sample, View
from pix3d_onet.version import __version__

if TYPE_CHECKING:
    from torch import nn

    from pix3d_onet.data.store.reader import SampleSequence
    from pix3d_onet.types import UInt8

__all__ = [
    "Mesh",
    "OnetError",
    "Sample",
    "View",
    "__version__",
    "build_model",
    "extract_mesh",
    "load_dataset",
    "load_model",
    "make_watertight",
    "sample_occupancy",
]


def load_dataset(path: str | Path, split: str | None = "train") -> SampleSequence:
    """Open a prepared data set: a sequence of :class:`Sample` of one split (``None`` = all shapes)."""
    from pix3d_onet.data.store.reader import load_dataset as implementation

    return implementation(path, split)


def make_watertight(mesh: Mesh, *, method: str = "tight", resolution: int = 256) -> Mesh:
    """A closed, consistently oriented mesh of the same shape, in the frame of its input.

    ``method`` is a name of ``config.WATERTIGHT_METHODS``; ``resolution`` voxels span the longest side.
    Raises ``RejectError`` for a mesh that has no usable surface.
    """
    from pix3d_onet.geometry.watertight.methods import make_watertight as implementation

    return implementation(mesh, method=method, resolution=resolution)


def sample_occupancy(mesh: Mesh, n: int, seed: int) -> tuple[Float32, Bool]:
    """``n`` i.i.d. uniform points in [-0.55, 0.55]³, (n, 3) float32, and whether each is inside ``mesh``, (n,) bool.

    ``mesh`` must be in the normalised frame.
    """
    from pix3d_onet.geometry.mesh.sampling import sample_occupancy as implementation

    return implementation(mesh, n, seed)


def build_model(variant: str, *, pretrained: bool = False) -> nn.Module:
    """A network of a named variant of Table 1 (``resnet18`` ... ``convnext-fp3-pose``) with a new decoder."""
    from pix3d_onet.ablation.variants import variant as find
    from pix3d_onet.learning.network.model import build_model as implementation

    return implementation(find(variant).model, pretrained=pretrained)


def load_model(run: str | Path) -> nn.Module:
    """The best network of a stored run, in eval mode."""
    from pix3d_onet.learning.checkpoint import load_model as implementation

    return implementation(run)


def extract_mesh(model: Any, image: UInt8, *, resolution: int = 128, **options: Any) -> Mesh:
    """The surface that ``model`` sees in ``image`` (H, W, 3) uint8 on white, in the normalised frame.

    ``options``: see ``learning.extraction.extract.extract_mesh`` (``pose``, ``threshold``, ...).
    """
    from pix3d_onet.learning.extraction.extract import extract_mesh as implementation

    return implementation(model, image, resolution=resolution, **options)
