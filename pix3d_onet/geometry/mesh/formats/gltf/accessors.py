"""Read accessors as arrays: strided, sparse, normalized, any component type, inside the bounds of their buffers."""

from __future__ import annotations

from typing import Any

import numpy as np

from pix3d_onet.geometry.mesh.formats.gltf.checked import Checked
from pix3d_onet.geometry.mesh.formats.gltf.compression import unpacked_view
from pix3d_onet.geometry.mesh.formats.gltf.container import Document, SideFiles, buffer_bytes, check_used
from pix3d_onet.geometry.mesh.formats.soup import damaged, too_large, truncated, unsupported
from pix3d_onet.types import Float64, Int64, UInt8

COMPONENTS = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
"""componentType → NumPy type (glTF 2.0, 3.6.2.2)."""
WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}
"""Components per element of the types that geometry uses."""
INDEX_COMPONENTS = (5121, 5123, 5125)


class Accessors:
    """Reads a document's accessors. ``budget``: most vertices or faces; ``room``: most bytes to which all
    compressed buffer views together may unpack."""

    def __init__(self, document: Document, files: SideFiles, budget: int, room: int) -> None:
        self.document = document
        self.files = files
        self.budget = budget
        self.room = room
        self._buffers: dict[int, memoryview] = {}
        self._views: dict[int, UInt8] = {}

    def count(self, index: int) -> int:
        """Declared number of elements of an accessor. RejectError for more than the budget (three indices per face)."""
        accessor = self.document.root.item("accessors", index)
        count = accessor.integer("count", low=1)
        most = 3 * self.budget if accessor.get("type") == "SCALAR" else self.budget
        if count > most:
            raise too_large(f"{accessor.what} has {count} elements; a file of this size may have {most}")
        return count

    def floats(self, index: int, kind: str) -> Float64:
        """(count, width) float64 of an accessor of type ``kind``; integers are scaled if it is ``normalized``."""
        accessor, values = self._values(index, (kind,))
        if not accessor.flag("normalized"):
            return np.asarray(values, dtype=np.float64)
        if values.dtype.kind == "f" or values.dtype.itemsize == 4:
            raise damaged(f"{accessor.what} is normalized, but not of 8 or 16 bits")
        scaled: Float64 = np.maximum(values.astype(np.float64) / np.iinfo(values.dtype).max, -1.0)
        return scaled

    def integers(self, index: int, kind: str = "SCALAR") -> Int64:
        """(count, width) int64 of an accessor of unsigned integers."""
        accessor, values = self._values(index, (kind,))
        if accessor.integer("componentType") not in INDEX_COMPONENTS or accessor.flag("normalized"):
            raise damaged(f"{accessor.what} holds indices that are not unsigned integers")
        return np.asarray(values, dtype=np.int64)

    def _values(self, index: int, kinds: tuple[str, ...]) -> tuple[Checked, Any]:
        accessor = self.document.root.item("accessors", index)
        check_used(accessor)
        kind = accessor.get("type")
        if kind not in kinds:
            raise damaged(f"{accessor.what} is of type {str(kind)[:20]!r}, not {' or '.join(kinds)}")
        component, count, width = _component(accessor), self.count(index), WIDTHS[kind]
        if "bufferView" in accessor:
            values = self._elements(accessor, component, count, width)
        else:
            values = np.zeros((count, width), dtype=component)
        return accessor, (self._substituted(accessor, values) if "sparse" in accessor else values)

    def _substituted(self, accessor: Checked, values: Any) -> Any:
        """A copy of ``values`` in which the accessor's sparse elements are replaced."""
        sparse = accessor.part("sparse")
        count = sparse.integer("count", low=1, high=len(values))
        where, what = sparse.part("indices"), sparse.part("values")
        component = _component(where)
        if where.integer("componentType") not in INDEX_COMPONENTS:
            raise damaged(f"{where.what} are not unsigned integers")
        places = self._elements(where, component, count, 1)[:, 0].astype(np.int64)
        if places[-1] >= len(values) or (np.diff(places) <= 0).any():
            raise damaged(f"{where.what} do not increase within the accessor's count")
        values = values.copy()
        values[places] = self._elements(what, values.dtype.str, count, values.shape[1])
        return values

    def _elements(self, holder: Checked, component: str, count: int, width: int) -> Any:
        """(count, width) array of type ``component`` from the buffer view of ``holder``, an accessor or sparse part."""
        view, stride = self._view(holder.integer("bufferView"))
        item = np.dtype(component).itemsize
        stride = stride or item * width
        offset = holder.integer("byteOffset", 0)
        if stride < item * width:
            raise damaged(f"{holder.what}: elements of {item * width} bytes, {stride} bytes apart")
        if offset + stride * (count - 1) + item * width > len(view):
            raise truncated(f"{holder.what}: {count} elements do not fit into the {len(view)} bytes of its buffer view")
        flat = view[offset : offset + stride * (count - 1) + item * width]
        rows = np.lib.stride_tricks.as_strided(flat, (count, item * width), (stride, 1), writeable=False)
        return np.ascontiguousarray(rows).view(component)

    def _view(self, index: int) -> tuple[UInt8, int]:
        """Bytes of a buffer view, decompressed if necessary, and its stride (0: not given)."""
        view = self.document.root.item("bufferViews", index)
        check_used(view)
        stride = view.integer("byteStride", 0, high=252)
        if index not in self._views:
            packed = unpacked_view(view, self.room, self.span)
            self.room -= 0 if packed is None else len(packed)
            self._views[index] = self.span(view) if packed is None else packed
        return self._views[index], stride

    def bytes_of(self, index: int) -> UInt8:
        """Bytes of a buffer view as stored in the file, for Draco."""
        return self.span(self.document.root.item("bufferViews", index))

    def component(self, index: int) -> str:
        """NumPy type of the components of an accessor."""
        return _component(self.document.root.item("accessors", index))

    def has_data(self, index: int) -> bool:
        """Whether an accessor has a buffer view; without one, its data are only in a compressed form."""
        return "bufferView" in self.document.root.item("accessors", index)

    def span(self, holder: Checked) -> UInt8:
        """The bytes given by ``buffer``, ``byteOffset`` and ``byteLength`` of ``holder``."""
        index, offset = holder.integer("buffer"), holder.integer("byteOffset", 0)
        length = holder.integer("byteLength", low=1)
        if index not in self._buffers:
            self._buffers[index] = buffer_bytes(self.document, index, self.files)
        data = self._buffers[index]
        if offset + length > len(data):
            raise truncated(f"{holder.what}: bytes {offset} to {offset + length} of a buffer of {len(data)}")
        return np.frombuffer(data, dtype=np.uint8, count=length, offset=offset)


def _component(holder: Checked) -> str:
    kind = holder.integer("componentType")
    if kind not in COMPONENTS:
        raise unsupported(f"{holder.what}: component type {kind} is not one of glTF 2.0")
    return COMPONENTS[kind]
