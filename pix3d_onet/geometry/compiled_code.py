"""Where numba keeps compiled kernels between processes: without such a folder importing one fails.

numba looks beside the sources, then in the user's cache folder; a read-only install run by a user without a home
(a container) has neither. Then a folder of the user's own in the temporary folder is taken.
"""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from pix3d_onet.errors import MissingDependencyError

VARIABLE = "NUMBA_CACHE_DIR"


def choose_cache() -> None:
    """Set ``NUMBA_CACHE_DIR`` where numba would find no folder; to be called before numba is imported.

    MissingDependencyError, which says what to set, where there is no folder to be had.
    """
    if os.environ.get(VARIABLE) or writable(Path(__file__).parent) or writable(_user_cache()):
        return
    folder = Path(tempfile.gettempdir()) / f"onet-numba-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise _nowhere(f"{folder}: {error.strerror}") from None
    # numba unpickles what lies there: nobody else may have made it
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise _nowhere(f"{folder} may be another user's")
    os.environ[VARIABLE] = str(folder)


def _user_cache() -> Path:
    """The folder that numba takes for a user (its appdirs)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))  # noqa: PTH111 - never raises


def writable(folder: Path) -> bool:
    """Whether folders can be made in ``folder``, or in what will be made for it."""
    above = next((p for p in (folder, *folder.parents) if p.exists()), None)
    return above is not None and above.is_dir() and os.access(above, os.W_OK | os.X_OK)


def _nowhere(why: str) -> MissingDependencyError:
    hint = f"Set {VARIABLE} to a folder that you can write to."
    return MissingDependencyError(f"there is no folder for numba's compiled code ({why}).", hint=hint)
