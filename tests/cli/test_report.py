"""``onet report``: every format, the folder it writes, and what it says about bad input."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from helpers.stored_runs import TABLE1, make_run, make_runs, make_unfinished
from onet_cli.app import cli
from onet_cli.main import main

from pix3d_onet.ablation.variants import suite
from pix3d_onet.config import TrainConfig
from pix3d_onet.errors import InputError


def onet(*arguments: str, columns: int = 80) -> Result:
    return CliRunner().invoke(cli, arguments, env={"COLUMNS": str(columns), "TERM": "dumb", "NO_COLOR": "1"})


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = make_runs(tmp_path_factory.mktemp("runs"), seeds=(0, 1))
    make_run(root, "resnet18", examples=1)
    return root


def test_json_is_the_contract(runs: Path) -> None:
    for arguments in (("--format", "json"), ("--json",)):
        result = onet("report", str(runs), *arguments)
        assert result.exit_code == 0, result.output
        document = json.loads(result.stdout)
        assert [r["variant"] for r in document["rows"]] == list(TABLE1)
        assert str(runs) not in result.stdout  # a report that is passed on names no machine's folders


def test_markdown_equals_what_the_json_says(runs: Path) -> None:
    rows = json.loads(onet("report", str(runs), "--format", "json").stdout)["rows"]
    lines = onet("report", str(runs), "--format", "markdown").stdout.splitlines()[2:9]
    for row, line in zip(rows, lines, strict=True):
        cells = [c.strip() for c in line.strip("|").split("|")]
        assert cells[0] == row["label"]
        assert cells[1] == f"{row['params'] / 1e6:.2f}M"
        assert cells[3].split("\\")[0] == f"{row['val_iou']:.4f}"


@pytest.mark.parametrize("format_", ["table", "csv", "latex"])
def test_text_formats_print_and_write_nothing(runs: Path, format_: str) -> None:
    before = set(runs.rglob("*"))
    result = onet("report", str(runs), "--format", format_)
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) >= 8
    assert set(runs.rglob("*")) == before


def test_costs_are_not_promised_where_there_are_none(runs: Path) -> None:
    refused = onet("report", str(runs), "--format", "latex", "--costs")
    assert refused.exit_code == 2
    assert "the LaTeX table has no costs" in refused.stderr


def test_the_terminal_table_fits_80_columns_and_cuts_no_number(runs: Path) -> None:
    result = onet("report", str(runs), "--no-figures", "--costs")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert "\x1b[" not in result.stdout
    rows = json.loads(onet("report", str(runs), "--json").stdout)["rows"]
    for row in rows:
        line = next(x for x in lines if x.strip().startswith(row["label"]))
        assert f"{row['val_iou']:.4f}" in line
        assert f"{row['params'] / 1e6:.2f}M" in line
        assert any(f"{row['params']:,}" in x for x in lines)


@pytest.mark.parametrize("columns", [60, 80, 100])
def test_labels_are_cut_no_further_than_they_can_be_told_apart(tmp_path: Path, columns: int) -> None:
    root = make_runs(tmp_path, suite("pose").variants, seeds=(0, 1))
    lines = onet("report", str(root), "--suite", "pose", "--costs", columns=columns).stdout.splitlines()
    start = lines.index(next(line for line in lines if line.startswith("Statistics")))
    heading = next(line for line in lines[start:] if line.strip().startswith("Variant"))
    assert heading.split()[:3] == ["Variant", "Seeds", "Test"]
    posed = [line.split("  ")[0].strip() for line in lines[start:] if line.strip().startswith("ResNet18 + pose")]
    assert posed[:2] in (["ResNet18 + pose 4×4", "ResNet18 + pose 6D"], ["ResNet18 + pose 4…", "ResNet18 + pose 6D"])
    if columns == 100:
        assert "p (Holm)" in heading


@pytest.mark.parametrize("columns", [40, 50, 60, 70])
def test_a_narrow_terminal_gets_whole_columns_and_is_told_of_the_others(runs: Path, columns: int) -> None:
    wide = onet("report", str(runs), "--costs", columns=120).stdout
    assert "Too narrow" not in wide
    assert "Best" in wide
    assert "Peak" not in wide
    shown = onet("report", str(runs), "--costs", columns=columns).stdout
    tables = shown.replace("\n", " ")
    assert "Too narrow for: " in tables
    assert max(map(len, shown.splitlines())) <= columns
    whole = set(wide.split())
    rows = [line for line in shown.splitlines() if line.strip().startswith(("ResNet", "ConvNeXt", "+ "))]
    assert len(rows) == 3 * 7
    for row in rows:  # only a label may be cut
        assert set(row[16:].split()) <= whole, row
    assert "Val IoU" in shown


def test_the_table_comes_before_a_folder_that_cannot_be_written(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit) as leave:
        main(["report", str(runs), "--no-figures", "--out", str(tmp_path / "file" / "report")])
    assert leave.value.code == 3
    shown = capsys.readouterr()
    assert "ResNet18 (base)" in shown.out
    assert shown.err.startswith(f"onet: error: cannot write to {tmp_path / 'file'}")
    assert len(shown.err.splitlines()) == 1


def test_the_folder_holds_every_format_the_page_and_the_figures(runs: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    result = onet("report", str(runs), "--format", "html", "--out", str(tmp_path / "out"))
    assert result.exit_code == 0, result.output
    page = Path(result.stdout.strip())
    assert page == tmp_path / "out" / "report.html"
    names = {p.name for p in page.parent.iterdir()}
    assert {"table1.md", "table1.csv", "table1.tex", "table1.json", "report.html"} < names
    assert {f"{f}.{s}" for f in ("figure2-gallery", "figure1-curves") for s in ("png", "svg", "pdf")} < names
    assert not any(n.startswith(".") for n in names)


def test_a_report_can_leave_the_data_sets_pictures_out(runs: Path, tmp_path: Path) -> None:
    result = onet("report", str(runs), "--format", "html", "--no-figures", "--no-examples", "--out", str(tmp_path))
    assert result.exit_code == 0, result.output
    page = (tmp_path / "report.html").read_text()
    assert 'id="reconstructions"' not in page
    assert "image/jpeg" not in page


def test_a_suite_and_a_setting_can_be_chosen(tmp_path: Path) -> None:
    make_runs(tmp_path, ("resnet18", "resnet18-pose"))
    make_run(tmp_path / "short", "convnext", config=TrainConfig(steps=500))
    rows = json.loads(onet("report", str(tmp_path), "--json", "--suite", "pose", "--all-rows").stdout)["rows"]
    assert [r["variant"] for r in rows] == list(suite("pose").variants)
    assert [r["variant"] for r in rows if r["val_iou"] is not None] == ["resnet18", "resnet18-pose"]
    note = onet("report", str(tmp_path), "--json").stderr
    key = note.split("setting ")[1].split(")")[0]
    document = json.loads(onet("report", str(tmp_path), "--json", "--setting", key).stdout)
    assert document["steps"] == 500


def test_a_suite_of_one_s_own_has_its_own_rows_labels_and_base(tmp_path: Path) -> None:
    runs = make_runs(tmp_path / "runs", ("resnet18", "resnet34", "convnext"))
    suite = tmp_path / "my.toml"
    rows = '[[variant]]\nname = "resnet18"\nlabel = "Small"\n[[variant]]\nname = "resnet34"\n'
    suite.write_text(f'base = "resnet34"\n{rows}')
    document = json.loads(onet("report", str(runs), "--json", "--suite", str(suite)).stdout)
    assert (document["title"], document["base"], document["reference"]) == ("my", "resnet34", False)
    assert [r["label"] for r in document["rows"]] == ["Small", "ResNet34"]
    shown = onet("report", str(runs), "--suite", str(suite), "--base", "resnet18", "--reference").stdout
    assert "“report”: the course report" in shown
    assert json.loads(onet("report", str(runs), "--json", "--base", "convnext").stdout)["base"] == "convnext"
    made = onet(
        "report", str(runs), "--suite", str(suite), "--format", "html", "--no-figures", "--out", str(tmp_path / "o")
    )
    assert made.exit_code == 0, made.output
    assert ">Small<" in (tmp_path / "o" / "report.html").read_text()


def test_an_unfinished_run_is_named_with_how_to_go_on(tmp_path: Path) -> None:
    make_runs(tmp_path, ("resnet18",))
    make_unfinished(tmp_path / "convnext" / "0-ab", "convnext", saved=(100,))
    shown = " ".join(onet("report", str(tmp_path)).stdout.split())
    assert "convnext, seed 0 (step 100 of 3000 saved, in convnext/0-ab)" in shown
    assert "`onet train` told to resume" in shown
    onet("report", str(tmp_path), "--format", "html", "--no-figures", "--quiet")
    assert "step 100 of 3000" in (tmp_path / "report" / "report.html").read_text()


def test_the_table_at_own_thresholds_has_a_folder_of_its_own(tmp_path: Path) -> None:
    root = make_runs(tmp_path, seeds=(0, 1))
    training, own = (
        json.loads(onet("report", str(root), "--json", *more).stdout) for more in ((), ("--threshold", "val"))
    )
    assert (training["own_thresholds"], own["own_thresholds"]) == (False, True)
    for before, after in zip(training["rows"], own["rows"], strict=True):
        assert after["val_iou"] == pytest.approx(before["val_iou"] + 0.01)
        assert after["test_iou"] == pytest.approx(before["test_iou"] + 0.02, abs=1e-3)
        assert after["val_iou_paper"] is None  # published at one threshold
    for more in ([], ["--threshold", "val"]):
        assert onet("report", str(root), "--format", "html", "--no-figures", *more).exit_code == 0
    pages = {name: (root / name / "report.html").read_text() for name in ("report", "report-at-val")}
    assert "above the threshold (threshold 0.2)" in pages["report"]
    assert "above the threshold (each run’s best threshold on validation" in pages["report-at-val"]
    assert r"\label{tab:table1-at-val}" in (root / "report-at-val" / "table1.tex").read_text()


def test_a_folder_that_is_not_written_to_may_be_a_link(tmp_path: Path) -> None:
    root = make_runs(tmp_path / "runs", ("resnet18",))
    (root / "report").symlink_to(tmp_path)
    shown = onet("report", str(root))
    assert (shown.exit_code, "ResNet18" in shown.stdout) == (0, True)
    assert "it is a link" in str(onet("report", str(root), "--format", "html").exception)


def test_bad_input_is_one_clear_line(runs: Path, tmp_path: Path) -> None:
    result = onet("report", str(tmp_path / "nowhere"))
    assert isinstance(result.exception, InputError)
    assert "no folder of runs" in str(result.exception)
    assert "no suite" in str(onet("report", str(runs), "--suite", "nope").exception)
    assert "no variant" in str(onet("report", str(runs), "--base", "nope").exception)
    assert onet("report", str(runs), "--format", "docx").exit_code == 2


def test_it_needs_neither_torch_nor_open3d_nor_matplotlib(runs: Path, tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from importlib.abc import MetaPathFinder\n"
        "absent = {'torch', 'timm', 'open3d', 'trimesh', 'numba', 'matplotlib', 'skimage', 'pymeshfix'}\n"
        "class Absent(MetaPathFinder):\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in absent:\n"
        "            raise ImportError(name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        "from onet_cli.main import main\n"
        f"main(['report', {str(runs)!r}, '--format', 'html', '--out', {str(tmp_path)!r}])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    assert "figures need matplotlib" in done.stderr
    assert (tmp_path / "report.html").is_file()
    assert not list(tmp_path.glob("*.png"))


def test_data_of_other_runs_is_left_out_with_a_warning(runs: Path, tmp_path: Path) -> None:
    from helpers.datasets import make_dataset

    data = make_dataset(tmp_path / "data", shapes=8, points=512, image_size=32)
    result = onet(
        "report", str(runs), "--format", "html", "--no-figures", "--out", str(tmp_path / "o"), "--data", str(data)
    )
    assert result.exit_code == 0
    assert "not the data set of these runs" in result.stderr
