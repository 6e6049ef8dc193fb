"""Open an untrusted shard: its structure is checked before any array is read.

An HDF5 file can refer to bytes in other files (external links and storage, virtual layouts), and declare sizes larger
than the file. So only what ``write_shard`` writes is accepted: hard links with the documented names, contiguous arrays
inside the file, and pictures of one deflate chunk each, which :func:`read_picture` unpacks only to the size of a
picture.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from pix3d_onet.data.store.layout import expected_shapes
from pix3d_onet.data.store.manifest import FORMAT, Manifest, ShapeEntry, format_version
from pix3d_onet.errors import InputError
from pix3d_onet.files import check_regular
from pix3d_onet.types import UInt8

PICTURES = ("images/rgb", "images/mask")
"""The compressed arrays."""
PLAIN = (h5py.h5t.INTEGER, h5py.h5t.FLOAT, h5py.h5t.STRING)
"""Classes of the types in the schema. The NumPy type of a nested one takes the square of its depth in memory, so it is
not asked for."""
LEAST_BUDGET, BUDGET_RATIO = 768 << 20, 100
"""Most bytes to which the pictures of a shard may unpack: the larger of the first number and the second times the file
size. Rendered views compress by 20 to 150, but a shard also has points, which are not compressed."""


def open_shard(path: Path) -> h5py.File:
    """Open a shard for reading without checking its structure. OSError if it is a link, not a file, or not HDF5.

    It is opened with HDF5's lock if the file system supports it, because HDF5 cannot open a file both with and without
    lock in one process, and the caller may have opened it, too.
    """
    check_regular(path, follow=False)
    try:
        return h5py.File(path, "r")
    except BlockingIOError:  # another process writes to it
        raise
    except OSError:
        return h5py.File(path, "r", locking=False)


def open_checked(root: Path, name: str, manifest: Manifest) -> h5py.File:
    """Open shard ``name`` of the data set ``root``; InputError if it is missing or violates the schema."""
    path = root / name
    try:
        file = open_shard(path)
    except OSError as error:
        detail = "is missing" if not path.exists() else f"cannot be read ({error.strerror or error})"
        raise InputError(f"shard {path} {detail}.", hint="Run `onet verify`, then prepare again.") from None
    try:
        problem = next(shard_problems(file, manifest.config, [s for s in manifest.shapes if s.shard == name]), "")
    except Exception as error:  # noqa: BLE001 - h5py raises many kinds on damaged headers
        problem = str(error)
    if problem:
        file.close()
        raise InputError(f"shard {path} is damaged ({problem}).", hint="Run `onet verify`, then prepare again.")
    return file


def shard_problems(file: h5py.File, config: Mapping[str, Any], shapes: Sequence[ShapeEntry]) -> Iterator[str]:
    """Violations of the schema in an open shard of ``shapes``: of links, then names, shapes, types and storage.

    No strings are read (also none of attributes), because a damaged heap can make HDF5 loop forever.
    """
    expected = expected_shapes(config, shapes)
    for problem, elsewhere in _foreign_links(file, expected):
        yield problem
        if elsewhere:
            return
    if _number(file, "version") != (version := format_version(config)):
        yield f"is not an {FORMAT} shard of version {version}"
        return
    size, unpacked = int(file.id.get_filesize()), 0
    for key, (shape, dtype) in expected.items():
        found = file.get(key)
        if not isinstance(found, h5py.Dataset):
            yield f"lacks {key}"
            continue
        if found.id.get_type().get_class() not in PLAIN:
            yield f"{key} holds neither numbers nor strings"
            continue
        fits = len(found.shape) == len(shape) and all(n in (None, m) for m, n in zip(found.shape, shape, strict=True))
        if not fits or str(found.dtype) != dtype:
            wanted = "×".join("?" if n is None else str(n) for n in shape)
            yield f"{key} is {'×'.join(map(str, found.shape))} {found.dtype}, not {wanted} {dtype}"
            continue
        problem = _storage_problem(found, size, packed=key in PICTURES)
        if problem:
            yield f"{key} {problem}"
        unpacked += found.nbytes if key in PICTURES else 0
    if unpacked > max(LEAST_BUDGET, BUDGET_RATIO * size):
        yield f"its pictures unpack to {unpacked >> 20} MiB, over {BUDGET_RATIO} times its size"
    if _number(file, "points_count") != config["points"]:
        yield "points_count differs from the manifest"


def _foreign_links(file: h5py.File, expected: Collection[str]) -> Iterator[tuple[str, bool]]:
    """Undocumented names (problem, False) and links that are not hard (problem, True) in a shard. Follows no link."""
    groups = {"", *(key.rpartition("/")[0] for key in expected)}
    for group in sorted(groups):  # the root first, so that its groups are known to be hard links
        if group and group not in file:
            continue
        node = file[group] if group else file["/"]
        for name in node:
            path = f"{group}/{name}" if group else name
            if path not in expected and path not in groups:
                yield f"holds {path!r:.80}, which is not in the format", False
            elif node.id.links.get_info(name.encode()).type != h5py.h5l.TYPE_HARD:
                yield f"{path} is a soft or external link", True
                return


def _number(file: h5py.File, name: str) -> int | None:
    """The integer attribute ``name``; None if it is missing or not an integer."""
    if name not in file.attrs:
        return None
    attribute = file.attrs.get_id(name)
    plain = attribute.shape == () and attribute.get_type().get_class() == h5py.h5t.INTEGER
    return int(file.attrs[name]) if plain else None


def _storage_problem(data: h5py.Dataset, file_size: int, *, packed: bool) -> str:
    """How an array is stored differently than by ``write_shard``, as text; empty if it is not."""
    plan = data.id.get_create_plist()
    if plan.get_external_count() or plan.get_layout() == h5py.h5d.VIRTUAL:
        return "has its bytes in another file"
    filters = [plan.get_filter(i)[0] for i in range(plan.get_nfilters())]
    if packed:
        if data.chunks != (1, *data.shape[1:]) or filters != [h5py.h5z.FILTER_DEFLATE]:
            return "is not stored as one deflate chunk per picture"
        return "" if data.id.get_num_chunks() == len(data) else "lacks pictures"
    if plan.get_layout() != h5py.h5d.CONTIGUOUS or filters:
        return "is not stored in one piece"
    stored = int(data.id.get_storage_size())
    if stored > file_size or (data.dtype.kind != "O" and stored != data.nbytes):
        return "is larger than its file"
    return ""


def read_picture(data: h5py.Dataset, row: int) -> UInt8:
    """Row ``row`` of ``images/rgb`` or ``images/mask``, uint8. ValueError if its chunk is not one picture.

    HDF5's own filter would unpack a chunk to any size.
    """
    shape = data.shape[1:]
    size = math.prod(shape)
    place = (row, *(0 for _ in shape))
    info = data.id.get_chunk_info_by_coord(place)
    if info.byte_offset is None or info.size > size + size // 512 + 64:  # zlib's own bound for incompressible bytes
        raise ValueError(f"picture {row} is not stored as a picture")
    _, stored = data.id.read_direct_chunk(place)
    raw = stored if info.filter_mask & 1 else zlib.decompressobj().decompress(stored, size + 1)
    if len(raw) != size:
        raise ValueError(f"picture {row} does not have the documented size")
    return np.frombuffer(bytearray(raw), dtype=np.uint8).reshape(shape)


def mapped(data: h5py.Dataset, path: Path) -> Any:
    """A contiguous array of the shard ``path`` as a memory map (three times faster for small blocks); others
    unchanged."""
    offset = data.id.get_offset()
    if offset is None:
        return data
    return np.memmap(path, dtype=data.dtype, mode="r", offset=offset, shape=data.shape)
