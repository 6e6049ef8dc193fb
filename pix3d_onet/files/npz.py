"""Read arrays of an untrusted ``.npz``: no pickle, no links, total size checked before anything is unpacked."""

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
"""Largest total size of the unpacked arrays of a file."""
MAX_ARRAYS = 10_000
"""Most arrays that are read from one file."""
SUFFIX = ".npy"
NUMBERS = "biuf"
"""Allowed kinds of arrays: bool, signed, unsigned, float."""


class TooLargeError(ValueError):
    """There are too many arrays, or they unpack to too many bytes."""


def read_arrays(
    path: Path,
    names: Collection[str] | None = None,
    *,
    limit: int | None = None,
    most: int = MAX_ARRAYS,
    kinds: str = NUMBERS,
    follow: bool = True,
) -> dict[str, NDArray[Any]]:
    """The arrays ``names`` that an .npz has; None: all.

    OSError if it is not a regular file. ValueError (or an error of zipfile, zlib or numpy) for arrays of other
    ``kinds``, for a wrong header, and for more than ``most`` arrays or ``limit`` unpacked bytes (None:
    ``MAX_NPZ_BYTES``).
    """
    limit = MAX_NPZ_BYTES if limit is None else limit
    with open_regular(path, follow=follow) as file, zipfile.ZipFile(file) as archive:
        members = {
            info.filename.removesuffix(SUFFIX): info for info in archive.infolist() if info.filename.endswith(SUFFIX)
        }
        wanted = {name: info for name, info in members.items() if names is None or name in names}
        if len(wanted) > most:
            raise TooLargeError(f"holds {len(wanted)} arrays, more than {most}")
        if sum(info.file_size for info in wanted.values()) > limit:
            raise TooLargeError(f"unpacks to over {limit >> 20} MiB")
        return {name: _array(archive, info, kinds) for name, info in wanted.items()}


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo, kinds: str) -> NDArray[Any]:
    with archive.open(info) as member:
        version = np.lib.format.read_magic(member)
        if version == (1, 0):
            shape, _, dtype = np.lib.format.read_array_header_1_0(member)
        elif version == (2, 0):
            shape, _, dtype = np.lib.format.read_array_header_2_0(member)
        else:
            raise ValueError(f"{info.filename} has a header of version {version}")
        if dtype.kind not in kinds or dtype.hasobject:
            raise ValueError(f"{info.filename} holds {dtype}, not numbers")
        if member.tell() + math.prod(shape) * dtype.itemsize != info.file_size:
            raise ValueError(f"{info.filename} is not as long as its header says")
        member.seek(0)
        return np.asarray(np.lib.format.read_array(member, allow_pickle=False))
