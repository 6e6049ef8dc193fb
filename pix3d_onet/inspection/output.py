"""Where ``onet inspect`` may write a sheet or a page: a free place, or that of an earlier one."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from pix3d_onet.errors import ConfigError, InputError
from pix3d_onet.events import Emit, Note, ignore
from pix3d_onet.files import check_writable, is_own_file, open_regular
from pix3d_onet.pages.templating import GENERATOR

SOFTWARE = "onet inspect"
"""What a sheet says that it was made by: such a picture may be replaced by the next."""
HEAD_BYTES = 1024
"""Beginning of a page that names its generator."""


def check_place(path: Path, *, overwrite: bool) -> None:
    """InputError where something else than a sheet or page of ours stands at ``path``, unless ``overwrite``."""
    if overwrite or not (path.exists() or path.is_symlink()) or _is_ours(path):
        return
    raise InputError(
        f"{path} is not a sheet or page of onet.", hint="Name another file, or replace it with `overwrite=True`."
    )


def _is_ours(path: Path) -> bool:
    if not is_own_file(path):
        return False
    try:
        with open_regular(path, follow=False) as file:
            if GENERATOR.encode() in file.read(HEAD_BYTES):
                return True
        with Image.open(path, formats=["PNG"]) as picture:
            return str(picture.info.get("Software", "")) == SOFTWARE
    except Exception:  # noqa: BLE001 - decoders raise almost anything on other people's files
        return False


def output_path(wanted: Path | None, default: Path, *, overwrite: bool, emit: Emit = ignore) -> Path | None:
    """The path to write to: ``wanted``, else ``default``, or None with a warning if the default cannot be written.

    InputError if ``wanted`` cannot be written; ConfigError if it is for a sheet and does not end in .png.
    """
    path = wanted or default
    if default.suffix == ".png" and path.suffix.lower() != ".png":
        raise ConfigError(f"`sheet={path}` must end in .png, its only format.")
    try:
        check_writable(path)
        check_place(path, overwrite=overwrite)
    except InputError as error:
        if wanted is not None:
            raise
        emit(Note(f"no pictures: {error.message} Name another file.", "warning"))
        return None
    return path
