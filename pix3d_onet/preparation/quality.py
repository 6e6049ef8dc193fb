"""Quality figures of a shape: the effect of watertighting, the reliability of labels, and the rules that are broken.

Figures are equal for equal inputs (they contain no times). Meanings, units and limits are in
:mod:`pix3d_onet.data.store.quality_figures`.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from pix3d_onet.data.store.quality_figures import broken_rules
from pix3d_onet.errors import RejectError
from pix3d_onet.files import read_bytes
from pix3d_onet.geometry.mesh.cleaning import box_normalisation, transformed
from pix3d_onet.geometry.mesh.inside.solid_angles import disagreements, solid_angle_winding
from pix3d_onet.geometry.mesh.raycast import RayScene
from pix3d_onet.geometry.mesh.sampling import sample_surface
from pix3d_onet.geometry.mesh.topology import component_labels, face_areas, is_watertight, volume
from pix3d_onet.geometry.watertight.methods import Watertight
from pix3d_onet.types import Bool, Float32, Float64, Mesh, Normalisation

AGREEMENT_POINTS = 10_000
"""Number of stored points that are labelled again, by solid angles of the stored mesh."""
ROUNDING = 1e-5
"""Distance from the surface below which solid angles may be wrong, because of rounding."""
SURFACE_SAMPLES = 10_000
"""Number of points on each surface for the distances between them."""
LOST_VOXELS = 2.0
"""A point of the model's surface that is farther outside the result than this counts as lost."""
VISIBLE_VOXELS = 2.5
"""A point of the model's surface is visible if the point this far along its normal, in either direction, is outside."""
HOLLOW_BIAS = 0.02
"""``bias_voxels`` from which a shape may be hollow: both sides of a shell are half a voxel off, solids are exact."""
HOLLOW_POINTS = 2_000
"""Number of stored points whose winding number in the source is computed."""
HOLLOW_VOXELS = 2.5
"""Points closer to the source's surface are not judged: a method may close gaps and thicken there."""
ENCLOSED = 0.75
"""Winding number from which an open source encloses a point; in the middle of a cube without one side it is 0.83."""
SMALL_COMPONENT = 0.001
"""Components below this fraction of the surface may be lost."""
MAX_VOXEL_BYTES = 256 << 20
"""Largest ``voxel.mat``, packed or unpacked; Pix3D's have 128³ bytes."""
VOXEL_KINDS = ("uint8", "int8", "logical", "single", "double")
"""MATLAB's types of such a grid; cells and objects have no stated size."""
MAT_HEADER, MAT_COMPRESSED = 128, 15
"""Bytes before the first element of a MATLAB 5 file; the type of an element that is compressed."""
MAX_VOXEL_GRID = 512
"""Larger occupancy grids of a source are not read."""


@dataclass(frozen=True, slots=True, eq=False)
class SurfaceProbe:
    """Samples of the source's surface: ``original``, the source, normalised; ``samples`` (S, 3) on it; ``points``
    (3S, 3): the samples moved to the front, to the back, and unmoved; ``voxel``: side of a voxel. All normalised.

    Whether ``points`` are inside the result is found in one pass with the labels, since a pass over its faces is what
    takes the time.
    """

    original: Mesh
    samples: Float64
    points: Float64
    voxel: float


def probe_surface(source: Mesh, result: Watertight, normalisation: Normalisation) -> SurfaceProbe:
    """Sample the surface of ``source``, which is in the model frame."""
    original, voxel = transformed(source, normalisation), result.voxel / normalisation.scale
    samples, normals = sample_surface(original, SURFACE_SAMPLES, 0, "qc-source")
    step = VISIBLE_VOXELS * voxel * normals
    return SurfaceProbe(original, samples, np.concatenate([samples + step, samples - step, samples]), voxel)


def judge(
    *,
    source: Mesh,
    probe: SurfaceProbe,
    probe_inside: Bool,
    result: Watertight,
    full: Mesh,
    edges: Mapping[str, int],
    stored: Mesh,
    stored_error: float,
    normalisation: Normalisation,
    points: Float32,
    occupancy: Bool,
    voxel: Path | None,
    reading: Mapping[str, Any],
) -> dict[str, Any]:
    """The quality figures of a shape, as JSON values, with the names of broken rules in ``warnings``.

    ``source``: the file's mesh, in the model frame; ``full``, ``stored``, ``points`` (P, 3): normalised;
    ``probe_inside`` (3S,): whether ``probe.points`` are inside ``full``; ``reading``: the figures of
    :class:`~pix3d_onet.geometry.mesh.reading.ReadMesh`. RejectError (stage ``qc``) with the name of the
    first broken rule of level ``reject``.
    """
    source_closed = is_watertight(source)
    wrong, excused = disagreements(
        stored, points[:AGREEMENT_POINTS], occupancy[:AGREEMENT_POINTS], stored_error + ROUNDING
    )
    judged = len(points[:AGREEMENT_POINTS]) - excused
    distances = _distances(probe, probe_inside, full, stored)
    may_be_hollow = not source_closed and distances["bias_voxels"] > HOLLOW_BIAS
    figures: dict[str, Any] = {
        "method": result.method,
        "source_faces": len(source.faces),
        "source_watertight": source_closed,
        **reading,
        "faces": len(full.faces),
        "watertight": edges["boundary"] == edges["nonmanifold"] == 0,
        "winding_consistent": edges["clashes"] == 0,
        "volume": _rounded(volume(full)),
        "volume_ratio": _volume_ratio(source, full, normalisation) if source_closed else None,
        "components_before": component_labels(source)[0],
        "components": component_labels(full)[0],
        "occupied": _rounded(float(occupancy.mean())),
        "label_agreement": _rounded(1 - wrong / max(judged, 1)),
        "stored_faces": len(stored.faces),
        "stored_error": _rounded(stored_error),
        **distances,
        "hollow": _hollow(probe, points[:HOLLOW_POINTS], occupancy[:HOLLOW_POINTS]) if may_be_hollow else None,
        "box_drift_voxels": _box_drift(source, result),
        **_voxel_agreement(voxel, source, normalisation, points, occupancy),
        **result.info,
    }
    broken = broken_rules(figures)
    for rule in broken:
        if rule.level == "reject":
            raise RejectError(rule.name, rule.meaning, "qc")
    figures["warnings"] = [rule.name for rule in broken]
    return figures


def _distances(probe: SurfaceProbe, probe_inside: Bool, full: Mesh, stored: Mesh) -> dict[str, Any]:
    """Distances from the result to the source, and from the source's *visible* surface to the stored mesh; the result's
    bias; the lost surface."""
    ours, normals = sample_surface(full, SURFACE_SAMPLES, 0, "qc-result")
    before, behind, within = probe_inside.reshape(3, -1)
    visible = ~(before & behind)
    to_source = ours - RayScene(probe.original).closest(ours)
    out = np.linalg.norm(to_source, axis=1)
    back = RayScene(stored).distance(probe.samples)
    lost = (back > LOST_VOXELS * probe.voxel) & ~within
    both = np.concatenate([out, back[visible]]) if visible.any() else out
    return {
        "distance_mean": _rounded(float((out.mean() + (back[visible].mean() if visible.any() else 0.0)) / 2)),
        "distance_999": _rounded(float(np.quantile(both, 0.999))),
        "bias_voxels": _rounded(float((to_source * normals).sum(axis=1).mean() / probe.voxel)),
        "lost_share": _rounded(float(lost.mean())),
        "lost_components": _lost_components(probe.original, probe.samples, lost) if lost.any() else 0,
    }


def _hollow(probe: SurfaceProbe, points: Float32, occupancy: Bool) -> float:
    """Points that the source encloses, except for a hole, and that are labelled outside, per point inside.

    If a hole is wider than what a method closes, the outside reaches the inside of the shape, and only a shell is
    labelled as inside.
    """
    enclosed = np.abs(solid_angle_winding(probe.original, points)) > ENCLOSED
    left_out = points[enclosed & ~occupancy]
    deep = (RayScene(probe.original).distance(left_out) > HOLLOW_VOXELS * probe.voxel).sum() if len(left_out) else 0
    return _rounded(float(deep / max(1, occupancy.sum())))


def _lost_components(source: Mesh, samples: Float64, lost: Bool) -> int:
    """Number of components with more than SMALL_COMPONENT of the area whose samples are all lost."""
    count, labels = component_labels(source)
    areas = np.bincount(labels, weights=face_areas(source), minlength=count)
    component = labels[RayScene(source).nearest_face(samples)]
    own = np.bincount(component, minlength=count)
    gone = np.bincount(component[lost], minlength=count)
    return int(((areas > SMALL_COMPONENT * areas.sum()) & (own > 0) & (gone == own)).sum())


def _volume_ratio(source: Mesh, full: Mesh, normalisation: Normalisation) -> float | None:
    """Volume divided by that of the closed source; None if the source's is not positive (inverted parts)."""
    own = volume(source) / normalisation.scale**3
    return _rounded(volume(full) / own) if own > 0 else None


def _box_drift(source: Mesh, result: Watertight) -> float:
    return _rounded(float(np.abs(source.bounds - result.mesh.bounds).max() / result.voxel))


def _voxel_agreement(
    path: Path | None, source: Mesh, normalisation: Normalisation, points: Float32, occupancy: Bool
) -> dict[str, Any]:
    """Agreement and IoU of the labels with the source's own grid (Pix3D's ``voxel.mat``), at the stored points.

    Index = (x - c, -(z - c), y - c) / longest · n + n/2 in the model frame. None if there is no readable grid.
    """
    grid = read_voxels(path)
    if grid is None:
        return {"voxel_agreement": None, "voxel_iou": None}
    box = box_normalisation(source)
    local = box.apply(normalisation.undo(points.astype(np.float64)))
    n = len(grid)
    index = np.floor(np.stack([local[:, 0], -local[:, 2], local[:, 1]], axis=1) * n + n / 2).astype(np.int64)
    within = ((index >= 0) & (index < n)).all(axis=1)
    theirs = np.zeros(len(points), dtype=np.bool_)
    theirs[within] = grid[tuple(index[within].T)]
    union = (theirs | occupancy).sum()
    return {
        "voxel_agreement": _rounded(float((theirs == occupancy).mean())),
        "voxel_iou": _rounded(float((theirs & occupancy).sum() / union)) if union else None,
    }


def read_voxels(path: Path | None) -> Bool | None:
    """(n, n, n) bool; None if the file is missing or not a readable cubic grid, since it is only used for a check."""
    if path is None or not path.is_file():
        return None
    import scipy.io

    try:
        file: Any = BytesIO(_unpacked(read_bytes(path, limit=MAX_VOXEL_BYTES)))
        shapes = {name: shape for name, shape, kind in scipy.io.whosmat(file) if kind in VOXEL_KINDS}
        if len(shapes["voxel"]) != 3 or len(set(shapes["voxel"])) != 1 or not 0 < shapes["voxel"][0] <= MAX_VOXEL_GRID:
            return None
        return np.asarray(scipy.io.loadmat(file, variable_names=["voxel"])["voxel"]).astype(bool)
    except Exception:  # noqa: BLE001 - damaged files can raise anything, and no result depends on this one
        return None


def _unpacked(data: bytes) -> bytes:
    """A MATLAB 5 file with its compressed elements unpacked, which SciPy would unpack to whatever size they have.

    ValueError for more than :data:`MAX_VOXEL_BYTES`.
    """
    order = "<" if data[126:128] == b"IM" else ">"
    parts, place, total = [data[:MAT_HEADER]], MAT_HEADER, MAT_HEADER
    while place + 8 <= len(data):
        kind, size = struct.unpack_from(f"{order}II", data, place)
        end = place + 8 + size
        packed = kind == MAT_COMPRESSED
        part = zlib.decompressobj().decompress(data[place + 8 : end], MAX_VOXEL_BYTES) if packed else data[place:end]
        parts, place, total = [*parts, part], end, total + len(part)
        if total > MAX_VOXEL_BYTES:
            raise ValueError("a grid of voxels takes less")
    return b"".join(parts)


def _rounded(value: float) -> float:
    return round(value, 9)
