"""Occupancy Networks from raw CAD models and photos to an ablation table one can trust.

::

    pix3d.json -> Pix3DRecord -> Mesh -> watertight Mesh + Normalisation -> Sample | Rejected
    Sample...  -> HDF5 shards + manifest.json -> Batch -> OccupancyNetwork -> Run -> Table -> report

Data flow in one direction only. The names below are public; those with heavy libraries are imported when first used.
"""

from __future__ import annotations

from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from pix3d_onet.errors import OnetError
from pix3d_onet.types import Mesh, Sample, View
from pix3d_onet.version import __version__

if TYPE_CHECKING:
    from torch import nn

    from pix3d_onet.data.store.reader import load_dataset
    from pix3d_onet.geometry.mesh.sampling import sample_occupancy
    from pix3d_onet.geometry.watertight.methods import make_watertight
    from pix3d_onet.learning.batches.torch_dataset import Shapes as torch_dataset  # noqa: N813 - used like a function
    from pix3d_onet.learning.checkpoint import load_model
    from pix3d_onet.learning.extraction.extract import extract_mesh
    from pix3d_onet.reconstruction.surface import reconstruct

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
    "reconstruct",
    "sample_occupancy",
    "torch_dataset",
]

LAZY = {
    "extract_mesh": "pix3d_onet.learning.extraction.extract:extract_mesh",
    "load_dataset": "pix3d_onet.data.store.reader:load_dataset",
    "load_model": "pix3d_onet.learning.checkpoint:load_model",
    "make_watertight": "pix3d_onet.geometry.watertight.methods:make_watertight",
    "reconstruct": "pix3d_onet.reconstruction.surface:reconstruct",
    "sample_occupancy": "pix3d_onet.geometry.mesh.sampling:sample_occupancy",
    "torch_dataset": "pix3d_onet.learning.batches.torch_dataset:Shapes",
}
"""Public name → ``module:name`` that it is."""


def __getattr__(name: str) -> Any:
    """Import a public name at its first use (PEP 562)."""
    if name not in LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return globals().setdefault(name, resolve_name(LAZY[name]))


def __dir__() -> list[str]:
    """The public names, for completion: also those that are not imported yet."""
    return __all__


def build_model(variant: str, *, pretrained: bool = False) -> nn.Module:
    """A network of a named variant with a new decoder: of Table 1 (``resnet18`` ... ``convnext-fp3-pose``), ``best``,
    or of another suite; ``timm:NAME``: with that encoder and one code of the picture. ConfigError for others."""
    from pix3d_onet.ablation.selection import variant_or_encoder as find
    from pix3d_onet.learning.network.model import build_model as implementation

    return implementation(find(variant).model, pretrained=pretrained)
