"""Reconstruct a few pictures at the end of a run, for the report's figures (format: ``runs.examples``)."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from pix3d_onet.data.store.manifest import ShapeEntry
from pix3d_onet.data.store.reader import Dataset
from pix3d_onet.errors import InputError
from pix3d_onet.events import Emit, Progress, ignore
from pix3d_onet.geometry.mesh.simplification import simplify
from pix3d_onet.learning.extraction.extract import THRESHOLD, ImageModel, logit
from pix3d_onet.learning.extraction.predictor import NetworkPredictor
from pix3d_onet.metrics import iou
from pix3d_onet.runs.examples import Example, store_examples
from pix3d_onet.seeding import generator
from pix3d_onet.types import Mesh, Sample, View

EXAMPLE_FACES = 4000
"""Most faces per stored mesh: enough for a figure, and seven runs stay below a few MB."""
EXAMPLE_RESOLUTION = 64
"""Cells per axis of the reconstructions; in a figure a chair is about 200 pixels tall."""


def choose_examples(dataset: Dataset, split: str, count: int, *, need_pose: bool = False) -> tuple[ShapeEntry, ...]:
    """Up to ``count`` shapes of ``split`` with pictures: the same for every run on the same data.

    Shapes with a camera are preferred for every network, so that networks with and without a pose input show the same
    pictures. ``need_pose``: only shapes with a camera.
    """
    entries = [e for e in dataset.entries(split) if split in e.image_splits]
    order = generator(0, "examples", dataset.manifest.data_hash, split).permutation(len(entries)).tolist()
    posed: list[int] = []
    others: list[int] = []
    for i in order:
        (posed if dataset.cameras_known(entries[i], split).any() else others).append(i)
        if len(posed) == count:
            break
    chosen = posed if need_pose else [*posed, *others]
    return tuple(entries[i] for i in sorted(chosen[:count]))


def examples_split(dataset: Dataset, wanted: str, *, need_pose: bool = False) -> str:
    """``test`` if it has pictures (with ``need_pose``: pictures with a camera), else ``wanted``, else any split.

    InputError if no split has such a picture.
    """
    for split in ("test", wanted, "val", "train"):
        if choose_examples(dataset, split, 1, need_pose=need_pose):
            return split
    raise InputError(f"{dataset.root} has no pictures{' with a camera' * need_pose} to reconstruct from.")


def shown_view(sample: Sample) -> View:
    """The picture shown for a shape: its first one with a camera, else its first one."""
    return next((v for v in sample.images if v.has_pose and np.isfinite(v.intrinsics).all()), sample.images[0])


def write_examples(
    model: ImageModel,
    data: str | Path,
    folder: str | Path,
    *,
    device: torch.device | None = None,
    count: int = 6,
    split: str = "val",
    resolution: int = EXAMPLE_RESOLUTION,
    threshold: float = THRESHOLD,
    image_size: int | None = None,
    scores: Mapping[str, float] | None = None,
    emit: Emit = ignore,
) -> float:
    """Reconstruct ``count`` pictures of ``data`` and write ``folder/examples.npz`` (atomically).

    Returns the median seconds per picture: encoding, extraction at ``resolution``, simplification.

    The test split is used if there is one, else ``split``. ``scores``: record id → IoU on the stored points, where it
    is known already. ``image_size``: side of the training pictures (None = as stored). InputError if the network needs
    cameras and no picture has one.
    """
    predictor = NetworkPredictor("", model, resolution, threshold=threshold, image_size=image_size, device=device)
    with Dataset(data) as dataset:
        need_pose = model.config.needs_pose
        chosen = examples_split(dataset, split, need_pose=need_pose)
        entries = choose_examples(dataset, chosen, count, need_pose=need_pose)
        examples, seconds = [], []
        emit(Progress("examples", 0, len(entries)))
        for i, entry in enumerate(entries):
            sample = dataset.sample(entry, chosen)
            view = shown_view(sample)
            known = (scores or {}).get(view.record_id)
            begun = time.perf_counter()
            mesh, value = _reconstruct(predictor, sample, view, known)
            seconds.append(time.perf_counter() - begun)
            truth = simplify(sample.mesh, EXAMPLE_FACES)
            examples.append(Example(view.record_id, entry.object_id, view.rgb, view.mask, value, mesh, truth, chosen))
            emit(Progress("examples", i + 1, len(entries)))
    store_examples(Path(folder), examples, threshold=threshold)
    return float(np.median(seconds))


def _reconstruct(
    predictor: NetworkPredictor, sample: Sample, view: View, known_iou: float | None
) -> tuple[Mesh, float]:
    with predictor.field(view) as (field, where):
        mesh = predictor.extract(field, where, simplify_to=EXAMPLE_FACES).mesh
        if known_iou is not None:
            return mesh, known_iou
        inside = (field(torch.from_numpy(sample.points).to(where)) > logit(predictor.threshold)).cpu().numpy()
    return mesh, iou(inside, sample.occupancy)
