"""Reading a mesh file of any format: bounded, inside its root, and with an account of what was not taken."""

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
"""Ending → parser; glTF, which may have side files, has its own. Together they are ``types.MESH_SUFFIXES``."""
MAX_MESH_BYTES = 1 << 30
"""Larger files are rejected unread."""
MAX_LOST_SHARE = 0.01
"""Share of a file's faces that may be unreadable; with more it is a reject: a whole side may be missing."""
LOST = ("bad-index", "not-finite", "crossed")
"""Reasons that count towards it. A face with two equal corners, or with fewer than three, has no area to be missed."""


@dataclass(frozen=True, slots=True, eq=False)
class ReadMesh:
    """A mesh and what its file held besides.

    ``dropped`` counts faces by reason: ``bad-index`` (a corner that is no vertex), ``not-finite`` (a coordinate is no
    number), ``crossed`` (polygons that cross themselves: kept, but wrong either way), ``few-corners``, ``degenerate``
    (equal corners). ``left_out`` counts what has no surface or is not modelled.
    """

    mesh: Mesh
    dropped: Mapping[str, int]
    left_out: Mapping[str, int]

    @property
    def figures(self) -> dict[str, Any]:
        """Both as quality figures: ``faces_dropped`` (:data:`LOST`), ``dropped_*`` by reason, ``left_out`` in words."""
        reasons = {f"dropped_{k.replace('-', '_')}": n for k, n in self.dropped.items()}
        left_out = ", ".join(f"{n} {what}" for what, n in self.left_out.items() if n)
        return {"faces_dropped": sum(self.dropped[k] for k in LOST), **reasons, "left_out": left_out or None}


def load_mesh(path: Path, *, root: Path | None = None) -> Mesh:
    """The mesh of :func:`read_mesh` alone."""
    return read_mesh(path, root=root).mesh


def read_mesh(path: Path, *, root: Path | None = None) -> ReadMesh:
    """Read a mesh file as one soup of triangles in its own frame; polygons are cut into triangles.

    Files that it refers to (glTF buffers) are opened only inside ``root`` (the file's folder when None); OBJ material
    libraries never. Raises RejectError (stage ``mesh``) with reason ``missing-mesh``, ``unreadable-mesh``,
    ``truncated-mesh``, ``damaged-mesh`` (over :data:`MAX_LOST_SHARE` of the faces lost), ``mesh-format``,
    ``mesh-feature``, ``mesh-too-large``, ``unsafe-path`` or one of :func:`~pix3d_onet.geometry.mesh.cleaning.clean`'s.
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
        raise RejectError("mesh-too-large", f"{path.name}: takes more memory than there is", "mesh") from None


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
    except Exception as error:  # noqa: BLE001 - what no reader foresaw in a damaged file is a reject like the rest
        detail = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        raise RejectError("unreadable-mesh", detail, "mesh") from None


def _accounted(soup: Soup) -> ReadMesh:
    """The cleaned mesh, once what was lost on the way is little enough."""
    remark = f" ({soup.remark})" if soup.remark else ""
    try:
        mesh, dropped = clean_counted(soup.mesh)
    except RejectError as error:
        raise RejectError(error.reason, f"{error.message}{remark}") from None
    dropped = {**dropped, **{k: soup.lost.get(k, 0) for k in ("few-corners", "crossed")}}
    lost = {k: dropped[k] for k in LOST if dropped[k]}
    if sum(lost.values()) > MAX_LOST_SHARE * len(soup.faces):
        reasons = ", ".join(f"{k} {n}" for k, n in lost.items())
        raise RejectError("damaged-mesh", f"{reasons} of {len(soup.faces)} faces{remark}")
    if soup.doubt and not is_watertight(merge_vertices(mesh)):
        raise RejectError("truncated-mesh", f"{soup.doubt}, and the surface is open")
    return ReadMesh(mesh, dropped, soup.left_out)
