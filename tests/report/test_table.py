"""Table 1: the numbers, what stays blank, and the same values in every format."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import re
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean

import pytest
from helpers.stored_runs import TABLE1, make_record, make_run, make_runs, make_unfinished, without_own
from scipy import stats

from pix3d_onet.ablation.stored_runs import find_runs, group_runs
from pix3d_onet.ablation.unfinished import find_unfinished
from pix3d_onet.ablation.variants import variant
from pix3d_onet.config import TrainConfig
from pix3d_onet.report import formats
from pix3d_onet.report.notes import table_notes
from pix3d_onet.report.statistics import holm
from pix3d_onet.report.table import Table, build_table
from pix3d_onet.runs.record import RunRecord, write_run


def table_of(root: Path, **options: object) -> Table:
    return build_table(group_runs(find_runs(root))[0], **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Table:
    return table_of(make_runs(tmp_path_factory.mktemp("runs"), seeds=(0, 1, 2)))


def test_the_contract_of_the_document(full: Table) -> None:
    document = json.loads(formats.json_text(full))
    assert document["dataset"] == "pix3d-chair"
    assert [r["variant"] for r in document["rows"]] == list(TABLE1)
    row = document["rows"][4]
    assert (row["label"], row["params"], row["params_paper"]) == ("ConvNeXt Tiny", 30_123_617, "30.1M")
    assert (row["val_iou_paper"], row["relative_paper"]) == (0.4296, 0.063)
    assert (row["seeds"], row["steps"]) == ([0, 1, 2], 3000)
    assert len(row["best_steps"]) == 3
    assert row["best_step"] in row["best_steps"]


def test_means_and_relative_improvement(full: Table) -> None:
    records = [make_record("convnext", s) for s in (0, 1, 2)]
    row = full.row("convnext")
    assert row.val_iou == pytest.approx(fmean(r.best_val_iou for r in records))
    assert row.last_val_iou == pytest.approx(fmean(r.last_val_iou for r in records))
    base = full.row("resnet18")
    assert base.val_iou is not None
    assert row.relative == pytest.approx(row.val_iou / base.val_iou - 1)
    assert base.relative is None
    assert base.p_value is None


def test_what_was_not_run_is_blank_but_its_known_counts_stand(tmp_path: Path) -> None:
    make_runs(tmp_path, ("resnet18", "convnext"))
    assert [r.variant for r in table_of(tmp_path).rows] == ["resnet18", "convnext"]
    table = table_of(tmp_path, all_rows=True)
    row = table.row("resnet50")
    assert (row.val_iou, row.relative, row.best_step, row.seeds, row.runs) == (None, None, None, (), ())
    assert (row.params, row.params_paper) == (26_139_201, "26.1M")
    assert any("“ResNet50”" in note for note in table.notes)
    assert "| ResNet50 | 26.14M | 26.1M |  | 0.3941 |  | −2.5% |  |" in formats.markdown(table)


def test_without_the_base_nothing_is_relative(tmp_path: Path) -> None:
    make_runs(tmp_path, ("resnet34", "convnext"))
    assert table_of(tmp_path).base == "resnet34"
    row = table_of(tmp_path, all_rows=True).row("convnext")
    assert row.val_iou is not None
    assert (row.relative, row.p_value) == (None, None)


def test_unequal_seeds_are_compared_over_shared_seeds_and_say_so(tmp_path: Path) -> None:
    make_runs(tmp_path, ("resnet18",), (0, 1))
    make_run(tmp_path, "convnext", 1)
    table = table_of(tmp_path)
    expected = make_record("convnext", 1).best_val_iou / make_record("resnet18", 1).best_val_iou - 1
    assert table.row("convnext").relative == pytest.approx(expected)
    assert table.row("convnext").val_iou_ci is None
    assert any("Fewer seeds" in n and "“ConvNeXt Tiny”" in n for n in table.notes)


def test_fewer_pictures_are_compared_over_shared_pictures_and_say_so(tmp_path: Path) -> None:
    base, posed = (without_own(make_record(name)) for name in ("resnet18", "convnext-fp3-pose"))
    shapes = {"a": "A", "b": "A", "c": "B", "d": "C", "e": "D", "f": "E", "g": "F"}
    easy = dict.fromkeys("abcdefg", 0.5) | {"a": 0.1}  # only the base has the hard picture
    write_run(
        tmp_path / "base",
        dataclasses.replace(base, val_scores=easy, best_val_iou=3.1 / 7, test_scores=easy, objects=shapes),
    )
    seen = dict.fromkeys("bcdefg", 0.5)
    write_run(
        tmp_path / "posed",
        dataclasses.replace(posed, val_scores=seen, best_val_iou=0.5, test_scores=seen, objects=shapes),
    )
    table = table_of(tmp_path)
    row = table.row("convnext-fp3-pose")
    assert row.relative == pytest.approx(0)
    assert row.difference == pytest.approx(0)
    assert (row.val_pictures, row.test_pictures) == (6, 6)
    assert any("“+ Pose”: 6 of 7 val, 6 of 7 test" in n for n in table.notes)
    assert not any("ResNet18 (base)”: " in n for n in table.notes)


def test_rows_that_were_trained_on_different_numbers_of_pictures_are_said_to_be(tmp_path: Path) -> None:
    for name, count in (("resnet18-photos", 155), ("resnet18-views8", 1395)):
        record = make_record(name)
        write_run(tmp_path / name, dataclasses.replace(record, data={**record.data, "train": count}))
    both = table_of(tmp_path)
    assert "(155 to 1395 train, 16 val, 33 test pictures)" in both.caption
    assert both.counts == {"train": 1395, "val": 16, "test": 33}
    one = table_of(tmp_path, variants=[variant("resnet18-photos")])
    assert "(155 train, 16 val, 33 test pictures)" in one.caption


@pytest.mark.parametrize("differs", [{"precision": "fp32"}, {"name": "another"}])
def test_devices_and_precisions_that_differ_are_named(tmp_path: Path, differs: dict[str, str]) -> None:
    make_run(tmp_path, "resnet18")
    assert not any("different devices" in n for n in table_of(tmp_path).notes)
    other = make_record("convnext")
    write_run(tmp_path / "other", dataclasses.replace(other, device={**other.device, **differs}))
    device = {**other.device, **differs}
    (note,) = (n for n in table_of(tmp_path).notes if "different devices" in n)
    assert note.endswith(
        f"; {device['name']} ({device['precision']}): “ConvNeXt Tiny”): their speeds, times and memory do not compare."
    )
    assert " (bf16): “ResNet18 (base)”; " in note


def test_a_figure_that_one_run_lacks_is_not_averaged_over_the_others(tmp_path: Path) -> None:
    make_run(tmp_path, "resnet18", 0)
    write_run(
        tmp_path / "bare",
        dataclasses.replace(
            without_own(make_record("resnet18", 1)), cost={}, val_iou_at_threshold=None, test_scores={}
        ),
    )
    row = table_of(tmp_path).row("resnet18")
    assert (row.gflops_image, row.latency_seconds, row.val_iou_best_threshold, row.test_iou) == (None, None, None, None)


def with_test_scores(folder: Path, name: str, seed: int, scores: Mapping[str, float]) -> None:
    record = dataclasses.replace(without_own(make_record(name, seed)), test_scores=scores)
    write_run(folder / f"{name}-{seed}", record)


def shifted(shift: float, spread: float = 0.0) -> dict[str, float]:
    """The same test scores, all moved by ``shift``, and every second one up and down by ``spread``."""
    base = make_record("resnet18").test_scores
    return {picture: value + shift + spread * (-1) ** i for i, (picture, value) in enumerate(sorted(base.items()))}


def test_a_difference_that_seeds_make_as_well_has_no_mark(tmp_path: Path) -> None:
    """Every shape of ResNet34's first run is better, so the test over shapes is sure; its second run is worse."""
    with_test_scores(tmp_path, "resnet18", 0, shifted(0))
    with_test_scores(tmp_path, "resnet34", 0, shifted(0.04))
    row = table_of(tmp_path).row("resnet34")
    assert (row.p_adjusted < 0.001, row.p_seeds, row.significant) == (True, None, False)
    assert any(note.startswith("A row has no mark without two runs") for note in table_of(tmp_path).notes)
    with_test_scores(tmp_path, "resnet18", 1, shifted(0.01))
    with_test_scores(tmp_path, "resnet34", 1, shifted(-0.01))
    table = table_of(tmp_path)
    row = table.row("resnet34")
    assert row.difference == pytest.approx(0.01)
    assert row.p_adjusted < 0.001
    assert row.p_seeds == pytest.approx(stats.ttest_ind([0.04, -0.01], [0.0, 0.01], equal_var=False).pvalue)
    assert row.p_seeds > 0.5
    assert row.significant is False
    assert not any("has no mark" in note for note in table.notes)


def test_a_difference_that_the_shapes_do_not_show_has_no_mark_and_p_is_corrected(tmp_path: Path) -> None:
    """ResNet34's runs agree that it is better by 0.01, on half of the shapes; ResNet50 is better on all."""
    for seed, noise in enumerate((0.0, 0.0002, -0.0002)):
        with_test_scores(tmp_path, "resnet18", seed, shifted(noise))
        with_test_scores(tmp_path, "resnet34", seed, shifted(0.01 + noise, spread=0.1))
        with_test_scores(tmp_path, "resnet50", seed, shifted(0.01 + noise))
    table = table_of(tmp_path)
    torn, sure = table.row("resnet34"), table.row("resnet50")
    assert (torn.p_adjusted > 0.05, torn.p_seeds < 0.05, torn.significant) == (True, True, False)
    assert (sure.p_adjusted < 0.05, sure.p_seeds < 0.05, sure.significant) == (True, True, True)
    means = [[fmean(r.test_scores.values()) for r in each] for each in (records(tmp_path, n) for n in NAMED)]
    raw = [stats.ttest_ind(other, means[0], equal_var=False).pvalue for other in means[1:]]
    assert [torn.p_seeds, sure.p_seeds] == pytest.approx(list(holm(raw)))
    assert min(raw) < min(torn.p_seeds, sure.p_seeds)


NAMED = ("resnet18", "resnet34", "resnet50")


def records(root: Path, name: str) -> list[RunRecord]:
    return [run.record for run in find_runs(root) if run.variant == name]


def test_both_tests_are_on_the_same_runs(tmp_path: Path) -> None:
    """On the only seed that both have the row is better; its other runs are far worse and have no partner."""
    for seed in range(4):
        with_test_scores(tmp_path, "resnet18", seed, shifted(0.001 * seed))
    with_test_scores(tmp_path, "resnet34", 0, shifted(0.05))
    for seed in (11, 12, 13):
        with_test_scores(tmp_path, "resnet34", seed, shifted(-0.2 + 0.001 * seed))
    row = table_of(tmp_path).row("resnet34")
    assert row.difference == pytest.approx(0.05)
    assert (row.p_seeds, row.significant) == (None, False)


def test_a_run_without_test_scores_is_left_out_of_the_tests_and_named(tmp_path: Path) -> None:
    for seed in range(3):
        with_test_scores(tmp_path, "resnet18", seed, shifted(0.001 * seed) if seed != 1 else {})
        with_test_scores(tmp_path, "resnet34", seed, shifted(0.05 + 0.001 * seed))
    table = table_of(tmp_path)
    row = table.row("resnet34")
    assert row.difference == pytest.approx(0.05)
    assert row.p_seeds is not None
    assert table.tested_shapes == 33
    assert "Without scores on test, left out of the tests: resnet18/1." in table.notes


def test_runs_that_are_all_equal_say_nothing_of_other_seeds(tmp_path: Path) -> None:
    for seed in range(3):
        with_test_scores(tmp_path, "resnet18", seed, dict.fromkeys(shifted(0), 0.1))
        with_test_scores(tmp_path, "resnet34", seed, dict.fromkeys(shifted(0), 0.1001))
    row = table_of(tmp_path).row("resnet34")
    assert (row.p_adjusted < 0.001, row.p_seeds, row.significant) == (True, None, False)


def test_significance_follows_the_scores(tmp_path: Path) -> None:
    for seed in (0, 1, 2):
        make_run(tmp_path, "resnet18", seed)
        write_run(tmp_path / f"far-{seed}", make_record("convnext", seed, shift=0.1))
        same = without_own(make_record("resnet18", seed)).test_scores
        record = without_own(make_record("resnet34", seed))
        write_run(tmp_path / f"same-{seed}", dataclasses.replace(record, test_scores=same))
    table = table_of(tmp_path)
    assert table.row("convnext").significant is True
    assert table.row("resnet34").significant is False
    assert (table.row("resnet34").p_value, table.row("resnet34").p_seeds) == (1.0, pytest.approx(1.0))
    assert (table.tested_on, table.tested_shapes) == ("test", 33)
    assert "0.5" in formats.markdown(table)
    assert re.search(r"ConvNeXt Tiny .* 0\.\d{4}\\\*", formats.markdown(table))


def test_all_formats_say_the_same(full: Table) -> None:
    document = json.loads(formats.json_text(full))
    main = formats.markdown(full).split("\n\n")[0].splitlines()[2:]
    rows = list(csv.DictReader(io.StringIO(formats.csv_text(full))))
    latex = [line for line in formats.latex(full).splitlines() if line.endswith(r"\\")][1:]
    assert len(main) == len(rows) == len(latex) == len(document["rows"]) == 7
    for row, md, cs, tex in zip(document["rows"], main, rows, latex, strict=True):
        assert float(cs["val_iou"]) == row["val_iou"]
        assert int(cs["params"]) == row["params"]
        cells = [c.strip().split("\\")[0] for c in md.strip("|").split("|")]
        texs = [c.strip() for c in tex.removesuffix(r"\\").split("&")]
        assert cells[0] == row["label"] == texs[0]
        assert cells[3] == f"{row['val_iou']:.4f}" == texs[3].split("\\")[0]
        assert cells[5] == f"{row['val_iou_paper']:.4f}" == texs[5]
        if row["relative"] is not None:
            assert cells[6] == f"{row['relative'] * 100:+.1f}%".replace("-", "−")


def test_markdown_is_well_formed(full: Table) -> None:
    blocks = [b.splitlines() for b in formats.markdown(full).split("\n\n") if b.startswith("|")]
    assert len(blocks) == 3
    for block in blocks:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block}) == 1
        assert re.fullmatch(r"\|( -+:? \|)+", block[1])


def test_latex_parses_as_a_table(full: Table) -> None:
    text = formats.latex(full)
    assert text.count("{") == text.count("}")
    begins, ends = re.findall(r"\\begin\{(\w+)\}", text), re.findall(r"\\end\{(\w+)\}", text)
    assert begins == ends[::-1] == ["table", "tabular"]
    columns = re.search(r"\\begin\{tabular\}\{(l r*|lr*)\}", text)
    assert columns
    body = text.split(r"\toprule")[1].split(r"\bottomrule")[0]
    for line in filter(None, (x.strip() for x in body.splitlines())):
        assert line == r"\midrule" or (line.endswith(r"\\") and line.count("&") == len(columns[1]) - 1)
    assert text.isascii()
    assert not re.search(r"(?<!\\)[%_#]", text.split("\n", 1)[1])


def test_caption_names_data_recipe_seeds_and_device(full: Table) -> None:
    for part in (
        "pix3d-chair",
        "114 train",
        "3000 steps",
        "batch 64",
        "224² px",
        "seeds 0, 1, 2",
        "Example GPU (bf16)",
        "0.2",
        "all points",
    ):
        assert part in full.caption


def test_the_caption_is_of_the_rows_that_are_shown(tmp_path: Path) -> None:
    make_run(tmp_path, "resnet18")
    record = make_record("resnet34")
    other = dataclasses.replace(
        record, device={**record.device, "precision": "fp32"}, replaced={"weights": record.weights}
    )
    write_run(tmp_path / "other", other)
    assert "(bf16), Example GPU (fp32)" in table_of(tmp_path).caption
    caption = table_of(tmp_path, variants=(variant("resnet18"),)).caption
    assert "(bf16)." in caption
    assert "by row" not in caption


def test_a_row_that_was_trained_for_longer_says_so(tmp_path: Path) -> None:
    make_run(tmp_path, "resnet18")
    record = make_record("resnet18")
    train = {**record.train, "steps": 9000}
    longer = dataclasses.replace(record, name="longer", run_id="0" * 12, train=train, replaced={"steps": 3000})
    write_run(tmp_path / "longer", longer)
    table = table_of(tmp_path)
    assert [r.steps for r in table.rows] == [3000, 9000]
    assert "Other numbers of steps than 3000: “longer” 9000." in table_notes(table)


def test_validation_on_fewer_points_is_stated(tmp_path: Path) -> None:
    make_run(tmp_path, "resnet18", config=TrainConfig(steps=40, val_every=20, val_points=8192, pretrained=False))
    caption = table_of(tmp_path).caption
    assert "at most the first 8,192 points" in caption
    assert "random weights" in caption


def test_rows_with_initial_weights_of_their_own_are_said_to_have_them(tmp_path: Path) -> None:
    """They are in the table of those that start as all do."""
    make_run(tmp_path, "lite0")
    for name in ("lite0-weights", "lite0-run"):
        own = dataclasses.replace(make_record(name), replaced={"weights": ""})
        write_run(tmp_path / name, own)
    table = table_of(tmp_path)
    assert {r.variant for r in table.rows if r.val_iou} == {"lite0", "lite0-weights", "lite0-run"}
    assert "initial weights by row" in table.caption


def test_another_base_and_chosen_rows(tmp_path: Path) -> None:
    make_runs(tmp_path, ("resnet18", "convnext", "convnext-fp3"))
    table = table_of(tmp_path, variants=[variant("convnext"), variant("convnext-fp3")])
    assert (table.base, [r.variant for r in table.rows]) == ("convnext", ["convnext", "convnext-fp3"])
    assert table.row("convnext").relative is None
    assert table.row("convnext-fp3").relative is not None


def test_the_reference_stands_beside_table_1_alone(tmp_path: Path) -> None:
    make_runs(tmp_path / "whole")
    table = table_of(tmp_path / "whole")
    assert (table.title, table.reference, table.row("convnext").val_iou_paper) == ("Table 1", True, 0.4296)
    assert r"\label{tab:table1}" in formats.latex(table)
    make_runs(tmp_path / "part", ("resnet18", "convnext"))
    tmp_path = tmp_path / "part"
    mixed = table_of(tmp_path)
    assert (mixed.title, mixed.reference, mixed.row("convnext").val_iou_paper) == ("Ablation", False, None)
    assert formats.PUBLISHED not in [heading for heading, _ in formats.filled(mixed, formats.MAIN_COLUMNS)]
    for text in (formats.markdown(mixed), formats.latex(mixed), formats.json_text(mixed)):
        assert "course report" not in text
    assert table_of(tmp_path, reference=True).row("convnext").relative_paper == 0.063


def test_a_suite_has_its_own_label_and_caption(tmp_path: Path) -> None:
    make_runs(tmp_path, ("resnet18", "resnet18-pose"))
    text = formats.latex(table_of(tmp_path, name="my_pose", title="Does the camera help?"))
    assert r"\label{tab:my_pose}" in text
    assert r"\caption{Does the camera help? Validation IoU" in text
    assert r"\label{tab:ablation}" in formats.latex(table_of(tmp_path))


def test_what_says_nothing_of_shapes_is_noted(tmp_path: Path) -> None:
    record = make_record("resnet18")
    write_run(tmp_path / "a", dataclasses.replace(record, constant="inside", data={**record.data, "val": 1}))
    notes = " ".join(table_of(tmp_path).notes)
    assert "Has learnt no shape, since it labels every validation point inside: “ResNet18 (base)”." in notes
    assert "Only 1 validation picture: too few" in notes


def test_an_unfinished_run_is_not_one_that_was_not_run(tmp_path: Path) -> None:
    make_runs(tmp_path, ("resnet18",))
    make_unfinished(tmp_path / "convnext" / "0-ab", "convnext", saved=(100,))
    make_unfinished(tmp_path / "mine" / "1-ab", "resnet34", 1)
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "config.json").write_text('{"train": "express"}')
    found = find_unfinished(tmp_path)
    assert [(r.variant, r.seed, r.step, r.steps) for r in found] == [
        ("convnext", 0, 100, 3000),
        ("resnet34", 1, 0, 3000),
    ]
    notes = table_of(tmp_path, all_rows=True, unfinished=found).notes
    (begun,) = [n for n in notes if n.startswith("Unfinished")]
    assert "convnext, seed 0 (step 100 of 3000 saved, in convnext/0-ab)" in begun
    assert "`onet bench`" in begun
    (missing,) = [n for n in notes if n.startswith("No finished run")]
    assert "“ResNet50”" in missing
    assert "“ConvNeXt Tiny”" not in missing
    alone = table_of(tmp_path, variants=[variant("resnet18")], unfinished=found)
    assert alone.unfinished == ()


@pytest.mark.parametrize(
    ("spelled", "text"),
    [
        (formats.percent(-0.0247), "−2.5%"),
        (formats.percent(None), ""),
        (formats.millions(13_414_465), "13.41M"),
        (formats.p_text(0.0001), "<0.001"),
        (formats.duration(0.35), "350 ms"),
        (formats.duration(90), "90.0 s"),
        (formats.duration(5400), "90.0 min"),
        (formats.size(3 * 2**30), "3.0 GiB"),
        (formats.number(-0.5, 2), "−0.50"),
    ],
)
def test_spelling(spelled: str, text: str) -> None:
    assert spelled == text
