"""Unpack the files of some categories from an archive with Pix3D's layout, and nothing outside of the folder.

The archive's directory is read first and is not trusted: every name, type and size in it is checked before anything is
written. A file that is there already, with the size and the checksum (CRC-32) of the directory, is not written again.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import unicodedata
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pix3d_onet.errors import ConfigError, InputError, RejectError
from pix3d_onet.events import Emit, Progress
from pix3d_onet.files import inside, member, open_regular, remove_parts, writing
from pix3d_onet.files.npz import ENCRYPTED, PACKINGS
from pix3d_onet.types import PIX3D_INDEX, Rejected

STAGE = "unpack"
FOLDERS = ("img", "mask", "model")
"""Folders of the release; each has a subfolder per category."""
MAX_MEMBERS = 500_000
"""Most files of an archive; the release has about 25,000."""
MAX_MEMBER_BYTES = 1 << 30
MAX_UNPACKED_BYTES = 64 << 30
"""Largest size of one file, and of all files together."""
MAX_PART_BYTES = 255
"""Longest name of a file or folder on the usual file systems."""
ODD_PART = re.compile(r"\.?$|[a-z]:|.*\\|(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)
"""Names that are empty, name the folder itself, or name a path or a device on another system."""
CHUNK = 1 << 20
DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, UnicodeDecodeError)
"""Errors of ``zipfile`` for a damaged or unsupported file of an archive."""


@dataclass(frozen=True, slots=True)
class Unpacked:
    """Result of :func:`unpack`: counts of files ``written`` and ``kept``, bytes written, and the files left out."""

    written: int
    kept: int
    bytes: int
    rejected: tuple[Rejected, ...]


@dataclass(frozen=True, slots=True)
class _Member:
    """A file of the archive and its place ``name`` below the root, with ``/`` between its parts."""

    info: zipfile.ZipInfo
    name: str

    @property
    def wanted_for(self) -> str | None:
        """Its category, empty for the index, None if it does not belong to the release."""
        parts = self.name.split("/")
        if parts == [PIX3D_INDEX]:
            return ""
        return parts[1] if len(parts) > 2 and parts[0] in FOLDERS else None


def unpack(path: Path, root: Path, categories: Collection[str], *, emit: Emit) -> Unpacked:
    """Unpack the index and the files of ``categories`` (or ``all``) from the archive ``path`` to ``root``.

    The index is written last. Files that are unsafe or damaged are left out and returned. Interrupted, the next call
    continues. InputError if ``path`` is not an archive of the release or the disk is too small, ConfigError for a
    category that it does not have.
    """
    with _open(path) as file, _archive(file, path) as archive:
        members, rejected = _checked(archive, root)
        chosen = _chosen(members, categories, path)
        _remove_leftovers(chosen, root)
        _check_space(chosen, root)
        total = sum(m.info.file_size for m in chosen)
        seen = written = done = kept = 0
        for item in chosen:
            target = member(root, *item.name.split("/"))
            if _is_there(target, item.info):
                kept += 1
            else:
                try:
                    _write(archive, item.info, target)
                    written, done = written + 1, done + item.info.file_size
                except DAMAGED as error:
                    rejected.append(Rejected("", item.name, STAGE, "damaged-file", _line(error)))
            seen += item.info.file_size
            emit(Progress(STAGE, seen, total, len(rejected), unit="B"))
    return Unpacked(written, kept, done, tuple(rejected))


def _open(path: Path) -> BinaryIO:
    try:
        return open_regular(path)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}.") from None


def _archive(file: BinaryIO, path: Path) -> zipfile.ZipFile:
    """The archive with a plausible directory; InputError if it has none."""
    hint = "It may be an incomplete download: remove it, then run the same command again."
    try:
        archive = zipfile.ZipFile(file)
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise InputError(f"{path} is not a whole zip archive ({_line(error)}).", hint=hint) from None
    members = archive.infolist()
    if len(members) > MAX_MEMBERS:
        raise InputError(f"{path} has {len(members)} files, more than {MAX_MEMBERS}.")
    if sum(info.compress_size for info in members) > os.fstat(file.fileno()).st_size:
        raise InputError(f"{path} has files that overlap.", hint=hint)
    return archive


def _line(error: Exception) -> str:
    return " ".join(f"{error!s:.200}".split()) or type(error).__name__


def _checked(archive: zipfile.ZipFile, root: Path) -> tuple[list[_Member], list[Rejected]]:
    """The files of the archive that may be written, and those that must not."""
    entries = archive.infolist()
    files = [i for i in entries if not (i.filename.endswith("/") or stat.S_ISDIR(i.external_attr >> 16))]
    indices = [info.filename for info in files if info.filename.rpartition("/")[2] == PIX3D_INDEX]
    if not indices:
        raise InputError(f"the archive holds no {PIX3D_INDEX}, so it is not a release of Pix3D.")
    above = min(indices, key=lambda name: (name.count("/"), name)).removesuffix(PIX3D_INDEX)
    members: list[_Member] = []
    rejected: list[Rejected] = []
    taken: set[str] = set()
    folders: set[str] = set()
    for info in files:
        try:
            _check(info, root)
            if not 0 <= info.header_offset < archive.start_dir:
                raise RejectError("damaged-file", "the directory names no place of the archive for it")
            key = unicodedata.normalize("NFC", info.filename).casefold()
            around = {key[:i] for i, letter in enumerate(key) if letter == "/"}
            if key in taken or key in folders or around & taken:
                raise RejectError("same-name", "another file has this name, or one that differs only in case")
        except RejectError as error:
            rejected.append(Rejected("", info.filename, STAGE, error.reason, error.message))
            continue
        taken.add(key)
        folders |= around
        if info.filename.startswith(above):
            members.append(_Member(info, info.filename.removeprefix(above)))
    return members, rejected


def _check(info: zipfile.ZipInfo, root: Path) -> None:
    """RejectError for a file that must not be unpacked: by its name, its type, or its size."""
    parts = info.orig_filename.split("/")
    inside(root, info.orig_filename)
    if any(ODD_PART.match(part) or len(part.encode()) > MAX_PART_BYTES for part in parts):
        raise RejectError("unsafe-path", "a part of its name is too long, or names something else on another system")
    if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG):
        raise RejectError("not-a-file", "it is a link or a device")
    if info.compress_type not in PACKINGS or info.flag_bits & ENCRYPTED:
        raise RejectError("unsupported-packing", "it is encrypted, or packed by another method than deflate")
    if info.file_size > MAX_MEMBER_BYTES:
        raise RejectError("too-large", f"it has more than {MAX_MEMBER_BYTES >> 20} MiB")


def _chosen(members: list[_Member], categories: Collection[str], path: Path) -> list[_Member]:
    """The files to unpack, in the archive's order, the index last."""
    have = {m.wanted_for for m in members} - {None, ""}
    if unknown := sorted(set(categories) - have - {"all"}):
        raise ConfigError(f"`categories={unknown[0]}`: {path} has only {', '.join(sorted(map(str, have)))} (or all).")
    wanted = have if "all" in categories else set(categories)
    chosen = [m for m in members if m.wanted_for == "" or m.wanted_for in wanted]
    if sum(m.info.file_size for m in chosen) > MAX_UNPACKED_BYTES:
        raise InputError(f"{path} unpacks to more than {MAX_UNPACKED_BYTES >> 30} GiB.")
    return sorted(chosen, key=lambda m: (m.wanted_for == "", m.info.header_offset))


def _remove_leftovers(chosen: list[_Member], root: Path) -> None:
    """Remove temporary files of an interrupted call."""
    names = defaultdict(set)
    for item in chosen:
        folder, _, name = item.name.rpartition("/")
        names[folder].add(name)
    for folder, those in names.items():
        remove_parts(root / folder, those)


def _check_space(chosen: list[_Member], root: Path) -> None:
    """InputError if the disk is too small for the files that are not there yet."""
    needed = sum(m.info.file_size for m in chosen if not (root / m.name).is_file())
    free = shutil.disk_usage(root).free
    if needed > free:
        sizes = f"{needed / 1e9:.1f} GB are to be unpacked and {free / 1e9:.1f} GB are free"
        hint = "Name fewer `categories`, or another folder."
        raise InputError(f"the disk of {root} is too small: {sizes}.", hint=hint)


def _is_there(path: Path, info: zipfile.ZipInfo) -> bool:
    """Whether ``path`` is a file with the size and the CRC-32 that the archive's directory has."""
    try:
        with open_regular(path, follow=False) as file:
            if os.fstat(file.fileno()).st_size != info.file_size:
                return False
            crc = 0
            while chunk := file.read(CHUNK):
                crc = zlib.crc32(chunk, crc)
            return crc == info.CRC
    except OSError:
        return False


def _write(archive: zipfile.ZipFile, info: zipfile.ZipInfo, target: Path) -> None:
    """Write a file; ``zipfile`` yields no more bytes than the directory tells, and checks the CRC-32 at their end."""
    with writing(target, flush=False) as part:  # a later call checks the content
        with archive.open(info) as source, part.open("wb") as file:
            shutil.copyfileobj(source, file, CHUNK)
        if part.stat().st_size != info.file_size:
            raise zipfile.BadZipFile(f"it has fewer than {info.file_size} bytes")
