"""How a run starts: encoder weights, encoders' names, networks that cannot train; and what a failed start leaves."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.datasets import make_dataset
from helpers.stored_runs import make_record
from safetensors.torch import load_file, save_file

from pix3d_onet.ablation.stored_runs import variant_of
from pix3d_onet.config import ModelConfig, TrainConfig
from pix3d_onet.errors import ConfigError, InputError, InterruptedRunError, UnsuitableError
from pix3d_onet.events import Event, Note, TrainStep
from pix3d_onet.learning.extraction.predictor import run_settings
from pix3d_onet.learning.network.encoders import make_backbone, suggestion
from pix3d_onet.learning.network.model import build_model
from pix3d_onet.learning.training import examples
from pix3d_onet.learning.training import run as training
from pix3d_onet.learning.training.run import train
from pix3d_onet.learning.training.suitability import check_suitable
from pix3d_onet.runs.record import RunRecord, read_run

MODEL = ModelConfig("resnet18", c_dim=8, hidden_dim=16, blocks=1)
CONFIG = TrainConfig(
    steps=2, batch_size=2, points_per_shape=64, image_size=32, pretrained=False, val_every=2, lr=1e-3, precision="fp32"
)  # fmt: skip


@pytest.fixture(autouse=True)
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examples, "write_examples", lambda *_, **__: None)


def run(data: Path, out: Path, model: ModelConfig = MODEL, config: TrainConfig = CONFIG, **options: Any) -> RunRecord:
    return train(model, config, data, out, name="tiny", device="cpu", **options)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(1)
    path = tmp_path / "weights.safetensors"
    save_file({f"module.{key}": value for key, value in make_backbone("resnet18").state_dict().items()}, path)
    return path


# -- encoder weights --


def test_what_was_taken_is_told_and_kept_also_over_an_interruption(data: Path, weights: Path, tmp_path: Path) -> None:
    events: list[Event] = []

    def stop(event: Event) -> None:
        events.append(event)
        if isinstance(event, TrainStep) and event.step == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    line = "100 of 100 tensors under `module.`; 2 of the head left out"
    taken = {"file": weights.name, "prefix": "module.", "taken": 100, "total": 100, "left_out": 2, "notes": []}
    with pytest.raises(InterruptedRunError):
        run(data, tmp_path / "run", weights=weights, emit=stop)
    assert f"`weights={weights}`: {line}" in [e.message for e in events if isinstance(e, Note)]
    record = run(data, tmp_path / "run", weights=weights, resume=True)
    assert read_run(tmp_path / "run").encoder_weights == record.encoder_weights == taken
    assert json.loads((tmp_path / "run" / "config.json").read_text())["encoder_weights"] == taken


def test_the_network_starts_from_the_file_and_another_run_stands_for_its_best(
    data: Path, weights: Path, tmp_path: Path
) -> None:
    frozen = dataclasses.replace(CONFIG, freeze_encoder=True)
    run(data, tmp_path / "a", config=frozen, weights=weights)
    record = run(data, tmp_path / "b", config=frozen, weights=tmp_path / "a")
    assert record.encoder_weights["prefix"] == "encoder.backbone."
    file = load_file(weights)
    for name in ("a", "b"):
        state = load_file(tmp_path / name / "last" / "model.safetensors")
        for key in ("conv1.weight", "layer4.1.conv2.weight", "layer4.1.bn2.running_var"):
            assert torch.equal(state[f"encoder.backbone.{key}"], file[f"module.{key}"])


def test_a_failed_start_leaves_nothing_where_nothing_was(data: Path, tmp_path: Path) -> None:
    save_file({"conv1.weight": torch.ones(64, 3, 7, 7)}, tmp_path / "part.safetensors")
    for options, error in (
        ({"weights": tmp_path / "absent.pth"}, InputError),
        ({"weights": tmp_path / "part.safetensors"}, InputError),
        ({"model": dataclasses.replace(MODEL, encoder="resnet17")}, ConfigError),
        ({"config": dataclasses.replace(CONFIG, batch_size=1)}, UnsuitableError),
    ):
        with pytest.raises(error):
            run(data, tmp_path / "run", **options)
        assert not (tmp_path / "run").exists()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    with pytest.raises(InputError):
        run(data, tmp_path / "run", weights=tmp_path / "part.safetensors")
    assert (tmp_path / "run" / "notes.txt").read_text() == "mine"
    run(data, tmp_path / "other")


# -- encoders --


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("ResNet18", "`encoder=resnet18`?"),
        ("resnet-18", "`encoder=resnet18`?"),
        ("timm/resnet18.a1_in1k", "`encoder=resnet18.a1_in1k`?"),
        ("hf_hub:timm/ResNet18", "`encoder=resnet18`?"),
        ("hf-hub:timm/convnext_tiny.fb_in22k", "`encoder=convnext_tiny.fb_in22k`?"),
        ("facebook/convnext-tiny-224", "convnext_tiny"),
        ("resnet19", "Did you mean resnet"),
        ("no such thing at all", "Any name"),
    ],
)
def test_names_of_other_places_get_a_suggestion(name: str, meant: str) -> None:
    assert meant in suggestion(name)


def test_a_start_from_other_data_is_warned_of(data: Path, tmp_path: Path) -> None:
    run(data, tmp_path / "a")
    other = make_dataset(tmp_path / "other", shapes=7, seed=5)
    notes: list[Event] = []
    run(data, tmp_path / "b", init_from=tmp_path / "a", emit=notes.append)
    run(other, tmp_path / "c", init_from=tmp_path / "a", emit=notes.append)
    (note,) = (n for n in notes if isinstance(n, Note) and "other data" in n.message)
    assert note.level == "warning"
    assert note.message.startswith(f"{tmp_path / 'a'} was trained on other data (")
    first = read_run(tmp_path / "a").data["data_hash"]
    assert read_run(tmp_path / "c").data["earlier"] == [first]
    assert "earlier" not in read_run(tmp_path / "b").data
    notes.clear()
    run(other, tmp_path / "d", init_from=tmp_path / "c", emit=notes.append)  # the first data are two runs away
    (note,) = (n for n in notes if isinstance(n, Note) and "other data" in n.message)
    assert f"({first})" in note.message
    assert run_settings(tmp_path / "d").trained_on == (read_run(tmp_path / "d").data["data_hash"], first)


def test_an_encoder_with_a_short_name_can_be_the_cameras_own() -> None:
    config = ModelConfig("convnext", c_dim=8, hidden_dim=8, blocks=1, conditioning="pixel", pose="predicted")
    names = [n for n, _ in build_model(dataclasses.replace(config, camera_encoder="own")).named_parameters()]
    assert any(n.startswith("camera_encoder.") for n in names)


def test_two_spellings_are_one_architecture(data: Path, tmp_path: Path) -> None:
    spelled = dataclasses.replace(MODEL, encoder="timm:resnet18")
    first = run(data, tmp_path / "a")
    assert run(data, tmp_path / "b", spelled, init_from=tmp_path / "a").model["encoder"] == "resnet18"
    assert run(data, tmp_path / "a", spelled, resume=True).run_id == first.run_id
    averaged = dataclasses.replace(MODEL, tta="flip")  # the same weights
    assert run(data, tmp_path / "d", averaged, init_from=tmp_path / "a").model["tta"] == "flip"
    with pytest.raises(InputError, match="another finished run"):
        run(data, tmp_path / "a", dataclasses.replace(MODEL, encoder="resnet34"), resume=True)
    with pytest.raises(InputError, match="another architecture"):
        run(data, tmp_path / "c", dataclasses.replace(spelled, hidden_dim=8), init_from=tmp_path / "a")


def test_a_table_has_one_row_for_both_spellings() -> None:
    for encoder, name in (("resnet18", "resnet18"), ("convnext_tiny", "convnext")):
        record = make_record(name)
        model = ModelConfig.from_json({**record.model, "encoder": f"timm:{encoder}"})
        spelled = dataclasses.replace(record, name=model.default_name, model=model.to_json())
        assert variant_of(spelled) == name


def test_an_encoder_that_cannot_be_counted_trains(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise AssertionError("Expected gradient function to be set")

    monkeypatch.setattr(training, "cost", fails)
    record = run(data, tmp_path / "run")
    assert record.steps_done == 2
    assert dict(record.cost) == {}


@pytest.mark.parametrize("name", ["cait_xxs24_224", "pit_ti_224"])
def test_encoders_whose_modules_take_several_tensors_are_counted(name: str) -> None:
    assert training.forward_cost(ModelConfig(name, c_dim=8, hidden_dim=8, blocks=1), 224)["gflops_image"] > 0.5


# -- batch norm --


def check(batch: int, side: int, *, world: int = 1, encoder: str = "resnet18", **more: Any) -> None:
    config = dataclasses.replace(CONFIG, batch_size=batch, image_size=side, **more)
    check_suitable(build_model(dataclasses.replace(MODEL, encoder=encoder)), config, world)


def test_one_value_per_channel_is_refused_before_training() -> None:
    with pytest.raises(UnsuitableError, match=r"`batch_size=1` with `image_size=32` .* one value per channel"):
        check(1, 32)
    check(2, 32)
    check(1, 64)
    check(1, 32, freeze_encoder=True)
    check(1, 32, encoder="convnext_atto")  # has no batch norm
    with pytest.raises(UnsuitableError, match="decoder"):
        check(1, 64, points_per_shape=1)


def test_batch_norms_over_all_processes_count_all_pictures_and_fused_ones_their_own() -> None:
    check(2, 32, world=2)
    with pytest.raises(UnsuitableError, match="one value per channel"):
        check(2, 32, world=2, encoder="mobilenetv3_small_050")  # timm's fused layers keep to their process


def test_a_pyramid_s_smallest_scale_counts() -> None:
    """A quarter of 64 pixels is enlarged to 32, of which ResNet-18 keeps one."""
    config = dataclasses.replace(CONFIG, batch_size=1, image_size=64)
    with pytest.raises(UnsuitableError, match="one value per channel"):
        check_suitable(build_model(dataclasses.replace(MODEL, scales=3)), config)


def test_a_size_that_does_not_suit_comes_with_the_one_that_does() -> None:
    with pytest.raises(UnsuitableError, match=r"`image_size=32` does not suit maxvit.*`image_size=224`"):
        check(2, 32, encoder="maxvit_tiny_rw_224")
