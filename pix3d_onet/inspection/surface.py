"""Check surface samples and their normals against the stored mesh; scores (Chamfer distance, F-score) rely on them."""

from __future__ import annotations

import numpy as np

from pix3d_onet.geometry.mesh.inside.solid_angles import surrounded
from pix3d_onet.geometry.mesh.raycast import RayScene
from pix3d_onet.inspection import checks
from pix3d_onet.inspection.checks import Check, Finding
from pix3d_onet.types import Sample

SAMPLES = 2_000
"""Samples per shape that are checked."""
MAX_OFF = 0.02
"""Largest fraction of samples farther from the stored mesh than twice its error, which is a 99 % quantile."""
MAX_TURNED = 0.1
"""Largest fraction of normals that point inward. Where thin parts meet, or the mesh was decimated, some seem to."""


class SurfaceCheck:
    """Compares surface samples with the stored mesh: their distance, and the side that their normals point to."""

    def __init__(self) -> None:
        self.shapes = self.samples = self.off = self.turned = 0
        self.findings: list[Finding] = []

    def add(self, sample: Sample, slack: float) -> None:
        """Check a shape; ``slack``: decimation error of its stored mesh."""
        step = max(1, len(sample.surface_points) // SAMPLES)
        points, normals = sample.surface_points[::step], sample.surface_normals[::step]
        if not len(points):
            return
        off = int((RayScene(sample.mesh).distance(points) > 2 * slack).sum())
        before = surrounded(sample.mesh, points + 2 * slack * normals)
        behind = surrounded(sample.mesh, points - 2 * slack * normals)
        turned = int((before & ~behind).sum())
        self.shapes += 1
        self.samples += len(points)
        self.off += off
        self.turned += turned
        for count, most, what in (
            (off, MAX_OFF, "surface samples are not on the stored mesh"),
            (turned, MAX_TURNED, "normals of surface samples point inward"),
        ):
            if count > most * len(points):
                text = f"{count} of {len(points)} {what}."
                self.findings.append(checks.error(sample.object_id, text, "Prepare the shape again."))

    def check(self) -> Check:
        """The result over all shapes added so far."""
        if not self.shapes:
            return Check("surface", 0, "no surface samples", skipped="no surface samples")
        shares = {"off_share": self.off / self.samples, "turned_share": self.turned / self.samples}
        summary = (
            f"of {self.samples:,} samples {shares['off_share']:.2%} are off the stored mesh, "
            f"{shares['turned_share']:.2%} of the normals point inward"
        )
        figures = {"samples": self.samples, **{k: float(np.round(v, 6)) for k, v in shares.items()}}
        return Check("surface", self.shapes, summary, tuple(self.findings), figures)
