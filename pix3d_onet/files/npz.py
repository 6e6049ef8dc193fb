"""Arrays of an ``.npz`` that somebody else has made: no pickle, no links, summed size known before one is unpacked."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pix3d_onet.files.reading import open_regular

MAX_NPZ_BYTES = 256 << 20
"""Bytes that the arrays of a file may unpack to, together."""
SUFFIX = ".npy"
NUMBERS = "biuf"
"""Kinds of arrays that are read: bool, signed, unsigned, float."""


class TooLargeError(ValueError):
    """The arrays unpack to more bytes than are allowed."""


def read_arrays(
    path: Path, names: Collection[str] | None = None, *, limit: int | None = None, follow: bool = True
) -> dict[str, NDArray[Any]]:
    """The arrays ``names`` of an .npz, those that it has; None: all.

    OSError for what is no regular file, ValueError (or one of zipfile's, zlib's and numpy's own errors) for arrays that
    are not numbers, whose header lies, or that unpack to more than ``limit`` bytes together.
    """
    limit = MAX_NPZ_BYTES if limit is None else limit
    with open_regular(path, follow=follow) as file, zipfile.ZipFile(file) as archive:
        wanted = [
            info
            for info in archive.infolist()
            if info.filename.endswith(SUFFIX) and (names is None or info.filename.removesuffix(SUFFIX) in names)
        ]
        if sum(info.file_size for info in wanted) > limit:
            raise TooLargeError(f"unpacks to over {limit >> 20} MiB")
        return {info.filename.removesuffix(SUFFIX): _array(archive, info) for info in wanted}


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> NDArray[Any]:
    with archive.open(info) as member:
        version = np.lib.format.read_magic(member)
        if version == (1, 0):
            shape, _, dtype = np.lib.format.read_array_header_1_0(member)
        elif version == (2, 0):
            shape, _, dtype = np.lib.format.read_array_header_2_0(member)
        else:
            raise ValueError(f"{info.filename} has a header of version {version}")
    if dtype.kind not in NUMBERS:
        raise ValueError(f"{info.filename} holds {dtype}, not numbers")
    if math.prod(shape) * dtype.itemsize > info.file_size:
        raise ValueError(f"{info.filename} is shorter than its header says")
    with archive.open(info) as member:
        return np.asarray(np.lib.format.read_array(member, allow_pickle=False))
