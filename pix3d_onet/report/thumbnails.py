"""A cache of shaded pictures of meshes, so that each mesh is rendered once per report."""

from __future__ import annotations

from pix3d_onet.geometry.render.look import PREDICTION_COLOUR, TRUTH_COLOUR
from pix3d_onet.report.shade import shade
from pix3d_onet.types import Mesh, UInt8

THUMBNAIL = 256
"""Side of a thumbnail, pixels."""


class Thumbnails:
    """Shaded pictures by mesh. It keeps references to the meshes, so use one object per report."""

    def __init__(self, size: int = THUMBNAIL) -> None:
        self.size = size
        self._done: dict[tuple[int, bool], tuple[Mesh, UInt8]] = {}

    def of(self, mesh: Mesh, *, truth: bool) -> UInt8:
        """(size, size, 4) uint8: ``mesh`` (normalised frame) on nothing, grey for truth, blue for a reconstruction."""
        key = (id(mesh), truth)
        if key not in self._done:
            colour = TRUTH_COLOUR if truth else PREDICTION_COLOUR
            self._done[key] = (mesh, shade(mesh.vertices, mesh.faces, size=self.size, colour=colour, transparent=True))
        return self._done[key][1]
