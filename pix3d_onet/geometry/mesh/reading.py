"""Read a mesh file of any format, with limits, only inside its root, and count what is dropped."""

from __future__ import annotations

import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pix3d_onet.errors import MissingDependencyError, RejectError
from pix3d_onet.files import read_bytes
from pix3d_onet.geometry.mesh.cleaning import clean_counted, merge_vertices
from pix3d_onet.geometry.mesh.formats.gltf.container import SideFiles
from pix3d_onet.geometry.mesh.formats.gltf.scene import parse_gltf
from pix3d_onet.geometry.mesh.formats.obj import parse_obj
from pix3d_onet.geometry.mesh.formats.off import parse_off
from pix3d_onet.geometry.mesh.formats.ply import parse_ply
from pix3d_onet.geometry.mesh.formats.soup import Soup
from pix3d_onet.geometry.mesh.formats.stl import parse_stl
from pix3d_onet.geometry.mesh.topology import is_watertight
from pix3d_onet.types import MESH_SUFFIXES, Mesh

READERS: Mapping[str, Callable[[bytes], Soup]] = {
    ".obj": parse_obj,
    ".off": parse_off,
    ".ply": parse_ply,
    ".stl": parse_stl,
}
"""File extension → parser. With glTF, whose parser also needs side files, these are ``types.MESH_SUFFIXES``."""
MAX_MESH_BYTES = 1 << 30
"""Larger files are rejected without reading them."""
MAX_LOST_SHARE = 0.01
"""Largest fraction of unreadable faces; above it the file is rejected, because a whole side may be missing."""
LOST = ("bad-index", "not-finite", "crossed")
"""Reasons that count towards it. Faces with two equal, or fewer than three, corners have no area, so nothing is
lost."""


@dataclass(frozen=True, slots=True, eq=False)
class ReadMesh:
    """A mesh, and counts of the rest of its file.

    ``dropped``: number of faces by reason: ``bad-index`` (an index without a vertex), ``not-finite`` (a coordinate is
    NaN or infinite), ``crossed`` (polygons that cross themselves; they are kept, but no triangulation of them is
    right), ``few-corners``, ``degenerate`` (equal corners). ``left_out``: number of elements without a surface, or of
    a kind that is not read, by name.
    """

    mesh: Mesh
    dropped: Mapping[str, int]
    left_out: Mapping[str, int]

    @property
    def figures(self) -> dict[str, Any]:
        """As quality figures: ``faces_dropped`` (sum over :data:`LOST`), ``dropped_*`` by reason, ``left_out`` as
        text."""
        reasons = {f"dropped_{k.replace('-', '_')}": n for k, n in self.dropped.items()}
        left_out = ", ".join(f"{n} {what}" for what, n in self.left_out.items() if n)
        return {"faces_dropped": sum(self.dropped[k] for k in LOST), **reasons, "left_out": left_out or None}


def load_mesh(path: Path, *, root: Path | None = None) -> Mesh:
    """As :func:`read_mesh`, but returns only the mesh."""
    return read_mesh(path, root=root).mesh


def read_mesh(path: Path, *, root: Path | None = None) -> ReadMesh:
    """Read a mesh file in its own frame; polygons become triangles.

    Side files (glTF buffers) are opened only inside ``root`` (None: the file's folder), OBJ material libraries never.
    Raises RejectError (stage ``mesh``) with reason ``missing-mesh``, ``unreadable-mesh``, ``truncated-mesh``,
    ``damaged-mesh`` (over :data:`MAX_LOST_SHARE` of the faces lost), ``mesh-format``, ``mesh-feature``,
    ``mesh-too-large``, ``unsafe-path`` or a reason of :func:`~pix3d_onet.geometry.mesh.cleaning.clean`.
    """
    suffix = path.suffix.lower()
    if suffix not in MESH_SUFFIXES:
        raise RejectError("mesh-format", f"{path.name}: not one of {', '.join(MESH_SUFFIXES)}", "mesh")
    try:
        return _accounted(_parse(_read(path), suffix, path, root or path.parent))
    except (MissingDependencyError, ImportError):
        raise
    except RejectError as error:
        raise RejectError(error.reason, f"{path.name}: {error.message}", "mesh") from None
    except MemoryError:
        raise RejectError("mesh-too-large", f"{path.name}: needs more memory than is available", "mesh") from None


def _read(path: Path) -> bytes:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise RejectError("unreadable-mesh", "not a file")
        if status.st_size > MAX_MESH_BYTES:
            raise RejectError("mesh-too-large", f"over {MAX_MESH_BYTES >> 20} MiB")
        return read_bytes(path, limit=MAX_MESH_BYTES)
    except FileNotFoundError:
        raise RejectError("missing-mesh", "does not exist") from None
    except OSError as error:
        raise RejectError("unreadable-mesh", str(error.strerror)) from None


def _parse(data: bytes, suffix: str, path: Path, root: Path) -> Soup:
    try:
        if suffix in READERS:
            return READERS[suffix](data)
        return parse_gltf(data, SideFiles(path.parent, root))
    except (RejectError, MissingDependencyError, ImportError, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001 - any other error on a damaged file is a reject, too
        detail = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        raise RejectError("unreadable-mesh", detail, "mesh") from None


def _accounted(soup: Soup) -> ReadMesh:
    """The cleaned mesh and its counts. RejectError if too many faces are lost, or the file seems truncated."""
    remark = f" ({soup.remark})" if soup.remark else ""
    try:
        mesh, dropped = clean_counted(soup.mesh)
    except RejectError as error:
        raise RejectError(error.reason, f"{error.message}{remark}") from None
    dropped = {**dropped, **{k: soup.lost.get(k, 0) for k in ("few-corners", "crossed")}}
    check_lost(dropped, len(soup.faces), remark)
    if soup.doubt and not is_watertight(merge_vertices(mesh)):
        raise RejectError("truncated-mesh", f"{soup.doubt}, and the surface is open")
    return ReadMesh(mesh, dropped, soup.left_out)


def check_lost(dropped: Mapping[str, int], faces: int, remark: str = "") -> None:
    """RejectError ``damaged-mesh`` if more than :data:`MAX_LOST_SHARE` of ``faces`` were ``dropped``, by reason, that
    are part of the surface."""
    lost = {k: dropped[k] for k in LOST if dropped.get(k)}
    if sum(lost.values()) > MAX_LOST_SHARE * faces:
        reasons = ", ".join(f"{k} {n}" for k, n in lost.items())
        raise RejectError("damaged-mesh", f"{reasons} of {faces} faces{remark}", "mesh")
