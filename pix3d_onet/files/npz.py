"""Read arrays of an untrusted ``.npz``: no pickle, no links, total size checked before anything is unpacked."""

from __future__ import annotations

import math
import tokenize
import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from pix3d_onet.files.reading import open_regular

MAX_NPZ_BYTES = 256 << 20
"""Largest total size of the unpacked arrays of a file."""
MAX_ARRAYS = 10_000
"""Most arrays that are read from one file."""
SUFFIX = ".npy"
PACKINGS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""Compressions of a member; those of LZMA choose how much memory unpacking takes."""
ENCRYPTED = 1
"""Bit of a member's flags."""
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
    if info.compress_type not in PACKINGS or info.flag_bits & ENCRYPTED:
        raise ValueError(f"{info.filename} is encrypted, or packed as NumPy packs no array")
    with archive.open(info) as member:
        shape, dtype = _header(member, info.filename)
        if dtype.kind not in kinds or dtype.hasobject:
            raise ValueError(f"{info.filename} holds {dtype}, not numbers")
        if member.tell() + math.prod(shape) * dtype.itemsize != info.file_size:
            raise ValueError(f"{info.filename} is not as long as its header says")
        member.seek(0)
        try:
            return np.asarray(np.lib.format.read_array(member, allow_pickle=False))
        except zlib.error as error:
            raise ValueError(f"{info.filename} cannot be unpacked ({error})") from None


def _header(member: IO[bytes], name: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type by the array's header, which NumPy takes for Python source."""
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    try:
        version = np.lib.format.read_magic(member)
        if version not in readers:
            raise ValueError(f"{name} has a header of version {version}")
        shape, _, dtype = readers[version](member)
    except ValueError as error:
        raise ValueError(f"{error!s:.200}") from None  # NumPy repeats the header
    except (zlib.error, tokenize.TokenError, SyntaxError, TypeError, RecursionError, MemoryError) as error:
        raise ValueError(f"{name} has a header that cannot be read ({error!s:.80})") from None
    if any(type(n) is not int or n < 0 for n in shape):
        raise ValueError(f"{name} has a header that cannot be read")
    return shape, dtype
