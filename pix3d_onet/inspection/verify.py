"""``onet verify``: all checks of a data set, including labels and cameras, which need geometry libraries."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pix3d_onet import lattice
from pix3d_onet.config import POINTS_HALF_SIDE
from pix3d_onet.data.store.manifest import Manifest, ShapeEntry, read_manifest
from pix3d_onet.data.store.reader import Dataset
from pix3d_onet.errors import InputError
from pix3d_onet.events import Emit, Progress, ignore
from pix3d_onet.geometry.render.scene import Scene
from pix3d_onet.inspection import checks
from pix3d_onet.inspection.checks import Check, Finding, Verification
from pix3d_onet.inspection.distances import SAMPLES, DistanceCheck
from pix3d_onet.inspection.labels import LabelCheck, SourceLabelCheck
from pix3d_onet.inspection.surface import SurfaceCheck
from pix3d_onet.metrics import iou
from pix3d_onet.seeding import generator
from pix3d_onet.types import Sample, View

SHAPES, POINTS = 32, 20_000
"""Number of shapes, and of labels per shape, that are checked by default."""
OUTLIER_IOU = 0.5
"""A picture with a lower IoU of mask and projected mesh gives a warning: wrong mask, wrong pose, or occlusion."""
MIN_MEAN_IOU = 0.6
"""Least mean IoU over all photos; a lower one means that the camera convention is wrong, not single records."""
OUTLIER_RENDERED_IOU = 0.85
"""A rendered view with a lower IoU is an error; real ones have at least 0.98."""
MIN_RENDERED_IOU = 0.9
"""Least mean IoU over rendered views, which differ from the stored mesh only by its decimation."""


def verify(
    root: Path,
    *,
    source_root: Path | None = None,
    everything: bool = False,
    seed: int = 0,
    emit: Emit = ignore,
) -> Verification:
    """Check the data set in ``root``: a seeded sample, or with ``everything`` all shapes and labels.

    ``source_root``: folder of the source, to compare with. InputError if there is no readable manifest or no source;
    any other problem is a finding.
    """
    manifest = read_manifest(root)
    if not manifest.shapes:
        raise InputError(f"data set {root} has no shapes.", hint="Prepare it again.")
    if source_root is not None and not source_root.is_dir():
        raise InputError(
            f"source not found: {source_root}.", hint="Give the folder that the data set was prepared from."
        )
    command = checks.prepare_command(manifest, root, source_root)
    shards, sound = checks.check_shards(root, manifest, command)
    done = [
        checks.check_manifest(root, manifest),
        shards,
        checks.check_leakage(manifest),
        checks.check_duplicates(manifest),
    ]
    usable = [s for s in manifest.shapes if s.shard in sound]
    if not everything and len(usable) > SHAPES:
        chosen = generator(seed, "verify").choice(len(usable), SHAPES, replace=False)
        usable = [usable[i] for i in sorted(chosen)]
    taken = 0 if everything else POINTS
    done += _check_shapes(root, manifest, usable, source_root, points=taken, seed=seed, emit=emit)
    if source_root is not None:
        done.append(checks.check_source(manifest, source_root))
    return Verification(root, manifest.data_hash, tuple(done))


def _check_shapes(
    root: Path,
    manifest: Manifest,
    entries: Sequence[ShapeEntry],
    source_root: Path | None,
    *,
    points: int,
    seed: int,
    emit: Emit,
) -> list[Check]:
    slack = checks.number(manifest.config, "mesh_error", 0.0) + 2 * POINTS_HALF_SIDE / lattice.LATTICE
    labels, surface, sources, cameras = LabelCheck(), SurfaceCheck(), SourceLabelCheck(manifest.config), _Cameras()
    distances = DistanceCheck()
    with Dataset(root) as dataset:
        for number, entry in enumerate(entries, 1):
            sample = dataset.sample(entry)
            chosen = slice(None)
            near = sample.points if sample.near_points is None else sample.near_points
            room = max(min(len(sample.points), len(near)) - points, 0)
            if 0 < points < len(sample.points):
                start = int(generator(seed, "verify", entry.object_id).integers(room + 1))
                chosen = slice(start, start + points)
            error = max(slack, checks.stored_error(entry))
            labels.add(sample, entry, chosen, error)
            surface.add(sample, error)
            distances.add(sample, error, min(points, SAMPLES))
            if source_root is not None:
                sources.add(sample, entry, source_root)
            cameras.add(sample)
            emit(Progress("verify", number, len(entries), item=entry.object_id))
    named = [] if source_root is None else [sources.check()]
    far = [distances.check()] if manifest.config.get("sdf") else []
    return [labels.check(), surface.check(), *far, *named, cameras.check()]


class _Cameras:
    """Compares the stored mesh, projected with pose and intrinsics, with the stored mask."""

    def __init__(self) -> None:
        self.photo: list[float] = []
        self.rendered: list[float] = []
        self.without = 0
        self.findings: list[Finding] = []

    def add(self, sample: Sample) -> None:
        """Check all pictures of a shape."""
        scene = Scene(sample.mesh)
        for view in sample.images:
            if not view.has_pose:
                self.without += 1
                continue
            value = projection_iou(scene, view)
            (self.rendered if view.rendered else self.photo).append(value)
            text = f"the IoU of projected mesh and mask is only {value:.2f}."
            if view.rendered and value < OUTLIER_RENDERED_IOU:
                self.findings.append(checks.error(view.record_id, text, "Prepare the shape again."))
            elif value < OUTLIER_IOU:
                self.findings.append(checks.warning(view.record_id, text, "Look at it with: onet inspect"))

    def check(self) -> Check:
        """The result over all shapes added so far."""
        seen = len(self.photo) + len(self.rendered)
        figures = {
            "photos": len(self.photo),
            "mean_iou": float(np.mean(self.photo)) if self.photo else None,
            "median_iou": float(np.median(self.photo)) if self.photo else None,
            "rendered": len(self.rendered),
            "mean_iou_rendered": float(np.mean(self.rendered)) if self.rendered else None,
            "outliers": len(self.findings),
            "without_pose": self.without,
        }
        if not seen:
            return Check("cameras", 0, "no picture has a pose", figures=figures, skipped="no picture has a pose")
        findings = list(self.findings)
        parts = []
        for name, values, least in (("photos", self.photo, MIN_MEAN_IOU), ("renders", self.rendered, MIN_RENDERED_IOU)):
            if values:
                parts.append(f"mean mask IoU {np.mean(values):.3f} over {len(values)} {name}")
            if values and np.mean(values) < least:
                text = f"mean mask IoU {np.mean(values):.3f} over {len(values)} {name}, below {least}."
                findings.append(checks.error("cameras", text, "Pose or intrinsics do not follow the convention."))
        parts.append(f"{len(self.findings)} outliers, {self.without} without pose")
        return Check("cameras", seen, "; ".join(parts), tuple(findings), figures)


def projection_iou(scene: Scene, view: View) -> float:
    """Intersection over union of the view's mask and the mesh projected with the view's camera."""
    height, width = view.mask.shape
    return iou(scene.silhouette(view.pose, view.intrinsics, (width, height)), view.mask)
