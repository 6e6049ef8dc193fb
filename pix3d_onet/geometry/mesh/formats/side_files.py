"""Which files a mesh consists of. Standard library only: verifying a data set needs no geometry libraries."""

from __future__ import annotations

import json
from pathlib import Path

from pix3d_onet.errors import RejectError
from pix3d_onet.files import digest, file_digest, read_bytes
from pix3d_onet.geometry.mesh.formats.gltf.container import MAX_BUFFER_BYTES, SideFiles, external_uris, read_document

WITH_SIDE_FILES = (".gltf", ".glb")


def mesh_files(path: Path, root: Path) -> list[Path]:
    """The mesh file and, in the document's order, the buffers that it names inside ``root``. OSError for an unreadable
    mesh file; a damaged document has no side files.
    """
    if path.suffix.lower() not in WITH_SIDE_FILES:
        return [path]
    files = SideFiles(path.parent, root)
    found = [path]
    try:
        for uri in external_uris(read_document(read_bytes(path, limit=MAX_BUFFER_BYTES)).root):
            found.append(files.path(uri))
    except RejectError:
        pass
    return found


def mesh_digest(path: Path, root: Path) -> str:
    """SHA-256 in hex over all of these: of the file alone that of its bytes, otherwise that of the list of theirs.

    A side file that cannot be read counts as such. OSError where the mesh file itself cannot be.
    """
    first, *others = mesh_files(path, root)
    if not others:
        return file_digest(first, limit=MAX_BUFFER_BYTES)
    return digest(json.dumps([file_digest(first, limit=MAX_BUFFER_BYTES), *map(_content, others)]).encode())


def _content(path: Path) -> str:
    try:
        return file_digest(path, limit=MAX_BUFFER_BYTES)
    except OSError as error:
        return f"unreadable: {error.strerror}"
