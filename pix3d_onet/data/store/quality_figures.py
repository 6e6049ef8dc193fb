"""The quality figures of a manifest (``qc``): meaning, unit, ideal value, and the rules that apply to them.

Every figure and rule has an entry here: ``prepare`` applies ``RULES``, ``inspect`` ranks by ``FIGURES``, and
``docs/qc.md`` is generated from both. Distances are in longest sides of the model, or in voxels of the watertighting
grid.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Better = Literal["higher", "lower", "nearer", ""]
"""Which values are better; ``nearer``: to the ideal, from either side; empty: the figure is only descriptive."""
Level = Literal["warning", "reject"]


@dataclass(frozen=True, slots=True)
class Figure:
    """One entry of ``qc``. ``unit``: empty for text, ``yes/no`` for booleans; ``ideal`` None: no value is better.

    ``ratio``: distances from the ideal are computed from logarithms, so that half is as far as double.
    """

    name: str
    unit: str
    meaning: str
    ideal: float | None = None
    better: Better = ""
    ratio: bool = False

    def badness(self, value: float) -> float:
        """Distance of ``value`` from the ideal; 0 for a descriptive figure."""
        if self.ideal is None:
            return 0.0
        if not self.ratio:
            return abs(value - self.ideal)
        return abs(math.log(value / self.ideal)) if value > 0 else math.inf


@dataclass(frozen=True, slots=True)
class Rule:
    """A named condition: ``figure`` must not be over, or under, ``limit``, a number or the name of another figure.

    A shape that breaks a rule of level ``reject`` is rejected. ``meaning``: what is wrong; ``advice``: what to do.
    """

    name: str
    level: Level
    figure: str
    side: Literal["over", "under"]
    limit: float | str
    meaning: str
    advice: str

    def broken(self, figures: Mapping[str, Any]) -> bool:
        """Whether the figure is known and beyond the limit."""
        value = figures.get(self.figure)
        limit = figures.get(self.limit) if isinstance(self.limit, str) else self.limit
        if value is None or limit is None:
            return False
        return bool(value > limit if self.side == "over" else value < limit)

    @property
    def condition(self) -> str:
        """The condition under which the rule is broken, as text: ``over 0.5``, ``under grid_wanted``."""
        return f"{self.side} {self.limit if isinstance(self.limit, str) else format(self.limit, 'g')}"


_FIGURES = (
    Figure("method", "", "Watertighting method: tight, fusion, meshfix, none; or given, for labels from a file."),
    Figure("fallback", "", "Why tight was used instead of meshfix; absent if it was not."),
    Figure("source_faces", "faces", "Triangles in the file."),
    Figure("source_watertight", "yes/no", "Whether the file's mesh was already closed and consistently wound."),
    Figure("faces_dropped", "faces", "Faces of the file that could not be read correctly.", 0.0, "lower"),
    Figure("dropped_bad_index", "faces", "Of these, faces with an index out of range.", 0.0, "lower"),
    Figure("dropped_not_finite", "faces", "Of these, faces with a coordinate that is NaN or infinite.", 0.0, "lower"),
    Figure("dropped_crossed", "faces", "Of these, polygons that cross themselves; they are kept.", 0.0, "lower"),
    Figure("dropped_few_corners", "faces", "Faces with fewer than three corners, so without a surface."),
    Figure("dropped_degenerate", "faces", "Faces with two equal corners, so without a surface."),
    Figure("left_out", "", "Elements of the file without a surface, or of a kind that is not read, with their number."),
    Figure("faces", "faces", "Triangles of the closed mesh."),
    Figure("stored_faces", "faces", "Triangles of the stored mesh, after decimation."),
    Figure("components_before", "components", "Connected components of the file's mesh."),
    Figure("components", "components", "Connected components of the closed mesh."),
    Figure("grid_wanted", "cells", "Resolution of the watertighting grid that the model needs, cells per axis."),
    Figure("grid_resolution", "cells", "Resolution of the grid that was used; lower if it would need too much memory."),
    Figure("watertight", "yes/no", "Whether every edge of the closed mesh has exactly two faces.", 1.0, "higher"),
    Figure("winding_consistent", "yes/no", "Whether all faces have consistent winding.", 1.0, "higher"),
    Figure("volume", "longest side³", "Volume of the closed mesh."),
    Figure(
        "volume_ratio",
        "ratio",
        "Volume of the closed mesh divided by that of the file's mesh, if that was closed.",
        1.0,
        "nearer",
        ratio=True,
    ),
    Figure("occupied", "share", "Stored points, uniform in the cube [−0.55, 0.55]³, that are inside."),
    Figure("near_occupied", "share", "Stored points near the surface that are inside."),
    Figure("depth", "longest sides", "Largest distance of a stored inside point from the surface."),
    Figure(
        "label_agreement",
        "share",
        "Of 10,000 stored points not near the surface, those with the same label by an independent inside test.",
        1.0,
        "higher",
    ),
    Figure(
        "distance_mean",
        "longest sides",
        "Mean of two mean distances: closed mesh to the file's mesh, and visible surface of the file's mesh to the "
        "stored mesh.",
        0.0,
        "lower",
    ),
    Figure(
        "distance_999",
        "longest sides",
        "99.9 % quantile of these distances over samples of both surfaces.",
        0.0,
        "lower",
    ),
    Figure(
        "bias_voxels",
        "voxels",
        "Mean signed distance of the closed mesh from the file's mesh; above 0 the closed mesh is larger.",
        0.0,
        "nearer",
    ),
    Figure("lost_share", "share", "Surface of the file's mesh over two voxels outside the closed mesh.", 0.0, "lower"),
    Figure(
        "lost_components",
        "components",
        "Components of the file's mesh, above 0.1 % of its surface, that are completely missing.",
        0.0,
        "lower",
    ),
    Figure(
        "hollow",
        "per point inside",
        "Points enclosed by the file's surface, except for a hole, that are labelled outside; only for files with open "
        "edges and a bias_voxels above 0.02.",
        0.0,
        "lower",
    ),
    Figure("box_drift_voxels", "voxels", "Largest displacement of a side of the bounding box.", 0.0, "lower"),
    Figure(
        "stored_error",
        "longest sides",
        "99 % quantile of the distance from the closed mesh to the stored mesh, the error of decimation; for given "
        "labels, from the point cloud to the mesh.",
        0.0,
        "lower",
    ),
    Figure(
        "voxel_agreement",
        "share",
        "Stored points with the same label as in the release's voxel grid, which fills cavities and thickens panels.",
        1.0,
        "higher",
    ),
    Figure("voxel_iou", "share", "Intersection over union of the same labels.", 1.0, "higher"),
    Figure(
        "mask_fill",
        "share",
        "Longest side of the object in its photo, without stray parts below 1 % of the mask, divided by the side that "
        "the crop aims at; smallest of all photos. Below 1, stray parts have enlarged the crop.",
        1.0,
        "higher",
    ),
    Figure("mask_fill_picture", "", "The photo with this mask_fill, if it breaks its rule."),
    Figure("mesh", "", "Given labels: whether the stored mesh is from a file or a Poisson reconstruction."),
    Figure("points_given", "points", "Given labels: points in the file."),
    Figure("clipped", "points", "Given labels: points outside the cube, moved to its border.", 0.0, "lower"),
    Figure("surface_mean", "longest sides", "Given labels: mean distance from cloud to stored mesh.", 0.0, "lower"),
    Figure("warnings", "", "Names of the broken rules."),
)

FIGURES: Mapping[str, Figure] = {f.name: f for f in _FIGURES}
"""Every figure by its name in the manifest."""

RULES = (
    Rule(
        "faces-dropped", "warning", "faces_dropped", "over", 0, "faces of the file could not be read",
        "Look at the shape: if it is whole, nothing; else export the model again. The dropped_ figures say why.",
    ),
    Rule(
        "label-disagreement", "reject", "label_agreement", "under", 0.999, "two inside tests differ on over 0.1 %",
        "A fault of the closed mesh: use another `watertight` method, and report the model.",
    ),
    Rule(
        "surface-lost", "reject", "lost_share", "over", 0.1, "over 10 % of the surface is missing",
        "Raise `resolution`; if that does not help, use another `watertight` method.",
    ),
    Rule(
        "component-lost", "warning", "lost_components", "over", 0, "a part above 0.1 % of the surface is missing",
        "Look at the shape: a part thinner than a cell may be lost; raise `resolution` to keep it.",
    ),
    Rule(
        "thickened", "warning", "bias_voxels", "over", 0.5, "the surface is over half a voxel outside on average",
        "Expected of sheets without thickness and of `watertight='fusion'`; raise `resolution` to thicken less.",
    ),
    Rule(
        "volume-changed", "warning", "volume_ratio", "over", 1.3, "the volume is over 1.3 times the file's",
        "Look at the shape: thin parts were thickened or cavities filled; raise `resolution` to thicken less.",
    ),
    Rule(
        "volume-shrunk", "warning", "volume_ratio", "under", 0.77, "the volume is under 0.77 times the file's",
        "Nothing, if parts of the model overlap: the file's volume counts them twice. Else raise `resolution`.",
    ),
    Rule(
        "hollow", "warning", "hollow", "over", 0.1, "the file's surface has a hole, and its inside is labelled outside",
        "The shape is labelled as a shell, like a pot, not as a solid. Nothing, if it is one; else close the hole in "
        "the model, or leave the shape out.",
    ),
    Rule(
        "box-drift", "warning", "box_drift_voxels", "over", 2.0, "the bounding box moved by over two voxels",
        "Look at the shape: a part at its border is lost or thickened, so its cameras are slightly off; raise "
        "`resolution`.",
    ),
    Rule(
        "voxel-disagreement", "warning", "voxel_agreement", "under", 0.9, "under 90 % agree with the source's voxels",
        "Nothing, if the shape looks right: the release's voxels fill cavities and thicken panels.",
    ),
    Rule(
        "grid-coarse", "warning", "grid_resolution", "under", "grid_wanted", "the grid is coarser than needed",
        "Nothing, if details below a cell do not matter; else simplify the model: it has more surface than the grid's "
        "memory allows.",
    ),
    Rule(
        "nearly-empty", "warning", "occupied", "under", 0.001, "under 0.1 % of the cube is inside",
        "Remove stray parts that are far from the object; for very thin shapes, prepare `near_points` as well.",
    ),
    Rule(
        "mask-strays", "warning", "mask_fill", "under", 0.97, "stray parts of a mask make its object 3 % smaller",
        "Erase the small stray parts of the mask; mask_fill_picture names its photo.",
    ),
)  # fmt: skip
"""All thresholds. A shape that breaks a reject rule is rejected with its name; the others give warnings."""


def direction(figure: Figure) -> str:
    """The ideal as text: ``1, higher is better``; empty for a descriptive figure."""
    if figure.ideal is None:
        return ""
    return "yes" if figure.unit == "yes/no" else f"{figure.ideal:g}, {figure.better} is better"


def broken_rules(figures: Mapping[str, Any]) -> tuple[Rule, ...]:
    """The rules that ``figures`` break, in the order of ``RULES``."""
    return tuple(rule for rule in RULES if rule.broken(figures))
