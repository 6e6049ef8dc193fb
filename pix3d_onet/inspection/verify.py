"""``onet verify``: the checks of ``inspection.checks``, and whether labels and cameras fit the mesh."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pix3d_onet import lattice
from pix3d_onet.config import POINTS_HALF_SIDE
from pix3d_onet.data.store.manifest import Manifest, ShapeEntry
from pix3d_onet.data.store.reader import Dataset
from pix3d_onet.errors import InputError
from pix3d_onet.events import Emit, Progress, ignore
from pix3d_onet.geometry.mesh.inside.solid_angles import surrounded
from pix3d_onet.geometry.mesh.raycast import RayScene
from pix3d_onet.geometry.render.scene import Scene
from pix3d_onet.inspection import checks
from pix3d_onet.inspection.checks import Check, Finding, Verification
from pix3d_onet.seeding import generator
from pix3d_onet.types import Bool, Sample, View

SHAPES, POINTS = 32, 20_000
"""Shapes and labels a shape that are checked unless everything is asked for."""
MIN_AGREEMENT = 0.999
"""Share of labels, of points farther from the surface than the stored mesh's stated error, that must be right."""
OUTLIER_IOU = 0.5
"""A picture whose mask overlaps the projected mesh less than this is named: wrong mask, wrong pose, or hidden."""
MIN_MEAN_IOU = 0.6
"""Below this mean over all photographs the cameras' convention is broken, not single records."""
MIN_RENDERED_IOU = 0.9
"""Rendered views are exact but for the decimation of the stored mesh."""


def verify(
    root: Path,
    *,
    source_root: Path | None = None,
    everything: bool = False,
    seed: int = 0,
    emit: Emit = ignore,
) -> Verification:
    """Check the data set at ``root``; ``everything`` takes all shapes and labels instead of a seeded sample.

    InputError when there is no readable manifest. What is wrong inside is a finding, never an exception.
    """
    manifest = checks.open_manifest(root)
    if source_root is not None and not source_root.is_dir():
        raise InputError(f"source not found: {source_root}.")
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
    done += _look_at_shapes(root, manifest, usable, points=0 if everything else POINTS, seed=seed, emit=emit)
    if source_root is not None:
        done.append(checks.check_source(manifest, source_root))
    return Verification(root, manifest.data_hash, tuple(done))


def _look_at_shapes(
    root: Path, manifest: Manifest, entries: Sequence[ShapeEntry], *, points: int, seed: int, emit: Emit
) -> list[Check]:
    slack = float(manifest.config.get("mesh_error", 0.0)) + 2 * POINTS_HALF_SIDE / lattice.LATTICE
    labels, cameras = _Labels(), _Cameras()
    with Dataset(root) as dataset:
        for number, entry in enumerate(entries, 1):
            sample = dataset.sample(entry)
            chosen = slice(None)
            if 0 < points < len(sample.points):
                start = int(generator(seed, "verify", entry.object_id).integers(len(sample.points) - points + 1))
                chosen = slice(start, start + points)
            labels.look(sample, chosen, max(slack, checks.stored_error(entry)))
            cameras.look(sample)
            emit(Progress("verify", number, len(entries), item=entry.object_id))
    return [labels.check(), cameras.check()]


class _Labels:
    """Labels against the solid angles of the stored mesh.

    The labels were computed on the mesh before its decimation; points nearer to the stored surface than the stated
    decimation error may differ, are counted, and left out.
    """

    def __init__(self) -> None:
        self.slack = 0.0
        self.points = self.excused = self.wrong = self.shapes = 0
        self.worst = 1.0
        self.findings: list[Finding] = []

    def look(self, sample: Sample, chosen: slice, slack: float) -> None:
        """Compare one shape; ``slack`` is how far its stored surface may be from that of the labels."""
        self.slack = max(self.slack, slack)
        points, stored = sample.points[chosen], sample.occupancy[chosen]
        differ = np.flatnonzero(surrounded(sample.mesh, points) != stored)
        excused = int((RayScene(sample.mesh).distance(points[differ]) <= slack).sum()) if len(differ) else 0
        wrong = len(differ) - excused
        agreement = 1 - wrong / max(len(points) - excused, 1)
        self.shapes += 1
        self.points += len(points)
        self.excused += excused
        self.wrong += wrong
        self.worst = min(self.worst, agreement)
        if agreement < MIN_AGREEMENT:
            text = f"{wrong} of {len(points)} labels contradict the stored mesh (agreement {agreement:.4f})."
            self.findings.append(checks.error(sample.object_id, text, "Prepare the shape again."))

    def check(self) -> Check:
        """The outcome."""
        figures = {
            "points": self.points,
            "near_surface_excused": self.excused,
            "wrong": self.wrong,
            "agreement": 1 - self.wrong / max(self.points - self.excused, 1),
            "worst_shape": self.worst,
            "excuse_distance": self.slack,
        }
        if not self.shapes:
            return Check("labels", 0, "no readable shape", skipped="no readable shape")
        summary = (
            f"{figures['agreement']:.4%} of {self.points:,} labels on {self.shapes} shapes; "
            f"{self.excused} differ within {self.slack:.1e} of the surface"
        )
        return Check("labels", self.shapes, summary, tuple(self.findings), figures)


class _Cameras:
    """The stored mesh, projected by pose and intrinsics, against the stored mask."""

    def __init__(self) -> None:
        self.photo: list[float] = []
        self.rendered: list[float] = []
        self.without = 0
        self.findings: list[Finding] = []

    def look(self, sample: Sample) -> None:
        """Project one shape into all its pictures."""
        scene = Scene(sample.mesh)
        for view in sample.images:
            if not view.has_pose:
                self.without += 1
                continue
            value = projection_iou(scene, view)
            (self.rendered if view.rendered else self.photo).append(value)
            if value < OUTLIER_IOU:
                text = f"the projected mesh overlaps the mask by IoU {value:.2f} only."
                self.findings.append(checks.warning(view.record_id, text, "Look at it with: onet inspect"))

    def check(self) -> Check:
        """The outcome."""
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
    """Intersection over union of the mask and the mesh projected by the view's own camera."""
    height, width = view.mask.shape
    silhouette: Bool = scene.silhouette(view.pose, view.intrinsics, (width, height))
    union = int((silhouette | view.mask).sum())
    return int((silhouette & view.mask).sum()) / union if union else 1.0
