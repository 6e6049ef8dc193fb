"""Another method's meshes as a row of an evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from pix3d_onet.config import Frame
from pix3d_onet.data.store.reader import Dataset
from pix3d_onet.errors import RejectError
from pix3d_onet.evaluation.baselines import mesh_prediction
from pix3d_onet.evaluation.evaluate import split_entries
from pix3d_onet.evaluation.mesh_names import usable_meshes
from pix3d_onet.events import Emit, ignore
from pix3d_onet.geometry.mesh.cleaning import transformed
from pix3d_onet.geometry.mesh.inside.any_mesh import inside_any_mesh
from pix3d_onet.geometry.mesh.reading import load_mesh
from pix3d_onet.learning.extraction.predictor import Prediction
from pix3d_onet.types import Bool, Float32, Mesh, Normalisation, Rejected, Sample, View

NOTHING = Mesh(np.empty((0, 3)), np.empty((0, 3), np.int64))
"""The prediction where there is no usable mesh."""


MOST_STRETCH, MOST_SHIFT = 1.25, 0.125
"""In the normalised frame a true box has the longest side 1 and its centre at the origin. A method whose median mesh is
larger or smaller by more than this factor, or shifted by more than this distance, is probably in another frame."""


@dataclass(slots=True, eq=False)
class MeshFolder:
    """The meshes of ``folder``, which are in ``frame``. A picture without a usable one counts as empty.

    ``meshes``: record id → its mesh, or why it has none. ``rejected`` and ``open`` (meshes that do not bound solids,
    so that solid angles decide what is inside) are filled while pictures are scored; so is ``boxes``: the longest side
    of each mesh in the normalised frame, and the distance of its box's centre from the origin.
    """

    name: str
    folder: Path
    frame: Frame
    meshes: Mapping[str, Path | Rejected]
    open: int = 0
    rejected: list[Rejected] = field(default_factory=list)
    boxes: list[tuple[float, float]] = field(default_factory=list)

    @property
    def settings(self) -> Mapping[str, Any]:
        """Folder and frame, and what was found; ``longest_side`` and ``shift`` are medians."""
        names = {"meshes": self.folder.resolve().name, "mesh_frame": self.frame, "open": self.open}
        longest, shift = (median(values) for values in zip(*self.boxes, strict=True)) if self.boxes else (None, None)
        names |= {"longest_side": longest, "shift": shift, "in_frame": in_frame(longest, shift)}
        return names | {"rejected": [asdict(r) for r in self.rejected]}

    def usable(self, view: View) -> bool:
        """True: a picture without a mesh counts as empty."""
        return True

    def predict(self, sample: Sample, view: View) -> Prediction:
        """The mesh of ``view`` in the normalised frame, or an empty one; ``sample`` gives its frame."""
        path = self.meshes[view.record_id]
        try:
            if isinstance(path, Rejected):
                raise RejectError(path.reason, path.detail, path.stage)
            mesh = load_mesh(path, root=self.folder)
        except RejectError as error:
            row = Rejected(sample.object_id, view.record_id, error.stage, error.reason, error.message)
            self.rejected.append(row)
            return mesh_prediction(NOTHING, lambda _, points: np.zeros(len(points), np.bool_))
        if self.frame == "original":
            mesh = transformed(mesh, Normalisation(sample.loc, sample.scale))
        low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
        self.boxes.append((float((high - low).max()), float(np.linalg.norm((low + high) / 2))))
        test, closed = inside_any_mesh(mesh)
        self.open += not closed

        def inside(_: Mesh, points: Float32) -> Bool:
            return test(points)

        return mesh_prediction(mesh, inside)


def in_frame(longest: float | None, shift: float | None) -> bool:
    """Whether meshes with these medians seem to be in the normalised frame; True if there are none."""
    if longest is None or shift is None:
        return True
    return 1 / MOST_STRETCH <= longest <= MOST_STRETCH and shift <= MOST_SHIFT


def mesh_folder(
    name: str, folder: Path, frame: Frame, dataset: Dataset, split: str, limit: int, *, emit: Emit = ignore
) -> MeshFolder:
    """Find and check the meshes for the pictures of a split. InputError if there is none."""
    entries = split_entries(dataset, split, limit)
    pictures = {
        record: entry.object_id
        for entry in entries
        for record, of in zip(entry.record_ids, entry.image_splits, strict=True)
        if of == split
    }
    return MeshFolder(name, folder, frame, usable_meshes(folder, pictures, emit=emit))
