"""The table at each run's own threshold: its scores, what it leaves out, and what it says."""

from __future__ import annotations

import csv
import dataclasses
import io
import shutil
from pathlib import Path
from statistics import fmean

import pytest
from helpers.stored_runs import make_record, make_run, without_own

from pix3d_onet.ablation.stored_runs import find_runs, group_runs
from pix3d_onet.ablation.variants import variant
from pix3d_onet.errors import InputError
from pix3d_onet.report import formats
from pix3d_onet.report.build import TableOptions, read_report
from pix3d_onet.report.comparison import at_own_thresholds
from pix3d_onet.report.table import Table, build_table
from pix3d_onet.runs.record import RunRecord, write_run

ROOT = Path(__file__).resolve().parents[2]


def scored(record: RunRecord, threshold: float, val: float, test: float) -> RunRecord:
    """``record`` with means ``val`` and ``test`` at its own ``threshold``, and scores that differ by picture."""

    def spread(names: object, mean: float) -> dict[str, float]:
        listed = list(names)  # type: ignore[call-overload]
        return {name: mean + 0.001 * (i - (len(listed) - 1) / 2) for i, name in enumerate(listed)}

    return dataclasses.replace(
        record,
        val_threshold=threshold,
        val_iou_at_threshold=val,
        val_scores_at_threshold=spread(record.val_scores, val),
        test_scores_at_threshold=spread(record.test_scores, test),
        constant_at_threshold="",
    )


def at_training(root: Path) -> Table:
    return build_table(group_runs(find_runs(root))[0])


def at_own(root: Path) -> Table:
    return build_table(at_own_thresholds(group_runs(find_runs(root))[0]), own_thresholds=True)


def test_it_has_the_scores_and_the_tests_of_these_thresholds(tmp_path: Path) -> None:
    first = scored(make_record("resnet18", shift=0.1), 0.2, 0.5, 0.4)
    write_run(tmp_path / "a", first)
    write_run(tmp_path / "b", scored(make_record("convnext"), 0.35, 0.6, 0.45))
    common, table = at_training(tmp_path), at_own(tmp_path)
    row = table.row("convnext")
    assert (row.val_iou, row.relative) == (pytest.approx(0.6), pytest.approx(0.2))
    assert row.test_iou == pytest.approx(0.45)
    assert row.difference == pytest.approx(0.05)
    assert row.p_adjusted < 0.001
    assert common.row("convnext").difference < 0
    assert (row.thresholds, common.row("convnext").thresholds) == ((0.35,), (0.2,))
    assert "(each run's best threshold on validation; " in table.caption
    assert "(threshold 0.2; " in common.caption
    assert row.last_val_iou is None  # at the threshold of training, so no neighbour for the others
    assert common.row("convnext").last_val_iou == make_record("convnext").last_val_iou
    assert any(note.endswith("Val IoU is too high for both reasons.") for note in table.notes)


def test_a_network_that_is_scored_on_fewer_pictures_is_compared_on_those(tmp_path: Path) -> None:
    """The base's mean over the shared pictures at its own threshold, not over all and not at that of training."""
    base, posed = (scored(make_record(name), 0.3, 0.5, 0.4) for name in ("resnet18", "convnext-fp3-pose"))
    kept = list(posed.val_scores)[:6]
    own = dict.fromkeys(kept, 0.55)
    few = dataclasses.replace(
        posed, val_scores=dict.fromkeys(kept, 0.1), val_scores_at_threshold=own, val_iou_at_threshold=0.55
    )
    write_run(tmp_path / "base", base)
    write_run(tmp_path / "posed", few)
    shared = fmean(base.val_scores_at_threshold[name] for name in kept)
    assert at_own(tmp_path).row("convnext-fp3-pose").relative == pytest.approx(0.55 / shared - 1)


def test_constancy_is_that_at_the_run_s_threshold(tmp_path: Path) -> None:
    record = dataclasses.replace(scored(make_record("resnet18"), 0.05, 0.3, 0.3), constant="outside")
    write_run(tmp_path / "a", record)
    assert any("Has learnt no shape" in note for note in at_training(tmp_path).notes)
    assert not any("Has learnt no shape" in note for note in at_own(tmp_path).notes)
    write_run(tmp_path / "a", dataclasses.replace(record, constant="", constant_at_threshold="inside"))
    assert not any("Has learnt no shape" in note for note in at_training(tmp_path).notes)
    assert any("it labels every validation point inside: “ResNet18 (base)”." in note for note in at_own(tmp_path).notes)


def test_only_runs_of_the_table_need_these_scores(tmp_path: Path) -> None:
    suite = tmp_path / "two.toml"
    suite.write_text('[[variant]]\nname = "resnet18"\n[[variant]]\nname = "convnext"\n')
    from pix3d_onet.ablation.selection import select

    runs = tmp_path / "runs"
    for name in ("resnet18", "convnext"):
        make_run(runs, name)
    for seed in range(4):
        write_run(runs / "older" / str(seed), without_own(make_record("resnet34", seed)))
    options = TableOptions(select([str(suite)]), own_thresholds=True)
    assert [row.variant for row in read_report(runs, options=options).table.rows] == ["resnet18", "convnext"]
    with pytest.raises(InputError, match=r"^4 of 6 runs .* older/0, older/1, older/2 and 1 more\.") as error:
        read_report(runs, options=TableOptions(own_thresholds=True))
    assert error.value.hint


def test_a_run_folder_alone_is_named(tmp_path: Path) -> None:
    write_run(tmp_path / "mine", without_own(make_record("resnet34")))
    with pytest.raises(InputError, match=r"^1 of 1 runs .*: mine\."):
        read_report(tmp_path / "mine", options=TableOptions(own_thresholds=True))


def test_without_a_test_split_the_tests_are_said_to_be_on_the_same_pictures(tmp_path: Path) -> None:
    for name in ("resnet18", "convnext"):
        record = scored(make_record(name), 0.3, 0.5, 0.4)
        write_run(tmp_path / name, dataclasses.replace(record, test_scores={}, test_scores_at_threshold={}))
    said = "The tests are on the pictures on which checkpoints{} were chosen: take p as optimistic."
    assert said.format(" and thresholds") in at_own(tmp_path).notes
    assert said.format("") in at_training(tmp_path).notes


@pytest.mark.parametrize(("own", "wanted"), [(0.41, False), (0.42001, False), (0.43, True)])
def test_an_order_that_depends_on_the_threshold_is_named(tmp_path: Path, own: float, wanted: bool) -> None:
    first = scored(make_record("resnet18", shift=0.1), 0.2, 0.42, 0.4)
    write_run(tmp_path / "a", first)
    write_run(tmp_path / "b", scored(make_record("convnext"), 0.35, own, 0.4))
    write_run(tmp_path / "c", dataclasses.replace(without_own(make_record("resnet34")), val_iou_at_threshold=None))
    table = at_training(tmp_path)
    here, there = (table.row(name).val_iou for name in ("resnet18", "convnext"))
    said = (
        f"Which Val IoU is highest depends on the threshold: at that of training “ResNet18 (base)” has "
        f"{here:.4f} and “ConvNeXt Tiny” {there:.4f}, at the one that is best for each run 0.4200 and {own:.4f}."
    )
    assert (said in table.notes) == wanted
    assert any("depends on the threshold" in note for note in table.notes) == wanted


def test_thresholds_of_training_that_differ_are_in_the_caption() -> None:
    """The recipe best has a threshold of its own in its suite."""
    runs = group_runs(find_runs(ROOT / "benchmarks" / "results" / "best" / "runs"))
    group = max(runs, key=lambda group: len(group.runs))
    table = build_table(group)
    assert "(threshold 0.3; 0.4 of “Recipe best”, “Recipe best, predicted camera”; " in table.caption
    assert table.marks_differ == ("convnext",)  # worse than ResNet18 at 0.3, and not at the thresholds that suit both
    assert "At each run's own best threshold the marks differ: “ConvNeXt Tiny”." in table.notes
    alone = build_table(group, [variant("best")])
    assert "(threshold 0.4; " in alone.caption


def test_thresholds_are_in_the_statistics_and_the_csv(tmp_path: Path) -> None:
    for seed, threshold in ((0, 0.4), (1, 0.35)):
        write_run(tmp_path / str(seed), scored(make_record("resnet18", seed), threshold, 0.5, 0.4))
    table = at_training(tmp_path)
    older = dataclasses.replace(without_own(make_record("convnext")), val_threshold=None, val_iou_at_threshold=None)
    write_run(tmp_path / "older", older)
    rows = list(csv.DictReader(io.StringIO(formats.csv_text(at_training(tmp_path)))))
    assert rows[1]["val_thresholds"] == "nan"
    (line,) = formats.cells(table, formats.STATISTICS_COLUMNS)
    assert line[-2:] == ["0.35, 0.4", "0.5000"]
    (row,) = csv.DictReader(io.StringIO(formats.csv_text(table)))
    assert (row["thresholds"], row["val_thresholds"]) == ("0.2 0.2", "0.4 0.35")
    shutil.rmtree(tmp_path / "older")
    (row,) = csv.DictReader(io.StringIO(formats.csv_text(at_own(tmp_path))))
    assert row["thresholds"] == "0.4 0.35"
