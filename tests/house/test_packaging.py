"""The wheel and the sdist hold what they must and nothing else; the slow part installs the wheel three ways."""

from __future__ import annotations

import email
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from pix3d_onet.version import __version__

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


def wheel(dist: Path) -> Path:
    (path,) = dist.glob("*.whl")
    return path


def test_wheel_holds_both_packages_and_their_files(dist: Path) -> None:
    with zipfile.ZipFile(wheel(dist)) as archive:
        names = set(archive.namelist())
    top = {name.split("/")[0] for name in names}
    assert top == {"pix3d_onet", "onet_cli", f"pix3d_onet-{__version__}.dist-info"}
    assert "pix3d_onet/py.typed" in names
    for folder, package in ((ROOT / "pix3d_onet", "pix3d_onet"), (ROOT / "cli/onet_cli", "onet_cli")):
        for path in folder.rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                assert f"{package}/{path.relative_to(folder).as_posix()}" in names


def test_metadata(dist: Path) -> None:
    with zipfile.ZipFile(wheel(dist)) as archive:
        info = f"pix3d_onet-{__version__}.dist-info"
        metadata = email.message_from_bytes(archive.read(f"{info}/METADATA"))
        assert b"onet = onet_cli.main:main" in archive.read(f"{info}/entry_points.txt")
        assert f"{info}/licenses/LICENSE" in archive.namelist()
    assert metadata["Version"] == __version__
    assert metadata["License-Expression"] == "MIT"
    assert {"geometry", "train", "report", "dask", "all"} <= set(metadata.get_all("Provides-Extra"))
    base = {line.split(">")[0] for line in metadata.get_all("Requires-Dist") if "extra ==" not in line}
    assert base == {"click", "rich", "numpy", "scipy", "h5py", "pillow", "joblib", "jinja2"}


def test_sdist_can_be_tested_and_rebuilt(dist: Path) -> None:
    (path,) = dist.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    needed = {"pyproject.toml", "constraints.txt", "Makefile", "LICENSE", "README.md", "CHANGELOG.md", "mkdocs.yml"}
    assert needed | {"tests/house/test_packaging.py", "scripts/setup.sh", "docker/Dockerfile", "docs/index.md"} <= names
    assert not [name for name in names if name.startswith((".venv", "data/", "runs/", "demo/", "site/"))]


def test_twine_finds_nothing(dist: Path) -> None:
    command = [sys.executable, "-m", "twine", "check", "--strict", *map(str, dist.iterdir())]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_wheel_in_three_environments(dist: Path, tmp_path: Path) -> None:
    if shutil.which("sh") is None or os.environ.get("ONET_OFFLINE"):
        pytest.skip("needs a shell and the package index (unset ONET_OFFLINE)")
    environment = os.environ | {"WORK": str(tmp_path / "smoke"), "PYTHON": sys.executable}
    environment.pop("ONET_PIX3D_ROOT", None)
    command = ["sh", str(ROOT / "scripts/smoke_wheel.sh"), str(wheel(dist))]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    shutil.rmtree(tmp_path / "smoke")
