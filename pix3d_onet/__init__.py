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
from pix3d_onet.events import Emit, ignore
from pix3d_onet.types import Bool, Float32, Mesh, Sample, View
from pix3d_onet.version import __version__

if TYPE_CHECKING:
    from numpy.typing import ArrayLike
    from torch import nn

    from pix3d_onet.config import DecoderPrecision
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
    "reconstruct",
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


def reconstruct(
    run: str | Path,
    image: str | Path | UInt8,
    *,
    mask: str | Path | Bool | None = None,
    pose: str | Path | ArrayLike | None = None,
    focal: float | None = None,
    resolution: int = 128,
    coarse: int = 32,
    threshold: float | None = None,
    refine: bool = False,
    simplify: int | None = None,
    precision: DecoderPrecision = "fp32",
    device: str = "auto",
    emit: Emit = ignore,
) -> Mesh:
    """The closed mesh that the network of a run sees in a raw photo, as ``onet reconstruct`` makes it.

    The mesh is in the normalised frame: y up, centred at the origin, the longest side of a training shape 1.

    ``run``: a run's folder, or a network's ``.safetensors`` file. ``image``: a picture file, turned upright as its EXIF
    orientation says, or pixels (H, W, 3) RGB or (H, W, 4) RGBA uint8. ``mask``: what cuts the object out, namely a mask
    file, (H, W) bool of the photo's size, ``auto`` (what differs from the colours along the border), ``rembg``, or
    None: the picture's own transparency or white border, else the whole picture. ``pose``: for networks that take the
    camera, a camera file or (4, 4), normalised frame → camera frame (which looks along +z); with a matrix, ``focal``
    is the focal length in widths of the whole photo.

    ``resolution`` cells span the box's side of 1.1; the search starts from ``coarse`` cells, so thinner parts can be
    missed. ``threshold`` is the occupancy probability of the surface (None: the run's). ``refine`` moves vertices onto
    the level set, ``simplify`` is the wanted number of faces. ``precision`` is that of the decoder's products.
    ``device``: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``. ``emit`` gets doubts about the mask as events.

    The network is loaded at every call; for many photos open a job (``pix3d_onet.reconstruction.job``). Raises
    ConfigError for a wrong setting; InputError for a run or camera that cannot be used, arrays of another shape, and
    where the network sees nothing; RejectError for a picture or mask that cannot be used.
    """
    from pix3d_onet.config import ExtractionConfig
    from pix3d_onet.reconstruction.surface import reconstruct as implementation

    extraction = ExtractionConfig(resolution, coarse, threshold, refine, simplify, precision)
    return implementation(
        run, image, mask=mask, pose=pose, focal=focal, extraction=extraction, device=device, emit=emit
    )
