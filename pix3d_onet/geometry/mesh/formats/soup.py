"""The result of a format's parser, and the rejects that parsers raise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pix3d_onet.errors import RejectError
from pix3d_onet.types import Float64, Int64, Mesh

MAX_FACES = 20_000_000
"""Most triangles that are read; also the limit for vertices."""


@dataclass(frozen=True, slots=True, eq=False)
class Soup:
    """Triangles of a file, not checked: indices may be out of range, coordinates may be NaN.

    ``vertices`` (V, 3) float64 and ``faces`` (F, 3) int64 in the file's frame. ``lost``: number of faces that could not
    become triangles, by reason. ``left_out``: number of elements without a surface or of a kind that is not read
    (lines, animations). ``remark``: quotes the first unreadable line, for messages. ``doubt``: why the file may be
    truncated (for example a missing end mark); it is rejected for that if its surface is open.
    """

    vertices: Float64
    faces: Int64
    lost: Mapping[str, int] = field(default_factory=dict)
    left_out: Mapping[str, int] = field(default_factory=dict)
    remark: str = ""
    doubt: str = ""

    @property
    def mesh(self) -> Mesh:
        """Vertices and faces as a mesh."""
        return Mesh(self.vertices, self.faces)


def damaged(message: str) -> RejectError:
    """The reject of a file that violates its format."""
    return RejectError("unreadable-mesh", message, "mesh")


def truncated(message: str) -> RejectError:
    """The reject of a file that ends before its content does."""
    return RejectError("truncated-mesh", message, "mesh")


def unsupported(message: str) -> RejectError:
    """The reject of a valid file with a feature that is not read."""
    return RejectError("mesh-feature", message, "mesh")


def too_large(message: str) -> RejectError:
    """The reject of a file that declares more than is read; raised before memory of that size is allocated."""
    return RejectError("mesh-too-large", message, "mesh")
