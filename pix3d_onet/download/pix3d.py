"""Download the release of Pix3D, unpack some of its categories, and check its index against its files."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from pix3d_onet.data.sources.pix3d import category_of, parse_record, read_index, record_id_of
from pix3d_onet.download.http import fetch, partial_files
from pix3d_onet.download.unpack import FOLDERS, Unpacked, unpack
from pix3d_onet.errors import ConfigError, InputError, RejectError, SettingError
from pix3d_onet.events import Emit, Note, Progress, ignore
from pix3d_onet.files import check_claim, disk_trouble, file_digest, is_own_file, mark
from pix3d_onet.locks import locked
from pix3d_onet.types import PIX3D_INDEX

URL = "http://pix3d.csail.mit.edu/data/pix3d.zip"
"""The release, about 3.9 GB (Sun et al., CVPR 2018); its authors publish no checksum."""
KIND = "download of Pix3D"
ARCHIVE = "pix3d.zip"
DISK_HINT = "What was written is kept: free some space, then run the same command again."


@dataclass(frozen=True, slots=True)
class CategoryCheck:
    """Records of one category, those whose picture, mask, model and pose can be used, and the reasons of the others."""

    category: str
    records: int
    complete: int
    problems: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class DownloadResult:
    """Result of :func:`download_pix3d`. ``received``: bytes downloaded by this call."""

    root: Path
    archive: Path
    received: int
    unpacked: Unpacked
    categories: tuple[CategoryCheck, ...]

    @property
    def flawless(self) -> bool:
        """Whether every file of the archive was unpacked and every record is complete."""
        return not self.unpacked.rejected and all(c.complete == c.records for c in self.categories)


def download_pix3d(
    root: Path,
    *,
    categories: Collection[str] = ("all",),
    url: str = URL,
    from_zip: Path | None = None,
    sha256: str = "",
    overwrite: bool = False,
    emit: Emit = ignore,
) -> DownloadResult:
    """Make ``root`` a folder that ``onet prepare pix3d`` reads, with the files of ``categories`` (or ``all``).

    The archive is downloaded from ``url`` to ``root/pix3d.zip`` unless it is there already, or ``from_zip`` names one.
    ``sha256``: its expected checksum in hex. Interrupted, the next call continues. ``overwrite``: also use a folder
    that is neither empty nor made by a download.

    InputError if the archive cannot be had, is broken or has another checksum, the disk is too small, or no record is
    complete; ConfigError for an unknown category, a ``sha256`` that is none, or a ``url`` that is not HTTP; BusyError
    if another process works in ``root``.
    """
    if sha256 and not re.fullmatch("[0-9a-fA-F]{64}", sha256):
        raise SettingError("sha256", "64 hex digits", sha256)
    if from_zip is None and not url.lower().startswith(("http://", "https://")):
        raise ConfigError("`url` must start with http:// or https://.")  # not shown: it may hold a password
    with locked(root, emit), disk_trouble(root, DISK_HINT):
        own = root / ARCHIVE
        files = (PIX3D_INDEX, ARCHIVE, *(p.name for p in partial_files(own)))
        check_claim(root, KIND, files=files, folders=FOLDERS, known=_only_archive, overwrite=overwrite, emit=emit)
        mark(root, KIND)
        archive = from_zip or own
        received = 0
        if from_zip is None and is_own_file(own):
            emit(Note(f"{own} is used as it is; remove it to download it again."))
        elif from_zip is None:
            received = fetch(url, own, emit=emit)
        if sha256:
            _check_digest(archive, sha256)
        unpacked = unpack(archive, root, categories, emit=emit)
    checks = check_release(root, categories, emit=emit)
    if not any(c.complete for c in checks):
        reasons = sum((Counter(c.problems) for c in checks), Counter())
        listed = ", ".join(f"{n} {reason}" for reason, n in sorted(reasons.items()))
        raise InputError(f"no record in {root / PIX3D_INDEX} is complete: {listed}.")
    return DownloadResult(root, archive, received, unpacked, checks)


def _only_archive(folder: Path) -> bool:
    """Whether ``folder`` holds just the archive, downloaded by other means."""
    return {p.name for p in folder.iterdir()} == {ARCHIVE} and is_own_file(folder / ARCHIVE)


def _check_digest(archive: Path, wanted: str) -> None:
    found = file_digest(archive)
    if found != wanted.lower():
        hint = "Remove it and download it again, or correct `sha256`."
        raise InputError(f"{archive} has the SHA-256 {found}, not {wanted}.", hint=hint)


def check_release(root: Path, categories: Collection[str], *, emit: Emit = ignore) -> tuple[CategoryCheck, ...]:
    """Check each record of ``categories`` in the index of ``root``, as ``onet prepare pix3d`` does before it starts."""
    raw = read_index(root)
    seen: Counter[str] = Counter()
    records: Counter[str] = Counter()
    problems: dict[str, Counter[str]] = {}
    for index, item in enumerate(raw):
        record_id, category = record_id_of(item, index, seen), category_of(item) or "(none)"
        if "all" in categories or category in categories:
            records[category] += 1
            found = problems.setdefault(category, Counter())
            try:
                parse_record(root, item, record_id)
            except RejectError as error:
                found[error.reason] += 1
        if index % 100 == 0 or index + 1 == len(raw):
            emit(Progress("check", index + 1, len(raw), sum(sum(c.values()) for c in problems.values())))
    return tuple(
        CategoryCheck(name, count, count - problems[name].total(), dict(sorted(problems[name].items())))
        for name, count in sorted(records.items())
    )
