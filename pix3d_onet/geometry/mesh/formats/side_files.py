"""The files of a mesh, and their digest. Needs no geometry library, so that a data set can be verified without any."""

from __future__ import annotations

import json
from pathlib import Path

from pix3d_onet.errors import RejectError
from pix3d_onet.files import digest, file_digest, read_bytes
from pix3d_onet.geometry.mesh.formats.gltf.container import MAX_BUFFER_BYTES, SideFiles, external_uris, read_document

WITH_SIDE_FILES = (".gltf", ".glb")


def mesh_files(path: Path, root: Path) -> list[Path]:
    """The mesh file, and its different glTF buffers inside ``root``, in the document's order.

    A damaged document has none. OSError if the mesh file cannot be read.
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
    return list(dict.fromkeys(found))


def mesh_digest(path: Path, root: Path) -> str:
    """SHA-256 in hex: of the file's bytes, or, if it has side files, of the JSON list of the digests of all files.

    A side file that cannot be read is in the list with its error. OSError if the mesh file cannot be read.
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
