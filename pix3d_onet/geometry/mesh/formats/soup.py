"""What a format's reader hands back, and the one way in which it refuses a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pix3d_onet.errors import RejectError
from pix3d_onet.types import Float64, Int64, Mesh

MAX_FACES = 20_000_000
"""More triangles than any model of the field has; also the limit for vertices."""


@dataclass(frozen=True, slots=True, eq=False)
class Soup:
    """Triangles as a file gives them, unchecked: indices may point nowhere, coordinates may be NaN.

    ``vertices`` (V, 3) float64 and ``faces`` (F, 3) int64 in the file's frame. ``lost`` counts faces that the reader
    itself could not turn into triangles, by reason; ``left_out`` counts what has no surface or is not modelled (lines,
    animations). ``remark`` quotes the first line that could not be read, for messages. ``doubt`` is a sentence about
    the file (an end mark is missing) that does not matter where the surface is closed and condemns it where it is open.
    """

    vertices: Float64
    faces: Int64
    lost: Mapping[str, int] = field(default_factory=dict)
    left_out: Mapping[str, int] = field(default_factory=dict)
    remark: str = ""
    doubt: str = ""

    @property
    def mesh(self) -> Mesh:
        """Vertices and faces alone."""
        return Mesh(self.vertices, self.faces)


def damaged(message: str) -> RejectError:
    """The reject of a file that breaks the rules of its format."""
    return RejectError("unreadable-mesh", message, "mesh")


def truncated(message: str) -> RejectError:
    """The reject of a file that ends before its content does."""
    return RejectError("truncated-mesh", message, "mesh")


def unsupported(message: str) -> RejectError:
    """The reject of a sound file that uses a feature which is not read."""
    return RejectError("mesh-feature", message, "mesh")


def too_large(message: str) -> RejectError:
    """The reject of a file that declares more than is read; raised before anything of that size is allocated."""
    return RejectError("mesh-too-large", message, "mesh")
