"""Decompress geometry: EXT_meshopt_compression with meshoptimizer, KHR_draco_mesh_compression with DracoPy.

If a library is missing and the file has no uncompressed copy, the reject says what to install.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np

from pix3d_onet.errors import RejectError
from pix3d_onet.geometry.mesh.formats.gltf.checked import Checked
from pix3d_onet.geometry.mesh.formats.soup import damaged, too_large, unsupported
from pix3d_onet.types import Float64, Int64, UInt8

MESHOPT = ("EXT_meshopt_compression", "KHR_meshopt_compression")
FILTERS = {
    "OCTAHEDRAL": ("decode_filter_oct", (4, 8)),
    "QUATERNION": ("decode_filter_quat", (8,)),
    "EXPONENTIAL": ("decode_filter_exp", range(4, 257, 4)),
}
"""Filter → the library's function and the strides that it accepts; with others it would write out of bounds."""


def installed(module: str) -> bool:
    """Whether an optional library is installed."""
    return importlib.util.find_spec(module) is not None


def unpacked_view(view: Checked, room: int, span: Callable[[Checked], UInt8]) -> UInt8 | None:
    """The bytes of a buffer view compressed with meshopt; None if it is not compressed, or if meshoptimizer is missing
    and there is an uncompressed copy. ``room``: most bytes allowed."""
    packed = next((found for name in MESHOPT if (found := view.extension(name)) is not None), None)
    if packed is None:
        return None
    if not installed("meshoptimizer"):
        try:
            return span(view)
        except RejectError:
            raise unsupported("it is compressed with meshopt: pip install meshoptimizer") from None
    count, stride = packed.integer("count", low=1), packed.integer("byteStride", low=1, high=256)
    if count * stride > room:
        raise too_large(f"{packed.what} unpacks to more bytes than a file of this size may")
    if count * stride != view.integer("byteLength"):
        raise damaged(f"{packed.what}: {count} elements of {stride} bytes are not the buffer view's length")
    return _meshopt(span(packed).tobytes(), packed, count, stride)


def _meshopt(data: bytes, packed: Checked, count: int, stride: int) -> UInt8:
    import meshoptimizer

    mode, name = packed.get("mode"), packed.get("filter", "NONE")
    try:
        if mode == "ATTRIBUTES":
            found = np.ascontiguousarray(meshoptimizer.decode_vertex_buffer(count, stride, data)).view(np.uint8)
            if name != "NONE":
                found = _filtered(found, packed, count, stride)
        elif mode in ("TRIANGLES", "INDICES") and name == "NONE" and stride in (2, 4):
            decode = getattr(meshoptimizer, "decode_index_buffer" if mode == "TRIANGLES" else "decode_index_sequence")
            found = np.asarray(decode(count, 4, data))  # with 2-byte indices it would fill only half of the array
            found = found.astype(f"<u{stride}").view(np.uint8)
        else:
            raise unsupported(f"{packed.what}: mode {str(mode)[:20]!r} with filter {str(name)[:20]!r}")
    except (RuntimeError, ValueError) as error:
        raise damaged(f"{packed.what}: {str(error)[:80]}") from None
    found = found.reshape(-1)
    if len(found) != count * stride:
        raise damaged(f"{packed.what}: unpacks to {len(found)} bytes, not {count * stride}")
    return found


def _filtered(values: UInt8, packed: Checked, count: int, stride: int) -> UInt8:
    import meshoptimizer

    name = packed.get("filter")
    function, strides = FILTERS.get(name, ("", ())) if isinstance(name, str) else ("", ())
    if stride not in strides:
        raise unsupported(f"{packed.what}: filter {str(name)[:20]!r} on {stride} bytes")
    found: Any = getattr(meshoptimizer, function)(values.reshape(-1), count, stride)
    return np.ascontiguousarray(found).view(np.uint8)


def draco_mesh(data: UInt8) -> tuple[Float64, Int64]:
    """(V, 3) positions and (F, 3) faces of a Draco buffer. RejectError if DracoPy is missing or cannot read it."""
    if not installed("DracoPy"):
        raise unsupported("it is compressed with Draco: pip install DracoPy")
    import DracoPy

    try:
        mesh = DracoPy.decode(data.tobytes())
        return np.asarray(mesh.points, dtype=np.float64), np.asarray(mesh.faces, dtype=np.int64).reshape(-1, 3)
    except Exception as error:  # noqa: BLE001 - the native decoder raises many kinds of errors on damaged data
        raise damaged(f"its Draco data cannot be decoded ({type(error).__name__}: {str(error)[:80]})") from None
