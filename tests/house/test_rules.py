"""The house rules that no linter holds: what files may say, and tables that must not drift apart."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import pix3d_onet
from pix3d_onet.machine.checks import EXTRAS, SYSTEM_LIBRARIES
from pix3d_onet.version import __version__

ROOT = Path(__file__).resolve().parents[2]
TEXT = {".py", ".md", ".toml", ".txt", ".sh", ".yml", ".yaml", ".cff", ".cfg", ".json", ".html", ".js", ".css", ""}
SKIPPED = {".git", ".venv", "node_modules", "site", "dist", "build", "demo", "data", "runs", "__pycache__"} | {
    f".{tool}" for tool in ("cache", "hypothesis", "import_linter_cache", "mypy_cache", "pytest_cache", "ruff_cache")
}
MAX_LINES = 500


def project_files() -> list[Path]:
    """The files of the project: what git tracks, or (in an unpacked sdist) what lies there."""
    if (ROOT / ".git").exists() and shutil.which("git"):
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        files = [ROOT / name for name in listed.split("\0") if name]
    else:
        files = [p for p in ROOT.rglob("*") if not SKIPPED & set(p.relative_to(ROOT).parts)]
    return [p for p in files if p.is_file()]


FILES = project_files()
PYTHON = [p for p in FILES if p.suffix == ".py"]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def requirements(extra: str) -> list[Requirement]:
    listed = PROJECT["optional-dependencies"][extra] if extra else PROJECT["dependencies"]
    return [Requirement(text) for text in listed]


def pins() -> dict[str, set[str]]:
    result: dict[str, set[str]] = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            requirement = Requirement(line)
            (specifier,) = requirement.specifier
            assert specifier.operator == "==", line
            result.setdefault(canonicalize_name(requirement.name), set()).add(specifier.version)
    return result


def test_no_file_names_a_registry_or_a_place_of_one_machine() -> None:
    hosts = ["py" + "pi.org", "python" + "hosted.org", "deb." + "debian.org", "npm" + "js.org", "--index" + "-url"]
    places = [
        "/work" + "/main",
        "/work" + "/shared",
        "/tmp" + "/chairs",
        "/tmp" + "/notes",
        "/opt" + "/pypi",
        "/root" + "/",
    ]
    found = [
        (name(path), word)
        for path in FILES
        if path.suffix in TEXT
        for word in hosts + places
        if word in path.read_text(errors="replace")
    ]
    assert found == []


def test_nothing_loads_pickles() -> None:
    pattern = re.compile(
        r"\b(pickle|cPickle|dill|cloudpickle)\.(load|loads|Unpickler)\b|allow_pickle ?= ?True|weights_only ?= ?False"
        r"|yaml\.(unsafe_)?load\(|(?<![\w.\"'])(eval|exec)\(|shell ?= ?True",
        re.MULTILINE,
    )
    sources = [p for p in PYTHON if p.is_relative_to(ROOT / "pix3d_onet") or p.is_relative_to(ROOT / "cli")]
    assert [(name(p), m.group()) for p in sources for m in pattern.finditer(p.read_text())] == []


def test_commands_leave_drawing_to_the_drawing_files() -> None:
    pattern = re.compile(r"^\s*(import|from) rich\b", re.MULTILINE)
    users = {p.name for p in PYTHON if p.is_relative_to(ROOT / "cli") and pattern.search(p.read_text())}
    assert users <= {"ui.py", "tables.py", "scores.py", "watch.py"}


def test_files_stay_readable() -> None:
    long = {name(p): n for p in PYTHON if (n := len(p.read_text().splitlines())) > MAX_LINES}
    assert long == {}


def test_setup_script_knows_the_doctors_libraries() -> None:
    script = (ROOT / "scripts/setup.sh").read_text()
    assert dict(re.findall(r'^    "(lib[^"]+)": "([^"]+)",$', script, re.MULTILINE)) == SYSTEM_LIBRARIES


@pytest.mark.parametrize("extra", EXTRAS)
def test_doctor_knows_the_extras(extra: str) -> None:
    known = {canonicalize_name(n) for package in EXTRAS[extra] for n in package.split("|")}
    assert known == {canonicalize_name(r.name) for r in requirements(extra)}


def test_every_extra_is_known() -> None:
    assert set(PROJECT["optional-dependencies"]) - {"all", "dev", "docs"} == set(EXTRAS) - {""}


def test_constraints_pin_every_requirement_within_its_range() -> None:
    pinned = pins()
    for extra in ["", *PROJECT["optional-dependencies"]]:
        for requirement in requirements(extra):
            if canonicalize_name(requirement.name) == canonicalize_name(PROJECT["name"]):
                continue
            versions = pinned[canonicalize_name(requirement.name)]
            assert all(requirement.specifier.contains(version) for version in versions), requirement


def test_constraints_have_no_hashes_and_no_addresses() -> None:
    text = (ROOT / "constraints.txt").read_text()
    assert "--" not in text
    assert "://" not in text


def test_one_version_everywhere() -> None:
    assert f"version: {__version__}\n" in (ROOT / "CITATION.cff").read_text()
    assert re.search(rf"^## \[{re.escape(__version__)}\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)


def test_make_has_the_promised_targets() -> None:
    text = (ROOT / "Makefile").read_text()
    for target in ("setup", "demo", "test", "docs"):
        assert re.search(rf"^{target}:", text, re.MULTILINE)
    assert "make test" in (ROOT / ".ci/run").read_text()


def test_public_names_are_what_they_say_and_nothing_else_is_public() -> None:
    assert set(pix3d_onet.LAZY) < set(dir(pix3d_onet)) == set(pix3d_onet.__all__)
    for name, place in pix3d_onet.LAZY.items():
        assert getattr(pix3d_onet, name).__name__ == place.partition(":")[2]
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = pix3d_onet.nothing
