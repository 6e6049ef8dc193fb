"""Check that the sizes stated in a PyTorch file fit its number of bytes.

A hostile file could be a zip bomb, have a tensor with stride 0 and terabytes of elements, or a pickle that calls
``bytearray`` with such a size: PyTorch's safe reader allows some functions that allocate whatever they are told.
"""

from __future__ import annotations

import mmap
import pickletools
import re
import zipfile
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from pickle import UnpicklingError
from typing import IO, cast

import torch
from torch import Tensor

from pix3d_onet.files import open_regular

CALLED = re.compile(
    r"collections (OrderedDict|Counter)|(builtins|__builtin__) set|torch (Size|device|Tensor)"
    r"|torch(\.cuda)? \w+Storage|torch\.storage (Typed|Untyped)Storage|torch (b?float|u?int|bool|complex)\w*"
    r"|torch\._utils _rebuild_(tensor|tensor_v2|parameter|parameter_with_state)|torch\._tensor _rebuild_from_type_v2"
    r"|torch\.nn\.parameter Parameter|numpy dtype|numpy\._?core\.multiarray scalar|numpy\.dtypes \w+|_codecs encode"
)
"""What a pickle of weights may name. Of what else PyTorch allows, none is needed for dense tensors."""
SLOW_CODECS = ("punycode", "idna")
"""``_codecs.encode``, by which NumPy pickles bytes, would take the square of a text's length with them.
Python ignores case and punctuation in their names."""
ZIP = b"PK\x03\x04"
"""First bytes by which PyTorch tells a zip archive; Python also takes other files with an archive at their end."""
PICKLES = 5
"""Pickles at the beginning of a file in PyTorch's old form: a number, its version, the machine, the document, the keys
of its storages."""
MAX_PICKLE_BYTES = 64 << 20
"""Largest document besides the tensors' bytes."""
MAX_SHARED = 4
"""Most bytes of tensors per byte of the file; tied and averaged weights are stored once."""


def check_archive(path: Path) -> None:
    """ValueError if the file is a zip archive that is compressed or unpacks to more than its size; UnpicklingError if
    its pickle names anything but tensors and numbers."""
    with open_regular(path) as file:
        if file.read(len(ZIP)) != ZIP:
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                for _ in range(PICKLES):
                    _check_pickle(cast(IO[bytes], data))  # reads and tells like a file
            return
        size = file.seek(0, 2)
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            if any(member.compress_type != zipfile.ZIP_STORED for member in members):
                raise ValueError("its archive is compressed, which PyTorch's never is")
            if sum(member.file_size for member in members) > size:
                raise ValueError("its archive unpacks to more than the file has")
            for member in members:
                if member.filename.rpartition("/")[2] == "data.pkl":
                    if member.file_size > MAX_PICKLE_BYTES:
                        raise ValueError(f"its pickle has more than {MAX_PICKLE_BYTES >> 20} MiB")
                    _check_pickle(BytesIO(archive.read(member)))


def _check_pickle(data: IO[bytes]) -> None:
    """UnpicklingError unless the pickle that begins here names only :data:`CALLED`, ValueError where it is damaged. Its
    instructions are read, not run."""
    for instruction, argument, _ in pickletools.genops(data):
        if instruction.name in ("GLOBAL", "INST") and not CALLED.fullmatch(str(argument)):
            raise UnpicklingError(f"GLOBAL {str(argument).replace(' ', '.')}")
        if isinstance(argument, str) and re.sub(r"\W|_", "", argument.lower()) in SLOW_CODECS:
            raise UnpicklingError("an encoding that no weights need")


def check_tensors(tensors: Iterable[Tensor], file_bytes: int) -> None:
    """ValueError if a tensor is larger than its storage, or all together are too large for a file of ``file_bytes``."""
    total = 0
    for tensor in tensors:
        size = tensor.numel() * tensor.element_size()
        if tensor.layout is not torch.strided or tensor.is_meta or size > tensor.untyped_storage().nbytes():
            raise ValueError(f"a tensor of {tuple(tensor.shape)} is not stored in full".replace(",)", ")"))
        total += size
    if total > MAX_SHARED * file_bytes:
        raise ValueError("its tensors are larger than the file")
