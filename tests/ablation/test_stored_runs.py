"""Finding runs, telling which variant each is, and never mixing what does not compare."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
from helpers.stored_runs import make_record, make_run, make_runs, make_unfinished

from pix3d_onet.ablation.recipes import RECIPES
from pix3d_onet.ablation.stored_runs import choose_group, find_runs, group_runs, key_of, stored, variant_of
from pix3d_onet.ablation.variants import SUITES
from pix3d_onet.config import ModelConfig, TrainConfig
from pix3d_onet.errors import ConfigError, InputError
from pix3d_onet.events import Event, Note
from pix3d_onet.runs.folder import RunFolder
from pix3d_onet.runs.record import CHECKS, HistoryRow, RunRecord, read_run, write_run


def test_finds_every_run_once_in_a_stable_order(tmp_path: Path) -> None:
    make_runs(tmp_path / "runs", ("resnet34", "resnet18"), (1, 0))
    shutil.copytree(tmp_path / "runs" / "resnet18", tmp_path / "runs" / "zz-copy")
    runs = find_runs(tmp_path / "runs")
    assert [(r.variant, r.seed) for r in runs] == [("resnet18", 0), ("resnet18", 1), ("resnet34", 0), ("resnet34", 1)]


def test_two_variants_whose_training_is_the_same_are_both_found(tmp_path: Path) -> None:
    """Each is a row of its own suite in a shared folder; a run that lies there twice is one."""
    folder = make_run(tmp_path, "resnet18")
    record = read_run(folder)
    write_run(tmp_path / "resnet18-near" / folder.name, dataclasses.replace(record, name="mine"))
    write_run(tmp_path / "copy", record)
    runs = find_runs(tmp_path)
    assert sorted(r.variant for r in runs) == ["mine", "resnet18"]
    assert len({r.record.run_id for r in runs}) == 1


def test_a_damaged_record_is_skipped_with_a_warning(tmp_path: Path) -> None:
    make_runs(tmp_path, ("resnet18",))
    for name, text in (
        ("cut", '{"version": 1, "name"'),
        ("odd", '{"version": 1}'),
        ("old", '{"version": 99}'),
        ("list", "[]"),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text(text)
    bad = dataclasses.replace(make_record("resnet34"), train={"seed": 0, "no-such-setting": 1})
    write_run(tmp_path / "strange", bad)
    events: list[Event] = []
    assert [r.variant for r in find_runs(tmp_path, events.append)] == ["resnet18"]
    warnings = [e.message for e in events if isinstance(e, Note) and e.level == "warning"]
    assert len(warnings) == 5


def test_no_folder_and_no_run_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="onet bench"):
        find_runs(tmp_path / "nowhere")
    with pytest.raises(InputError, match="no finished run"):
        find_runs(tmp_path)
    make_unfinished(tmp_path / "convnext" / "0-ab", "convnext", saved=(50, 120))
    with pytest.raises(InputError, match=r"Unfinished: convnext, seed 0 \(step 120 of 3000 saved, in convnext/0-ab\)"):
        find_runs(tmp_path)


def test_a_run_has_the_name_it_was_given_and_without_one_that_of_its_architecture() -> None:
    record = make_record("convnext")
    assert variant_of(dataclasses.replace(record, name="base")) == "base"
    for encoder in ("convnext_tiny", "timm:convnext_tiny"):
        spelled_out = ModelConfig(encoder)
        unnamed = dataclasses.replace(record, name=spelled_out.default_name, model=spelled_out.to_json())
        assert variant_of(unnamed) == "convnext"
    other = ModelConfig("resnet18", hidden_dim=128).to_json()
    assert variant_of(dataclasses.replace(record, name="narrow", model=other)) == "narrow"
    assert variant_of(dataclasses.replace(record, name="resnet18", model=other)) == "resnet18 (other network)"


def test_a_setting_that_came_later_compares_with_runs_that_do_not_have_it(tmp_path: Path) -> None:
    base = make_record("resnet18")
    train = {**base.train, "near": 0.5}
    near = dataclasses.replace(base, name="near", run_id="0" * 12, train=train, replaced={"near": 0.0})
    for record in (base, near):
        write_run(tmp_path / record.name, record)
    (group,) = group_runs(find_runs(tmp_path))
    assert {run.variant for run in group.runs} == {"near", "resnet18"}
    assert "near" not in group.setting["train"]  # so its key is that of earlier versions
    unlike = dataclasses.replace(near, replaced={})
    write_run(tmp_path / "near", unlike)
    assert len(group_runs(find_runs(tmp_path))) == 2


def test_a_recipe_variant_is_told_from_its_base() -> None:
    assert variant_of(make_record("resnet18-cosine")) == "resnet18-cosine"
    named = [dataclasses.replace(make_record(name), name="x") for name in ("resnet18-recipe", "resnet18")]
    assert [variant_of(record) for record in named] == ["x", "x"]


def test_settings_are_never_mixed_but_recipe_variants_stand_beside_their_base(tmp_path: Path) -> None:
    make_runs(tmp_path, ("resnet18", "resnet34"), (0, 1))
    make_run(tmp_path, "resnet18-cosine")
    make_run(tmp_path / "short", "resnet18", config=TrainConfig(steps=500))
    other = make_record("resnet34")
    write_run(
        tmp_path / "other-data", dataclasses.replace(other, run_id="f" * 12, data={**other.data, "data_hash": "ffff"})
    )
    groups = group_runs(find_runs(tmp_path))
    assert sorted(len(g.runs) for g in groups) == [1, 1, 5]
    assert groups[0].variants == ("resnet18", "resnet34", "resnet18-cosine")


@pytest.mark.parametrize("preset", list(RECIPES))
@pytest.mark.parametrize("suite", list(SUITES))
def test_every_suite_is_one_table_under_every_preset(tmp_path: Path, suite: str, preset: str) -> None:
    make_runs(tmp_path, SUITES[suite].variants, config=RECIPES[preset].train)
    (group,) = group_runs(find_runs(tmp_path))
    assert set(group.variants) == set(SUITES[suite].variants)
    assert {key_of(run, group.runs) for run in group.runs} == {group.key}


def test_the_fullest_group_is_chosen_and_the_others_are_named(tmp_path: Path) -> None:
    make_runs(tmp_path, ("resnet18", "resnet34"))
    make_run(tmp_path / "short", "resnet18", config=TrainConfig(steps=500))
    groups = group_runs(find_runs(tmp_path))
    events: list[Event] = []
    assert choose_group(groups, None, events.append).variants == ("resnet18", "resnet34")
    assert any(isinstance(e, Note) and "500 steps" in e.message and groups[1].key in e.message for e in events)
    assert choose_group(groups, groups[1].key[:4]) is groups[1]
    with pytest.raises(ConfigError, match="names no setting"):
        choose_group(groups, "zzzz")


def test_every_group_left_out_is_told_what_it_has_otherwise(tmp_path: Path) -> None:
    make_runs(tmp_path / "table", ("resnet18", "resnet34"))
    changes = {"lr": 0.5, "points_per_shape": 512, "steps": 500, "image_size": 64, "augment": ("flip",)}
    for name, value in changes.items():
        make_run(tmp_path / name, "convnext", config=TrainConfig(**{name: value}))
    record = make_record("resnet50")
    data = {**record.data, "data_hash": "ffff"}
    write_run(tmp_path / "data", dataclasses.replace(record, run_id="e" * 12, data=data))
    write_run(tmp_path / "weights", dataclasses.replace(record, run_id="f" * 12, weights="1234abcd"))
    events: list[Event] = []
    choose_group(group_runs(find_runs(tmp_path)), None, events.append)
    told = [e.message.rsplit("): ", 1)[1] for e in events if isinstance(e, Note)]
    default = TrainConfig().to_json()
    expected = {f"{k} {TrainConfig(**{k: v}).to_json()[k]}, not {default[k]}." for k, v in changes.items()}
    assert set(told) == {*expected, "data ffff, not 0123456789ab.", "weights 1234abcd, not pretrained."}
    assert len(told) == 7


def test_a_variant_of_one_s_own_stands_beside_what_its_record_says_it_changed(tmp_path: Path) -> None:
    make_run(tmp_path, "resnet18")
    own = dataclasses.replace(
        make_record("resnet34", config=TrainConfig(ema=0.99)), name="mine", label="Mine", replaced={"ema": 0.0}
    )
    write_run(tmp_path / "mine", own)
    (group,) = group_runs(find_runs(tmp_path))
    assert group.variants == ("resnet18", "mine")
    assert [run.label for run in group.runs] == ["Mine", "ResNet18 (base)"]
    write_run(tmp_path / "mine", dataclasses.replace(own, replaced={"ema": 0.5}))
    assert len(group_runs(find_runs(tmp_path))) == 2


def test_a_variant_of_one_s_own_may_start_from_random_weights(tmp_path: Path) -> None:
    plain = make_record("resnet18", config=TrainConfig(pretrained=True))
    write_run(tmp_path / "base", plain)
    train = {**plain.train, "pretrained": False}
    own = {"name": "scratch", "run_id": "0" * 12, "train": train, "weights": "", "replaced": {"pretrained": True}}
    scratch = dataclasses.replace(plain, **own)
    write_run(tmp_path / "scratch", scratch)
    (group,) = group_runs(find_runs(tmp_path))
    assert group.variants == ("resnet18", "scratch")


@pytest.mark.parametrize(
    ("weights", "named"),
    [
        ("pretrained", "tf_efficientnet_lite0"),
        ("", "tf_efficientnet_lite0"),  # `lite0` also says `pretrained=False`
        ("a" * 64, "lite0-weights"),
        ("run 0123456789ab, network 0123456789ab", "lite0-run"),
        ("network 0123456789ab", "lite0-run"),
    ],
)
def test_a_run_without_a_name_is_the_variant_with_its_start(weights: str, named: str) -> None:
    record = dataclasses.replace(make_record("lite0-weights"), weights=weights)
    assert variant_of(dataclasses.replace(record, name="tf_efficientnet_lite0")) == named
    expected = "lite0-weights" if named == "lite0-weights" else "lite0-weights (other weights)"
    assert variant_of(record) == expected


def test_starts_from_two_files_are_never_averaged(tmp_path: Path) -> None:
    for seed, weights in ((0, "a" * 64), (1, "a" * 64), (2, "b" * 64)):
        record = make_record("resnet18", seed)
        own = {"name": "mine", "run_id": f"{seed:012x}", "weights": weights, "replaced": {"weights": ""}}
        write_run(tmp_path / str(seed), dataclasses.replace(record, **own))
    (group,) = group_runs(find_runs(tmp_path))
    assert {v: [r.seed for r in group.of(v)] for v in group.variants} == {"mine": [0, 1], "mine (other weights)": [2]}


def test_two_networks_or_recipes_of_one_name_are_never_averaged(tmp_path: Path) -> None:
    for seed, (architecture, ema) in enumerate([("resnet18", 0.9), ("resnet34", 0.9), ("resnet18", 0.8)]):
        record = make_record(architecture, seed, config=TrainConfig(ema=ema))
        write_run(tmp_path / str(seed), dataclasses.replace(record, name="mine", replaced={"ema": 0.0}))
    (group,) = group_runs(find_runs(tmp_path))
    assert group.variants == ("mine", "mine (other network)", "mine (other recipe) 2")
    assert [run.seed for name in group.variants for run in group.of(name)] == [0, 1, 2]


def test_precision_and_seed_do_not_part_runs(tmp_path: Path) -> None:
    make_run(tmp_path, "resnet18", 0, config=TrainConfig(precision="bf16"))
    make_run(tmp_path, "resnet18", 1, config=TrainConfig(precision="fp32"))
    assert len(group_runs(find_runs(tmp_path))) == 1


def test_a_second_run_of_a_variant_and_seed_is_left_out_and_named(tmp_path: Path) -> None:
    first = make_run(tmp_path / "a", "resnet18", 0, config=TrainConfig(precision="bf16"))
    second = make_run(tmp_path / "b", "resnet18", 0, config=TrainConfig(precision="fp32"))
    make_run(tmp_path / "a", "resnet18", 1)
    events: list[Event] = []
    group = choose_group(group_runs(find_runs(tmp_path)), None, events.append)
    assert group.of("resnet18")[0].folder == first
    assert len(group.runs) == 2
    (note,) = [e for e in events if isinstance(e, Note)]
    assert second.relative_to(tmp_path).as_posix() in note.message
    assert first.relative_to(tmp_path).as_posix() in note.message
    assert note.level == "warning"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"params": "13M"}, "params must be int"),
        ({"best_step": True}, "best_step must be int"),
        ({"best_val_iou": None}, "best_val_iou must be float"),
        ({"name": 3}, "name must be str"),
        ({"val_scores": {"a": "0.4"}}, r"val_scores must be Mapping\[str, float\]"),
        ({"objects": [["a", "b"]]}, r"objects must be Mapping\[str, str\]"),
        ({"model": []}, r"model must be Mapping"),
        ({"model": {"scales": "3"}}, "`scales` must be 1 or 3, not '3'"),
        ({"train": {}}, "train has no seed"),
        ({"train": {"seed": 0, "steps": None}}, "`steps` must be a whole number, not None"),
        ({"train": {"seed": 0, "augment": "flip"}}, "`augment` must be a list, not 'flip'"),
        ({"history": [{"step": 1}]}, "history must be tuple"),
        ({"history": []}, "history is empty"),
        ({"surprise": 1}, "unknown field surprise"),
    ],
)
def test_a_field_of_the_wrong_type_is_named(tmp_path: Path, change: dict[str, object], problem: str) -> None:
    folder = make_run(tmp_path, "resnet18")
    document = json.loads((RunFolder(folder).record).read_text())
    (RunFolder(folder).record).write_text(json.dumps({**document, **change}))
    with pytest.raises(InputError, match=f"is damaged .{problem}"):
        stored(folder)


def test_every_field_of_a_record_can_be_checked() -> None:
    for kind in (RunRecord, HistoryRow):
        assert {f.type for f in dataclasses.fields(kind)} <= CHECKS.keys()
