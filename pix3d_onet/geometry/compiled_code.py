"""Choose a folder in which numba caches compiled kernels; without one, importing a kernel fails.

numba uses the folder of the sources or the user's cache folder. In a read-only installation, with a user without a home
folder (a container), neither is writable; then a folder in the temporary folder is used.
"""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from pix3d_onet.errors import MissingDependencyError

VARIABLE = "NUMBA_CACHE_DIR"


def choose_cache() -> None:
    """Set ``NUMBA_CACHE_DIR`` if numba would find no writable folder. Must be called before numba is imported.

    MissingDependencyError, which says what to set, if no folder is usable.
    """
    if os.environ.get(VARIABLE) or writable(Path(__file__).parent) or writable(_user_cache()):
        return
    folder = Path(tempfile.gettempdir()) / f"onet-numba-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise _nowhere(f"{folder}: {error.strerror}") from None
    # numba unpickles the files in it, so no other user may be able to write there
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise _nowhere(f"{folder} may be another user's")
    os.environ[VARIABLE] = str(folder)


def _user_cache() -> Path:
    """The user's cache folder, as numba determines it."""
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))  # noqa: PTH111 - never raises


def writable(folder: Path) -> bool:
    """Whether a folder can be created in ``folder``, which may not exist yet."""
    above = next((p for p in (folder, *folder.parents) if p.exists()), None)
    return above is not None and above.is_dir() and os.access(above, os.W_OK | os.X_OK)


def _nowhere(why: str) -> MissingDependencyError:
    hint = f"Set {VARIABLE} to a writable folder."
    return MissingDependencyError(f"no folder is usable for numba's compiled code ({why}).", hint=hint)
