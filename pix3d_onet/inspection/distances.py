"""Check signed distances against the stored mesh, with another library than the one that computed them."""

from __future__ import annotations

import numpy as np

from pix3d_onet.data.store.encoding import DISTANCE_STEP
from pix3d_onet.geometry.mesh.distances import independent_distances
from pix3d_onet.inspection import checks
from pix3d_onet.inspection.checks import Check, Finding
from pix3d_onet.types import Bool, Float32, Mesh, Sample

SAMPLES = 2_000
"""Distances per shape and kind of points that are compared with the mesh; signs are compared at all points."""
MAX_OFF = 0.02
"""Largest fraction of distances that differ by more than ``checks.BOX_TOLERANCE`` and twice the stored mesh's error.
Decimation may cut a tip, which is small, but nearest to many points."""
MAX_DIFFERENCE = 0.05
"""No distance may differ by more than this and twice the stored mesh's error; on real chairs, none does by 0.011."""


class DistanceCheck:
    """Compares the sizes of signed distances with the stored mesh, and their signs with the labels."""

    def __init__(self) -> None:
        self.shapes = self.points = self.signs = 0
        self.median = self.largest = 0.0
        self.findings: list[Finding] = []

    def add(self, sample: Sample, slack: float, samples: int = SAMPLES) -> None:
        """Check a shape; ``slack``: decimation error of its stored mesh; ``samples`` per kind of points, 0 = all."""
        before = self.points
        if sample.sdf is not None:
            self._compare(sample.object_id, sample.mesh, sample.points, sample.occupancy, sample.sdf, slack, samples)
        near = sample.near_points, sample.near_occupancy, sample.near_sdf
        if near[0] is not None and near[1] is not None and near[2] is not None:
            self._compare(sample.object_id, sample.mesh, near[0], near[1], near[2], slack, samples)
        self.shapes += self.points > before

    def _compare(
        self, name: str, mesh: Mesh, points: Float32, labels: Bool, sdf: Float32, slack: float, samples: int
    ) -> None:
        signs = int(((sdf < 0) != labels).sum())
        step = max(1, len(points) // samples) if samples else 1
        error = np.abs(np.abs(sdf[::step]) - independent_distances(mesh, points[::step]))
        median, most = (float(value) for value in np.quantile(error, (0.5, 1 - MAX_OFF)))
        self.points += len(error)
        self.signs += signs
        largest = float(error.max())
        self.median, self.largest = max(self.median, median), max(self.largest, largest)
        if signs:
            text = f"the signs of {signs} signed distances contradict the labels."
            self.findings.append(checks.error(name, text, "Prepare the shape again."))
        far = most > checks.BOX_TOLERANCE + 2 * slack or largest > MAX_DIFFERENCE + 2 * slack
        if far or median > slack + DISTANCE_STEP:
            text = (
                "its signed distances contradict the stored mesh: "
                f"half of them by over {median:.1e}, the worst by {largest:.1e}."
            )
            self.findings.append(checks.error(name, text, "Prepare the shape again."))

    def check(self) -> Check:
        """The result over all shapes added so far."""
        if not self.shapes:
            return Check("distances", 0, "no signed distances", skipped="no signed distances")
        figures = {
            "points": self.points,
            "median_error": round(self.median, 6),
            "largest_error": round(self.largest, 6),
            "wrong_signs": self.signs,
        }
        summary = (
            f"{self.points:,} signed distances differ from the stored mesh's by a median of at most {self.median:.1e}, "
            f"the largest by {self.largest:.1e}; {self.signs} signs contradict labels"
        )
        return Check("distances", self.shapes, summary, tuple(self.findings), figures)
