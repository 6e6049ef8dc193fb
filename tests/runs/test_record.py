"""Records of runs that somebody has written by hand: taken, or refused in one line that says what is odd."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from helpers.command_line import onet
from helpers.stored_runs import make_run

from pix3d_onet.errors import InputError
from pix3d_onet.runs.record import read_run

DEEP: Any = []
for _ in range(100):
    DEEP = [DEEP]
ODD: tuple[tuple[str, Any, str], ...] = (
    ("name", ["a"], "name must be str"),
    ("name", "x" * 100_000, "name must be str"),
    ("params", 10**400, "params must be int"),
    ("params", True, "params must be int"),
    ("best_val_iou", float("nan"), "best_val_iou must be float"),
    ("seconds", float("inf"), "seconds must be float"),
    ("history", [], "history is empty"),
    ("history", [{"step": 1}], "history must be"),
    ("test_scores", {"a": "0.5"}, "test_scores must be"),
    ("val_threshold", None, "val_scores_at_threshold has no val_threshold"),
    ("constant_at_threshold", "foo", "constant_at_threshold must be empty or one of inside, outside"),
    ("val_threshold", -7e9, "val_threshold must be between 0 and 1"),
    ("val_scores_at_threshold", {"foo": 0.9}, "val_scores_at_threshold has other pictures than val_scores"),
    ("test_scores_at_threshold", {"foo": 0.9}, "test_scores_at_threshold has other pictures than test_scores"),
    ("val_iou_at_threshold", 0.99, "val_iou_at_threshold is not the mean of val_scores_at_threshold"),
    ("val_iou_at_threshold", None, "val_iou_at_threshold is not the mean of val_scores_at_threshold"),
    ("data", {"train": "many"}, "data: train must be int"),
    ("data", {"val": 1e400}, "data must be"),
    ("device", {"name": float("nan")}, "device must be"),
    ("model", {"hidden_dim": 10**9}, "--hidden-dim must be between"),
    ("model", {"encoder": ["a"]}, "--encoder must be text"),
    ("train", {"seed": 0, "lr": "fast"}, "--lr must be a number"),
    ("train", {"seed": -1}, "--seed must be"),
    ("train", {"seed": 0, "augment": [{}]}, "--augment must be"),
    ("versions", DEEP, "nested more than"),
    ("version", 99, "not a run record of version"),
)


@pytest.mark.parametrize(("key", "value", "said"), ODD, ids=[f"{k}-{i}" for i, (k, _, _) in enumerate(ODD)])
def test_an_odd_value_is_named_in_one_line_and_costs_its_run_alone(
    tmp_path: Path, key: str, value: Any, said: str
) -> None:
    good, bad = make_run(tmp_path, "resnet18"), make_run(tmp_path, "resnet50")
    path = bad / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    answer = onet("report", tmp_path, "--format", "csv")
    assert answer.status == 0
    (line,) = [line for line in answer.err.splitlines() if line.startswith("skipped")]
    assert said in line
    assert len(line) < 500
    assert read_run(good).name == "resnet18"


def test_a_record_without_the_settings_that_have_defaults_is_a_record(tmp_path: Path) -> None:
    path = make_run(tmp_path, "resnet18") / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "train": {"seed": 0}}))
    assert onet("report", tmp_path, "--format", "csv").status == 0


def test_what_to_do_about_a_missing_and_a_damaged_record(tmp_path: Path) -> None:
    with pytest.raises(InputError) as missing:
        read_run(tmp_path)
    assert "interrupted continues with `resume=True`" in missing.value.hint
    for text in ('{"version": ', '{"version": 1}'):
        (tmp_path / "run.json").write_text(text)
        with pytest.raises(InputError) as damaged:
            read_run(tmp_path)
        assert damaged.value.hint.startswith("Restore it from a copy. Or remove it and continue the run")


def test_a_link_is_no_record(tmp_path: Path) -> None:
    path = make_run(tmp_path / "runs", "resnet18") / "run.json"
    path.rename(tmp_path / "elsewhere.json")
    path.symlink_to(tmp_path / "elsewhere.json")
    with pytest.raises(InputError, match="is a link"):
        read_run(path.parent)
