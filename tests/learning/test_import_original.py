"""Checkpoints of the original implementation: same weights, same logits, safely read, others refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers.decoders import original_state
from helpers.stored_run import store_run, write_original

from pix3d_onet.errors import InputError
from pix3d_onet.learning.checkpoint import load_model
from pix3d_onet.learning.import_original import import_checkpoint, load_original


def test_names_and_shapes_are_the_original_s(tmp_path: Path) -> None:
    model = write_original(tmp_path / "o.pt")
    state = original_state(model)  # type: ignore[arg-type]
    assert state["decoder.block0.bn_0.conv_gamma.weight"].shape == (16, 8, 1)
    assert state["decoder.fc_p.weight"].shape == (16, 3, 1)
    assert "decoder.block4.bn_1.bn.running_var" in state
    assert "encoder.features.layer4.1.bn2.running_mean" in state
    assert state["encoder.fc.weight"].shape == (8, 512)


def test_import_gives_the_same_logits(tmp_path: Path) -> None:
    model = write_original(tmp_path / "o.pt")
    result = import_checkpoint(tmp_path / "o.pt", tmp_path / "run")
    assert result["imported"]["it"] == 500
    assert result["imported"]["loss_val_best"] == 0.5
    loaded = load_model(tmp_path / "run")
    images, points = torch.rand(2, 3, 32, 32), torch.rand(2, 40, 3) - 0.5
    with torch.no_grad():
        assert torch.equal(loaded(images, points), model(images, points))
    with pytest.raises(InputError, match="not empty"):
        import_checkpoint(tmp_path / "o.pt", tmp_path / "run")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"decoder.fc_z.weight": torch.zeros(1)}, "latent variable"),
        ({"decoder.bn.conv_gamma.weight": None}, "legacy"),
        ({"decoder.block0.bn_0.conv_gamma.weight": None}, "not cbatchnorm"),
        ({"encoder.features.layer4.1.conv2.weight": None}, "not resnet18"),
    ],
)
def test_other_architectures_are_refused_by_name(
    tmp_path: Path, changes: dict[str, torch.Tensor | None], message: str
) -> None:
    write_original(tmp_path / "o.pt", **changes)
    with pytest.raises(InputError, match=message):
        load_original(tmp_path / "o.pt")


def test_a_network_of_onet_needs_no_import(tmp_path: Path) -> None:
    run = store_run(tmp_path / "run")
    with pytest.raises(InputError, match="it is a network of onet, which needs no import"):
        load_original(run / "best" / "model.safetensors")
