"""The stored runs are those of the variants that the docs say they are."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from pix3d_onet.ablation.recipes import RECIPES
from pix3d_onet.ablation.selection import Selection
from pix3d_onet.ablation.stored_runs import find_runs
from pix3d_onet.ablation.suite_file import read_suite
from pix3d_onet.config import TrainConfig

ROOT = Path(__file__).resolve().parents[2]


QUESTIONS = (
    "augment",
    "capacity",
    "conditioning",
    "labels",
    "norm",
    "pose",
    "pretrain",
    "pyramid",
    "recipe",
    "sampling",
    "views",
)


@pytest.mark.parametrize(
    ("folder", "suites"),
    [
        ("best/runs", ("best",)),
        ("table1-112/runs", ("table1",)),
        ("questions/runs", QUESTIONS),
        ("questions/fusion-labels", ("labels",)),
    ],
)
def test_each_run_is_a_row_of_a_suite_as_it_is_now(folder: str, suites: tuple[str, ...]) -> None:
    """A variant or suite that is changed needs new runs, or another name; else a table silently loses its row."""
    planned = [
        (variant.name, seed, config)
        for suite in suites
        for chosen in [read_suite(ROOT / "benchmarks" / "suites" / f"{suite}.toml")]
        for variant in chosen.variants
        for seed in chosen.seeds
        for config in [variant.recipe(settings(chosen, seed))]
    ]
    runs = find_runs(ROOT / "benchmarks" / "results" / folder)
    assert runs
    for run in runs:
        found = (run.variant, run.seed, TrainConfig.from_json(dict(run.record.train)))
        assert found in planned, run.place


def settings(chosen: Selection, seed: int) -> TrainConfig:
    """The training settings of a suite file."""
    assert chosen.preset is not None
    return dataclasses.replace(RECIPES[chosen.preset].train, **chosen.recipe, seed=seed)
