from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from pix3d_onet.errors import MissingDependencyError
from pix3d_onet.geometry import compiled_code


@pytest.fixture
def homeless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A read-only install, and no cache folder: what a container's user may have."""
    monkeypatch.delenv(compiled_code.VARIABLE, raising=False)
    monkeypatch.setattr(compiled_code, "writable", lambda folder: False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_folder_of_ones_own_is_chosen(homeless: Path) -> None:
    compiled_code.choose_cache()
    chosen = Path(os.environ[compiled_code.VARIABLE])
    assert chosen.parent == homeless
    assert chosen.stat().st_mode & 0o077 == 0
    compiled_code.choose_cache()
    assert os.environ[compiled_code.VARIABLE] == str(chosen)


@pytest.mark.parametrize("kind", ["open to all", "link", "file"])
def test_code_is_not_loaded_from_a_folder_of_others(kind: str, homeless: Path) -> None:
    folder = homeless / f"onet-numba-{os.getuid()}"
    if kind == "open to all":
        folder.mkdir()
        folder.chmod(0o777)
    elif kind == "link":
        (homeless / "other").mkdir(mode=0o700)
        folder.symlink_to(homeless / "other")
    else:
        folder.touch()
    with pytest.raises(MissingDependencyError, match="NUMBA_CACHE_DIR"):
        compiled_code.choose_cache()
    assert compiled_code.VARIABLE not in os.environ


def test_what_the_user_sets_or_numba_finds_stays(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(compiled_code.VARIABLE, str(tmp_path))
    compiled_code.choose_cache()
    assert os.environ[compiled_code.VARIABLE] == str(tmp_path)
    monkeypatch.delenv(compiled_code.VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "new" / "cache"))
    compiled_code.choose_cache()
    assert compiled_code.VARIABLE not in os.environ
