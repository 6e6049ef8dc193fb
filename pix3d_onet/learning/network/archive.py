"""Check that the sizes stated in a PyTorch file fit its number of bytes.

A hostile file could be a zip bomb, or have a tensor with stride 0 and terabytes of elements.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from pix3d_onet.files import open_regular

MAX_SHARED = 4
"""Most bytes of tensors per byte of the file; tied and averaged weights are stored once."""


def check_archive(path: Path) -> None:
    """ValueError if the file is a zip archive that is compressed or unpacks to more than its size."""
    with open_regular(path) as file:
        if not zipfile.is_zipfile(file):
            return
        size = file.seek(0, 2)
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise ValueError("its archive is compressed, which PyTorch's never is")
    if sum(member.file_size for member in members) > size:
        raise ValueError("its archive unpacks to more than the file has")


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
