"""docs/architecture.md is what the import contracts, the docstrings and the signatures say."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("architecture", ROOT / "scripts/architecture.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_page_and_picture_are_those_of_the_contracts(script: ModuleType) -> None:
    assert script.PAGE.read_text() == script.page(), "run `make architecture`"
    assert script.PICTURE.read_text() == script.picture(*script.contracts()), "run `make architecture`"


def test_every_room_stands_in_the_contracts(script: ModuleType) -> None:
    """A new folder or file of the core without a layer would be in no picture, and held by nothing."""
    layers, inside = script.contracts()
    placed = {room for layer in layers for room in layer}
    library = ROOT / "pix3d_onet"
    found = {f"pix3d_onet.{p.stem}" for p in library.iterdir() if p.name != "__init__.py" and p.name[0] not in "_."}
    assert found - {"pix3d_onet.py"} == placed - {"onet_cli"}
    for room, order in inside.items():
        assert {name for layer in order for name in layer} <= {p.stem for p in script.source_of(room).parent.iterdir()}


def test_every_room_says_its_job(script: ModuleType) -> None:
    layers, _ = script.contracts()
    assert [room for layer in layers for room in layer if len(script.summary(room)) < 20] == []


def test_a_signature_is_read_as_it_stands(script: ModuleType) -> None:
    takes, gives = script.signature("preparation.job", "prepare")
    assert takes == "listing: SourceListing, config: PrepareConfig, out: Path"
    assert gives == "PrepareResult"
