"""Occupancy Networks from raw CAD models and photos to an ablation table one can trust.

::

    pix3d.json -> Pix3DRecord -> Mesh -> watertight Mesh + Normalisation -> Sample | Rejected
    Sample...  -> HDF5 shards + manifest.json -> Batch -> OccupancyNetwork -> Run -> Table -> report

Data flow in one direction only. The names below are public; each imports its heavy libraries when it is called.
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
    from pix3d_onet.learning.batches.torch_dataset import Shapes
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
    "torch_dataset",
]


def load_dataset(path: str | Path, split: str | None = "train") -> SampleSequence:
    """Open a prepared data set: a sequence of :class:`Sample` of one split (``None`` = all shapes)."""
    from pix3d_onet.data.store.reader import load_dataset as implementation

    return implementation(path, split)


def torch_dataset(
    path: str | Path,
    split: str | None = "train",
    *,
    points: int = 2048,
    near: int = 0,
    image_size: int | None = None,
    sdf: bool = False,
    seed: int = 0,
) -> Shapes:
    """A prepared data set as a ``torch.utils.data.Dataset`` of dicts of tensors, for training loops of one's own.

    One item per picture of ``split`` (``None`` = all): ``image`` (3, H, W) float32 in [0, 1], the object on white;
    ``pose`` (4, 4), normalised → camera frame, and ``intrinsics`` (3, 3), in pixels of ``image`` (both NaN if not
    known); ``points`` (``points``, 3) float32 and ``occupancy`` (``points``,) float32, 0 or 1; ``index``. With
    ``near``: ``near_points`` and ``near_occupancy``; with ``sdf``: ``sdf`` and ``near_sdf``, signed distances.

    ``image_size``: side of the pictures (None = as stored; 0 = no pictures, one item per shape). Points are a block
    at a place that depends only on ``seed``, epoch (``set_epoch``) and index, not on the workers. ``DataLoader`` may
    fork or spawn workers. InputError if the data set is missing, damaged, or lacks what is asked for; ConfigError for
    more points than are stored.
    """
    from pix3d_onet.learning.batches.torch_dataset import Shapes

    return Shapes(path, split, points=points, near=near, image_size=image_size, sdf=sdf, seed=seed)


def make_watertight(mesh: Mesh, *, method: str = "tight", resolution: int = 256) -> Mesh:
    """A closed, consistently oriented mesh of the same shape, in the frame of the input.

    ``method``: a name in ``config.WATERTIGHT_METHODS``; ``resolution``: voxels along the longest side.
    Raises ``RejectError`` for a mesh without a usable surface.
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
    """A network of a named variant with a new decoder: of Table 1 (``resnet18`` ... ``convnext-fp3-pose``), ``best``, or
    of another suite."""
    from pix3d_onet.ablation.variants import variant as find
    from pix3d_onet.learning.network.model import build_model as implementation

    return implementation(find(variant).model, pretrained=pretrained)


def load_model(run: str | Path) -> nn.Module:
    """The best network of a stored run, in eval mode."""
    from pix3d_onet.learning.checkpoint import load_model as implementation

    return implementation(run)


def extract_mesh(model: Any, image: UInt8, *, resolution: int = 128, **options: Any) -> Mesh:
    """The surface that ``model`` predicts for ``image`` (H, W, 3) uint8 on white, in the normalised frame.

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
    """The closed mesh that a run's network predicts from a raw photo, as ``onet reconstruct`` writes it.

    The mesh is in the normalised frame: y up, centred at the origin, the longest side of a training shape 1.

    ``run``: a run's folder, or a network's ``.safetensors`` file. ``image``: a picture file (its EXIF orientation is
    applied) or pixels (H, W, 3) RGB or (H, W, 4) RGBA uint8. ``mask``: a mask file, (H, W) bool of the photo's size,
    ``auto`` (keeps what differs from the colours along the border), ``rembg``, or None: the picture's alpha channel
    or white background, else the whole picture. ``pose``, only for networks with a pose input: a camera file, or
    (4, 4), normalised frame → camera frame (which looks along +z). ``focal``, only with a matrix: the focal length
    divided by the photo's width.

    ``resolution`` cells span the cube's side of 1.1. The search starts on ``coarse`` cells; thinner parts can be
    missed. ``threshold``: occupancy probability at the surface (None: the run's). ``refine`` moves vertices onto the
    level set. ``simplify``: wanted number of faces. ``precision``: of the decoder's matrix products. ``device``:
    ``auto``, ``cpu``, ``cuda`` or ``cuda:N``. ``emit`` receives warnings about the mask.

    The network is loaded at every call; for many photos open a job (``pix3d_onet.reconstruction.job``). Raises
    ConfigError for a wrong setting; InputError for an unusable run or camera, arrays of a wrong shape, or an empty
    prediction; RejectError for an unusable picture or mask.
    """
    from pix3d_onet.config import ExtractionConfig
    from pix3d_onet.reconstruction.surface import reconstruct as implementation

    extraction = ExtractionConfig(resolution, coarse, threshold, refine, simplify, precision)
    return implementation(
        run, image, mask=mask, pose=pose, focal=focal, extraction=extraction, device=device, emit=emit
    )
