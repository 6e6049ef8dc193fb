"""How the source is laid out: folders of a readable size, no import circle, tests where a stranger looks for them."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import pytest
from helpers.source_tree import PACKAGES, ROOT, compared, import_circle, kernels, modules, without_reference

TESTS = ROOT / "tests"
MOST_FILES = 13
ROOMS = {"cli": PACKAGES["onet_cli"], "benchmarks": ROOT / "benchmarks"}
"""Folders of tests that mirror another place than one of the library."""
OWN = {"helpers", "house"}
"""Folders of tests that mirror nothing: what tests share, and tests of the project as a whole."""


def texts(folder: Path) -> dict[str, str]:
    return {p.relative_to(folder).as_posix(): p.read_text() for p in folder.rglob("*.py")}


@pytest.mark.parametrize("folder", [*PACKAGES.values(), TESTS], ids=lambda p: p.name)
def test_no_folder_shows_too_many_files(folder: Path) -> None:
    counts = Counter(p.parent.relative_to(ROOT).as_posix() for p in folder.rglob("*.py") if p.name != "__init__.py")
    assert {name: n for name, n in counts.items() if n > MOST_FILES} == {}


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert import_circle({name: path.read_text() for name, path in modules().items()}) == []


def test_a_circle_would_be_found() -> None:
    typing = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    "
    inside = "def f():\n    "
    for lead, circle in (("", True), (typing, False), (inside, False), ("try:\n    ", True)):
        tail = "\nexcept ImportError:\n    pass" if lead.startswith("try") else ""
        assert bool(import_circle({"p.a": "from p import b", "p.b": f"{lead}from p.a import x{tail}"})) is circle


def test_tests_mirror_the_source() -> None:
    folders = {p.parent.relative_to(TESTS) for p in TESTS.rglob("test_*.py")}
    astray = []
    for folder in folders:
        room, *rest = folder.parts or [""]
        place = ROOMS.get(room, PACKAGES["pix3d_onet"] / room).joinpath(*rest)
        if room not in OWN and not place.is_dir():
            astray.append(folder.as_posix())
    assert astray == []


def test_every_kernel_is_compared_with_a_reference() -> None:
    sources = texts(PACKAGES["pix3d_onet"]).values()
    known = set().union(*map(compared, texts(TESTS).values()))
    assert without_reference(sources, known) == set()
    assert known <= set().union(*({*kernels(s), *functions(s)} for s in sources if kernels(s)))  # no stale name


def test_kernels_stand_in_folders_of_that_name() -> None:
    compiled = {name for name, source in texts(PACKAGES["pix3d_onet"]).items() if kernels(source)}
    assert {name for name in compiled if Path(name).parent.name != "kernels"} == set()


def functions(source: str) -> set[str]:
    return {n.name for n in ast.walk(ast.parse(source)) if isinstance(n, ast.FunctionDef)}


def test_a_kernel_without_a_reference_would_be_found() -> None:
    source = (
        "@njit(cache=True)\ndef area(x): return _part(x)\n@numba.njit\ndef _part(x): ...\n@_jit\ndef _loose(x): ..."
    )
    assert without_reference([source], set()) == {"area", "_part", "_loose"}
    assert without_reference([source], {"area"}) == {"_loose"}
    assert compared("@pytest.mark.kernel('area', 'b')\ndef test_area(): ...") == {"area", "b"}


def private_access(source: str) -> set[str]:
    """Names of the project that begin with one underscore and that a test takes from a module or an object."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) not in ("self", "cls", "os", "sys"):
            names = [node.attr]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(".setattr"):
            names = [str(a.value).rpartition(".")[2] for a in node.args[:2] if isinstance(a, ast.Constant)]
        else:
            continue
        found |= {n for n in names if n.startswith("_") and not n.startswith("__")}
    return found


def test_tests_ask_no_private_names() -> None:
    assert {name: found for name, text in texts(TESTS).items() if (found := private_access(text))} == {}
    toy = "from a import _b\nc._d()\nm.setattr(e, '_f', 1)\nm.setattr('g._h', 1)\nself._i\n__file__"
    assert private_access(toy) == {"_b", "_d", "_f", "_h"}
