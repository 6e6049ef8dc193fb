"""The quality figures of a manifest (``qc``): what each means, its unit, its ideal, and the rules that judge it.

Whoever writes a figure or a rule adds a line here: preparing judges by ``RULES``, inspecting ranks by ``FIGURES``, and
``docs/qc.md`` is made of both. Distances are in longest sides of the model unless the unit is voxels: those of the grid
that it was closed on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Better = Literal["higher", "lower", "nearer", ""]
"""Which way is better; ``nearer`` to the ideal from either side; empty where a figure only describes."""
Level = Literal["warning", "reject"]


@dataclass(frozen=True, slots=True)
class Figure:
    """One entry of ``qc``. ``unit`` is empty for words, ``yes/no`` for truth values; ``ideal`` None: none is better.

    ``ratio``: distances from the ideal are of logarithms, so that half is as far as double.
    """

    name: str
    unit: str
    meaning: str
    ideal: float | None = None
    better: Better = ""
    ratio: bool = False

    def badness(self, value: float) -> float:
        """How far ``value`` is from the ideal, 0 at best; 0 for a figure that only describes."""
        if self.ideal is None:
            return 0.0
        if not self.ratio:
            return abs(value - self.ideal)
        return abs(math.log(value / self.ideal)) if value > 0 else math.inf


@dataclass(frozen=True, slots=True)
class Rule:
    """A named judgement: ``figure`` must not be over, or under, ``limit``, a number or the name of another figure.

    A broken rule of level ``reject`` leaves the shape out.
    """

    name: str
    level: Level
    figure: str
    side: Literal["over", "under"]
    limit: float | str
    meaning: str

    def broken(self, figures: Mapping[str, Any]) -> bool:
        """Whether the figure is there and beyond the limit."""
        value = figures.get(self.figure)
        limit = figures.get(self.limit) if isinstance(self.limit, str) else self.limit
        if value is None or limit is None:
            return False
        return bool(value > limit if self.side == "over" else value < limit)

    @property
    def condition(self) -> str:
        """``over 0.5``, ``under grid_wanted``."""
        return f"{self.side} {self.limit if isinstance(self.limit, str) else format(self.limit, 'g')}"


_FIGURES = (
    Figure("method", "", "What closed the mesh: tight, fusion, meshfix, none, or given (a file's labels)."),
    Figure("fallback", "", "Why tight took over from meshfix; absent where it did not."),
    Figure("source_faces", "faces", "Triangles of the file."),
    Figure("source_watertight", "yes/no", "Whether the file's mesh was closed and consistently wound already."),
    Figure("faces_dropped", "faces", "Faces of the file that were lost or crossed in reading.", 0.0, "lower"),
    Figure("dropped_bad_index", "faces", "Of these, with a corner that is no vertex.", 0.0, "lower"),
    Figure("dropped_not_finite", "faces", "Of these, with a coordinate that is no number.", 0.0, "lower"),
    Figure(
        "dropped_crossed",
        "faces",
        "Of these, polygons that cross themselves: kept, as they are.",
        0.0,
        "lower",
    ),
    Figure("dropped_few_corners", "faces", "Faces of under three corners: no surface is missed."),
    Figure("dropped_degenerate", "faces", "Faces with two equal corners: no surface is missed."),
    Figure("left_out", "", "What the file holds that has no surface or is not modelled, counted."),
    Figure("faces", "faces", "Triangles of the closed mesh."),
    Figure("stored_faces", "faces", "Triangles of the mesh that is stored, after decimation."),
    Figure("components_before", "components", "Connected parts of the file's mesh."),
    Figure("components", "components", "Connected parts of the closed mesh."),
    Figure("grid_wanted", "cells", "Cells along the longest side of the grid that the model needs."),
    Figure("grid_resolution", "cells", "Cells along the longest side of the grid that it got; fewer to save memory."),
    Figure("watertight", "yes/no", "Every edge of the closed mesh has exactly two faces.", 1.0, "higher"),
    Figure("winding_consistent", "yes/no", "No two neighbouring faces are wound against each other.", 1.0, "higher"),
    Figure("volume", "longest side³", "Volume of the closed mesh."),
    Figure(
        "volume_ratio",
        "ratio",
        "Volume of the closed mesh over that of the file's, where that was closed: above 1 it grew, below it shrank.",
        1.0,
        "nearer",
        ratio=True,
    ),
    Figure("occupied", "share", "Stored points that are inside, of the cube [−0.55, 0.55]³."),
    Figure(
        "label_agreement",
        "share",
        "Stored points, of 10,000 and off the surface, that an independent inside test labels alike.",
        1.0,
        "higher",
    ),
    Figure(
        "distance_mean",
        "longest sides",
        "Mean distance between the closed (one way: stored) mesh and the visible surface of the file's.",
        0.0,
        "lower",
    ),
    Figure(
        "distance_999",
        "longest sides",
        "The distance that 99.9 % of samples of both surfaces stay below: the worst spot but for outliers.",
        0.0,
        "lower",
    ),
    Figure(
        "bias_voxels",
        "voxels",
        "Mean signed distance of the closed mesh from the file's surface: above 0 it lies outside, so it is thicker.",
        0.0,
        "nearer",
    ),
    Figure("lost_share", "share", "The file's surface that is over two voxels outside the closed mesh.", 0.0, "lower"),
    Figure(
        "lost_components",
        "components",
        "Parts of the file's mesh above 0.1 % of its surface that are missing whole.",
        0.0,
        "lower",
    ),
    Figure(
        "hollow",
        "per point inside",
        "Open files: points that the file's surface goes around, but for a hole, and that were left outside.",
        0.0,
        "lower",
    ),
    Figure("box_drift_voxels", "voxels", "Largest shift of a side of the bounding box.", 0.0, "lower"),
    Figure(
        "stored_error",
        "longest sides",
        "Largest surface distance between closed and stored mesh, as decimation bounds it; for given labels the "
        "99 % quantile of the cloud's distance to the mesh.",
        0.0,
        "lower",
    ),
    Figure(
        "voxel_agreement",
        "share",
        "Stored points labelled as in the release's own voxel grid, which fills cavities and thickens thin panels.",
        1.0,
        "higher",
    ),
    Figure("voxel_iou", "share", "Intersection over union of the same labels.", 1.0, "higher"),
    Figure(
        "mask_fill",
        "share",
        "Longest side of the object in its picture over what the crop was made for, specks under 1 % of the mask left "
        "out; the least of its photos. Below 1, stray bits of the mask widened the crop.",
        1.0,
        "higher",
    ),
    Figure("mask_fill_picture", "", "The photo that mask_fill is of, where it breaks its rule."),
    Figure("mesh", "", "Given labels: whether the stored mesh is from a file or a poisson reconstruction."),
    Figure("points_given", "points", "Given labels: points in the file."),
    Figure("clipped", "points", "Given labels: points outside the cube, moved to its border.", 0.0, "lower"),
    Figure(
        "surface_mean", "longest sides", "Given labels: mean distance of the cloud to the stored mesh.", 0.0, "lower"
    ),
    Figure("warnings", "", "Names of the broken rules, below."),
)

FIGURES: Mapping[str, Figure] = {f.name: f for f in _FIGURES}
"""Every figure by its name in the manifest."""

RULES = (
    Rule("faces-dropped", "warning", "faces_dropped", "over", 0, "faces of the file could not be read"),
    Rule("label-disagreement", "reject", "label_agreement", "under", 0.999, "two inside tests differ on over 0.1 %"),
    Rule("surface-lost", "reject", "lost_share", "over", 0.1, "over 10 % of the surface is missing"),
    Rule("component-lost", "warning", "lost_components", "over", 0, "a part above 0.1 % of the surface is missing"),
    Rule("thickened", "warning", "bias_voxels", "over", 0.5, "the surface lies over half a voxel outside on average"),
    Rule("volume-changed", "warning", "volume_ratio", "over", 1.3, "the volume is over 1.3 times the file's"),
    Rule("volume-shrunk", "warning", "volume_ratio", "under", 0.77, "the volume is under 0.77 of the file's"),
    Rule("hollow", "warning", "hollow", "over", 0.1, "the file's surface has a hole, and its inside was left empty"),
    Rule("box-drift", "warning", "box_drift_voxels", "over", 2.0, "the bounding box moved by over two voxels"),
    Rule("voxel-disagreement", "warning", "voxel_agreement", "under", 0.9, "under 90 % agree with the source's voxels"),
    Rule("grid-coarse", "warning", "grid_resolution", "under", "grid_wanted", "too much surface: a coarser grid"),
    Rule("nearly-empty", "warning", "occupied", "under", 0.001, "under 0.1 % of the cube is inside"),
    Rule("mask-strays", "warning", "mask_fill", "under", 0.97, "stray bits of a mask make its object over 3 % smaller"),
)
"""Every threshold in one place: a broken reject rule makes the shape a reject of that name, others are warnings."""


def direction(figure: Figure) -> str:
    """1, higher is better; empty for a figure that only describes."""
    if figure.ideal is None:
        return ""
    return "yes" if figure.unit == "yes/no" else f"{figure.ideal:g}, {figure.better} is better"


def broken_rules(figures: Mapping[str, Any]) -> tuple[Rule, ...]:
    """The rules that figures break, in the order of RULES."""
    return tuple(rule for rule in RULES if rule.broken(figures))
