"""Read the tensors of a weights file of any origin, by dotted name. No code in the file is run."""

from __future__ import annotations

import codecs
import itertools
import pickle
import re
import struct
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from pix3d_onet.errors import InputError
from pix3d_onet.learning.network.archive import check_archive, check_tensors
from pix3d_onet.runs.folder import BEST, NETWORK_FILE

FOLDER_FILES = (f"{BEST}/{NETWORK_FILE}", "model.safetensors", "pytorch_model.bin")
"""Paths of the weights in a folder: in a run, and in a download from a model hub (new and old format)."""
MOST_NESTED = 8
"""Most levels of nested dicts and lists that are searched; a pickle can contain a dict that contains itself."""
MOST_TENSORS = 1_000_000
"""Most values in these dicts and lists."""
DAMAGE = (
    *(OSError, RuntimeError, EOFError, ValueError, LookupError, TypeError, AttributeError, MemoryError),
    *(SafetensorError, zipfile.BadZipFile, ArithmeticError, AssertionError, struct.error),
)
"""Exceptions from reading damaged files; the readers do not check the order of a pickle's instructions."""
LONGEST_NAME = 500
"""Most characters of a tensor's name, with the names of the dicts around it."""
NAMES_SHOWN = 3
"""Number of names that an error lists."""
HEAD_BYTES = 1024
"""Bytes at the beginning of a file by which its format is recognised."""
LONGEST_HEADER = 100_000_000
"""Most bytes of a safetensors header; its first eight bytes are this size. Text read as a size is far larger."""

NUMPY_KINDS = ("f8", "f4", "i8", "i4")
"""NumPy's names of the types that a number in a checkpoint may have."""


def _number_type(kind: str, *flags: bool) -> np.dtype[Any]:
    """What pickles call ``numpy.dtype``, of numbers alone: another type may take gigabytes for one of it."""
    if kind not in NUMPY_KINDS:
        raise ValueError(f"it holds a NumPy {kind!s:.40}")
    return np.dtype(kind, *flags)


NUMPY_SCALARS: tuple[Any, ...] = (
    (_number_type, "numpy.dtype"),
    (np.float64(0).__reduce__()[0], "numpy.core.multiarray.scalar"),
    (np.float64(0).__reduce__()[0], "numpy._core.multiarray.scalar"),
    *(type(np.dtype(kind)) for kind in NUMPY_KINDS),
    codecs.encode,
)
"""Objects besides tensors that a checkpoint may contain: NumPy numbers (the original stores its best score as one).
None of them runs code; all others are refused."""

OPTIMIZER_STATE = ("exp_avg", "exp_avg_sq", "momentum_buffer", "step")
"""PyTorch's names of an optimiser's tensors."""
DOWNLOAD = "Download the file itself, then compare its size with the one stated at its source."
TENSORS_ALONE = (
    "Where you trust its source, open it with the library that wrote it and save the tensors alone: "
    "torch.save({name: tensor, ...}, 'tensors.pth'), of a whole module its state_dict()."
)
FOREIGN_KINDS: tuple[tuple[bytes, str, str], ...] = (
    (rb"version https://git-lfs", "a Git LFS pointer", "Fetch what it points to: git lfs pull."),
    (rb"\s*(?:\xef\xbb\xbf)?\s*<(?:!doctype|html|head|\?xml)", "an HTML page", DOWNLOAD),
    (rb"\x89HDF", "an HDF5 file", "Convert it to safetensors, with timm's names of the tensors."),
    (rb"GGUF", "a GGUF file", "Convert it to safetensors, with timm's names of the tensors."),
    (rb"\x93NUMPY", "a NumPy array", "Convert it to safetensors, with timm's names of the tensors."),
    (rb"\x1f\x8b|BZh|\xfd7zXZ|7z\xbc\xaf|\x28\xb5\x2f\xfd", "a compressed archive", "Unpack it first."),
    (rb"\s*[{\[]", "a JSON document", "Give the file of tensors; of weights in several files, merge them into one."),
)
"""Regular expression of a file's first bytes, its format, and a hint; none matches a weights file."""
TEXT = re.compile(rb"[\t\n\r\x20-\x7e]+")


def weights_path(path: Path) -> Path:
    """The weights file for ``path``: itself, or in a folder the run's best network or the hub's file. InputError."""
    if not path.is_dir():
        return path
    for name in FOLDER_FILES:
        if (path / name).is_file():
            return path / name
    raise InputError(f"{path} is a folder without weights ({', '.join(FOLDER_FILES)}).", hint="Name a file.")


def read_document(path: Path) -> dict[str, Any]:
    """The top-level dict of a safetensors or PyTorch file, recognised by content; no code is run.

    InputError that says what the file is, if it is neither: missing, empty, damaged, a Git LFS pointer, an HTML page, a
    pickled object.
    """
    if not path.is_file():
        raise InputError(f"weights file not found: {path}.")
    try:
        with path.open("rb") as handle:
            head = handle.read(HEAD_BYTES)
        if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < LONGEST_HEADER:
            document: Any = dict(load_file(path))
        else:
            _refuse_foreign(path, head)
            check_archive(path)
            # an open file, because with a path the suffix decides the format
            with torch.serialization.safe_globals(list(NUMPY_SCALARS)), path.open("rb") as handle:
                document = torch.load(handle, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise _refused_pickle(path, str(error)) from None
    except DAMAGE as error:
        line = next(iter(str(error).strip().splitlines()), type(error).__name__)[:160]
        raise InputError(
            f"{path} is not a readable weights file: damaged or cut short ({line}).", hint=DOWNLOAD
        ) from None
    if isinstance(document, Tensor):
        raise InputError(f"{path} holds a single tensor, not a dict of tensors by name.")
    if not isinstance(document, dict):
        raise InputError(f"{path} holds a {type(document).__name__}, not a dict of tensors.")
    try:
        check_tensors(flatten(document).values(), path.stat().st_size)
    except ValueError as error:
        raise InputError(f"{path} is damaged: {error}.", hint=DOWNLOAD) from None
    return dict(type(document).items(document))


def _refuse_foreign(path: Path, head: bytes) -> None:
    if not head.strip():
        raise InputError(f"{path} is {'blank' if head else 'empty (0 bytes)'}.", hint=DOWNLOAD)
    for pattern, kind, hint in FOREIGN_KINDS:
        if re.match(pattern, head, re.IGNORECASE):
            raise InputError(f"{path} is {kind}, not a file of tensors.", hint=hint)
    if TEXT.fullmatch(head):  # PyTorch's pickles are of a binary protocol
        raise InputError(f"{path} is a text file, not a file of tensors.", hint=DOWNLOAD)
    if not head.startswith(b"PK"):
        return
    names = zipfile.ZipFile(path).namelist() if zipfile.is_zipfile(path) else ["data.pkl"]
    if any(name.endswith("/constants.pkl") for name in names) and any("/code/" in name for name in names):
        raise InputError(f"{path} is a TorchScript program, which is not run.", hint=TENSORS_ALONE)
    if not any(name.rpartition("/")[2] == "data.pkl" for name in names):
        raise InputError(f"{path} is a zip archive without PyTorch's data.pkl.", hint="Unpack it first.")


def _refused_pickle(path: Path, message: str) -> InputError:
    """The error for a pickle that PyTorch's safe reader refuses; it names the object if the reader does."""
    found = re.search(r"GLOBAL ([\w.]+)", message) or re.search(r"class ([\w.]+)", message)
    if found is None:
        return InputError(
            f"{path} is refused: it is damaged, or holds something else than tensors and numbers.", hint=TENSORS_ALONE
        )
    return InputError(
        f"{path} is refused: besides tensors it holds {found[1]}, a pickled object, and pickles are not run.",
        hint=TENSORS_ALONE,
    )


def flatten(document: Mapping[Any, Any]) -> dict[str, Tensor]:
    """All dense tensors in nested dicts and lists, in order; names are the keys joined by dots.

    ValueError for more than ``MOST_TENSORS`` values, as in a list that contains itself many times, and for long names.
    """
    found = list(itertools.islice(_walk(document, "", MOST_NESTED), MOST_TENSORS + 1))
    if len(found) > MOST_TENSORS:
        raise ValueError(f"it holds more than {MOST_TENSORS:,} values")
    return {name: value for name, value in found if value is not None}


def _walk(node: Any, prefix: str, depth: int) -> Iterator[tuple[str, Tensor | None]]:
    """Dense tensors by name, and None for every other value, so that all values can be counted. ValueError for a name
    that is too long."""
    # of its type, because an OrderedDict from a pickle can have attributes, such as `items`
    items = type(node).items(node) if isinstance(node, Mapping) else enumerate(node)
    for key, value in items:
        nested = isinstance(value, (Mapping, list, tuple))
        if (nested or isinstance(value, Tensor)) and len(name := f"{prefix}{key}") > LONGEST_NAME:
            raise ValueError(f"a name in it has {len(name):,} characters")
        if isinstance(value, Tensor):
            if value.layout is torch.strided and not value.is_meta:
                yield name, value.detach()
            continue
        yield "", None
        if nested and depth:
            yield from _walk(value, f"{name}.", depth - 1)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a weights file by dotted name. InputError if there are none, or only an optimiser's."""
    document = read_document(path)
    tensors = flatten(document)
    if not tensors:
        keys = listing([str(key) for key in document]) or "none"
        raise InputError(f"{path} holds no tensors; its keys: {keys}.", hint="Give the file that has the weights.")
    if all(_of_optimizer(name) for name in tensors):
        raise InputError(
            f"{path} holds an optimiser's state only ({listing(list(tensors))}).",
            hint="Give the checkpoint that has the weights.",
        )
    return tensors


def _of_optimizer(name: str) -> bool:
    parts = name.split(".")
    return any("optim" in part for part in parts[:-1]) or parts[-1] in OPTIMIZER_STATE


def listing(names: list[str]) -> str:
    """The first few names and how many more there are."""
    shown = ", ".join(name[:80] for name in names[:NAMES_SHOWN])
    return f"{shown} and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else shown
