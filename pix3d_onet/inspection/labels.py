"""Check labels against the stored mesh, and against the source's mesh.

Labels are made with ``geometry.mesh.inside.winding`` on the mesh before decimation. The checks here use other methods
and meshes: solid angles of the stored mesh; solid angles of the source mesh, and rays that leave it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from pix3d_onet import lattice
from pix3d_onet.config import POINTS_HALF_SIDE
from pix3d_onet.data.store.manifest import ShapeEntry
from pix3d_onet.errors import RejectError
from pix3d_onet.geometry.mesh.cleaning import transformed
from pix3d_onet.geometry.mesh.inside.solid_angles import disagreements, surrounded
from pix3d_onet.geometry.mesh.raycast import RayScene
from pix3d_onet.geometry.mesh.reading import load_mesh
from pix3d_onet.geometry.mesh.topology import unbalanced_edges
from pix3d_onet.geometry.watertight.brick_grid import FILL
from pix3d_onet.geometry.watertight.closed import closed
from pix3d_onet.inspection import checks
from pix3d_onet.inspection.checks import Check, Finding
from pix3d_onet.types import Bool, Float32, Mesh, Normalisation, Sample

GIVEN = "given"
"""Method of shapes whose labels came with the source, so that their mesh need not agree with them."""
MIN_AGREEMENT = 0.999
"""Least fraction of correct labels among points farther from the surface than the stored mesh's error."""
BOX_SLACK = 1e-3
"""Allowed distance of the boxes of a source and its stored mesh, in addition to decimation and watertighting."""
SOURCE_POINTS = 5_000
"""Labels per shape that are compared with the source."""
SURFACE_VOXELS: Mapping[str, float] = {"none": 0.0, "fusion": 8.0}
OTHER_VOXELS = 2.5
"""Distance from the source's surface, in voxels, within which a method may add or remove volume, so that labels are not
checked; ``OTHER_VOXELS`` for all other methods."""
VIEWS = np.add([d for d in product((-1, 0, 1), repeat=3) if any(d)], (0.013, -0.021, 0.034))
"""(26, 3) directions of rays from a point; not parallel to typical faces of CAD models."""
OPEN_VIEWS = 4
"""A point with at least this number of rays that hit nothing is outside, unless they pass through narrow gaps, which
the method may close."""
SUSPECTS = 500
"""Most points per shape, labelled inside in spite of such rays, whose rays are measured for narrow gaps."""


class LabelCheck:
    """Compares labels with the stored mesh, by solid angles; the mesh must bound solids.

    The labels were computed on the mesh before decimation, so points nearer to the stored surface than the decimation
    error may differ; these are counted as excused.
    """

    def __init__(self) -> None:
        self.slack = 0.0
        self.points = self.excused = self.wrong = self.shapes = 0
        self.worst = 1.0
        self.findings: list[Finding] = []

    def add(self, sample: Sample, entry: ShapeEntry, chosen: slice, slack: float) -> None:
        """Check the ``chosen`` points of a shape, uniform ones and ones near the surface; ``slack``: decimation error
        of its stored mesh."""
        self.slack = max(self.slack, slack)
        loose = 0 if entry.qc.get("method") == GIVEN else unbalanced_edges(sample.mesh)
        if loose:
            text = f"{loose} edges of the stored mesh are open or inconsistently wound."
            self.findings.append(checks.error(sample.object_id, text, "Prepare the shape again."))
        points, stored = labelled(sample, chosen)
        wrong, excused = disagreements(sample.mesh, points, stored, slack)
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
        """The result over all shapes added so far."""
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


class SourceLabelCheck:
    """Compares labels with the source's mesh.

    With the method ``none`` labels must agree with the solid angles of the source mesh. Other methods may close gaps,
    thicken sheets and fill cavities. There, away from the source's surface, a point from which rays leave the source
    must be outside, and a point inside a source that bounds solids must be inside.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.config = config
        self.points = self.wrong = self.shapes = 0
        self.findings: list[Finding] = []

    def add(self, sample: Sample, entry: ShapeEntry, source_root: Path) -> None:
        """Check a shape, if its source mesh exists; ``check_source`` finds out whether that has changed."""
        method = str(entry.qc.get("method", ""))
        try:
            path = checks.source_file(entry, source_root)
        except RejectError:
            return
        if method == GIVEN or not os.path.lexists(path):
            return
        try:
            source = transformed(load_mesh(path, root=source_root), Normalisation(sample.loc, sample.scale))
        except RejectError as error:
            text = f"{entry.source_mesh:.200} can no longer be read: {error.message}."
            self.findings.append(checks.error(sample.object_id, text))
            return
        self._compare_boxes(source, sample, entry)
        step = max(1, len(sample.points) // SOURCE_POINTS)
        voxel = self._voxel(entry)
        judged, wrong = against_source(source, *labelled(sample, slice(None, None, step)), method, voxel)
        self.shapes += 1
        self.points += judged
        self.wrong += wrong
        if wrong > (1 - MIN_AGREEMENT) * judged:
            text = f"{wrong} of {judged} labels contradict the source mesh {entry.source_mesh}."
            self.findings.append(checks.error(sample.object_id, text, "Prepare the shape again."))

    def _voxel(self, entry: ShapeEntry) -> float:
        resolution = checks.number(self.config, "resolution", 256)
        return 1 / (FILL * max(1.0, min(resolution, checks.number(entry.qc, "grid_resolution", resolution))))

    def _compare_boxes(self, source: Mesh, sample: Sample, entry: ShapeEntry) -> None:
        """A finding if the boxes of source and stored mesh differ more than when the shape was prepared: then loc and
        scale are not those of this source."""
        measured = checks.number(entry.qc, "box_drift_voxels", 0.0) * self._voxel(entry)
        error = max(checks.number(self.config, "mesh_error", 0.0), checks.stored_error(entry))
        apart = float(np.abs(source.bounds - sample.mesh.bounds).max())
        if not apart <= measured + 2 * error + BOX_SLACK:
            text = (
                f"its box and that of {entry.source_mesh} are {apart:.4f} longest sides apart: loc or scale is wrong."
            )
            self.findings.append(checks.error(sample.object_id, text, "Prepare the shape again."))

    def check(self) -> Check:
        """The result over all shapes added so far."""
        if not self.shapes and not self.findings:
            return Check("source labels", 0, "no source mesh", skipped="no source mesh")
        figures = {"points": self.points, "wrong": self.wrong}
        summary = f"{self.wrong} of {self.points:,} labels on {self.shapes} shapes contradict the source"
        return Check("source labels", self.shapes, summary, tuple(self.findings), figures)


def labelled(sample: Sample, chosen: slice) -> tuple[Float32, Bool]:
    """The ``chosen`` uniform points and points near the surface of a shape, (N, 3) float32, and their labels (N,)."""
    points, labels = [sample.points[chosen]], [sample.occupancy[chosen]]
    if sample.near_points is not None and sample.near_occupancy is not None:
        points.append(sample.near_points[chosen])
        labels.append(sample.near_occupancy[chosen])
    return np.concatenate(points), np.concatenate(labels)


def against_source(source: Mesh, points: Float32, occupancy: Bool, method: str, voxel: float) -> tuple[int, int]:
    """Number of labels that the source mesh determines, and number of wrong ones. All in the normalised frame."""
    scene = RayScene(source)
    margin = SURFACE_VOXELS.get(method, OTHER_VOXELS) * voxel + 2 * POINTS_HALF_SIDE / lattice.LATTICE
    far = scene.distance(points) > margin
    points, occupancy = points[far], occupancy[far]
    around = _around(source, points)
    if method == "none":
        return len(points), int((around != occupancy).sum())
    free = ~around & (scene.open_views(points, VIEWS) >= OPEN_VIEWS)
    suspects = np.flatnonzero(free & occupancy)
    caged = _caged(scene, points[suspects], margin / 2)
    wrong = int((around & ~occupancy).sum()) + len(suspects) - caged
    return int((around | free).sum()) - caged, wrong


def _caged(scene: RayScene, points: Float32, clearance: float) -> int:
    """Number of points, estimated from some, that rays leave only through gaps narrower than twice ``clearance``: the
    method may have closed these."""
    some = points[:: max(1, len(points) // SUSPECTS)]
    if not len(some):
        return 0
    return round(float((scene.wide_views(some, VIEWS, clearance) < OPEN_VIEWS).mean()) * len(points))


def _around(source: Mesh, points: Float32) -> Bool:
    """(N,) bool: points inside the source mesh; all False if it does not bound solids."""
    try:
        return surrounded(closed(source), points)
    except RejectError:
        return np.zeros(len(points), dtype=np.bool_)
