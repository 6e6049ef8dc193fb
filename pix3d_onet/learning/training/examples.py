"""The pictures with their true and reconstructed meshes that a run leaves for the figures (``runs.examples``)."""

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
from pix3d_onet.learning.extraction.extract import THRESHOLD, ImageModel, extract_field, image_field, logit
from pix3d_onet.learning.extraction.refine import simplify
from pix3d_onet.learning.pictures import focal_of
from pix3d_onet.metrics import iou
from pix3d_onet.runs.examples import Example, store_examples
from pix3d_onet.seeding import generator
from pix3d_onet.types import Float32, Mesh, Sample, View

EXAMPLE_FACES = 4000
"""Most faces of a mesh in the file: a figure shows no more, and seven runs stay below a few MB."""
EXAMPLE_RESOLUTION = 64
"""Cells an axis of the reconstructions; a figure's chair is about 200 pixels tall."""


def choose_examples(dataset: Dataset, split: str, count: int, *, need_pose: bool = False) -> tuple[ShapeEntry, ...]:
    """Up to ``count`` shapes of ``split`` that have pictures: the same for every run on the same data.

    Shapes with a camera come first, whatever the network, so that those that need one show the same pictures as the
    others; ``need_pose`` leaves the rest out.
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
    """``test`` where the data set has pictures (``need_pose``: with a camera) in it, else ``wanted``, else any.

    InputError when no split has such a picture.
    """
    for split in ("test", wanted, "val", "train"):
        if choose_examples(dataset, split, 1, need_pose=need_pose):
            return split
    raise InputError(f"{dataset.root} has no pictures{' with a camera' * need_pose} to reconstruct from.")


def shown_view(sample: Sample) -> View:
    """The picture of a shape that is shown: its first with a camera, or its first."""
    return next((v for v in sample.images if v.has_pose and np.isfinite(v.intrinsics).all()), sample.images[0])


def write_examples(
    model: ImageModel,
    data: str | Path,
    folder: str | Path,
    *,
    device: torch.device | str | None = None,
    count: int = 6,
    split: str = "val",
    resolution: int = EXAMPLE_RESOLUTION,
    threshold: float = THRESHOLD,
    image_size: int | None = None,
    scores: Mapping[str, float] | None = None,
    emit: Emit = ignore,
) -> float:
    """Reconstruct ``count`` pictures of ``data`` and write ``folder/examples.npz`` (atomically).

    Returns the median seconds from picture to mesh (encoding, extraction at ``resolution``, simplification).

    The test split is taken where there is one; a network with a pose branch takes only pictures with a camera, and
    InputError says that there is none. ``iou`` is that of the stored points, taken from ``scores`` (record id
    → IoU) where it is known already. ``image_size``: the side that the network was trained with (None = as stored).
    """
    with Dataset(data) as dataset:
        need_pose = bool(getattr(model, "needs_pose", False))
        chosen = examples_split(dataset, split, need_pose=need_pose)
        entries = choose_examples(dataset, chosen, count, need_pose=need_pose)
        examples, seconds = [], []
        emit(Progress("examples", 0, len(entries)))
        for i, entry in enumerate(entries):
            sample = dataset.sample(entry, chosen)
            view = shown_view(sample)
            known = (scores or {}).get(view.record_id)
            begun = time.perf_counter()
            mesh, value = _reconstruct(
                model,
                sample,
                view,
                resolution=resolution,
                threshold=threshold,
                image_size=image_size,
                device=device,
                known=known,
            )
            seconds.append(time.perf_counter() - begun)
            truth = simplify(sample.mesh, EXAMPLE_FACES)
            examples.append(Example(view.record_id, entry.object_id, view.rgb, view.mask, value, mesh, truth))
            emit(Progress("examples", i + 1, len(entries)))
    store_examples(Path(folder), examples, split=chosen, threshold=threshold)
    return float(np.median(seconds))


def _reconstruct(
    model: ImageModel,
    sample: Sample,
    view: View,
    *,
    resolution: int,
    threshold: float,
    image_size: int | None,
    device: torch.device | str | None,
    known: float | None,
) -> tuple[Mesh, float]:
    pose: Float32 | None = view.pose if view.has_pose else None
    with image_field(model, view.rgb, pose=pose, focal=focal_of(view), device=device, image_size=image_size) as (
        field,
        where,
    ):
        result = extract_field(
            field, resolution=resolution, threshold=threshold, simplify_to=EXAMPLE_FACES, device=where
        )
        if known is not None:
            return result.mesh, known
        inside = (field(torch.from_numpy(sample.points).to(where)) > logit(threshold)).cpu().numpy()
    return result.mesh, iou(inside, sample.occupancy)
