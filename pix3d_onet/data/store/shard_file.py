"""Opening a shard that somebody else may have made: its structure is checked before any array is read.

HDF5 can fetch a data set's bytes from other files (external links and storage, virtual layouts), and declare sizes that
its file does not have. Neither has a place in the format, so only what ``write_shard`` makes is let through: hard links
to the documented names, contiguous arrays that lie in the file, and pictures as one deflate chunk each, unpacked by
:func:`read_picture` to the size of a picture and no further.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path

import h5py
import numpy as np

from pix3d_onet.data.store.layout import expected_shapes
from pix3d_onet.data.store.manifest import FORMAT, FORMAT_VERSION, Manifest
from pix3d_onet.errors import InputError
from pix3d_onet.files import check_regular
from pix3d_onet.types import UInt8

PICTURES = ("images/rgb", "images/mask")
"""The arrays that are compressed."""
LEAST_BUDGET, BUDGET_RATIO = 768 << 20, 100
"""Bytes that the pictures of a shard may unpack to: so many, or so many times the file's size. Rendered views on white
pack 20:1 to 150:1, but a shard of them also holds its points, which do not pack."""


def open_shard(path: Path) -> h5py.File:
    """Open a shard to read, its structure unseen. OSError for a link, for what is no regular file, or no HDF5.

    HDF5's lock is asked for first, since HDF5 refuses to open a file twice in one process with and without it, and a
    caller may open shards, too; it is done without where the file system has none.
    """
    check_regular(path, follow=False)
    try:
        return h5py.File(path, "r")
    except BlockingIOError:  # another process writes to it
        raise
    except OSError:
        return h5py.File(path, "r", locking=False)


def open_checked(root: Path, name: str, manifest: Manifest) -> h5py.File:
    """Open shard ``name`` of the data set ``root``; InputError where it is missing or not as documented."""
    path = root / name
    try:
        file = open_shard(path)
    except OSError as error:
        detail = "is missing" if not path.exists() else f"cannot be read ({error.strerror or error})"
        raise InputError(f"shard {path} {detail}.", hint="Run `onet verify`, then prepare again.") from None
    try:
        problem = next(shard_problems(file, manifest, name), "")
    except Exception as error:  # noqa: BLE001 - h5py raises many kinds on damaged headers
        problem = str(error)
    if problem:
        file.close()
        raise InputError(f"shard {path} is damaged ({problem}).", hint="Run `onet verify`, then prepare again.")
    return file


def shard_problems(file: h5py.File, manifest: Manifest, name: str) -> Iterator[str]:
    """What in an open shard is not as documented: its links, then names, shapes, types and storage.

    Nothing of variable length is opened (strings, also those of attributes): a damaged heap can send HDF5 into an
    endless loop.
    """
    expected = expected_shapes(manifest, name)
    for problem, elsewhere in _foreign_links(file, expected):
        yield problem
        if elsewhere:
            return
    if _number(file, "version") != FORMAT_VERSION:
        yield f"is not an {FORMAT} shard of version {FORMAT_VERSION}"
        return
    size, unpacked = int(file.id.get_filesize()), 0
    for key, (shape, dtype) in expected.items():
        found = file.get(key)
        if not isinstance(found, h5py.Dataset):
            yield f"lacks {key}"
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
    if _number(file, "points_count") != manifest.config["points"]:
        yield "points_count differs from the manifest"


def _foreign_links(file: h5py.File, expected: Collection[str]) -> Iterator[tuple[str, bool]]:
    """What a shard names besides the documented arrays, and (True) names that lead elsewhere. Follows no link."""
    groups = {"", *(key.rpartition("/")[0] for key in expected)}
    for group in sorted(groups):  # the root first: its links are known to be hard when those in them are looked at
        if group and group not in file:
            continue
        node = file[group] if group else file["/"]
        for name in node:
            path = f"{group}/{name}" if group else name
            if path not in expected and path not in groups:
                yield f"holds {path!r:.80}, which is no part of the format", False
            elif node.id.links.get_info(name.encode()).type != h5py.h5l.TYPE_HARD:
                yield f"{path} is a link to somewhere else", True
                return


def _number(file: h5py.File, name: str) -> int | None:
    """A whole number among the attributes; None where there is none of that name, or it is something else."""
    if name not in file.attrs:
        return None
    attribute = file.attrs.get_id(name)
    return int(file.attrs[name]) if attribute.shape == () and attribute.dtype.kind in "iu" else None


def _storage_problem(data: h5py.Dataset, file_size: int, *, packed: bool) -> str:
    """Why the bytes of an array are not where ``write_shard`` puts them; empty where they are."""
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
    """Row ``row`` of ``images/rgb`` or ``images/mask``, uint8. ValueError where its chunk is not one picture.

    HDF5's own filter would unpack a chunk to whatever size its stream has.
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
        raise ValueError(f"picture {row} is not of the documented size")
    return np.frombuffer(bytearray(raw), dtype=np.uint8).reshape(shape)
