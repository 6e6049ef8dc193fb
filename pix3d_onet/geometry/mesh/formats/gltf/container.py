"""The document of a .gltf or .glb file, its extensions and its buffers.

Needs no geometry library, so that a data set can be verified without any.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import posixpath
import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, unquote_to_bytes

from pix3d_onet.errors import RejectError
from pix3d_onet.files import inside, is_file, read_bytes
from pix3d_onet.geometry.mesh.formats.gltf.checked import Checked
from pix3d_onet.geometry.mesh.formats.soup import damaged, too_large, truncated, unsupported

MAGIC = b"glTF"
JSON_CHUNK, BINARY_CHUNK = 0x4E4F534A, 0x004E4942
MAX_BUFFER_BYTES = 1 << 30
MAX_BUFFERS = 100_000
"""Most buffers of a document; some writers make one per accessor."""
DATA_URI = re.compile(r"data:[^,]*?(;base64)?,", re.IGNORECASE)
SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")

READ = (
    "EXT_mesh_gpu_instancing",
    "EXT_meshopt_compression",
    "KHR_draco_mesh_compression",
    "KHR_mesh_quantization",
    "KHR_meshopt_compression",
)
"""Extensions that change geometry and are read."""
HARMLESS = re.compile(
    r"(KHR|EXT|MSFT|ADOBE|NV|VRMC?|OMI|MOZ|GODOT|SKETCHFAB|CESIUM|GOOGLE)_(materials?|texture|lights?|xmp|animation|audio|"
    r"physics|implicit|interactivity|camera|emitter|packing|springBone|constraint|hubs|techniques)\w*"
    r"|KHR_node_(selectability|hoverability)|EXT_mesh_features|EXT_structural_metadata|EXT_instance_features"
    r"|EXT_mesh_manifold|EXT_property_\w+|CESIUM_primitive_outline|EXT_mesh_primitive_edge_visibility"
    r"|FB_geometry_metadata|FB_ngon_encoding|GODOT_single_root|GRIFFEL_bim_data|(AGI|ASOBO|NEEDLE|OMI|VRMC)_\w+"
    r"|MSFT_lod|VRM"
)
"""Extensions that do not change a model's rest shape: materials, lights, metadata, coarser levels of detail."""


class SideFiles:
    """Opens the buffers of a document in ``folder``, only inside ``root``."""

    def __init__(self, folder: Path, root: Path) -> None:
        self.folder = folder
        self.root = root
        self._contents: dict[tuple[int, int], bytes] = {}

    def path(self, uri: str) -> Path:
        """The path of a relative URI, percent-decoded, or not decoded if only that file exists.

        RejectError ``unsafe-path`` if it leads out of the root, also through a link.
        """
        if SCHEME.match(uri) or uri.startswith(("/", "\\")):
            raise RejectError("unsafe-path", f"buffer {uri[:80]!r} is not a relative path", "mesh")
        paths = [self._inside(name) for name in dict.fromkeys((unquote(uri), uri))]
        return next((path for path in paths if is_file(path)), paths[0])

    def _inside(self, name: str) -> Path:
        try:
            folder = self.folder.relative_to(self.root).as_posix()
        except ValueError:
            raise RejectError("unsafe-path", f"{self.folder} lies outside of {self.root}", "mesh") from None
        return inside(self.root, posixpath.normpath(posixpath.join(folder, name)))

    def size(self, uris: Iterable[str]) -> int:
        """Bytes of the files together; one with several names counts once, a missing one not at all."""
        found = [path.stat() for path in map(self.path, uris) if is_file(path)]
        return sum({_identity(status): status.st_size for status in found}.values())

    def read(self, uri: str) -> bytes:
        """The bytes of the file. RejectError if it cannot be read."""
        path = self.path(uri)
        try:
            if not path.is_file():
                raise damaged(f"its buffer {uri[:80]!r} does not exist")
            status = path.stat()
            if status.st_size > MAX_BUFFER_BYTES:
                raise too_large(f"its buffer {uri[:80]!r} has over {MAX_BUFFER_BYTES >> 20} MiB")
            if _identity(status) not in self._contents:
                self._contents[_identity(status)] = read_bytes(path, limit=MAX_BUFFER_BYTES)
            return self._contents[_identity(status)]
        except OSError as error:
            raise damaged(f"its buffer {uri[:80]!r}: {error.strerror}") from None


def _identity(status: os.stat_result) -> tuple[int, int]:
    """The same for all names of a file."""
    return status.st_dev, status.st_ino


@dataclass(frozen=True, slots=True, eq=False)
class Document:
    """The JSON of a file, and the binary chunk of a GLB, or None."""

    root: Checked
    chunk: bytes | None


def read_document(data: bytes) -> Document:
    """Parse a .gltf or .glb file; the kind is detected from its bytes. RejectError if it is damaged."""
    text, chunk = _chunks(data) if data.startswith(MAGIC) else (data, None)
    try:
        # some writers pad the chunk with NUL instead of spaces
        value = json.loads(text.removeprefix(b"\xef\xbb\xbf").rstrip(b"\x00"), parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise damaged(f"its JSON cannot be read ({str(error)[:80]})") from None
    if not isinstance(value, dict):
        raise damaged("its JSON is not an object")
    root = Checked(value, "the document")
    asset = root.part("asset") if "asset" in root else Checked({}, "asset")
    version, least = (str(asset.get(key, "2.0")) for key in ("version", "minVersion"))
    if version.partition(".")[0] != "2":
        raise unsupported(f"glTF version {version[:20]!r}; 2.x is read")
    if least != "2.0":
        raise unsupported(f"it needs a reader of glTF {least[:20]!r}; 2.0 is read")
    return Document(root, chunk)


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def _chunks(data: bytes) -> tuple[bytes, bytes | None]:
    """The JSON chunk and the binary chunk (or None) of a GLB."""
    if len(data) < 12:
        raise truncated("a GLB header without content")
    version, length = struct.unpack_from("<II", data, 4)
    if version != 2:
        raise unsupported(f"GLB version {version}; 2 is read")
    if length > len(data):
        raise truncated(f"its header declares {length} bytes, it has {len(data)}")
    chunks: list[tuple[int, bytes]] = []
    at = 12
    while at + 8 <= length:
        size, kind = struct.unpack_from("<II", data, at)
        if at + 8 + size > length:
            raise truncated(f"a chunk of {size} bytes, of which {length - at - 8} are there")
        chunks.append((kind, data[at + 8 : at + 8 + size]))
        at += 8 + size
    if not chunks or chunks[0][0] != JSON_CHUNK:
        raise damaged("its first chunk is not JSON")
    return chunks[0][1], chunks[1][1] if len(chunks) > 1 and chunks[1][0] == BINARY_CHUNK else None


def check_extensions(root: Checked) -> None:
    """RejectError if the file requires an extension that is not read."""
    for name in root.names("extensionsRequired"):
        if name not in READ and not HARMLESS.fullmatch(name):
            raise unsupported(f"it requires the extension {name[:80]!r}, which is not read")


def check_used(item: Checked) -> None:
    """RejectError if ``item`` uses an extension that may change geometry and is not read."""
    for name in item.part("extensions") if "extensions" in item else ():
        if name not in READ and not HARMLESS.fullmatch(name):
            raise unsupported(f"{item.what} uses the extension {name[:80]!r}, which is not read")


def external_uris(root: Checked) -> list[str]:
    """Different URIs of the buffers in separate files, in order. RejectError for more than ``MAX_BUFFERS`` buffers."""
    uris = [buffer.get("uri") for buffer in root.items("buffers", MAX_BUFFERS)]
    return list(dict.fromkeys(uri for uri in uris if isinstance(uri, str) and uri[:5].lower() != "data:"))


def embedded(uri: str) -> bytes:
    """The bytes of a ``data:`` URI."""
    head = DATA_URI.match(uri)
    if head is None:
        raise damaged("a data: URI without data")
    body = unquote_to_bytes(uri[head.end() :])
    if not head[1]:
        return body
    body = b"".join(body.split())  # like browsers: white space is ignored, padding may be missing
    try:
        return base64.b64decode(body + b"=" * (-len(body) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise damaged(f"a data: URI that cannot be decoded ({error})") from None


def buffer_bytes(document: Document, index: int, files: SideFiles) -> memoryview:
    """The first ``byteLength`` bytes of a buffer. RejectError if there are fewer."""
    buffer = document.root.item("buffers", index)
    length = buffer.integer("byteLength", low=1)
    uri: Any = buffer.get("uri")
    if uri is None:
        if index or document.chunk is None:
            raise damaged(f"{buffer.what} has no data")
        data = document.chunk
    elif not isinstance(uri, str):
        raise damaged(f"{buffer.what}: its uri is not a string")
    else:
        data = embedded(uri) if uri[:5].lower() == "data:" else files.read(uri)
    if len(data) < length:
        raise truncated(f"{buffer.what} declares {length} bytes and has {len(data)}")
    return memoryview(data)[:length]
