"""The interface of predictors (picture → shape), and the predictor of a stored run.

The baselines in ``evaluation.baselines`` are predictors, too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch

from pix3d_onet.config import DecoderPrecision, ExtractionConfig, ModelConfig, PrepareConfig, TrainConfig
from pix3d_onet.errors import ConfigError, InputError
from pix3d_onet.files import read_json
from pix3d_onet.learning.checkpoint import data_seen, load_model
from pix3d_onet.learning.extraction.extract import (
    THRESHOLD,
    Extraction,
    ImageModel,
    encoded,
    extract_field,
    image_field,
    logit,
)
from pix3d_onet.learning.extraction.surface_sampling import Field
from pix3d_onet.learning.pictures import relative_intrinsics
from pix3d_onet.learning.torch_threads import Threads
from pix3d_onet.runs.folder import check_network
from pix3d_onet.runs.record import read_run
from pix3d_onet.types import Float32, Mesh, Sample, View

DEFAULTS = ExtractionConfig()

Logits = Callable[[Float32], Float32]
"""(N, 3) float32 points in the normalised frame → (N,) float32 logits."""


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """A predicted shape in the normalised frame: its closed mesh, and its field: inside where ``logits > level``."""

    mesh: Mesh
    logits: Logits
    level: float
    mesh_is_field: bool = False
    """Whether the field is the inside of the mesh, so that it need not be tested twice."""


class Predictor(Protocol):
    """Predicts a shape from a picture."""

    @property
    def name(self) -> str:
        """Name of its row in a table."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """Settings that its scores depend on, for the JSON document of an evaluation."""

    def usable(self, view: View) -> bool:
        """Whether it can use this picture (a network with a pose input needs a camera)."""

    def predict(self, sample: Sample, view: View) -> Prediction:
        """The shape in ``view``. Only an oracle may use ``sample``, which contains the truth."""


@dataclass(frozen=True, slots=True, eq=False)
class NetworkPredictor:
    """A trained network.

    ``image_size``: side of its training pictures (None = as stored); ``crop_margin``: white margin around the object in
    these pictures, see ``PrepareConfig``.
    """

    name: str
    model: ImageModel
    resolution: int = DEFAULTS.resolution
    coarse: int = DEFAULTS.coarse
    threshold: float = THRESHOLD
    precision: DecoderPrecision = DEFAULTS.precision
    image_size: int | None = None
    device: torch.device | None = None
    crop_margin: float = PrepareConfig().crop_margin
    threads: Threads | None = None
    """Adjusted before every picture."""
    origin: Mapping[str, Any] = field(default_factory=dict)
    """The run of the network, for JSON."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """Origin of the network, and the settings of extraction."""
        names = ("threshold", "resolution", "coarse", "precision", "image_size")
        return dict(self.origin) | {name: getattr(self, name) for name in names}

    def usable(self, view: View) -> bool:
        """Whether the picture has the camera and focal length that the network needs."""
        config: ModelConfig = self.model.config
        known = view.has_pose and (not config.needs_intrinsics or bool(np.isfinite(view.intrinsics).all()))
        return known or not config.needs_pose

    def field(self, view: View, *, known: bool = False) -> AbstractContextManager[tuple[Field, torch.device]]:
        """``image_field`` for a picture and its camera, with this network's settings.

        ``known``: also use the camera, if the picture has one, where the network could predict it.
        """
        if self.threads is not None:
            self.threads.adjust()
        if not (known or self.model.config.needs_pose):
            view = view.without_camera()
        return image_field(
            self.model,
            view.rgb,
            mask=view.mask,
            pose=view.pose if view.has_pose else None,
            intrinsics=relative_intrinsics(view.intrinsics, view.rgb.shape[1]),
            device=self.device,
            precision=self.precision,
            image_size=self.image_size,
        )

    def camera(self, view: View) -> tuple[Float32, Float32]:
        """The camera that the network predicts for a picture: pose (4, 4), and intrinsics (3, 3) in its pixels."""
        with encoded(self.model, view.rgb, mask=view.mask, device=self.device, image_size=self.image_size) as (code, _):
            pose, intrinsics = (part[0].cpu().numpy() for part in code.camera)
        return pose, intrinsics * np.array([view.rgb.shape[1], view.rgb.shape[0], 1], dtype=np.float32)[:, None]

    def extract(self, field: Field, where: torch.device, **options: Any) -> Extraction:
        """``extract_field`` with this network's settings; ``options``: its other arguments (refine, emit, ...)."""
        return extract_field(
            field,
            resolution=self.resolution,
            coarse=self.coarse,
            threshold=self.threshold,
            device=where,
            **options,
        )

    def predict(self, sample: Sample, view: View) -> Prediction:
        """The mesh and the logits of the field of ``view``, which is encoded once."""
        with self.field(view) as (field, where):
            result = self.extract(field, where)

        def logits(points: Float32) -> Float32:
            with torch.no_grad():
                return np.asarray(field(torch.from_numpy(points).to(where)).float().cpu().numpy())

        return Prediction(result.mesh, logits, logit(self.threshold))


@dataclass(frozen=True, slots=True)
class RunSettings:
    """Settings of a stored run that its network's use depends on. ``image_size`` None: not recorded.

    ``trained_on``: hashes of its data set, and of those of the runs that it started from.
    """

    name: str
    run_id: str
    step: int | None
    image_size: int | None
    threshold: float
    trained_on: tuple[str, ...]
    crop_margin: float


def run_settings(run: Path) -> RunSettings:
    """Read the JSON file beside a run's best checkpoint. InputError if it is missing or damaged."""
    path = check_network(run)
    document = read_json(path, what="description of the run's network", hint="Train one with `onet train`.")
    try:
        if "train" not in document:
            raise ValueError("it does not say how the network was trained")
        train, data = document.get("train") or {}, document.get("data") or {}
        step = document.get("step")
        trained = TrainConfig.from_json({k: train[k] for k in ("image_size", "threshold") if k in train})
        prepared = PrepareConfig.from_json({k: data[k] for k in ("crop_margin",) if k in data})
        return RunSettings(
            name=str(document.get("name") or run.name),
            run_id=str(document.get("run_id") or ""),
            step=None if step is None else int(step),
            image_size=trained.image_size if "image_size" in train else None,
            threshold=trained.threshold,
            trained_on=data_seen(document),
            crop_margin=prepared.crop_margin,
        )
    except (AttributeError, ConfigError, TypeError, ValueError) as error:
        raise InputError(f"{path} does not describe a run's network ({error}).") from None


def _threshold(run: Path, wanted: float | Literal["val"]) -> float:
    """The number itself, or the threshold that was best on validation. InputError if the run has none."""
    if wanted != "val":
        return wanted
    chosen = read_run(run).val_threshold if run.is_dir() else None
    if chosen is None or not 0 < chosen < 1:
        raise InputError(f"no threshold was chosen on validation in {run}.", hint="Give `threshold` a number.")
    return chosen


def network_predictor(
    run: Path,
    extraction: ExtractionConfig = DEFAULTS,
    *,
    device: torch.device | None = None,
    threads: Threads | None = None,
) -> NetworkPredictor:
    """The best network of a stored run, with the image size, margin and (unless given) threshold of its training.

    With the threshold ``val`` the run must be finished, else InputError.
    """
    settings = run_settings(run)
    return NetworkPredictor(
        settings.name,
        load_model(run, device or "cpu"),
        resolution=extraction.resolution,
        coarse=extraction.coarse,
        threshold=settings.threshold if extraction.threshold is None else _threshold(run, extraction.threshold),
        precision=extraction.precision,
        image_size=settings.image_size,
        device=device,
        crop_margin=settings.crop_margin,
        threads=threads,
        origin={"run": settings.name, "folder": run.resolve().name, "run_id": settings.run_id, "step": settings.step},
    )
