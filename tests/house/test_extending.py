"""What CONTRIBUTING says about additions is true: each is made here from the code that stands there, and works."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import onet_cli.commands
import pytest
from helpers.command_line import onet
from helpers.datasets import make_dataset
from helpers.releases import write_box
from helpers.stored_runs import make_runs

from pix3d_onet import make_watertight, metrics
from pix3d_onet.ablation import variants
from pix3d_onet.config import WATERTIGHT_METHODS, PrepareConfig
from pix3d_onet.data import sources
from pix3d_onet.data.sources import registry
from pix3d_onet.report import formats
from pix3d_onet.types import Mesh

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "CONTRIBUTING.md").read_text()
ENTRY = re.compile(r'^"(\w+)": (.*),$')


def section(title: str) -> list[str]:
    """The code blocks of a section of CONTRIBUTING."""
    return re.findall(r"^```\w+\n(.*?)^```$", GUIDE.split(f"## {title}\n")[1].split("\n## ")[0], re.M | re.S)


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Code in a module of its own, with the names of the module it was written for."""
    monkeypatch.syspath_prepend(tmp_path)

    def load(text: str, name: str, of: ModuleType) -> ModuleType:
        (tmp_path / f"{name}.py").write_text(
            f"from __future__ import annotations\nfrom {of.__name__} import *\n\n{text}"
        )
        return importlib.import_module(name)

    return load


def fresh(monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    """Have the command's module imported anew, as when a person calls it, and the present one put back afterwards."""
    monkeypatch.setattr(onet_cli.commands, command, importlib.import_module(f"onet_cli.commands.{command}"))
    monkeypatch.delitem(sys.modules, f"onet_cli.commands.{command}")


def test_a_source(written, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fresh(monkeypatch, "prepare")
    listing, row = section("Add a source")
    (tmp_path / "sources").mkdir()
    (tmp_path / "sources/toys.py").write_text(listing)
    monkeypatch.setattr(sources, "__path__", [*sources.__path__, str(tmp_path / "sources")])
    added = written(f"row = {row}", "toy_row", registry).row
    monkeypatch.setitem(registry.SOURCES, added.name, added)
    for number in range(3):
        write_box(tmp_path / f"toys/{number}.obj", (1, 0.5, 0.2 + 0.1 * number))
    small = [
        "--points",
        64,
        "--surface-points",
        64,
        "--resolution",
        16,
        "--image-size",
        32,
        "--jobs",
        1,
        "--watertight",
        "none",
    ]
    answer = onet("prepare", "toys", tmp_path / "toys", "--out", tmp_path / "data", *small, "--json")
    assert answer.status == 0, answer.err
    assert (answer.document["shapes"], answer.document["rejected"]) == (3, 0)
    assert onet("inspect", tmp_path / "data", "--json").document["source"]["kind"] == "toys"


def test_a_watertight_method(written, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    methods = pytest.importorskip("pix3d_onet.geometry.watertight.methods")
    fresh(monkeypatch, "prepare")
    code, line = section("Add a watertight method")
    name, place = ENTRY.match(line).groups()
    monkeypatch.setattr(methods, "hull_method", written(code, "toy_method", methods).hull_method, raising=False)
    monkeypatch.setitem(WATERTIGHT_METHODS, name, place.strip('"'))
    tetrahedron = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1.0]])
    open_mesh = Mesh(tetrahedron, np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2]]))
    assert len(make_watertight(open_mesh, method=name).faces) == 4
    assert PrepareConfig(watertight=name).watertight == name
    assert f"|{name}]" in onet("prepare", "pix3d", "--help").out


def test_a_variant(written, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    (row,) = section("Add a variant")
    added = written(f"row = {row}", "toy_variant", variants).row
    monkeypatch.setitem(variants.VARIANTS, added.name, added)
    data = make_dataset(tmp_path / "data", shapes=3, points=64, image_size=32)
    answer = onet("bench", "--variant", added.name, "--data", data, "--out", tmp_path / "runs", "--dry-run", "--json")
    assert answer.status == 0, answer.err
    assert [run["variant"] for run in answer.document["plan"]] == [added.name]


def test_a_metric(written, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    (row,) = section("Add a metric")
    added = written(f"row = {row}", "toy_metric", metrics).row
    monkeypatch.setitem(metrics.METRICS, added.name, added)
    data = make_dataset(tmp_path / "data", shapes=6, points=256, image_size=32)
    table = tmp_path / "scores.csv"
    answer = onet("evaluate", "--baseline", "retrieval", "--data", data, "--samples", 100, "--csv", table, "--json")
    assert answer.status == 0, answer.err
    assert 0 <= answer.document["rows"][0]["means"][added.name]["mean"] <= 1
    assert added.name in [m["name"] for m in answer.document["metrics"]]
    assert added.name in table.read_text().splitlines()[0].split(",")


def test_a_report_format(written, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fresh(monkeypatch, "report")
    code, line = section("Add a report format")
    name = ENTRY.match(line)[1]
    module = written(f"{code}\nFORMATS = {{{line}}}", "toy_format", formats)
    monkeypatch.setitem(formats.FORMATS, name, module.FORMATS[name])
    runs = make_runs(tmp_path / "runs")
    answer = onet("report", runs, "--format", name, "--no-figures", "--out", tmp_path / "report")
    assert answer.status == 0, answer.err
    assert answer.out.splitlines()[0].startswith("ResNet18 (base)\t13.41M\t")
    assert (tmp_path / f"report/table1.{name}").read_text() == answer.out


def test_paths_and_tables_named_in_the_guide_exist() -> None:
    made_up = {"pix3d_onet/data/sources/toys.py"}
    paths = set(re.findall(r"`((?:pix3d_onet|cli|tests|docs|scripts|benchmarks|docker|\.github)/[\w./-]*)`", GUIDE))
    assert len(paths) > 8
    assert {p for p in paths - made_up if not (ROOT / p).exists()} == set()
    for table, path in re.findall(r"`([A-Z_]+)` of\s+`(\S+)`", GUIDE):
        assert re.search(rf"^{table}\b", (ROOT / path).read_text(), re.M), (table, path)
    drawn = re.search(r"^pix3d_onet/\n(.*?)^cli/", GUIDE, re.M | re.S)[1]
    rooms = {p.name for p in (ROOT / "pix3d_onet").iterdir() if (p / "__init__.py").exists()}
    assert set(re.findall(r"^  (\w+)/", drawn, re.M)) == rooms - {"runs", "files", "machine"}
