"""The table of variants is the report's, and every name in it can be used."""

from __future__ import annotations

import pytest

from pix3d_onet import build_model
from pix3d_onet.ablation.recipes import RECIPES
from pix3d_onet.ablation.variants import BASE, SUITES, VARIANTS, suite, variant
from pix3d_onet.config import TrainConfig
from pix3d_onet.errors import ConfigError

PRINTED = {
    "resnet18": (13_414_465, "13.4M", 0.4041, None),
    "resnet34": (23_522_625, "23.5M", 0.4128, 0.022),
    "resnet50": (26_139_201, "26.1M", 0.3941, -0.025),
    "resnet101": (45_131_329, "45.1M", 0.4061, 0.005),
    "convnext": (30_123_617, "30.1M", 0.4296, 0.063),
    "convnext-fp3": (86_157_601, "86.1M", 0.4166, 0.031),
    "convnext-fp3-pose": (86_338_369, "86.3M", 0.3838, -0.050),
}


def test_table1_is_what_the_report_prints() -> None:
    assert SUITES["table1"].variants == tuple(PRINTED) == tuple(VARIANTS)[:7]
    for name, printed in PRINTED.items():
        v = variant(name)
        assert (v.params, v.params_paper, v.val_iou_paper, v.relative_paper) == printed


@pytest.mark.parametrize("name", list(PRINTED))
def test_printed_parameter_counts_are_cut_not_rounded(name: str) -> None:
    v = variant(name)
    assert v.params is not None
    assert f"{v.params // 100_000 / 10:.1f}M" == v.params_paper


def test_every_suite_names_known_variants_once() -> None:
    for s in SUITES.values():
        assert len(set(s.variants)) == len(s.variants) >= 2
        assert all(name in VARIANTS for name in s.variants)
    assert BASE in VARIANTS


def test_recipe_changes_only_what_the_variant_names() -> None:
    changed = variant("resnet18-recipe").recipe(TrainConfig(steps=7, seed=3))
    assert (changed.steps, changed.seed) == (7, 3)
    assert (changed.schedule, changed.ema, changed.augment) == ("cosine", 0.99, ("color", "crop", "flip"))
    assert variant("resnet18").recipe(TrainConfig(steps=7)) == TrainConfig(steps=7)


def test_best_is_one_recipe_whose_network_has_at_most_35_million_parameters() -> None:
    torch = pytest.importorskip("torch")
    recipe = RECIPES["best"]
    assert variant("best").model == recipe.model
    assert variant("best").recipe(TrainConfig()) == recipe.train
    with torch.device("meta"):
        count = sum(p.numel() for p in build_model("best").parameters())
    assert count == variant("best").params
    assert count <= 35_000_000


def test_an_unknown_name_is_answered_with_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"Did you mean resnet18, .*timm:NAME"):
        variant("resnet19")
    with pytest.raises(ConfigError, match="table1, backbones"):
        suite("table2")


@pytest.mark.slow
@pytest.mark.parametrize("name", list(VARIANTS))
def test_pinned_parameter_counts_are_those_of_the_networks(name: str) -> None:
    torch = pytest.importorskip("torch")
    from pix3d_onet.learning.network.model import build_model

    with torch.device("meta"):
        network = build_model(variant(name).model)
    assert sum(p.numel() for p in network.parameters()) == variant(name).params
