"""Manifests that somebody has written by hand: refused in one line that says what is odd, by every command alike."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.command_line import onet
from helpers.datasets import make_dataset

Change = Callable[[dict[str, Any]], None]


def put(*keys: Any, value: Any) -> Change:
    """Set ``document[keys[0]][keys[1]]…`` to ``value``."""

    def change(document: dict[str, Any]) -> None:
        node: Any = document
        for key in keys[:-1]:
            node = node[key]
        node[keys[-1]] = value

    return change


def deep(document: dict[str, Any]) -> None:
    for _ in range(100):
        document["source"] = {"in": document["source"]}


ODD: dict[str, tuple[Change, str]] = {
    "id half a character": (put("shapes", 0, "object_id", value="\ud800"), "object_id must be a string"),
    "picture half a character": (
        put("shapes", 0, "record_ids", 0, value="a\udfff"),
        "record_ids must be a list of strings",
    ),
    "figures without end": (put("shapes", 0, "qc", value={f"k{i}": i for i in range(1001)}), "qc must be an object"),
    "warnings without end": (put("shapes", 0, "qc", value={"warnings": ["w"] * 1001}), "qc must be an object"),
    "shapes null": (put("shapes", value=None), "shapes must be a list"),
    "shapes object": (put("shapes", value={}), "shapes must be a list"),
    "shape number": (put("shapes", 0, value=3), "shapes must be a list"),
    "shape empty": (put("shapes", 0, value={}), "'object_id' is missing"),
    "shape extra": (put("shapes", 0, "extra", value=1), "extra"),
    "category list": (put("shapes", 0, "category", value=["a"]), "category must be a string"),
    "category null": (put("shapes", 0, "category", value=None), "category must be a string"),
    "id endless": (put("shapes", 0, "object_id", value="x" * 100_000), "object_id must be a string"),
    "row negative": (put("shapes", 0, "row", value=-1), "row must be an integer"),
    "row huge": (put("shapes", 0, "row", value=10**30), "row must be an integer"),
    "row true": (put("shapes", 0, "row", value=True), "row must be an integer"),
    "images more": (put("shapes", 0, "images", value=10**12), "is inconsistent"),
    "splits fewer": (put("shapes", 0, "image_splits", value=[]), "is inconsistent"),
    "records numbers": (put("shapes", 0, "record_ids", value=[1]), "record_ids must be a list"),
    "qc list": (put("shapes", 0, "qc", value=[]), "qc must be an object"),
    "shard elsewhere": (put("shards", 0, "file", value="../a.h5"), "is inconsistent"),
    "shards null": (put("shards", value=None), "shards must be a list"),
    "bytes text": (put("shards", 0, "bytes", value="9"), "bytes must be an integer"),
    "config null": (put("config", value=None), "config must be an object"),
    "config infinite": (
        put("config", "crop_margin", value=float("inf")),
        "config must be an object with finite numbers",
    ),
    "points huge": (put("config", "points", value=10**12), "points is 1000000000000"),
    "size text": (put("config", "image_size", value="64"), "image_size is '64'"),
    "hash number": (put("config_hash", value=5), "config_hash must be a string"),
    "counts list": (put("counts", value=[]), "counts must be an object"),
    "version two": (put("version", value=[2]), "format version"),
    "format other": (put("format", value={}), "not an onet data set manifest"),
    "deep": (deep, "nested more than"),
}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("data"), shapes=3, points=64, image_size=16)


@pytest.mark.parametrize("name", ODD)
def test_an_odd_manifest_is_refused_in_one_line(tmp_path: Path, sound: Path, name: str) -> None:
    change, said = ODD[name]
    document = json.loads((sound / "manifest.json").read_text())
    change(document)
    (tmp_path / "manifest.json").write_text(json.dumps(document))
    for command in ("inspect", "verify"):
        answer = onet(command, tmp_path, "--json")
        assert answer.status == 3
        lines = [line for line in answer.err.splitlines() if not line.endswith("loading ...")]  # on a slow machine
        assert said in lines[0]
        assert lines[0].startswith("onet: error: ")
        assert len(lines) == 1
        assert len(answer.err) < 600


def test_odd_quality_figures_are_left_out(tmp_path: Path, sound: Path) -> None:
    document = json.loads((sound / "manifest.json").read_text())
    document["shapes"][0]["qc"] = {"a": 10**400, "b": float("nan"), "c": 1e308, "d": [1], "warnings": 5, "faces": 4}
    (tmp_path / "manifest.json").write_text(json.dumps(document))
    answer = onet("inspect", tmp_path, "--json", "--qc", "--no-sheet")
    assert answer.status == 0
    assert set(answer.document["qc"]) == {"faces", "warnings"}


def test_what_a_data_set_lists_is_bounded_in_the_terminal(tmp_path: Path, sound: Path) -> None:
    document = json.loads((sound / "manifest.json").read_text())
    (first, *_) = document["shapes"]
    document["shapes"] = [{**first, "category": f"c{i}", "object_id": f"o{i}", "split": "none"} for i in range(3000)]
    (tmp_path / "manifest.json").write_text(json.dumps(document))
    for command, more in ((("inspect", tmp_path, "--no-sheet"), "2950 more"), (("verify", tmp_path), "more finding")):
        answer = onet(*command)
        assert more in answer.out
        assert len(answer.out) < 60_000


@pytest.mark.parametrize("name", ["a\0.h5", "..", "", "a/b.h5", "a\n.h5"])
def test_a_shard_has_a_plain_file_name(tmp_path: Path, sound: Path, name: str) -> None:
    document = json.loads((sound / "manifest.json").read_text())
    document["shards"] = [{**document["shards"][0], "file": name}]
    document["shapes"] = [{**shape, "shard": name} for shape in document["shapes"]]
    (tmp_path / "manifest.json").write_text(json.dumps(document))
    answer = onet("verify", tmp_path)
    assert answer.status == 3
    assert f"shard {name!r} is not a plain file name" in answer.err.replace("\\\\", "\\")
